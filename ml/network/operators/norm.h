// What the norms that use no running statistics have in common: weight and bias [channels], if their field `affine`
// says so.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"

namespace prunelab {

inline absl::Status CheckEpsilon(const Node& node, double epsilon) {
  if (epsilon > 0 && std::isfinite(epsilon)) return absl::OkStatus();
  return NodeError(node, absl::StrCat("epsilon is ", epsilon, "; must be above 0, and finite"));
}

class NormOperator : public Operator {
 public:
  std::vector<NodeParameter> Parameters(const NodeView& view) const override {
    if (!IsAffine(view.node)) return {};
    NodeParameter weight = {"weight", {view.shape.channels}};
    weight.initial = 1;
    return {weight, {"bias", {view.shape.channels}}};
  }

  // A channel whose weight is zero is constant, whatever comes in.
  at::Tensor Passes(const NodeView& view, const NodeValues& values,
                    const std::vector<at::Tensor>& may_differ_from_zero) const override {
    return IsAffine(view.node) ? values("weight").ne(0) : at::Tensor();
  }

 protected:
  virtual bool IsAffine(const Node& node) const = 0;

  // `pictures` with mean and variance, both [channels or 1, rows or 1, columns or 1], made 0 and 1; weight and bias
  // follow.
  ChannelPictures Normalized(const NodeView& view, const NodeValues& values, const ChannelPictures& pictures,
                             const at::Tensor& mean, const at::Tensor& variance, double epsilon) const {
    at::Tensor normalized = (pictures.values - mean) / (variance + epsilon).sqrt();
    if (IsAffine(view.node)) {
      const auto channel = [&](const char* suffix) { return values(suffix).to(at::kDouble).view({-1, 1, 1}); };
      normalized = normalized * channel("weight") + channel("bias");
    }
    return {normalized, pictures.rows, pictures.columns};
  }
};

}  // namespace prunelab
