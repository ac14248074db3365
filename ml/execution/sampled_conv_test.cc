#include "ml/execution/sampled_conv.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <torch/csrc/autograd/autograd.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "ml/execution/plan.h"
#include "ml/execution/skipping_plan.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

// Each tensor ends, except for its alignment, right before a protected page: reading or writing past a tensor's end
// kills the process at once.
class GuardedMemory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, nullptr, &Free, cpu};
    const size_t page = static_cast<size_t>(getpagesize());
    const size_t aligned = (bytes + 63) / 64 * 64, pages = (aligned + page - 1) / page * page;
    char* begin =
        static_cast<char*>(mmap(nullptr, pages + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_NE(static_cast<void*>(begin), MAP_FAILED);
    EXPECT_EQ(mprotect(begin + pages, page, PROT_NONE), 0);
    void* data = begin + pages - aligned;
    const std::lock_guard<std::mutex> lock(Mutex());
    Blocks()[data] = {begin, pages + page};
    return {data, data, &Free, cpu};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &Free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

 private:
  static std::mutex& Mutex() {
    static std::mutex* mutex = new std::mutex;
    return *mutex;
  }
  static std::map<void*, std::pair<void*, size_t>>& Blocks() {
    static auto* blocks = new std::map<void*, std::pair<void*, size_t>>;
    return *blocks;
  }
  static void Free(void* data) {
    const std::lock_guard<std::mutex> lock(Mutex());
    const auto block = Blocks().find(data);
    if (block == Blocks().end()) return;
    munmap(block->second.first, block->second.second);
    Blocks().erase(block);
  }
};

// A convolution of `in` channels to `out`, 1x1 with this stride, with BN and ReLU, on images of `size` pixels.
NetworkInfo Shortcut(int64_t in, int64_t out, int64_t stride, int64_t size) {
  NetworkWriter net;
  net.Image(in, size, size);
  net.Relu("relu", net.BatchNorm("bn", net.Conv("conv", "image", {out, 1, stride})));
  net.Linear("fc", net.Flatten("flat", net.GlobalAveragePool("pool", "relu")), 3);
  return *NetworkInfo::Create(net.Take());
}

// The gradients of a training step's parameters by `plan`, in its order, as float64.
std::vector<at::Tensor> Gradients(Plan& plan, const NetworkInfo& info, at::ScalarType dtype) {
  Model model = Model::Create(info, dtype, at::kCPU);
  InitializeParameters(model, 3);
  const Node& image = info.network().node(0);
  const int64_t channels = image.image().channels(), size = image.image().height();
  const at::Tensor images = at::linspace(-1, 1, 6 * channels * size * size, at::kDouble)
                                .mul(30)
                                .sin()
                                .view({6, channels, size, size})
                                .to(dtype);
  const at::Tensor labels = at::arange(6, at::kLong).remainder(3);
  ForwardOptions options;
  options.mode = Mode::kTrain;
  const at::Tensor loss = at::cross_entropy_loss(plan.Forward(model, images, options).logits, labels);
  std::vector<at::Tensor> parameters;
  for (const NamedTensor& parameter : model.parameters()) parameters.push_back(parameter.tensor);
  std::vector<at::Tensor> gradients = torch::autograd::grad({loss}, parameters);
  for (at::Tensor& gradient : gradients) gradient = gradient.to(at::kDouble);
  return gradients;
}

TEST(SampledConv, StaysWithinItsTensorsAndHasTheGradientsOfFloat64) {
  c10::SetCPUAllocator(new GuardedMemory);  // tensors may outlive this test
  for (const int64_t stride : {2, 3}) {
    for (int64_t in = 1; in <= 12; ++in) {
      for (const int64_t out : {1, 4, 8, 17}) {
        for (const int64_t size : {8, 15}) {
          SCOPED_TRACE(absl::StrCat(in, " to ", out, " channels, stride ", stride, ", ", size, " pixels"));
          const NetworkInfo info = Shortcut(in, out, stride, size);
          ReferencePlan reference, exact;
          SkippingPlan skipping;
          const std::vector<at::Tensor> expected = Gradients(exact, info, at::kDouble);
          for (Plan* plan : {static_cast<Plan*>(&reference), static_cast<Plan*>(&skipping)}) {
            const std::vector<at::Tensor> actual = Gradients(*plan, info, at::kFloat);
            ASSERT_EQ(actual.size(), expected.size());
            for (size_t i = 0; i < expected.size(); ++i) {
              ASSERT_LE((actual[i] - expected[i]).abs().max().item<double>(), 2e-5) << "parameter " << i;
            }
          }
        }
      }
    }
  }
}

TEST(SampledConv, SamplesWhatTheLibraryGetsWrongAndNothingElse) {
  Conv2d conv;
  conv.set_stride(2);
  EXPECT_TRUE(NeedsSampling(WindowOf(conv), at::zeros({16, 7, 1, 1})));
  EXPECT_FALSE(NeedsSampling(WindowOf(conv), at::zeros({16, 8, 1, 1})));
  EXPECT_FALSE(NeedsSampling(WindowOf(conv), at::zeros({16, 4, 3, 3})));
  EXPECT_FALSE(NeedsSampling(WindowOf(conv), at::zeros({16, 4, 1, 1}, at::kDouble)));
  conv.set_stride(1);
  EXPECT_FALSE(NeedsSampling(WindowOf(conv), at::zeros({16, 4, 1, 1})));
}

TEST(SampledConv, TakesEveryStridethPixelFromTheFirstOn) {
  Conv2d conv;
  conv.set_stride(2);
  const at::Tensor x = at::arange(15, at::kFloat).view({1, 1, 3, 5});
  EXPECT_TRUE(Sampled(WindowOf(conv), x).equal(at::tensor({0.f, 2.f, 4.f, 10.f, 12.f, 14.f}).view({1, 1, 2, 3})));
}

// oneDNN crashed on this, as PyTorch does.
TEST(ReferencePlan, TheDilationOfAKernelOfOnePixelMeansNothing) {
  for (const auto& [height, width, kernel_height, kernel_width] :
       {std::array<int64_t, 4>{5, 1, 1, 1}, {7, 9, 1, 1}, {5, 3, 3, 1}, {3, 5, 1, 3}}) {
    for (const int64_t channels : {1, 6, 16}) {
      SCOPED_TRACE(absl::StrCat(height, "x", width, ", kernel ", kernel_height, "x", kernel_width, ", ", channels));
      NetworkWriter net;
      net.Image(channels, height, width);
      const NetworkWriter::ConvShape shape = {51,    kernel_height, /*stride=*/2,   /*padding=*/1,
                                              false, /*groups=*/1,  /*dilation=*/2, kernel_width};
      net.Linear("fc", net.Flatten("flat", net.Conv("conv", "image", shape)), 3);
      const Network network = net.Take();
      const auto logits = [&](at::ScalarType dtype) {
        Model model = Model::Create(*NetworkInfo::Create(network), dtype, at::kCPU);
        InitializeParameters(model, 3);
        const at::NoGradGuard no_gradient;
        const at::Tensor images = at::linspace(-1, 1, 6 * channels * height * width, at::kDouble).mul(30).sin();
        return ReferencePlan()
            .Forward(model, images.view({6, channels, height, width}).to(dtype), ForwardOptions())
            .logits.to(at::kDouble);
      };
      EXPECT_LE((logits(at::kFloat) - logits(at::kDouble)).abs().max().item<double>(), 1e-4);
    }
  }
}

}  // namespace
}  // namespace prunelab
