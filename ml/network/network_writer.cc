#include "ml/network/network_writer.h"

namespace prunelab {

Node* NetworkWriter::Append(const std::string& name, const std::vector<std::string>& inputs) {
  Node* node = network_.add_node();
  node->set_name(name);
  for (const std::string& input : inputs) node->add_input(input);
  return node;
}

std::string NetworkWriter::Image(int64_t channels, int64_t height, int64_t width, const std::string& name) {
  InputOp* image = Append(name, {})->mutable_image();
  image->set_channels(channels);
  image->set_height(height);
  image->set_width(width);
  return name;
}

std::string NetworkWriter::Conv(const std::string& name, const std::string& input, const ConvShape& shape) {
  Conv2d* conv = Append(name, {input})->mutable_conv2d();
  conv->set_out_channels(shape.out_channels);
  conv->set_kernel_height(shape.kernel);
  conv->set_kernel_width(shape.kernel_width > 0 ? shape.kernel_width : shape.kernel);
  conv->set_stride(shape.stride);
  conv->set_padding(shape.padding);
  if (shape.bias) conv->set_bias(true);
  if (shape.groups != 1) conv->set_groups(shape.groups);
  if (shape.dilation != 1) conv->set_dilation(shape.dilation);
  return name;
}

std::string NetworkWriter::BatchNorm(const std::string& name, const std::string& input, double epsilon) {
  BatchNorm2d* norm = Append(name, {input})->mutable_batch_norm2d();
  if (epsilon != norm->epsilon()) norm->set_epsilon(epsilon);
  return name;
}

std::string NetworkWriter::Relu(const std::string& name, const std::string& input) {
  Append(name, {input})->mutable_relu();
  return name;
}

std::string NetworkWriter::Elementwise(const std::string& name, const std::string& input,
                                       prunelab::Elementwise::Function function) {
  Append(name, {input})->mutable_elementwise()->set_function(function);
  return name;
}

std::string NetworkWriter::Dropout(const std::string& name, const std::string& input, double probability,
                                   prunelab::Dropout::Unit unit) {
  prunelab::Dropout* dropout = Append(name, {input})->mutable_dropout();
  dropout->set_probability(probability);
  dropout->set_unit(unit);
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
                                       int64_t stride, int64_t padding) {
  AveragePool2d* pool = Append(name, {input})->mutable_average_pool2d();
  pool->set_kernel(kernel);
  pool->set_stride(stride);
  if (padding > 0) pool->set_padding(padding);
  return name;
}

std::string NetworkWriter::GlobalAveragePool(const std::string& name, const std::string& input) {
  Append(name, {input})->mutable_global_average_pool();
  return name;
}

std::string NetworkWriter::Flatten(const std::string& name, const std::string& input) {
  Append(name, {input})->mutable_flatten();
  return name;
}

std::string NetworkWriter::Linear(const std::string& name, const std::string& input, int64_t features, bool bias) {
  prunelab::Linear* linear = Append(name, {input})->mutable_linear();
  linear->set_out_features(features);
  if (!bias) linear->set_bias(false);
  return name;
}

std::string NetworkWriter::Scatter(const std::string& name, const std::string& input, int64_t channels,
                                   const std::vector<int64_t>& index) {
  prunelab::Scatter* scatter = Append(name, {input})->mutable_scatter();
  scatter->set_channels(channels);
  for (const int64_t i : index) scatter->add_index(i);
  return name;
}

std::string NetworkWriter::Constant(const std::string& name, int64_t channels, int64_t height, int64_t width,
                                    const Repeats& repeats) {
  prunelab::Constant* constant = Append(name, {})->mutable_constant();
  constant->set_channels(channels);
  constant->set_height(height);
  constant->set_width(width);
  for (const int64_t rows : repeats.rows) constant->add_row_repeats(rows);
  for (const int64_t columns : repeats.columns) constant->add_column_repeats(columns);
  return name;
}

std::string NetworkWriter::Classifier(const std::string& name, const std::string& input, int64_t classes) {
  return Linear(name, Flatten("flatten", GlobalAveragePool("avgpool", input)), classes);
}

}  // namespace prunelab
