// What the operators' checks of their nodes have in common. Sizes are bounded, and so are their products: a network
// read from a file may say anything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "ml/network/network.h"
#include "ml/network/window.h"

namespace prunelab {

// "network: node "conv1": <message>".
absl::Status NodeError(const Node& node, absl::string_view message);

// "[3, 32, 32]", or "[10]" when flat.
std::string Text(const NodeShape& shape);

// From `least` to 2^20.
absl::Status CheckSize(const Node& node, absl::string_view field, int64_t value, int64_t least = 1);

// `what` is the product of `sizes`, each at least 1: at most 2^46.
absl::Status CheckProduct(const Node& node, absl::string_view what, const std::vector<int64_t>& sizes);

// Numbers of pixels at top, left, bottom and right, or none of them.
absl::Status CheckPads(const Node& node, const google::protobuf::RepeatedField<int64_t>& pads);

// A standard deviation: from 0 to 1000.
absl::Status CheckDeviation(const Node& node, absl::string_view field, double value);

// Bits of a grid: from 2 to 8.
absl::Status CheckBits(const Node& node, absl::string_view field, int64_t value);

// The buffer weight_scale of a layer with weight_bits, by output channel.
NodeParameter WeightScale(int64_t channels);

// The output size of a sliding window, as in PyTorch.
absl::StatusOr<int64_t> WindowOutput(const Node& node, int64_t size, const WindowAxis& window);

}  // namespace prunelab
