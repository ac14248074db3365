#include "ml/onnx/read_graph.h"

#include <ATen/ATen.h>
#include <google/protobuf/unknown_field_set.h>

#include <charconv>
#include <cstdlib>
#include <unordered_map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "ml/base/status_macros.h"
#include "ml/onnx/tensor_proto.h"

namespace prunelab {
namespace {

constexpr int64_t kLeastOpset = 9;
constexpr int kMostNodes = 1 << 16;

// The key of a node's metadata under which PyTorch's exporter (dynamo=True) keeps the modules around it.
constexpr char kScopesKey[] = "pkg.torch.onnx.name_scopes";

// The shortest decimal number that is rounded to the float: 1e-5, which was meant, and not 9.99999974737875e-06.
double Decimal(float value) {
  char text[64];
  const std::to_chars_result end = std::to_chars(text, text + sizeof(text) - 1, value);
  *end.ptr = '\0';
  return std::strtod(text, nullptr);
}

// Reads a node's metadata, which ONNX has from 1.16 on. Older libraries keep them among the fields that they do not
// know.
template <typename Proto>
auto MetadataOf(const Proto& node, const char* key, int) -> decltype(node.metadata_props(), std::string()) {
  for (const auto& entry : node.metadata_props()) {
    if (entry.key() == key) return entry.value();
  }
  return "";
}
template <typename Proto>
std::string MetadataOf(const Proto& node, const char* key, long) {
  constexpr int kMetadataField = 9;
  const google::protobuf::UnknownFieldSet& fields = node.GetReflection()->GetUnknownFields(node);
  for (int i = 0; i < fields.field_count(); ++i) {
    const google::protobuf::UnknownField& field = fields.field(i);
    onnx::StringStringEntryProto entry;
    if (field.number() != kMetadataField || field.type() != google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED ||
        !entry.ParseFromString(field.length_delimited())) {
      continue;
    }
    if (entry.key() == key) return entry.value();
  }
  return "";
}

// "['', 'layer1', 'layer1.0', 'relu']" as its items.
std::vector<std::string> ItemsOfList(absl::string_view text) {
  std::vector<std::string> items;
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '\'');
  for (size_t i = 1; i + 1 < parts.size(); i += 2) items.emplace_back(parts[i]);
  return items;
}

// "/layer1/layer1.0/conv1/Conv", as dynamo=False names nodes, as {"", "layer1", "layer1.0", "layer1.0.conv1", "Conv"}:
// a part that repeats the end of what is before it continues that.
std::vector<std::string> ScopesOfPath(absl::string_view path) {
  if (!absl::ConsumePrefix(&path, "/")) return {};
  const std::vector<std::string> parts = absl::StrSplit(path, '/');
  std::vector<std::string> scopes = {""};
  std::string before, last;
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    const bool continues = !last.empty() && absl::StartsWith(parts[i], absl::StrCat(last, "."));
    const std::string kept = continues ? before.substr(0, before.size() - last.size()) : before;
    before = continues ? absl::StrCat(kept, parts[i]) : absl::StrCat(before, before.empty() ? "" : ".", parts[i]);
    last = parts[i];
    scopes.push_back(before);
  }
  scopes.push_back(parts.back());
  return scopes;
}

class Reader {
 public:
  Reader(const onnx::ModelProto& model, const std::string& folder) : model_(model), folder_(folder) {}

  absl::StatusOr<OnnxGraph> Read() {
    PRUNELAB_RETURN_IF_ERROR(ReadOpset());
    const onnx::GraphProto& graph = model_.graph();
    if (graph.node_size() > kMostNodes) {
      return absl::InvalidArgumentError(absl::StrCat("has ", graph.node_size(), " nodes; at most ", kMostNodes));
    }
    if (graph.sparse_initializer_size() > 0) {
      return absl::InvalidArgumentError("has sparse initializers, which are not read");
    }
    for (const onnx::TensorProto& stored : graph.initializer()) {
      PRUNELAB_ASSIGN_OR_RETURN(const int value, Define(stored.name(), -1));
      PRUNELAB_ASSIGN_OR_RETURN(graph_.values[value].constant, ToTensor(stored, folder_));
    }
    PRUNELAB_RETURN_IF_ERROR(ReadImages());
    for (const onnx::NodeProto& node : graph.node()) PRUNELAB_RETURN_IF_ERROR(ReadNode(node));
    PRUNELAB_RETURN_IF_ERROR(ReadOutputs());
    return std::move(graph_);
  }

 private:
  absl::Status ReadOpset() {
    for (const onnx::OperatorSetIdProto& set : model_.opset_import()) {
      if (set.domain().empty() || set.domain() == "ai.onnx") graph_.opset = set.version();
    }
    if (!model_.has_graph() || model_.opset_import_size() == 0) {
      return absl::InvalidArgumentError("is no ONNX model: it has no graph, or names no set of operators");
    }
    if (graph_.opset >= kLeastOpset) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("is of opset ", graph_.opset, "; at least ", kLeastOpset,
                                                   " is read: export it anew with opset_version=17"));
  }

  absl::StatusOr<int> Define(const std::string& name, int producer) {
    const int value = static_cast<int>(graph_.values.size());
    if (name.empty()) return absl::InvalidArgumentError("a tensor has no name");
    if (!by_name_.emplace(name, value).second) {
      return absl::InvalidArgumentError(absl::StrCat("the value ", Quoted(name), " is defined twice"));
    }
    graph_.values.push_back({name, {}, producer});
    return value;
  }

  absl::Status ReadImages() {
    const onnx::ValueInfoProto* images = nullptr;
    std::vector<std::string> names;
    for (const onnx::ValueInfoProto& input : model_.graph().input()) {
      if (by_name_.count(input.name()) > 0) continue;  // old files list initializers, too
      images = &input;
      names.push_back(Quoted(input.name()));
      PRUNELAB_ASSIGN_OR_RETURN(graph_.images, Define(input.name(), -1));
    }
    if (names.size() != 1) {
      return absl::InvalidArgumentError(absl::StrCat("has ", names.size(), " inputs", names.empty() ? "" : ": ",
                                                     names.empty() ? "" : names[0],
                                                     names.size() > 1 ? absl::StrCat(", ", names[1]) : "",
                                                     names.size() > 2 ? ", ..." : "", "; must have one, the images"));
    }
    return ReadSizes(*images);
  }

  absl::Status ReadSizes(const onnx::ValueInfoProto& images) {
    const auto refused = [&](const std::string& message) {
      return absl::InvalidArgumentError(absl::StrCat("input ", Quoted(images.name()), ": ", message));
    };
    const onnx::TypeProto::Tensor& type = images.type().tensor_type();
    switch (type.elem_type()) {
      case onnx::TensorProto::FLOAT:
      case onnx::TensorProto::DOUBLE:
      case onnx::TensorProto::FLOAT16:
      case onnx::TensorProto::BFLOAT16:
        break;
      default:
        return refused("must be a tensor of floating numbers");
    }
    if (!type.has_shape() || type.shape().dim_size() != 4) {
      return refused("must have four dimensions: [batch, channels, height, width]");
    }
    for (int i = 0; i < 4; ++i) {
      const onnx::TensorShapeProto::Dimension& size = type.shape().dim(i);
      graph_.image_sizes.push_back(size.has_dim_value() ? size.dim_value() : 0);
      constexpr int64_t kMostSize = 1 << 20;
      const int64_t last = graph_.image_sizes.back();
      if (last > kMostSize || last < 0) {
        return refused(absl::StrCat("dimension ", i, " is ", last, "; must be from 1 to ", kMostSize));
      }
      if (i > 0 && last == 0) {
        return refused(absl::StrCat("dimension ", i, " is ", size.has_dim_param() ? Quoted(size.dim_param()) : "unset",
                                    "; channels, height and width must be numbers: export with images of one size, "
                                    "and only the batch dynamic"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadNode(const onnx::NodeProto& stored) {
    OnnxNode node;
    const bool own = stored.domain().empty() || stored.domain() == "ai.onnx";
    node.op = own ? stored.op_type() : absl::StrCat(stored.domain(), ".", stored.op_type());
    node.name = stored.name();
    node.scopes = ItemsOfList(MetadataOf(stored, kScopesKey, 0));
    if (node.scopes.empty()) node.scopes = ScopesOfPath(stored.name());
    for (const std::string& input : stored.input()) {
      const auto found = by_name_.find(input);
      if (!input.empty() && found == by_name_.end()) {
        return NodeRefused(node, absl::StrCat("reads ", Quoted(input),
                                              ", which no earlier node computes; nodes must follow what they read, "
                                              "without cycles"));
      }
      node.inputs.push_back(input.empty() ? -1 : found->second);
    }
    for (const std::string& output : stored.output()) {
      int value = -1;
      if (!output.empty()) {
        PRUNELAB_ASSIGN_OR_RETURN(value, Define(output, static_cast<int>(graph_.nodes.size())));
      }
      node.outputs.push_back(value);
    }
    if (node.outputs.empty()) return NodeRefused(node, "has no outputs");
    for (const onnx::AttributeProto& attribute : stored.attribute()) {
      PRUNELAB_RETURN_IF_ERROR(ReadAttribute(attribute, node));
    }
    graph_.nodes.push_back(std::move(node));
    return absl::OkStatus();
  }

  absl::Status ReadAttribute(const onnx::AttributeProto& stored, OnnxNode& node) {
    OnnxAttribute attribute;
    switch (stored.type()) {
      case onnx::AttributeProto::INT:
        attribute.ints = {stored.i()};
        break;
      case onnx::AttributeProto::INTS:
        attribute.ints.assign(stored.ints().begin(), stored.ints().end());
        break;
      case onnx::AttributeProto::FLOAT:
        attribute.floats = {Decimal(stored.f())};
        break;
      case onnx::AttributeProto::FLOATS:
        for (const float number : stored.floats()) attribute.floats.push_back(Decimal(number));
        break;
      case onnx::AttributeProto::STRING:
        attribute.text = stored.s();
        break;
      case onnx::AttributeProto::TENSOR: {
        absl::StatusOr<at::Tensor> tensor = ToTensor(stored.t(), folder_);
        if (!tensor.ok()) return NodeRefused(node, tensor.status().message());
        attribute.tensor = *std::move(tensor);
        break;
      }
      default:  // graphs, types, lists of text: what has them is refused by its operator
        return absl::OkStatus();
    }
    node.attributes[stored.name()] = std::move(attribute);
    return absl::OkStatus();
  }

  absl::Status ReadOutputs() {
    for (const onnx::ValueInfoProto& output : model_.graph().output()) {
      const auto found = by_name_.find(output.name());
      if (found == by_name_.end()) {
        return absl::InvalidArgumentError(absl::StrCat("output ", Quoted(output.name()), " is computed by no node"));
      }
      graph_.outputs.push_back(found->second);
    }
    if (graph_.outputs.empty()) return absl::InvalidArgumentError("has no outputs");
    return absl::OkStatus();
  }

  const onnx::ModelProto& model_;
  const std::string& folder_;
  OnnxGraph graph_;
  std::unordered_map<std::string, int> by_name_;
};

}  // namespace

absl::StatusOr<OnnxGraph> ReadGraph(const onnx::ModelProto& model, const std::string& folder) {
  return Reader(model, folder).Read();
}

}  // namespace prunelab
