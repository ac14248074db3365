// A trained network that is run many times: what follows from its values alone (BN folded into convolutions, masks
// multiplied into weights, weights transformed for the kernels, constants put in their places) is computed once.
//
//   absl::StatusOr<Inference> network = Inference::Open("small.safetensors");
//   if (!network.ok()) ...
//   const absl::StatusOr<at::Tensor> logits = network->Run(images);   // [N, classes]
//
// inference_example.cc is a whole program.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/compression/weighted_network.h"
#include "ml/execution/model.h"
#include "ml/execution/prepared_values.h"
#include "ml/execution/skipping_plan.h"

namespace prunelab {

class Inference {
 public:
  // From a checkpoint that contains its network (.safetensors, .pdc or .onnx). Errors: those of reading it, and values
  // that are not finite.
  static absl::StatusOr<Inference> Open(const std::string& path);

  // On the CPU, in the dtype of the network's weights.
  explicit Inference(const WeightedNetwork& network);

  // The network's first output, [N, classes] for a classifier, of images [N, C, H, W] of the network's size, in any
  // floating dtype, normalized as for training. The result is the caller's. One call at a time; different objects may
  // be used by different threads. Error: InvalidArgument, if the images have another shape.
  absl::StatusOr<at::Tensor> Run(const at::Tensor& images);
  // All outputs, in the network's order.
  absl::StatusOr<std::vector<at::Tensor>> RunAll(const at::Tensor& images);

  const NetworkInfo& info() const { return model_.info(); }

 private:
  Model model_;
  std::unique_ptr<Plan> plan_;
  PreparedValues prepared_;
};

}  // namespace prunelab
