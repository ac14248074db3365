// NetworkProbe: how a strategy looks at more than its layers: at the network's other tensors, at training images, and
// at what the network computes from them. It is declared here and implemented in ml/execution (model_probe.h).
//
// A strategy that wants a probe says so (needs_probe) and gets it once (Attach):
//
//   bool needs_probe() const override { return true; }
//   void Attach(const NetworkProbe& probe) override { probe_ = &probe; }
//   ...
//   PRUNELAB_ASSIGN_OR_RETURN(const ProbeBatch batch, probe_->TrainingImages(0, 128));
//   ProbeRequest request;
//   request.images = batch.images;
//   request.parameters["conv1.weight"] = layers[0].weight.clone().requires_grad_(true);
//   const at::Tensor loss = at::cross_entropy_loss(probe_->Forward(request).logits, batch.labels);
//   const at::Tensor gradient = torch::autograd::grad({loss}, {request.parameters["conv1.weight"]})[0];
//
// A probe's answers depend only on the weights, the seed and the arguments, so a restarted run gets the same answers.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "ml/network/network.h"

namespace prunelab {

struct ProbeBatch {
  at::Tensor images;  // [n, C, H, W], normalized, in the model's dtype and on its device
  at::Tensor labels;  // [n] int64, on the same device
};

enum class ProbeMode {
  kEvaluation,       // BN by the running statistics
  kTrainStatistics,  // BN by the batch's statistics; the running statistics still do not change; nothing is dropped
};

struct ProbeRequest {
  at::Tensor images;  // [n, C, H, W]; the network runs in their dtype
  // Tensors that replace the network's own, by PyTorch's name, including buffers. Those that require gradients are
  // differentiated; the network's own are constants.
  std::map<std::string, at::Tensor> parameters;
  // Masks that replace the current ones, by node. The gradient of a weight is multiplied by its mask, as calculus
  // requires, whatever the strategy's gradient policy is.
  std::map<std::string, at::Tensor> masks;
  ProbeMode mode = ProbeMode::kEvaluation;
  std::set<std::string> capture;  // nodes whose outputs are wanted
};

struct ProbeResult {
  at::Tensor logits;                           // [n, classes]
  std::map<std::string, at::Tensor> captured;  // by node name, [n, C, H, W]
};

class NetworkProbe {
 public:
  virtual ~NetworkProbe() = default;

  virtual const NetworkInfo& network() const = 0;

  // A parameter or buffer by PyTorch's name (it must exist), detached: read only.
  virtual at::Tensor Tensor(const std::string& name) const = 0;

  // Images [first, first + count) of the training data in a random order that the run's seed fixes, not augmented, with
  // their labels; fewer or none past the end. Error: FailedPrecondition if there are no data.
  virtual absl::StatusOr<ProbeBatch> TrainingImages(int64_t first, int64_t count) const = 0;

  // Runs the network, with one LibTorch call per node. The result can be differentiated twice; nothing in the network
  // changes.
  virtual ProbeResult Forward(const ProbeRequest& request) const = 0;
};

}  // namespace prunelab
