// Equal to plain loops, bit for bit, for each instruction set that this processor has.
#include "ml/kernels/integer_conv/integer_conv.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "ml/base/random.h"
#include "ml/kernels/instruction_set.h"

namespace prunelab {
namespace {

class Draw {
 public:
  explicit Draw(const std::string& name) : stream_(1, name) {}
  int64_t Between(int64_t least, int64_t most) {
    return least + static_cast<int64_t>(stream_.Uniform() * static_cast<double>(most - least + 1));
  }

 private:
  RandomStream stream_;
};

IntegerConvAxis RandomAxis(Draw& draw) {
  IntegerConvAxis axis;
  axis.kernel = draw.Between(1, 3);
  axis.stride = draw.Between(1, 2);
  axis.dilation = axis.kernel > 1 ? draw.Between(1, 2) : 1;
  axis.before = draw.Between(0, 2);
  axis.after = draw.Between(0, 2);
  return axis;
}

enum class Kind { kDense, kPointwise, kDepthwise, kGrouped };

IntegerConvWeights RandomWeights(Draw& draw, Kind kind) {
  IntegerConvWeights w;
  if (kind != Kind::kPointwise) {
    w.down = RandomAxis(draw);
    w.across = RandomAxis(draw);
  }
  if (kind == Kind::kDepthwise) {
    w.in_channels = w.out_channels = w.groups = draw.Between(2, 70);
  } else {
    w.groups = kind == Kind::kGrouped ? draw.Between(2, 4) : 1;
    w.in_channels = w.groups * draw.Between(1, 40);
    w.out_channels = w.groups * draw.Between(1, 80);
  }
  const int64_t weights = w.out_channels * w.in_channels / w.groups * w.down.kernel * w.across.kernel;
  for (int64_t i = 0; i < weights; ++i) w.levels.push_back(static_cast<int8_t>(draw.Between(-127, 127)));
  for (int64_t o = 0; o < w.out_channels; ++o) {
    w.bias.push_back(draw.Between(-100000, 100000));
    w.multiplier.push_back(draw.Between(int64_t{1} << 30, (int64_t{1} << 31) - 1));
    w.shift.push_back(draw.Between(36, 46));
  }
  w.input_zero_point = static_cast<int32_t>(draw.Between(0, 255));
  w.zero_point = static_cast<int32_t>(draw.Between(0, 255));
  if (draw.Between(0, 1) == 1) w.first = w.zero_point;
  return w;
}

void Check(const IntegerConvWeights& w, IntegerConvPlan::Size size, int64_t images, Draw& draw) {
  const int64_t in = w.in_channels / w.groups, in_stride = PlacesStride(w.in_channels),
                out_stride = PlacesStride(w.out_channels);
  std::vector<uint8_t> x(images * size.height * size.width * in_stride + 64);
  for (uint8_t& value : x) value = static_cast<uint8_t>(draw.Between(0, 255));  // also beyond the channels
  const IntegerConvPlan plan(w, size);
  const IntegerConvPlan::Size out = plan.output();
  std::vector<uint8_t> y(images * out.height * out.width * out_stride + 64);
  std::vector<int32_t> sums(y.size());
  plan.Run(images, x.data(), y.data());
  plan.Accumulate(images, x.data(), sums.data());
  for (int64_t n = 0; n < images; ++n) {
    for (int64_t r = 0; r < out.height; ++r) {
      for (int64_t c = 0; c < out.width; ++c) {
        for (int64_t o = 0; o < w.out_channels; ++o) {
          int64_t sum = w.bias[o];
          const int64_t first = o / (w.out_channels / w.groups) * in;
          for (int64_t i = 0; i < in; ++i) {
            for (int64_t kr = 0; kr < w.down.kernel; ++kr) {
              for (int64_t kc = 0; kc < w.across.kernel; ++kc) {
                const int64_t row = r * w.down.stride - w.down.before + kr * w.down.dilation;
                const int64_t column = c * w.across.stride - w.across.before + kc * w.across.dilation;
                if (row < 0 || column < 0 || row >= size.height || column >= size.width) continue;
                const int64_t value = x[((n * size.height + row) * size.width + column) * in_stride + first + i];
                sum +=
                    (value - w.input_zero_point) * w.levels[((o * in + i) * w.down.kernel + kr) * w.across.kernel + kc];
              }
            }
          }
          const int64_t at = ((n * out.height + r) * out.width + c) * out_stride + o;
          ASSERT_EQ(sums[at], sum) << n << " " << r << " " << c << " " << o;
          const int64_t rescaled = (sum * w.multiplier[o] + (int64_t{1} << (w.shift[o] - 1))) >> w.shift[o];
          const int64_t place = std::min<int64_t>(std::max<int64_t>(rescaled + w.zero_point, w.first), w.last);
          ASSERT_EQ(y[at], place) << n << " " << r << " " << c << " " << o;
        }
      }
    }
  }
}

class IntegerConvTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    const std::string name = GetParam();
    const InstructionSet set = name == "generic" ? InstructionSet::kGeneric
                               : name == "avx2"  ? InstructionSet::kAvx2
                                                 : InstructionSet::kAvx512;
    if (!HasInstructionSet(set)) GTEST_SKIP() << "this processor has no " << name;
    SetInstructionSet(set);
    if (name == "avx512_vnni" && !vnni_) GTEST_SKIP() << "this processor has no " << name;
    SetHasVnni(name == "avx512_vnni");
  }
  void TearDown() override {
    SetInstructionSet(best_);
    SetHasVnni(vnni_);
  }

  const InstructionSet best_ = BestInstructionSet();
  const bool vnni_ = HasVnni();
};

TEST_P(IntegerConvTest, IsThePlainLoops) {
  for (const Kind kind : {Kind::kDense, Kind::kPointwise, Kind::kDepthwise, Kind::kGrouped}) {
    Draw draw("shapes" + std::to_string(static_cast<int>(kind)));
    for (int trial = 0; trial < 25; ++trial) {
      SCOPED_TRACE(std::to_string(static_cast<int>(kind)) + " " + std::to_string(trial));
      const IntegerConvWeights weights = RandomWeights(draw, kind);
      const IntegerConvPlan::Size size = {draw.Between(5, 9), draw.Between(5, 21)};
      Check(weights, size, draw.Between(1, 3), draw);
      if (HasFatalFailure()) return;
    }
  }
}

// The largest products that there are, and sums that come near the ends of 32 bits.
TEST_P(IntegerConvTest, NothingOverflows) {
  for (const int sign : {-1, 1}) {
    IntegerConvWeights w;
    w.in_channels = 3000;
    w.out_channels = 17;
    w.levels.assign(w.in_channels * w.out_channels, static_cast<int8_t>(127 * sign));
    w.bias.assign(w.out_channels, sign * 2000000000LL);
    w.multiplier.assign(w.out_channels, (int64_t{1} << 31) - 1);
    w.shift.assign(w.out_channels, 56);
    w.zero_point = 128;
    std::vector<uint8_t> x(PlacesStride(w.in_channels) + 64, 255), y(PlacesStride(w.out_channels) + 64);
    std::vector<int32_t> sums(y.size());
    const IntegerConvPlan plan(w, {1, 1});
    plan.Accumulate(1, x.data(), sums.data());
    plan.Run(1, x.data(), y.data());
    const int64_t sum = sign * (2000000000LL + 255LL * 127 * 3000);
    for (int64_t o = 0; o < w.out_channels; ++o) {
      EXPECT_EQ(sums[o], sum);
      EXPECT_EQ(y[o], 128 + ((sum * ((int64_t{1} << 31) - 1) + (int64_t{1} << 55)) >> 56));
    }
  }
}

TEST_P(IntegerConvTest, ThreadsShareImagesAndRows) {
  const int threads = at::get_num_threads();
  at::set_num_threads(3);
  Draw draw("threads");
  for (int trial = 0; trial < 4; ++trial) {
    Check(RandomWeights(draw, trial % 2 == 0 ? Kind::kDense : Kind::kPointwise), {9, 13}, trial < 2 ? 1 : 5, draw);
    if (HasFatalFailure()) break;
  }
  at::set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, IntegerConvTest, testing::Values("generic", "avx2", "avx512", "avx512_vnni"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace prunelab
