// A network as an ONNX model (opset 17), for other engines.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const WeightedNetwork network, ToWeightedNetwork(model));
//   PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically("net.onnx", ToOnnx(network)));
//
// Any network: dense, masked (with zeros where the masks are), or with channels removed. It has one input `images`,
// float32 [batch, C, H, W] with `batch` open, normalized as for training, and an output `logits`, float32 [batch,
// classes]. If the network names several outputs, the first one is `logits`, and the others have their nodes' names.
// Initializers have the parameters' names, so that weights can be found again. Evaluation mode: BN uses its running
// statistics.
//
// A scatter into a stream becomes Pad (one channel of zeros) and Gather; a stored constant becomes an initializer at
// full size.
#pragma once

#include <string>

#include "ml/compression/weighted_network.h"

namespace prunelab {

// The bytes of the .onnx file. Float64 networks are rounded to float32.
std::string ToOnnx(const WeightedNetwork& network);

}  // namespace prunelab
