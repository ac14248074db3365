#include "ml/execution/model_liveness.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"

namespace prunelab {
namespace {

std::vector<double> Values(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().to(at::kCPU, at::kDouble).contiguous().view(-1);
  return std::vector<double>(flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel());
}

}  // namespace

Liveness AnalyzeLiveness(const Model& model) {
  LivenessWeights weights;
  weights.matrix = [&](const std::string& node) {
    const bool linear = model.info().node(model.info().Index(node)).op_case() == Node::kLinear;
    const at::Tensor weight =
        linear ? model.Get(absl::StrCat(node, ".weight")).detach().unsqueeze(2).unsqueeze(3) : model.MaskedWeight(node);
    LivenessWeights::Matrix matrix;
    matrix.tap_sums = Values(weight.sum({2, 3}));
    for (const double count : Values((weight != 0).sum({2, 3}))) matrix.nonzero.push_back(count > 0);
    const std::string bias = absl::StrCat(node, ".bias");
    if (model.Has(bias)) matrix.bias = Values(model.Get(bias));
    return matrix;
  };
  weights.affine = [&](const std::string& node) {
    const auto get = [&](const char* suffix) { return Values(model.Get(absl::StrCat(node, ".", suffix))); };
    const double epsilon = model.info().node(model.info().Index(node)).batch_norm2d().epsilon();
    const std::vector<double> gamma = get("weight"), beta = get("bias"), mean = get("running_mean"),
                              var = get("running_var");
    LivenessWeights::Affine affine;
    for (size_t c = 0; c < gamma.size(); ++c) {
      affine.scale.push_back(gamma[c] / std::sqrt(var[c] + epsilon));
      affine.shift.push_back(beta[c] - mean[c] * affine.scale[c]);
    }
    return affine;
  };
  weights.constant = [&](const std::string& node) {
    return Values(model.Get(absl::StrCat(node, ".value")).mean({1, 2}));
  };
  return AnalyzeLiveness(model.info(), weights);
}

}  // namespace prunelab
