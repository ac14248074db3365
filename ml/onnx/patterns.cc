#include "ml/onnx/patterns.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace prunelab {
namespace {

// A number times values: x, x, y of x * 3 * x / 2 * y.
struct Product {
  double number = 1;
  std::vector<int> factors;
};

// A value plus a number.
struct Shifted {
  int value = -1;
  double number = 0;
};

// Constants in files are rounded to float32, or to fewer digits.
bool Near(double a, double b) { return std::abs(a - b) <= 1e-4 * std::abs(b); }

class Rewriter {
 public:
  explicit Rewriter(OnnxGraph& graph) : graph_(graph), users_(CountUsers(graph)) {}

  void Rewrite() {
    for (OnnxNode& node : graph_.nodes) {
      if (node.outputs[0] < 0 || graph_.IsConstant(node.outputs[0])) continue;
      if ((node.op == "Mul" || node.op == "Div") && node.inputs.size() == 2) {
        if (!RewriteProduct(node)) RewriteNorm(node);
      }
      if (node.op == "Concat") RewritePool(node);
      if (node.op == "MaxPool" && !node.inputs.empty()) RewritePaddedMaxPool(node);
    }
  }

 private:
  // The node that computes a value by the operator, with at least one input; nullptr if another one does.
  const OnnxNode* By(int value, const char* op) const {
    const OnnxNode* node = graph_.Producer(value);
    return node != nullptr && node->op == op && !node->inputs.empty() && node->outputs[0] == value ? node : nullptr;
  }
  std::optional<double> Number(int value) const {
    if (!graph_.IsConstant(value)) return std::nullopt;
    const at::Tensor& constant = graph_.Constant(value);
    if (constant.numel() != 1 || !constant.is_floating_point()) return std::nullopt;
    return constant.to(at::kDouble).item<double>();
  }

  // x^2 and x^3 as factors.
  bool AddPower(int value, Product& product) const {
    const OnnxNode* power = By(value, "Pow");
    if (power == nullptr || power->inputs.size() != 2 || !graph_.IsConstant(power->inputs[1])) return false;
    const at::Tensor& exponent = graph_.Constant(power->inputs[1]);
    if (exponent.numel() != 1) return false;
    const double number = exponent.to(at::kDouble).item<double>();
    if (number != 2 && number != 3) return false;
    product.factors.insert(product.factors.end(), static_cast<size_t>(number), power->inputs[0]);
    return true;
  }

  // The factors of a value. What something else reads, too, is a factor as it is.
  Product ProductOf(int root) const {
    constexpr int kMostNodes = 16;
    Product product;
    std::vector<int> open = {root};
    for (int nodes = 0; !open.empty(); ++nodes) {
      const int value = open.back();
      open.pop_back();
      const OnnxNode *times = By(value, "Mul"), *over = By(value, "Div");
      if (const std::optional<double> number = Number(value)) {
        product.number *= *number;
      } else if ((value != root && (value < 0 || users_[value] != 1)) || nodes > kMostNodes) {
        product.factors.push_back(value);
      } else if (times != nullptr && times->inputs.size() == 2) {
        open.insert(open.end(), times->inputs.begin(), times->inputs.end());
      } else if (over != nullptr && over->inputs.size() == 2 && Number(over->inputs[1])) {
        product.number /= *Number(over->inputs[1]);
        open.push_back(over->inputs[0]);
      } else if (!AddPower(value, product)) {
        product.factors.push_back(value);
      }
    }
    std::sort(product.factors.begin(), product.factors.end());
    return product;
  }

  std::optional<Shifted> ShiftedOf(int value) const {
    if (const OnnxNode* sum = By(value, "Add"); sum != nullptr && sum->inputs.size() == 2) {
      for (const int k : {0, 1}) {
        if (const std::optional<double> number = Number(sum->inputs[k])) return Shifted{sum->inputs[1 - k], *number};
      }
    }
    if (const OnnxNode* difference = By(value, "Sub"); difference != nullptr && difference->inputs.size() == 2) {
      if (const std::optional<double> number = Number(difference->inputs[1])) {
        return Shifted{difference->inputs[0], -*number};
      }
    }
    return std::nullopt;
  }

  // Whether the value is number * x^power.
  bool IsPower(int value, double number, int x, size_t power) const {
    const Product product = ProductOf(value);
    return Near(product.number, number) && product.factors == std::vector<int>(power, x);
  }

  // Whether the value is clip(x + 3, 0, 6).
  bool IsClippedShift(int value, int& x) const {
    const OnnxNode* clip = By(value, "Clip");
    if (clip == nullptr) return false;
    const absl::StatusOr<double> low = NumberOf(graph_, *clip, "min", 1, -1),
                                 high = NumberOf(graph_, *clip, "max", 2, -1);
    if (!low.ok() || !high.ok() || *low != 0 || *high != 6) return false;
    const std::optional<Shifted> shifted = ShiftedOf(clip->inputs[0]);
    if (!shifted || shifted->number != 3) return false;
    x = shifted->value;
    return true;
  }

  bool IsHardSigmoid(int value, int x) const {
    const OnnxNode* node = By(value, "HardSigmoid");
    return node != nullptr && node->inputs[0] == x && Near(FloatAttribute(*node, "alpha", 0.2), 1.0 / 6) &&
           FloatAttribute(*node, "beta", 0.5) == 0.5;
  }

  // Whether the value is 1 + f(...), and what f is given.
  int OnePlus(int value, const char* function) const {
    const std::optional<Shifted> shifted = ShiftedOf(value);
    if (!shifted || shifted->number != 1) return -1;
    const OnnxNode* node = By(shifted->value, function);
    return node == nullptr ? -1 : node->inputs[0];
  }

  // Whether the value is sqrt(2 / pi) (x + 0.044715 x^3).
  bool IsTanhArgument(int value, int x) const {
    constexpr double kCube = 0.044715;
    const Product product = ProductOf(value);
    if (!Near(product.number, M_2_SQRTPI * M_SQRT1_2)) return false;
    if (product.factors.size() == 1) {
      const OnnxNode* sum = By(product.factors[0], "Add");
      if (sum == nullptr || sum->inputs.size() != 2) return false;
      const auto& in = sum->inputs;
      return (in[0] == x && IsPower(in[1], kCube, x, 3)) || (in[1] == x && IsPower(in[0], kCube, x, 3));
    }
    if (product.factors.size() != 2 || std::count(product.factors.begin(), product.factors.end(), x) != 1) return false;
    const std::optional<Shifted> shifted = ShiftedOf(product.factors[product.factors[0] == x ? 1 : 0]);
    return shifted && shifted->number == 1 && IsPower(shifted->value, kCube, x, 2);
  }

  void Become(OnnxNode& node, const char* op, int x, std::map<std::string, OnnxAttribute> attributes = {}) {
    node.op = op;
    node.inputs = {x};
    node.attributes = std::move(attributes);
  }
  void BecomeGelu(OnnxNode& node, int x, const char* approximation) {
    OnnxAttribute attribute;
    attribute.text = approximation;
    Become(node, "Gelu", x, {{"approximate", attribute}});
  }
  void BecomeHardSigmoid(OnnxNode& node, int x) {
    OnnxAttribute alpha, beta;
    alpha.floats = {1.0 / 6};
    beta.floats = {0.5};
    Become(node, "HardSigmoid", x, {{"alpha", alpha}, {"beta", beta}});
  }

  // x times a function of x.
  bool RewriteGate(OnnxNode& node, double number, int x, int gate) {
    int clipped = -1;
    const OnnxNode* sigmoid = By(gate, "Sigmoid");
    if (Near(number, 1) && sigmoid != nullptr && sigmoid->inputs[0] == x) {
      Become(node, "Swish", x);
    } else if ((Near(number, 1) && IsHardSigmoid(gate, x)) ||
               (Near(number, 1.0 / 6) && IsClippedShift(gate, clipped) && clipped == x)) {
      Become(node, "HardSwish", x);
    } else if (const int erf = OnePlus(gate, "Erf"); Near(number, 0.5) && erf >= 0 && IsPower(erf, M_SQRT1_2, x, 1)) {
      BecomeGelu(node, x, "none");
    } else if (const int tanh = OnePlus(gate, "Tanh"); Near(number, 0.5) && tanh >= 0 && IsTanhArgument(tanh, x)) {
      BecomeGelu(node, x, "tanh");
    } else {
      return false;
    }
    return true;
  }

  bool RewriteProduct(OnnxNode& node) {
    const Product product = ProductOf(node.outputs[0]);
    if (product.factors.size() == 1) {
      int x = -1;
      if (!Near(product.number, 1.0 / 6) || !IsClippedShift(product.factors[0], x)) return false;
      BecomeHardSigmoid(node, x);
      return true;
    }
    if (product.factors.size() != 2) return false;
    return RewriteGate(node, product.number, product.factors[0], product.factors[1]) ||
           RewriteGate(node, product.number, product.factors[1], product.factors[0]);
  }

  // The mean over axes that are kept as 1: the axes, and of what.
  struct Mean {
    int of = -1;
    std::vector<int64_t> axes;
  };
  std::optional<Mean> MeanOf(int value) const {
    const OnnxNode* node = By(value, "ReduceMean");
    if (node == nullptr || IntAttribute(*node, "keepdims", 1) == 0) return std::nullopt;
    const absl::StatusOr<std::vector<int64_t>> axes = IntsOf(graph_, *node, "axes", 1, {});
    if (!axes.ok() || axes->empty()) return std::nullopt;
    return Mean{node->inputs[0], *axes};
  }

  // x of x - mean(x).
  std::optional<Mean> CenteredOf(int value) const {
    const OnnxNode* difference = By(value, "Sub");
    if (difference == nullptr || difference->inputs.size() != 2) return std::nullopt;
    const std::optional<Mean> mean = MeanOf(difference->inputs[1]);
    if (!mean || mean->of != difference->inputs[0]) return std::nullopt;
    return mean;
  }

  // Epsilon and what is squared, of sqrt(mean(d^2) + epsilon).
  std::optional<Shifted> DeviationOf(int value, const std::vector<int64_t>& axes) const {
    const OnnxNode* root = By(value, "Sqrt");
    if (root == nullptr) return std::nullopt;
    const std::optional<Shifted> variance = ShiftedOf(root->inputs[0]);
    if (!variance) return std::nullopt;
    const std::optional<Mean> mean = MeanOf(variance->value);
    if (!mean || mean->axes != axes) return std::nullopt;
    const Product square = ProductOf(mean->of);
    if (square.number != 1 || square.factors.size() != 2 || square.factors[0] != square.factors[1]) return std::nullopt;
    return Shifted{square.factors[0], variance->number};
  }

  bool RewriteNorm(OnnxNode& node) {
    for (const int k : {0, 1}) {
      if (node.op == "Div" && k == 1) break;
      const std::optional<Mean> centered = CenteredOf(node.inputs[k]);
      int deviation = node.inputs[1 - k];
      if (!centered) continue;
      if (node.op == "Mul") {
        const OnnxNode* reciprocal = By(deviation, "Reciprocal");
        if (reciprocal == nullptr) continue;
        deviation = reciprocal->inputs[0];
      }
      const std::optional<Shifted> squared = DeviationOf(deviation, centered->axes);
      if (!squared) continue;
      const std::optional<Mean> same = CenteredOf(squared->value);
      if (!same || same->of != centered->of || same->axes != centered->axes) continue;
      OnnxAttribute axes, epsilon;
      axes.ints = centered->axes;
      epsilon.floats = {squared->number};
      Become(node, "LayerNormalization", centered->of, {{"axes", axes}, {"epsilon", epsilon}});
      return true;
    }
    return false;
  }

  // A mean or maximum over one axis of a slice of that axis.
  struct PooledSlice {
    int of = -1;
    bool max = false;
    int64_t start = 0, end = 0;
  };
  std::optional<PooledSlice> PooledSliceOf(int value, int64_t axis) const {
    const OnnxNode *mean = By(value, "ReduceMean"), *max = By(value, "ReduceMax");
    const OnnxNode* pool = mean != nullptr ? mean : max;
    if (pool == nullptr || IntAttribute(*pool, "keepdims", 1) == 0) return std::nullopt;
    const OnnxNode* slice = By(pool->inputs[0], "Slice");
    if (slice == nullptr) return std::nullopt;
    const auto only = [&](const OnnxNode& node, const char* name, size_t k, int64_t otherwise) {
      const absl::StatusOr<std::vector<int64_t>> ints = IntsOf(graph_, node, name, k, {otherwise});
      return ints.ok() && ints->size() == 1 ? std::optional<int64_t>((*ints)[0]) : std::nullopt;
    };
    const std::optional<int64_t> start = only(*slice, "starts", 1, -1), end = only(*slice, "ends", 2, -1);
    const bool fits = only(*pool, "axes", 1, -1) == axis && only(*slice, "axes", 3, 0) == axis &&
                      only(*slice, "steps", 4, 1) == 1 && start && end;
    if (!fits) return std::nullopt;
    return PooledSlice{slice->inputs[0], max != nullptr, *start, *end};
  }

  void RewritePool(OnnxNode& node) {
    OnnxAttribute axis, starts, ends, max;
    axis.ints = {IntAttribute(node, "axis", 0)};
    std::optional<PooledSlice> first;
    for (const int input : node.inputs) {
      const std::optional<PooledSlice> pooled = PooledSliceOf(input, axis.ints[0]);
      if (!pooled || (first && (pooled->of != first->of || pooled->max != first->max))) return;
      if (!first) first = pooled;
      starts.ints.push_back(pooled->start);
      ends.ints.push_back(pooled->end);
    }
    if (!first) return;
    max.ints = {first->max ? 1 : 0};
    Become(node, "AdaptivePool", first->of, {{"axis", axis}, {"starts", starts}, {"ends", ends}, {"max", max}});
  }

  // Padding by -infinity before a maximum is the maximum's own, which ONNX limits.
  void RewritePaddedMaxPool(OnnxNode& node) {
    const OnnxNode* pad = By(node.inputs[0], "Pad");
    const std::string automatic = TextAttribute(node, "auto_pad", "NOTSET");
    if (pad == nullptr || TextAttribute(*pad, "mode", "constant") != "constant" || automatic != "NOTSET") return;
    const absl::StatusOr<double> value = NumberOf(graph_, *pad, "value", 2, 0);
    const absl::StatusOr<std::vector<int64_t>> added = IntsOf(graph_, *pad, "pads", 1, {});
    OnnxAttribute pads;
    pads.ints = IntsAttribute(node, "pads", {0, 0, 0, 0});
    const bool known = value.ok() && *value == -std::numeric_limits<double>::infinity() && added.ok() &&
                       added->size() == 8 && pads.ints.size() == 4 && !HasInput(*pad, 3);
    if (!known || (*added)[0] != 0 || (*added)[1] != 0 || (*added)[4] != 0 || (*added)[5] != 0) return;
    constexpr int64_t kMost = 1 << 20;
    for (int k = 0; k < 4; ++k) {
      const int64_t more = (*added)[k < 2 ? k + 2 : k + 4];
      if (more < 0 || more > kMost || pads.ints[k] < 0 || pads.ints[k] > kMost) return;
      pads.ints[k] += more;
    }
    node.inputs[0] = pad->inputs[0];
    node.attributes["pads"] = pads;
  }

  OnnxGraph& graph_;
  std::vector<int> users_;
};

}  // namespace

void RewritePatterns(OnnxGraph& graph) { Rewriter(graph).Rewrite(); }

}  // namespace prunelab
