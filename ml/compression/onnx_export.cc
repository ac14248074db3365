#include "ml/compression/onnx_export.h"

#include <ATen/ATen.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/network/channel_pictures.h"
#include "ml/network/fake_quantize.h"
#include "ml/network/resampling.h"
#include "ml/network/value_grids.h"
#include "ml/network/window.h"

namespace prunelab {
namespace {

constexpr int kOpset = 17, kIrVersion = 8;
constexpr char kInput[] = "images";

class Exporter {
 public:
  explicit Exporter(const WeightedNetwork& network)
      : network_(network),
        info_(network.Info()),
        grids_(ValueGrids(info_)),
        has_batch_(info_.network().node_size(), false) {
    model_.set_ir_version(kIrVersion);
    model_.set_producer_name("prunelab");
    onnx::OperatorSetIdProto* opset = model_.add_opset_import();
    opset->set_domain("");
    opset->set_version(kOpset);
    graph_ = model_.mutable_graph();
    graph_->set_name("network");
    for (int i = 0; i < info_.network().node_size(); ++i) {
      has_batch_[i] = i == info_.image();
      for (const int input : info_.inputs(i)) has_batch_[i] = has_batch_[i] || has_batch_[input];
    }
  }

  std::string Run() {
    const NodeShape& images = info_.input_shape();
    Describe(graph_->add_input(), kInput, {images.channels, images.height, images.width});
    for (size_t k = 0; k < info_.outputs().size(); ++k) {
      const NodeShape& shape = info_.shape(info_.outputs()[k]);
      const std::vector<int64_t> sizes = shape.flat ? std::vector<int64_t>{shape.channels}
                                                    : std::vector<int64_t>{shape.channels, shape.height, shape.width};
      Describe(graph_->add_output(), OutputName(k), sizes);
    }
    for (int i = 0; i < info_.network().node_size(); ++i) Write(i);
    for (size_t k = 0; k < info_.outputs().size(); ++k) WriteIndirectOutput(k);
    return model_.SerializeAsString();
  }

 private:
  static void Describe(onnx::ValueInfoProto* value, const std::string& name, const std::vector<int64_t>& sizes) {
    value->set_name(name);
    onnx::TypeProto::Tensor* type = value->mutable_type()->mutable_tensor_type();
    type->set_elem_type(onnx::TensorProto::FLOAT);
    type->mutable_shape()->add_dim()->set_dim_param("batch");
    for (const int64_t size : sizes) type->mutable_shape()->add_dim()->set_dim_value(size);
  }

  // The name of a node's output. Parameters have other endings, so that no two names are equal.
  std::string Value(int i) const {
    const std::vector<int>& outputs = info_.outputs();
    const auto output = std::find(outputs.begin(), outputs.end(), i);
    if (output != outputs.end() && IsDirect(i)) return OutputName(output - outputs.begin());
    const Node& node = info_.node(i);
    if (i == info_.image()) return kInput;
    if (node.op_case() == Node::kDropout) return Value(info_.inputs(i)[0]);
    return absl::StrCat(node.name(), node.op_case() == Node::kConstant ? ".value" : ".output");
  }

  std::string OutputName(size_t k) const {
    const std::string name = info_.ResultName(k);
    return k > 0 && name == kInput ? absl::StrCat(name, ".result") : name;
  }

  // Whether a node's value is that of an output, as it is. The images are not, nor what has no batch.
  bool IsDirect(int i) const { return info_.network().output().empty() || (i != info_.image() && has_batch_[i]); }

  // A copy of the images, or a constant for each of them.
  void WriteIndirectOutput(size_t k) {
    const int i = info_.outputs()[k];
    if (IsDirect(i)) return;
    const std::string name = OutputName(k);
    if (i == info_.image()) {
      Append("Identity", info_.node(i).name(), {kInput}, name);
      return;
    }
    const std::string base = absl::StrCat(info_.node(i).name(), ".result"), ones = base + ".ones";
    const std::string shape = base + ".shape";
    Int(Append("Shape", base, {kInput}, base), "end", 1);
    InitializeInts(ones, std::vector<int64_t>(info_.shape(i).flat ? 1 : 3, 1));
    Int(Append("Concat", shape, {base, ones}, shape), "axis", 0);
    Append("Expand", base + ".each", {Value(i), shape}, name);
  }

  onnx::NodeProto* Append(const char* op, const std::string& name, const std::vector<std::string>& inputs,
                          const std::string& output) {
    onnx::NodeProto* node = graph_->add_node();
    node->set_op_type(op);
    node->set_name(name);
    for (const std::string& input : inputs) node->add_input(input);
    node->add_output(output);
    return node;
  }

  static onnx::AttributeProto* Attribute(onnx::NodeProto* node, const char* name,
                                         onnx::AttributeProto::AttributeType type) {
    onnx::AttributeProto* attribute = node->add_attribute();
    attribute->set_name(name);
    attribute->set_type(type);
    return attribute;
  }
  static void Float(onnx::NodeProto* node, const char* name, double value) {
    Attribute(node, name, onnx::AttributeProto::FLOAT)->set_f(static_cast<float>(value));
  }
  static void Int(onnx::NodeProto* node, const char* name, int64_t value) {
    Attribute(node, name, onnx::AttributeProto::INT)->set_i(value);
  }
  static void Ints(onnx::NodeProto* node, const char* name, const std::vector<int64_t>& values) {
    onnx::AttributeProto* attribute = Attribute(node, name, onnx::AttributeProto::INTS);
    for (const int64_t value : values) attribute->add_ints(value);
  }
  static void String(onnx::NodeProto* node, const char* name, const char* value) {
    Attribute(node, name, onnx::AttributeProto::STRING)->set_s(value);
  }
  // `pads`: top, left, bottom, right.
  static void Windows(onnx::NodeProto* node, const Window& window, const std::vector<int64_t>& pads) {
    Ints(node, "kernel_shape", {window.down.kernel, window.across.kernel});
    Ints(node, "strides", {window.down.stride, window.across.stride});
    Ints(node, "pads", pads);
  }

  // Little-endian bytes, like this machine's.
  void Initialize(const std::string& name, onnx::TensorProto::DataType type, const at::Tensor& tensor) {
    const at::Tensor values = tensor.contiguous();
    onnx::TensorProto* stored = graph_->add_initializer();
    stored->set_name(name);
    stored->set_data_type(type);
    for (const int64_t size : values.sizes()) stored->add_dims(size);
    stored->set_raw_data(values.data_ptr(), values.nbytes());
  }
  void InitializeInts(const std::string& name, const std::vector<int64_t>& values) {
    Initialize(name, onnx::TensorProto::INT64, at::tensor(values, at::kLong));
  }
  // A parameter of the node, under its own name.
  std::string Parameter(const Node& node, const char* suffix) {
    const std::string name = absl::StrCat(node.name(), ".", suffix);
    Initialize(name, onnx::TensorProto::FLOAT, network_.Get(node.name(), suffix).to(at::kFloat));
    return name;
  }

  // A parameter [channels] of node i in a shape that is broadcast to the node's.
  std::string ByChannel(int i, const char* suffix) {
    if (info_.shape(i).flat) return Parameter(info_.node(i), suffix);
    const std::string name = absl::StrCat(info_.node(i).name(), ".", suffix);
    Initialize(name, onnx::TensorProto::FLOAT,
               network_.Get(info_.node(i).name(), suffix).to(at::kFloat).view({-1, 1, 1}));
    return name;
  }
  // So many equal numbers in place of a parameter of node i.
  std::string Filled(int i, const char* suffix, int64_t size, double value) {
    const std::string name = absl::StrCat(info_.node(i).name(), ".", suffix);
    Initialize(name, onnx::TensorProto::FLOAT, at::full({size}, value, at::kFloat));
    return name;
  }

  // A whole number for each of the values, and what they are multiplied by; `output` is named after the parameter.
  std::string Dequantized(const std::string& output, onnx::TensorProto::DataType type, const at::Tensor& levels,
                          const at::Tensor& scale) {
    const std::string stored = absl::StrCat(output, ".levels"), scales = absl::StrCat(output, ".scale"),
                      zeros = absl::StrCat(output, ".zero_point");
    Initialize(stored, type, levels);
    Initialize(scales, onnx::TensorProto::FLOAT, scale.to(at::kFloat));
    Initialize(zeros, type, at::zeros_like(scale, levels.scalar_type()));
    Int(Append("DequantizeLinear", output, {stored, scales, zeros}, output), "axis", 0);
    return output;
  }

  // Weight and bias of a layer, in whole numbers where they are quantized.
  void AppendParameters(int i, bool has_bias, int64_t weight_bits, std::vector<std::string>& in) {
    const Node& node = info_.node(i);
    const int grid = grids_[info_.inputs(i)[0]];
    if (weight_bits == 0) {
      in.push_back(Parameter(node, "weight"));
      if (has_bias) in.push_back(Parameter(node, "bias"));
      return;
    }
    const at::Tensor scale = network_.Get(node.name(), "weight_scale").to(at::kDouble);
    in.push_back(Dequantized(absl::StrCat(node.name(), ".weight"), onnx::TensorProto::INT8,
                             WeightLevels(network_.Get(node.name(), "weight"), scale, weight_bits), scale));
    if (!has_bias) return;
    if (grid < 0) {
      in.push_back(Parameter(node, "bias"));
      return;
    }
    const at::Tensor step = scale * network_.Get(info_.node(grid).name(), "scale").to(at::kDouble);
    const double bound = std::numeric_limits<int32_t>::max();
    const at::Tensor levels = (network_.Get(node.name(), "bias").to(at::kDouble) / step).round().clamp(-bound, bound);
    in.push_back(Dequantized(absl::StrCat(node.name(), ".bias"), onnx::TensorProto::INT32, levels.to(at::kInt), step));
  }

  // Onto the grid and back. Grids of less than 8 bits end before bytes do.
  void WriteFakeQuantize(int i, std::string x) {
    const Node& node = info_.node(i);
    const double scale = network_.Get(node.name(), "scale").item<double>();
    const at::Tensor zero_point = network_.Get(node.name(), "zero_point");
    const std::string zero = absl::StrCat(node.name(), ".zero_point");
    Initialize(zero, onnx::TensorProto::UINT8, zero_point.to(at::kByte));
    const int64_t last = LastPlace(node.fake_quantize());
    if (last < std::numeric_limits<uint8_t>::max()) {
      const double at = zero_point.item<double>();
      x = Step(i, "Clip", {x, Number(i, -at * scale), Number(i, (static_cast<double>(last) - at) * scale)});
    }
    const std::string scales = Parameter(node, "scale");
    const std::string places = Step(i, "QuantizeLinear", {x, scales, zero});
    Step(i, "DequantizeLinear", {places, scales, zero}, /*last=*/true);
  }

  // Of the values `in` that node i reads, those with a batch of one get the batch of another.
  void RepeatConstants(int i, std::vector<std::string>& in) {
    const std::vector<int>& inputs = info_.inputs(i);
    const auto batched = std::find_if(inputs.begin(), inputs.end(), [&](int input) { return has_batch_[input]; });
    if (batched == inputs.end()) return;
    const std::string base = absl::StrCat(info_.node(i).name(), ".batch"), ones = base + ".ones";
    const std::string shape = base + ".shape", like = in[batched - inputs.begin()];
    bool has_shape = false;
    for (size_t k = 0; k < in.size(); ++k) {
      if (has_batch_[inputs[k]]) continue;
      if (!has_shape) {
        Int(Append("Shape", base, {like}, base), "end", 1);
        InitializeInts(ones, std::vector<int64_t>(info_.shape(i).flat ? 1 : 3, 1));
        Int(Append("Concat", shape, {base, ones}, shape), "axis", 0);
        has_shape = true;
      }
      const std::string repeated = absl::StrCat(base, k);
      Append("Expand", repeated, {in[k], shape}, repeated);
      in[k] = repeated;
    }
  }

  // One step of a formula: op(inputs), under the node's name with another ending. The last one has the node's own
  // output.
  std::string Step(int i, const char* op, const std::vector<std::string>& in, bool last = false) {
    const std::string name =
        last ? info_.node(i).name() : absl::StrCat(info_.node(i).name(), ".step", graph_->node_size());
    const std::string output = last ? Value(i) : name;
    Append(op, name, in, output);
    return output;
  }
  std::string Number(int i, double value) {
    const std::string name = absl::StrCat(info_.node(i).name(), ".number", graph_->initializer_size());
    Initialize(name, onnx::TensorProto::FLOAT, at::scalar_tensor(value, at::kFloat));
    return name;
  }

  void WriteElementwise(int i, const std::string& x) {
    const Elementwise& elementwise = info_.node(i).elementwise();
    const std::string& name = info_.node(i).name();
    const auto half_of_x_times_one_plus = [&](const std::string& y) {
      Step(i, "Mul", {Step(i, "Mul", {x, Number(i, 0.5)}), Step(i, "Add", {y, Number(i, 1)})}, /*last=*/true);
    };
    switch (elementwise.function()) {
      case Elementwise::CLIP:
        if (std::isinf(elementwise.low()) && std::isinf(elementwise.high())) {
          Append("Identity", name, {x}, Value(i));
          return;
        }
        Step(i, "Clip", {x, Number(i, elementwise.low()), Number(i, elementwise.high())}, /*last=*/true);
        return;
      case Elementwise::LEAKY_RELU:
        Float(Append("LeakyRelu", name, {x}, Value(i)), "alpha", elementwise.slope());
        return;
      case Elementwise::SIGMOID:
        Append("Sigmoid", name, {x}, Value(i));
        return;
      case Elementwise::HARD_SIGMOID: {
        onnx::NodeProto* node = Append("HardSigmoid", name, {x}, Value(i));
        Float(node, "alpha", 1.0 / 6);
        Float(node, "beta", 0.5);
        return;
      }
      case Elementwise::HARD_SWISH:
        Append("HardSwish", name, {x}, Value(i));
        return;
      case Elementwise::SILU:
        Step(i, "Mul", {x, Step(i, "Sigmoid", {x})}, /*last=*/true);
        return;
      case Elementwise::GELU:  // an operator of its own from opset 20 on
        half_of_x_times_one_plus(Step(i, "Erf", {Step(i, "Mul", {x, Number(i, M_SQRT1_2)})}));
        return;
      case Elementwise::GELU_TANH: {
        const std::string cube = Step(i, "Mul", {Step(i, "Mul", {x, x}), x});
        const std::string sum = Step(i, "Add", {x, Step(i, "Mul", {cube, Number(i, 0.044715)})});
        half_of_x_times_one_plus(Step(i, "Tanh", {Step(i, "Mul", {sum, Number(i, M_2_SQRTPI * M_SQRT1_2)})}));
        return;
      }
      case Elementwise::TANH:
        Append("Tanh", name, {x}, Value(i));
        return;
      case Elementwise::UNSET:
        return;
    }
  }

  // `pads`: top, left, bottom, right.
  void AppendPad(const std::string& name, const std::string& x, const std::vector<int64_t>& pads, const char* mode,
                 double value, const std::string& output) {
    const std::string sizes = absl::StrCat(name, ".pads"), number = absl::StrCat(name, ".pad_value");
    InitializeInts(sizes, {0, 0, pads[0], pads[1], 0, 0, pads[2], pads[3]});
    Initialize(number, onnx::TensorProto::FLOAT, at::scalar_tensor(value, at::kFloat));
    String(Append("Pad", name, {x, sizes, number}, output), "mode", mode);
  }

  enum class PoolKind { kMax, kAverage, kAverageInside };

  // Windows that reach beyond the padding are written as padding of that size instead of ONNX's ceil_mode, about which
  // engines disagree.
  void WritePool(int i, const Window& window, PoolKind kind, std::string x) {
    const std::string& name = info_.node(i).name();
    const NodeShape& shape = info_.shape(info_.inputs(i)[0]);
    const auto end = [](const WindowAxis& axis, int64_t size) {
      return axis.ceil || axis.after >= axis.kernel ? std::max<int64_t>(axis.Reach(size), 0) : axis.after;
    };
    std::vector<int64_t> pads = {window.down.before, window.across.before, end(window.down, shape.height),
                                 end(window.across, shape.width)};
    // What counts in an average of the padding too.
    const int64_t bottom = std::min(window.down.after, pads[2]), right = std::min(window.across.after, pads[3]);
    const bool counts_some = kind == PoolKind::kAverage && (bottom < pads[2] || right < pads[3]);
    // onnxruntime refuses to pad as much as the kernel has pixels.
    const bool wide =
        std::max(pads[0], pads[2]) >= window.down.kernel || std::max(pads[1], pads[3]) >= window.across.kernel;
    if (counts_some || (wide && kind != PoolKind::kAverageInside)) {
      const std::string padded = absl::StrCat(name, ".padded");
      const bool max = kind == PoolKind::kMax;
      AppendPad(padded, x, {pads[0], pads[1], max ? pads[2] : bottom, max ? pads[3] : right}, "constant",
                max ? -std::numeric_limits<double>::infinity() : 0, padded);
      pads = {0, 0, max ? 0 : pads[2] - bottom, max ? 0 : pads[3] - right};
      if (!max) kind = PoolKind::kAverageInside;
      x = padded;
    }
    onnx::NodeProto* next = Append(kind == PoolKind::kMax ? "MaxPool" : "AveragePool", name, {x}, Value(i));
    Windows(next, window, pads);
    if (kind != PoolKind::kMax) Int(next, "count_include_pad", kind == PoolKind::kAverage);
    if (window.down.dilation > 1 || window.across.dilation > 1) {
      Ints(next, "dilations", {window.down.dilation, window.across.dilation});
    }
  }

  void WriteAdaptivePool(int i, const std::string& x) {
    const AdaptivePool2d& pool = info_.node(i).adaptive_pool2d();
    const std::string& name = info_.node(i).name();
    const NodeShape& in = info_.shape(info_.inputs(i)[0]);
    const bool max = pool.function() == AdaptivePool2d::MAX;
    if (pool.height() == 1 && pool.width() == 1) {
      Append(max ? "GlobalMaxPool" : "GlobalAveragePool", name, {x}, Value(i));
      return;
    }
    if (in.height % pool.height() == 0 && in.width % pool.width() == 0) {
      Window window;
      window.down.kernel = window.down.stride = in.height / pool.height();
      window.across.kernel = window.across.stride = in.width / pool.width();
      WritePool(i, window, max ? PoolKind::kMax : PoolKind::kAverageInside, x);
      return;
    }
    // Windows of different sizes, each a slice: rows first, then columns.
    const std::string rows = PoolSlices(i, x, 2, AdaptiveRows(in.height, pool.height()), max, "");
    PoolSlices(i, rows, 3, AdaptiveRows(in.width, pool.width()), max, Value(i));
  }

  // The average or maximum of each range along `axis`, put together. `output`: the name; empty: a new one.
  std::string PoolSlices(int i, const std::string& x, int64_t axis, const std::vector<RowRange>& ranges, bool max,
                         std::string output) {
    const std::string base = absl::StrCat(info_.node(i).name(), axis == 2 ? ".rows" : ".columns");
    if (output.empty()) output = base;
    const std::string axes = absl::StrCat(base, ".axes");
    InitializeInts(axes, {axis});
    std::vector<std::string> parts;
    for (size_t k = 0; k < ranges.size(); ++k) {
      const std::string slice = absl::StrCat(base, ".slice", k), part = absl::StrCat(base, k);
      InitializeInts(slice + ".first", {ranges[k].first});
      InitializeInts(slice + ".end", {ranges[k].end});
      Append("Slice", slice, {x, slice + ".first", slice + ".end", axes}, slice);
      Ints(Append(max ? "ReduceMax" : "ReduceMean", part, {slice}, part), "axes", {axis});
      parts.push_back(part);
    }
    Int(Append("Concat", base, parts, output), "axis", axis);
    return output;
  }

  void WriteResize(int i, const std::string& x) {
    const Resize& resize = info_.node(i).resize();
    const std::string& name = info_.node(i).name();
    const NodeShape& in = info_.shape(info_.inputs(i)[0]);
    const bool nearest = resize.function() == Resize::NEAREST;
    if (nearest && (resize.height() % in.height != 0 || resize.width() % in.width != 0)) {
      // Engines compute the places in float, and may miss the row.
      const auto gather = [&](const std::string& from, const char* what, int64_t axis, int64_t size, int64_t result,
                              const std::string& output) {
        const std::string index = absl::StrCat(name, what);
        std::vector<int64_t> rows;
        for (const RowBlend& row : ResizedRows(Resize::NEAREST, size, result)) rows.push_back(row.first);
        InitializeInts(index, rows);
        Int(Append("Gather", output, {from, index}, output), "axis", axis);
      };
      const std::string rows = absl::StrCat(name, ".resized_rows");
      gather(x, ".row_index", 2, in.height, resize.height(), rows);
      gather(rows, ".column_index", 3, in.width, resize.width(), Value(i));
      return;
    }
    // The batch's size is known only when the model runs.
    const std::string batch = absl::StrCat(name, ".batch"), size = absl::StrCat(name, ".size"),
                      sizes = absl::StrCat(name, ".sizes");
    Int(Append("Shape", batch, {x}, batch), "end", 1);
    InitializeInts(size, {in.channels, resize.height(), resize.width()});
    Int(Append("Concat", sizes, {batch, size}, sizes), "axis", 0);
    onnx::NodeProto* next = Append("Resize", name, {x, "", "", sizes}, Value(i));
    String(next, "mode", nearest ? "nearest" : "linear");
    String(next, "coordinate_transformation_mode",
           nearest                                         ? "asymmetric"
           : resize.function() == Resize::BILINEAR_ALIGNED ? "align_corners"
                                                           : "half_pixel");
    if (nearest) String(next, "nearest_mode", "floor");
  }

  // ONNX normalizes the last dimensions.
  void WriteLayerNorm(int i, const std::string& x) {
    const Node& node = info_.node(i);
    const int64_t channels = info_.shape(i).channels;
    const bool flat = info_.shape(i).flat;
    const std::string last = absl::StrCat(node.name(), ".channels_last"), normalized = node.name() + ".normalized";
    if (!flat) Ints(Append("Transpose", last, {x}, last), "perm", {0, 2, 3, 1});
    std::vector<std::string> in = {flat ? x : last};
    in.push_back(node.layer_norm().affine() ? Parameter(node, "weight") : Filled(i, "weight", channels, 1));
    if (node.layer_norm().affine()) in.push_back(Parameter(node, "bias"));
    onnx::NodeProto* norm = Append("LayerNormalization", node.name(), in, flat ? Value(i) : normalized);
    Int(norm, "axis", -1);
    Float(norm, "epsilon", node.layer_norm().epsilon());
    if (!flat) Ints(Append("Transpose", node.name() + ".channels_first", {normalized}, Value(i)), "perm", {0, 3, 1, 2});
  }

  // As instance norm of maps whose pixels are those of a group's channels.
  void WriteGroupNorm(int i, const std::string& x) {
    const Node& node = info_.node(i);
    const GroupNorm& norm = node.group_norm();
    const NodeShape& shape = info_.shape(i);
    const std::string groups = node.name() + ".groups", maps = node.name() + ".maps";
    InitializeInts(groups, {0, norm.groups(), -1});
    InitializeInts(maps, {0, shape.channels, shape.height, shape.width});
    const std::string grouped = Step(i, "Reshape", {x, groups});
    const std::string normalized = absl::StrCat(node.name(), ".normalized");
    Float(Append("InstanceNormalization", normalized,
                 {grouped, Filled(i, "ones", norm.groups(), 1), Filled(i, "zeros", norm.groups(), 0)}, normalized),
          "epsilon", norm.epsilon());
    const std::string reshaped = Step(i, "Reshape", {normalized, maps}, /*last=*/!norm.affine());
    if (!norm.affine()) return;
    Step(i, "Add", {Step(i, "Mul", {reshaped, ByChannel(i, "weight")}), ByChannel(i, "bias")}, /*last=*/true);
  }

  void Write(int i) {
    const Node& node = info_.node(i);
    const std::string& name = node.name();
    std::vector<std::string> in;
    for (const int input : info_.inputs(i)) in.push_back(Value(input));
    switch (node.op_case()) {
      case Node::kImage:
      case Node::OP_NOT_SET:
        return;
      case Node::kConv2D: {
        const Conv2d& conv = node.conv2d();
        AppendParameters(i, conv.bias(), conv.weight_bits(), in);
        onnx::NodeProto* next = Append("Conv", name, in, Value(i));
        const Window window = WindowOf(conv);
        Windows(next, window, {window.down.before, window.across.before, window.down.after, window.across.after});
        Ints(next, "dilations", {window.down.dilation, window.across.dilation});
        Int(next, "group", conv.groups());
        return;
      }
      case Node::kBatchNorm2D:
        for (const char* suffix : {"weight", "bias", "running_mean", "running_var"}) {
          in.push_back(Parameter(node, suffix));
        }
        Float(Append("BatchNormalization", name, in, Value(i)), "epsilon", node.batch_norm2d().epsilon());
        return;
      case Node::kRelu:
        Append("Relu", name, in, Value(i));
        return;
      case Node::kDropout:
        // What reads it reads what it passes on. The graph's output has a name of its own.
        if (Value(i) != in[0]) Append("Identity", name, in, Value(i));
        return;
      case Node::kElementwise:
        WriteElementwise(i, in[0]);
        return;
      case Node::kFakeQuantize:
        WriteFakeQuantize(i, in[0]);
        return;
      case Node::kAdd:
        // Engines have more ways to be fast for sums of two.
        Append(in.size() == 2 ? "Add" : "Sum", name, in, Value(i));
        return;
      case Node::kMaxPool2D:
        WritePool(i, WindowOf(node.max_pool2d()), PoolKind::kMax, in[0]);
        return;
      case Node::kAveragePool2D:
        WritePool(i, WindowOf(node.average_pool2d()),
                  node.average_pool2d().count_include_pad() ? PoolKind::kAverage : PoolKind::kAverageInside, in[0]);
        return;
      case Node::kAdaptivePool2D:
        WriteAdaptivePool(i, in[0]);
        return;
      case Node::kResize:
        WriteResize(i, in[0]);
        return;
      case Node::kPad: {
        const Pad& pad = node.pad();
        const char* mode = pad.function() == Pad::REFLECT     ? "reflect"
                           : pad.function() == Pad::REPLICATE ? "edge"
                                                              : "constant";
        AppendPad(name, in[0], {pad.pads().begin(), pad.pads().end()}, mode, pad.value(), Value(i));
        return;
      }
      case Node::kUnflatten: {
        const std::string axes = absl::StrCat(name, ".axes");
        InitializeInts(axes, {2, 3});
        Append("Unsqueeze", name, {in[0], axes}, Value(i));
        return;
      }
      case Node::kGlobalAveragePool:
        Append("GlobalAveragePool", name, in, Value(i));
        return;
      case Node::kFlatten:
        Int(Append("Flatten", name, in, Value(i)), "axis", 1);
        return;
      case Node::kLinear:
        AppendParameters(i, node.linear().bias(), node.linear().weight_bits(), in);
        Int(Append("Gemm", name, in, Value(i)), "transB", 1);
        return;
      case Node::kScatter: {
        const int64_t channels = info_.shape(info_.inputs(i)[0]).channels;
        const std::string pads = absl::StrCat(name, ".pads"), index = absl::StrCat(name, ".index"),
                          padded = absl::StrCat(name, ".padded");
        InitializeInts(pads, {0, 0, 0, 0, 0, 1, 0, 0});
        std::vector<int64_t> from(node.scatter().channels(), channels);  // the channel of zeros
        for (int k = 0; k < node.scatter().index_size(); ++k) from[node.scatter().index(k)] = k;
        InitializeInts(index, from);
        Append("Pad", padded, {in[0], pads}, padded);
        Int(Append("Gather", name, {padded, index}, Value(i)), "axis", 1);
        return;
      }
      case Node::kConcat:
        RepeatConstants(i, in);
        Int(Append("Concat", name, in, Value(i)), "axis", 1);
        return;
      case Node::kArithmetic:
        Append(node.arithmetic().function() == Arithmetic::MULTIPLY   ? "Mul"
               : node.arithmetic().function() == Arithmetic::SUBTRACT ? "Sub"
                                                                      : "Div",
               name, in, Value(i));
        return;
      case Node::kPrelu:
        in.push_back(node.prelu().shared() ? Parameter(node, "weight") : ByChannel(i, "weight"));
        Append("PRelu", name, in, Value(i));
        return;
      case Node::kSoftmax:
        Int(Append("Softmax", name, in, Value(i)), "axis", 1);
        return;
      case Node::kChannelScale: {
        const ChannelScale& scale = node.channel_scale();
        std::string x = in[0];
        if (scale.weight()) x = Step(i, "Mul", {x, ByChannel(i, "weight")}, /*last=*/!scale.bias());
        if (scale.bias()) Step(i, "Add", {x, ByChannel(i, "bias")}, /*last=*/true);
        return;
      }
      case Node::kLayerNorm:
        WriteLayerNorm(i, in[0]);
        return;
      case Node::kGroupNorm:
        WriteGroupNorm(i, in[0]);
        return;
      case Node::kInstanceNorm: {
        const bool affine = node.instance_norm().affine();
        in.push_back(affine ? Parameter(node, "weight") : Filled(i, "weight", info_.shape(i).channels, 1));
        in.push_back(affine ? Parameter(node, "bias") : Filled(i, "bias", info_.shape(i).channels, 0));
        Float(Append("InstanceNormalization", name, in, Value(i)), "epsilon", node.instance_norm().epsilon());
        return;
      }
      case Node::kSelect: {
        const std::string index = absl::StrCat(name, ".index");
        InitializeInts(index, {node.select().index().begin(), node.select().index().end()});
        Int(Append("Gather", name, {in[0], index}, Value(i)), "axis", 1);
        return;
      }
      case Node::kConvTranspose2D: {
        const ConvTranspose2d& conv = node.conv_transpose2d();
        in.push_back(Parameter(node, "weight"));
        if (conv.bias()) in.push_back(Parameter(node, "bias"));
        onnx::NodeProto* next = Append("ConvTranspose", name, in, Value(i));
        const TransposedWindow window = WindowOf(conv);
        const TransposedAxis &down = window.down, &across = window.across;
        Ints(next, "kernel_shape", {down.kernel, across.kernel});
        Ints(next, "strides", {down.stride, across.stride});
        Ints(next, "pads", {down.padding, across.padding, down.padding, across.padding});
        Ints(next, "output_padding", {down.output_padding, across.output_padding});
        Ints(next, "dilations", {down.dilation, across.dilation});
        Int(next, "group", conv.groups());
        return;
      }
      case Node::kConstant: {
        const ChannelPictures pictures = StoredPictures(node.constant(), network_.Get(name, "value"));
        Initialize(Value(i), onnx::TensorProto::FLOAT, FullSize(pictures).to(at::kFloat).unsqueeze(0));
        return;
      }
    }
  }

  const WeightedNetwork& network_;
  const NetworkInfo info_;
  const std::vector<int> grids_;
  // By node: whether its value has the images' batch; what depends on no image has a batch of one.
  std::vector<bool> has_batch_;
  onnx::ModelProto model_;
  onnx::GraphProto* graph_ = nullptr;
};

}  // namespace

std::string ToOnnx(const WeightedNetwork& network) { return Exporter(network).Run(); }

}  // namespace prunelab
