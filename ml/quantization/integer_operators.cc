#include "ml/quantization/integer_operators.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "ml/base/check.h"
#include "ml/network/resampling.h"
#include "ml/network/window_ops.h"

namespace prunelab {
namespace {

constexpr int kMultiplierBits = 31, kLongestShift = 62, kLongestJointShift = 28;

// Places without their zero point, int64.
at::Tensor Centered(const at::Tensor& places, int64_t zero_point) { return places.to(at::kLong) - zero_point; }

at::Tensor OnGrid(const ResultGrid& result, const at::Tensor& values) {
  return (values + result.zero_point).clamp(result.first, result.last).to(at::kByte);
}

// The exponent e of factor = f 2^e with f in [1/2, 1); of 0 the least that is used.
int Exponent(double factor) {
  int exponent = 0;
  std::frexp(factor, &exponent);
  PRUNELAB_CHECK(factor >= 0 && exponent < kMultiplierBits) << "a factor of " << factor;
  return factor == 0 ? -kMultiplierBits : std::max(exponent, kMultiplierBits - kLongestShift);
}

int64_t MultiplierOf(double factor, int shift) { return std::llround(std::ldexp(factor, shift)); }

// float64 [rows, size]: ones where a row of the result is made of a row of the map.
at::Tensor Membership(const std::vector<PooledRow>& rows, int64_t size) {
  at::Tensor member = at::zeros({static_cast<int64_t>(rows.size()), size}, at::kDouble);
  for (size_t r = 0; r < rows.size(); ++r) {
    if (rows[r].end > rows[r].first) member[r].narrow(0, rows[r].first, rows[r].end - rows[r].first).fill_(1);
  }
  return member;
}

}  // namespace

bool HasIntegerForm(const Node& node) {
  switch (node.op_case()) {
    case Node::kImage:
    case Node::kConv2D:
    case Node::kLinear:
    case Node::kRelu:
    case Node::kAdd:
    case Node::kConcat:
    case Node::kMaxPool2D:
    case Node::kAveragePool2D:
    case Node::kAdaptivePool2D:
    case Node::kGlobalAveragePool:
    case Node::kFlatten:
    case Node::kUnflatten:
    case Node::kScatter:
    case Node::kConstant:
    case Node::kSelect:
    case Node::kElementwise:
    case Node::kDropout:
    case Node::kFakeQuantize:
      return true;
    case Node::kArithmetic:
      return node.arithmetic().function() != Arithmetic::DIVIDE;
    case Node::kResize:
      return node.resize().function() == Resize::NEAREST;
    case Node::kPad:
      return node.pad().function() != Pad::CONSTANT || node.pad().value() == 0;
    default:
      return false;
  }
}

bool HasWeights(const Node& node) { return node.op_case() == Node::kConv2D || node.op_case() == Node::kLinear; }

bool IsClip(const Node& node) {
  return node.op_case() == Node::kRelu ||
         (node.op_case() == Node::kElementwise && node.elementwise().function() == Elementwise::CLIP);
}

Rescaling RescalingOf(const at::Tensor& factors) {
  const at::Tensor flat = factors.contiguous().flatten();
  at::Tensor multiplier = at::empty_like(flat, at::kLong), shift = at::empty_like(flat, at::kLong);
  for (int64_t i = 0; i < flat.numel(); ++i) {
    const double factor = flat.data_ptr<double>()[i];
    int bits = std::min(kMultiplierBits - Exponent(factor), kLongestShift);
    int64_t number = MultiplierOf(factor, bits);
    if (number == int64_t{1} << kMultiplierBits) {  // rounded up to what 32 bits do not hold
      number /= 2;
      --bits;
    }
    shift.data_ptr<int64_t>()[i] = bits;
    multiplier.data_ptr<int64_t>()[i] = number;
  }
  return {multiplier.view(factors.sizes()), shift.view(factors.sizes())};
}

double LargestJointFactor(int64_t inputs) { return std::ldexp(1, 30) / (256.0 * static_cast<double>(inputs + 1)) - 1; }

Rescaling JointRescalingOf(const at::Tensor& factors) {
  const at::Tensor flat = factors.contiguous().flatten();
  const double largest = flat.max().item<double>();
  // As if the half that is added before the shift were one more product.
  const double bound = 2 * LargestJointFactor(flat.numel()) + 2;
  int bits = std::min(kMultiplierBits - Exponent(largest), kLongestJointShift);
  while (bits > 1 && std::ldexp(largest, bits) + 1 >= bound) --bits;
  at::Tensor multiplier = at::empty_like(flat, at::kLong);
  for (int64_t i = 0; i < flat.numel(); ++i) {
    multiplier.data_ptr<int64_t>()[i] = MultiplierOf(flat.data_ptr<double>()[i], bits);
  }
  return {multiplier.view(factors.sizes()), at::scalar_tensor(bits, at::kLong)};
}

at::Tensor Shifted(const at::Tensor& sum, const at::Tensor& shift) {
  return at::bitwise_right_shift(sum + at::bitwise_left_shift(at::ones_like(shift), shift - 1), shift);
}

at::Tensor Rescaled(const Rescaling& rescaling, const at::Tensor& x) {
  return Shifted(x * rescaling.multiplier, rescaling.shift);
}

at::Tensor Accumulators(const IntegerConv& conv, const at::Tensor& places) {
  // Whole numbers below 2^31 in float64: the sum is exact in any order.
  const at::Tensor x = Centered(places, conv.zero_point).to(at::kDouble), weight = conv.levels.to(at::kDouble);
  const bool even = conv.window.HasEqualPads();
  const at::Tensor sums = RunConv2d(even ? conv.window : WithoutPads(conv.window), even ? x : Padded(conv.window, x),
                                    weight, {}, conv.groups);
  return sums.round().to(at::kLong) + conv.bias.view({-1, 1, 1});
}

at::Tensor Run(const IntegerConv& conv, const at::Tensor& places) {
  return OnGrid(conv.result, Rescaled(conv.rescaling, Accumulators(conv, places)));
}

at::Tensor Run(const IntegerSum& sum, const std::vector<at::Tensor>& places) {
  at::Tensor total = Centered(places[0], sum.zero_points[0]) * sum.rescaling.multiplier[0];
  for (size_t k = 1; k < places.size(); ++k) {
    total = total + Centered(places[k], sum.zero_points[k]) * sum.rescaling.multiplier[k];
  }
  return OnGrid(sum.result, Shifted(total, sum.rescaling.shift));
}

at::Tensor Run(const IntegerConcat& concat, const std::vector<at::Tensor>& places) {
  int64_t batch = 1;
  for (const at::Tensor& x : places) batch = std::max(batch, x.size(0));
  std::vector<at::Tensor> parts;
  for (size_t k = 0; k < places.size(); ++k) {
    const Rescaling rescaling = {concat.rescaling.multiplier[k], concat.rescaling.shift[k]};
    std::vector<int64_t> sizes = places[k].sizes().vec();
    sizes[0] = batch;
    parts.push_back(
        OnGrid(concat.result, Rescaled(rescaling, Centered(places[k], concat.zero_points[k]))).expand(sizes));
  }
  return at::cat(parts, 1);
}

at::Tensor Run(const IntegerProduct& product, const at::Tensor& a, const at::Tensor& b) {
  return OnGrid(product.result,
                Rescaled(product.rescaling, Centered(a, product.zero_points[0]) * Centered(b, product.zero_points[1])));
}

std::vector<PooledRow> PooledRows(const WindowAxis& axis, int64_t size, bool count_include_pad) {
  std::vector<PooledRow> rows;
  for (int64_t position = 0; position < axis.Positions(size); ++position) {
    const int64_t begin = position * axis.stride - axis.before;
    const int64_t end = std::min(begin + axis.kernel, size + axis.after);
    PooledRow row = {std::max<int64_t>(begin, 0), std::min(end, size), 1};
    row.length = std::max<int64_t>(count_include_pad ? end - begin : row.end - row.first, 1);
    rows.push_back(row);
  }
  return rows;
}

std::vector<PooledRow> AdaptivePooledRows(int64_t size, int64_t result) {
  std::vector<PooledRow> rows;
  for (const RowRange& range : AdaptiveRows(size, result)) {
    rows.push_back({range.first, range.end, range.end - range.first});
  }
  return rows;
}

at::Tensor Run(const IntegerAveragePool& pool, const at::Tensor& places) {
  const at::Tensor x = Centered(places, pool.zero_point).to(at::kDouble);  // whole numbers, as in Accumulators
  const at::Tensor sums = Membership(pool.rows, x.size(2)).matmul(x).matmul(Membership(pool.columns, x.size(3)).t());
  return OnGrid(pool.result, Rescaled(pool.rescaling, sums.round().to(at::kLong)));
}

at::Tensor Run(const IntegerTable& table, const at::Tensor& places) {
  return table.table.index_select(0, places.flatten().to(at::kLong)).view(places.sizes());
}

}  // namespace prunelab
