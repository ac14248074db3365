// A penalty that is a sum over layers: the commonest kind. An author writes the term of a layer and the message:
//
//   // group_sparsity.cc
//   at::Tensor Term(const GroupSparsity& parameters, const RegularizedLayer& layer) {
//     return at::linalg_vector_norm(FilterRows(AppliedWeight(layer)), 2, at::IntArrayRef{1}).sum();
//   }
//   const bool registered = RegisterLayerPenalty(&Term);
//
// It is on every convolution, or on those that the message's field `layers`, a LayerSelection, chooses.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "google/protobuf/message.h"
#include "ml/network/network.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {

// Terms added one after the other.
class PenaltySum {
 public:
  // An undefined term is exactly zero.
  void Add(const at::Tensor& term) {
    if (term.defined()) value_ = value_.defined() ? value_ + term : term;
  }
  const at::Tensor& value() const { return value_; }  // undefined: nothing was added

 private:
  at::Tensor value_;
};

// Adds a layer's terms, which can be differentiated in its weight.
using AddTerms = std::function<void(const RegularizedLayer& layer, PenaltySum& sum)>;

// The sum over the layers with these nodes, in the network's order.
std::unique_ptr<Regularizer> MakeLayerPenalty(std::set<std::string> nodes, AddTerms add_terms);

// The convolutions that the field `layers` of `parameters` chooses; all if there is no such field. Error of that field:
// none is left.
absl::StatusOr<std::set<std::string>> PenalizedConvs(const google::protobuf::Message& parameters,
                                                     const NetworkInfo& network);

// Makes a regularizer known that is the sum of `term` over the convolutions that are penalized.
template <typename Parameters>
bool RegisterLayerPenalty(at::Tensor (*term)(const Parameters&, const RegularizedLayer&)) {
  Regularizers().Register(Parameters::descriptor(),
                          [term](const google::protobuf::Message& message,
                                 const NetworkInfo& network) -> absl::StatusOr<std::unique_ptr<Regularizer>> {
                            absl::StatusOr<std::set<std::string>> convs = PenalizedConvs(message, network);
                            if (!convs.ok()) return convs.status();
                            return MakeLayerPenalty(*std::move(convs),
                                                    [term, parameters = static_cast<const Parameters&>(message)](
                                                        const RegularizedLayer& layer, PenaltySum& sum) {
                                                      sum.Add(term(parameters, layer));
                                                    });
                          });
  return true;
}

}  // namespace prunelab
