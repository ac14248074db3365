// From the bytes of an ONNX file to its graph.
#pragma once

#include <onnx/onnx_pb.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "ml/onnx/graph.h"

namespace prunelab {

// The graph of a model. `folder`: where its external data lie; "" has none. Refused: what is no ONNX model, opsets
// below 9, values that are read before they are computed (so there are no cycles) or computed twice, attributes with
// graphs or text where tensors should be, any number of image inputs but one, images that are not floating numbers
// [batch, channels, height, width] with known channels, height and width.
absl::StatusOr<OnnxGraph> ReadGraph(const onnx::ModelProto& model, const std::string& folder);

}  // namespace prunelab
