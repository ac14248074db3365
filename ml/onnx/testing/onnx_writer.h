// Small ONNX models for tests, and what they compute once they are imported.
//
//   OnnxWriter onnx({3, 8, 8});
//   const std::string y = onnx.Node("Conv", {"images", onnx.Tensor(weight)}, {{"pads", {1, 1, 1, 1}}});
//   onnx.OutputMaps(y);
//   const at::Tensor logits = ImportedLogits(onnx.Bytes(), images);  // float64
#pragma once

#include <ATen/core/Tensor.h>
#include <onnx/onnx_pb.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/execution/model.h"
#include "ml/onnx/import.h"

namespace prunelab {

// An attribute of a node.
class OnnxAttributeValue {
 public:
  OnnxAttributeValue(const char* name, int value);
  OnnxAttributeValue(const char* name, double value);
  OnnxAttributeValue(const char* name, const char* value);
  OnnxAttributeValue(const char* name, const std::vector<int64_t>& values);
  OnnxAttributeValue(const char* name, const at::Tensor& tensor);
  const onnx::AttributeProto& proto() const { return proto_; }

 private:
  onnx::AttributeProto proto_;
};

// Stores a tensor as raw bytes.
onnx::TensorProto ToProto(const at::Tensor& tensor, const std::string& name);

class OnnxWriter {
 public:
  // The input "images", of doubles, [batch, C, H, W]; batch 0 is open.
  explicit OnnxWriter(const std::vector<int64_t>& image, int64_t opset = 17, int64_t batch = 0);

  // Appends a node and returns the name of its output; further outputs are called that with ":1", ":2". The node is
  // called `name`, or after its operator.
  std::string Node(const std::string& op, const std::vector<std::string>& inputs,
                   const std::vector<OnnxAttributeValue>& attributes = {}, int outputs = 1,
                   const std::string& name = "");
  // Initializers.
  std::string Tensor(const at::Tensor& tensor, const std::string& name = "");
  std::string Ints(const std::vector<int64_t>& values);
  std::string Number(double value);

  void Output(const std::string& value);
  // The same of maps, which are flattened.
  void OutputMaps(const std::string& value) { Output(Node("Flatten", {value})); }

  onnx::ModelProto& model() { return model_; }
  std::string Bytes() const { return model_.SerializeAsString(); }

 private:
  onnx::ModelProto model_;
  int made_ = 0;
};

// The imported network as a model of doubles. The import must succeed.
Model ImportedModel(const std::string& bytes);

// The logits of the imported network in float64, by the reference plan. The import must succeed.
at::Tensor ImportedLogits(const std::string& bytes, const at::Tensor& images);

}  // namespace prunelab
