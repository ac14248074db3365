// Quantization after training: a network whose weights and activations lie on grids, so that it can be computed in
// integers (integer_network.h) or exported as ONNX with QuantizeLinear and DequantizeLinear.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const QuantizationReport report, Quantize(network, images, {}));
//
// The network stays an ordinary network: its weights are floating point numbers that are whole multiples of
// weight_scale, and FakeQuantize nodes round what goes from layer to layer. Any plan runs it.
//
//   - BN is folded, and what goes from operator to operator is put on grids, as network_grids.h says.
//   - Ranges of activations come from `images` (ranges.h), those of weights from each output channel.
//   - Biases become whole multiples of (the scale of the layer's input) * weight_scale, as integer arithmetic has them.
//   - The result of a last linear layer or convolution stays as it is: integer arithmetic yields it without loss.
//
// Zero is on every grid: masked weights stay zero.
//
// Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
// CVPR 2018.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "ml/compression/weighted_network.h"
#include "ml/quantization/ranges.h"

namespace prunelab {

struct QuantizeOptions {
  int64_t weight_bits = 8;      // from 2 to 8
  int64_t activation_bits = 8;  // from 2 to 8
  bool per_channel = true;      // a scale for each output channel of a weight; false: one for the layer
  RangeOptions ranges;
};

struct QuantizationReport {
  int64_t quantized_layers = 0;  // convolutions and linear layers
  int64_t grids = 0;             // of activations
  // Nodes whose results are computed in floating point and then put on a grid, because integers cannot express them:
  // "softmax (softmax)".
  std::vector<std::string> in_float;
};

// `images`: batches [N, C, H, W], normalized as for training, in the network's type. Errors: the network is quantized
// already; there is no image; an activation is not finite.
absl::StatusOr<QuantizationReport> Quantize(WeightedNetwork& network, const std::vector<at::Tensor>& images,
                                            const QuantizeOptions& options);

// What is quantized in a network.
QuantizationReport ReportOf(const WeightedNetwork& network);

}  // namespace prunelab
