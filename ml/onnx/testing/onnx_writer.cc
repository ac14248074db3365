#include "ml/onnx/testing/onnx_writer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/plan.h"

namespace prunelab {
namespace {

onnx::TensorProto::DataType TypeOf(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return onnx::TensorProto::FLOAT;
    case at::kDouble:
      return onnx::TensorProto::DOUBLE;
    case at::kHalf:
      return onnx::TensorProto::FLOAT16;
    case at::kBFloat16:
      return onnx::TensorProto::BFLOAT16;
    case at::kLong:
      return onnx::TensorProto::INT64;
    case at::kInt:
      return onnx::TensorProto::INT32;
    default:
      PRUNELAB_CHECK(type == at::kBool) << c10::toString(type);
      return onnx::TensorProto::BOOL;
  }
}

}  // namespace

OnnxAttributeValue::OnnxAttributeValue(const char* name, int value) {
  proto_.set_name(name);
  proto_.set_type(onnx::AttributeProto::INT);
  proto_.set_i(value);
}

OnnxAttributeValue::OnnxAttributeValue(const char* name, double value) {
  proto_.set_name(name);
  proto_.set_type(onnx::AttributeProto::FLOAT);
  proto_.set_f(static_cast<float>(value));
}

OnnxAttributeValue::OnnxAttributeValue(const char* name, const char* value) {
  proto_.set_name(name);
  proto_.set_type(onnx::AttributeProto::STRING);
  proto_.set_s(value);
}

OnnxAttributeValue::OnnxAttributeValue(const char* name, const std::vector<int64_t>& values) {
  proto_.set_name(name);
  proto_.set_type(onnx::AttributeProto::INTS);
  for (const int64_t value : values) proto_.add_ints(value);
}

OnnxAttributeValue::OnnxAttributeValue(const char* name, const at::Tensor& tensor) {
  proto_.set_name(name);
  proto_.set_type(onnx::AttributeProto::TENSOR);
  *proto_.mutable_t() = ToProto(tensor, "");
}

onnx::TensorProto ToProto(const at::Tensor& tensor, const std::string& name) {
  const at::Tensor values = tensor.contiguous();
  onnx::TensorProto proto;
  proto.set_name(name);
  proto.set_data_type(TypeOf(values.scalar_type()));
  for (const int64_t size : values.sizes()) proto.add_dims(size);
  proto.set_raw_data(values.data_ptr(), values.nbytes());
  return proto;
}

OnnxWriter::OnnxWriter(const std::vector<int64_t>& image, int64_t opset, int64_t batch) {
  model_.set_ir_version(8);
  onnx::OperatorSetIdProto* set = model_.add_opset_import();
  set->set_domain("");
  set->set_version(opset);
  onnx::ValueInfoProto* images = model_.mutable_graph()->add_input();
  images->set_name("images");
  onnx::TypeProto::Tensor* type = images->mutable_type()->mutable_tensor_type();
  type->set_elem_type(onnx::TensorProto::DOUBLE);
  onnx::TensorShapeProto::Dimension* first = type->mutable_shape()->add_dim();
  if (batch > 0) {
    first->set_dim_value(batch);
  } else {
    first->set_dim_param("batch");
  }
  for (const int64_t size : image) type->mutable_shape()->add_dim()->set_dim_value(size);
}

std::string OnnxWriter::Node(const std::string& op, const std::vector<std::string>& inputs,
                             const std::vector<OnnxAttributeValue>& attributes, int outputs, const std::string& name) {
  onnx::NodeProto* node = model_.mutable_graph()->add_node();
  const std::string own = name.empty() ? absl::StrCat(op, "_", ++made_) : name;
  node->set_op_type(op);
  node->set_name(own);
  for (const std::string& input : inputs) node->add_input(input);
  const std::string output = absl::StrCat(own, "_out");
  for (int k = 0; k < outputs; ++k) node->add_output(k == 0 ? output : absl::StrCat(output, ":", k));
  for (const OnnxAttributeValue& attribute : attributes) *node->add_attribute() = attribute.proto();
  return output;
}

std::string OnnxWriter::Tensor(const at::Tensor& tensor, const std::string& name) {
  const std::string own = name.empty() ? absl::StrCat("onnx::T_", ++made_) : name;
  *model_.mutable_graph()->add_initializer() = ToProto(tensor, own);
  return own;
}

std::string OnnxWriter::Ints(const std::vector<int64_t>& values) { return Tensor(at::tensor(values, at::kLong)); }

std::string OnnxWriter::Number(double value) { return Tensor(at::scalar_tensor(value, at::kDouble)); }

void OnnxWriter::Output(const std::string& value) { model_.mutable_graph()->add_output()->set_name(value); }

Model ImportedModel(const std::string& bytes) {
  absl::StatusOr<ImportedNetwork> imported = ImportOnnxBytes(bytes, "test.onnx", "");
  PRUNELAB_CHECK(imported.ok()) << imported.status().ToString();
  Safetensors file;
  file.tensors = imported->tensors;
  absl::StatusOr<Model> model =
      ModelOf(std::move(file), "test.onnx", std::move(imported->info), {}, at::kDouble, at::kCPU, nullptr);
  PRUNELAB_CHECK(model.ok()) << model.status().ToString();
  return *std::move(model);
}

at::Tensor ImportedLogits(const std::string& bytes, const at::Tensor& images) {
  const at::NoGradGuard no_gradients;
  Model model = ImportedModel(bytes);
  return ReferencePlan().Forward(model, images.to(at::kDouble), {}).logits;
}

}  // namespace prunelab
