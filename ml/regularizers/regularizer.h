// The interface of a regularizer: a penalty on the weights, a function of {node, dense weight, mask} alone; or one on
// activations, a function of what chosen nodes gave in the training forward pass; or the sum of both.
//
// A penalty on the weights has its gradient computed apart from the loss's and added to it, so that both norms can be
// logged. Ordinary LibTorch code in Value() is enough (autograd gives the gradient); a closed form may replace it. A
// penalty on activations is added to the loss and goes back with it: ActivationValue() is all there is to write. See
// docs/adding_a_regularizer.md.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/message.h"
#include "ml/base/plugin.h"
#include "ml/network/network.h"

namespace prunelab {

// A node with parameters as a regularizer sees it. Read only.
struct RegularizedLayer {
  enum class Kind { kConv, kBatchNorm, kLinear };
  std::string node;
  Kind kind = Kind::kConv;
  at::Tensor weight;      // dense: conv [out, in / groups, kh, kw], linear [out, in], BN [channels]
  at::Tensor mask;        // convs: [out, 1, 1, 1] or the weight's shape; undefined where nothing is masked
  at::Tensor shift = {};  // of a batch norm, [channels]; undefined if it has none
};

struct Penalty {
  at::Tensor value;                   // scalar, in the weights' dtype; undefined means exactly zero
  std::vector<at::Tensor> gradients;  // one for each layer given, of the dense weight; undefined means exactly zero
  std::vector<at::Tensor> shift_gradients = {};  // the same of the shifts; empty: all exactly zero
};

class Regularizer {
 public:
  virtual ~Regularizer() = default;

  // The penalty without its weight: a scalar that can be differentiated in the layers' weights and shifts; undefined
  // means exactly zero, with no gradient. `layers` are all of the network's, in its order: the regularizer chooses.
  virtual at::Tensor Value(const std::vector<RegularizedLayer>& layers) const = 0;

  // Value and gradients. The default differentiates Value by autograd.
  virtual Penalty ValueAndGradients(const std::vector<RegularizedLayer>& layers) const;

  // Whether the penalty drives away what is to be removed. Then it ends with the removal: what is left is fine-tuned
  // without it.
  virtual bool prepares_removal() const { return false; }

  // The nodes of the network whose outputs ActivationValue wants; none by default.
  virtual std::set<std::string> activation_nodes() const { return {}; }

  // The penalty on activations without its weight, which comes on top of Value: a scalar that can be differentiated in
  // `activations`, the outputs of activation_nodes() for the step's batch ([N, C, H, W], or [N, features] where flat);
  // undefined means exactly zero. Called only where activation_nodes() names some.
  virtual at::Tensor ActivationValue(const std::map<std::string, at::Tensor>& activations) const { return {}; }
};

using RegularizerFactory = std::function<absl::StatusOr<std::unique_ptr<Regularizer>>(
    const google::protobuf::Message& parameters, const NetworkInfo& network)>;

// The linked regularizers.
PluginRegistry<RegularizerFactory>& Regularizers();

// Makes the regularizer that `parameters` name. Errors: not linked, not a regularizer, parameters refused (a field
// error).
absl::StatusOr<std::unique_ptr<Regularizer>> CreateRegularizer(const google::protobuf::Any& parameters,
                                                               const NetworkInfo& network);

// The same of the message itself, e.g. CreateRegularizer(Cov(), network).
absl::StatusOr<std::unique_ptr<Regularizer>> CreateRegularizer(const google::protobuf::Message& parameters,
                                                               const NetworkInfo& network);

// Makes a regularizer known, from its .cc file: const bool registered = RegisterRegularizer(&CreateCov);
template <typename Parameters>
bool RegisterRegularizer(absl::StatusOr<std::unique_ptr<Regularizer>> (*create)(const Parameters&,
                                                                                const NetworkInfo&)) {
  Regularizers().Register(Parameters::descriptor(),
                          [create](const google::protobuf::Message& parameters, const NetworkInfo& network) {
                            return create(static_cast<const Parameters&>(parameters), network);
                          });
  return true;
}

}  // namespace prunelab
