#include "ml/network/network_writer.h"

#include <utility>

namespace prunelab {

Node* NetworkWriter::Append(const std::string& name, const std::vector<std::string>& inputs) {
  Node* node = network_.add_node();
  node->set_name(name);
  for (const std::string& input : inputs) node->add_input(input);
  return node;
}

std::string NetworkWriter::Image(int64_t channels, int64_t height, int64_t width) {
  InputOp* image = Append("image", {})->mutable_image();
  image->set_channels(channels);
  image->set_height(height);
  image->set_width(width);
  return "image";
}

std::string NetworkWriter::Conv(const std::string& name, const std::string& input, const ConvShape& shape) {
  Conv2d* conv = Append(name, {input})->mutable_conv2d();
  conv->set_out_channels(shape.out_channels);
  conv->set_kernel_height(shape.kernel);
  conv->set_kernel_width(shape.kernel);
  conv->set_stride(shape.stride);
  conv->set_padding(shape.padding);
  if (shape.bias) conv->set_bias(true);
  return name;
}

std::string NetworkWriter::BatchNorm(const std::string& name, const std::string& input) {
  Append(name, {input})->mutable_batch_norm2d();
  return name;
}

std::string NetworkWriter::Relu(const std::string& name, const std::string& input) {
  Append(name, {input})->mutable_relu();
  return name;
}

std::string NetworkWriter::Add(const std::string& name, const std::vector<std::string>& inputs) {
  Append(name, inputs)->mutable_add();
  return name;
}

std::string NetworkWriter::MaxPool(const std::string& name, const std::string& input, int64_t kernel, int64_t stride,
                                   int64_t padding) {
  MaxPool2d* pool = Append(name, {input})->mutable_max_pool2d();
  pool->set_kernel(kernel);
  pool->set_stride(stride);
  pool->set_padding(padding);
  return name;
}

std::string NetworkWriter::AveragePool(const std::string& name, const std::string& input, int64_t kernel,
                                       int64_t stride) {
  AveragePool2d* pool = Append(name, {input})->mutable_average_pool2d();
  pool->set_kernel(kernel);
  pool->set_stride(stride);
  return name;
}

std::string NetworkWriter::Scatter(const std::string& name, const std::string& input, int64_t channels,
                                   const std::vector<int64_t>& index) {
  prunelab::Scatter* scatter = Append(name, {input})->mutable_scatter();
  scatter->set_channels(channels);
  for (const int64_t i : index) scatter->add_index(i);
  return name;
}

std::string NetworkWriter::Classifier(const std::string& name, const std::string& input, int64_t classes) {
  Append("avgpool", {input})->mutable_global_average_pool();
  Append("flatten", {"avgpool"})->mutable_flatten();
  Append(name, {"flatten"})->mutable_linear()->set_out_features(classes);
  return name;
}

}  // namespace prunelab
