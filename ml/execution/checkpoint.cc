#include "ml/execution/checkpoint.h"

#include <ATen/ATen.h>

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "google/protobuf/text_format.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

std::string Shape(at::IntArrayRef sizes) { return absl::StrCat("[", absl::StrJoin(sizes, ", "), "]"); }

// The name of the conv node whose mask the tensor `name` is, or "".
std::string MaskedNode(const Model& model, const std::string& name) {
  absl::string_view node = name;
  if (!absl::ConsumeSuffix(&node, ".mask")) return "";
  for (const ConvInfo& conv : model.info().convs()) {
    if (conv.node == node) return conv.node;
  }
  return "";
}

}  // namespace

Safetensors ModelToSafetensors(const Model& model) {
  Safetensors file;
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  printer.PrintToString(model.info().network(), &file.metadata["network"]);
  for (const NamedTensor& parameter : model.parameters()) file.tensors[parameter.name] = parameter.tensor;
  for (const NamedTensor& buffer : model.buffers()) file.tensors[buffer.name] = buffer.tensor;
  for (const auto& [node, mask] : model.masks()) {
    const at::Tensor& weight = model.Get(absl::StrCat(node, ".weight"));
    file.tensors[absl::StrCat(node, ".mask")] = mask.expand(weight.sizes()).to(at::kFloat);
  }
  return file;
}

absl::Status LoadIntoModel(const Safetensors& file, const std::string& name, Model& model) {
  std::vector<std::string> differences;
  const auto compare = [&](const NamedTensor& wanted) {
    const auto found = file.tensors.find(wanted.name);
    if (found == file.tensors.end()) {
      if (!absl::EndsWith(wanted.name, ".num_batches_tracked")) {
        differences.push_back(absl::StrCat("missing ", wanted.name, " ", Shape(wanted.tensor.sizes())));
      }
    } else if (found->second.sizes() != wanted.tensor.sizes()) {
      differences.push_back(absl::StrCat(wanted.name, " is ", Shape(found->second.sizes()), "; the network needs ",
                                         Shape(wanted.tensor.sizes())));
    }
  };
  for (const NamedTensor& parameter : model.parameters()) compare(parameter);
  for (const NamedTensor& buffer : model.buffers()) compare(buffer);
  std::map<std::string, at::Tensor> masks;
  for (const auto& [tensor_name, tensor] : file.tensors) {
    if (model.Has(tensor_name)) continue;
    const std::string node = MaskedNode(model, tensor_name);
    if (node.empty()) {
      differences.push_back(absl::StrCat("unexpected ", tensor_name, " ", Shape(tensor.sizes())));
      continue;
    }
    const at::Tensor& weight = model.Get(absl::StrCat(node, ".weight"));
    const std::vector<int64_t> filters = {weight.size(0), 1, 1, 1};
    if (tensor.sizes() != weight.sizes() && tensor.sizes() != at::IntArrayRef(filters)) {
      differences.push_back(absl::StrCat(tensor_name, " is ", Shape(tensor.sizes()), "; must be ",
                                         Shape(weight.sizes()), " or ", Shape(filters)));
      continue;
    }
    const at::Tensor mask = tensor.to(at::kFloat);
    if (!((mask == 0) | (mask == 1)).all().item<bool>()) {
      differences.push_back(absl::StrCat(tensor_name, " holds values other than 0 and 1"));
      continue;
    }
    const at::Tensor first = mask.slice(1, 0, 1).slice(2, 0, 1).slice(3, 0, 1);
    masks[node] = (mask == first).all().item<bool>() ? first.contiguous() : mask;
  }
  if (!differences.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": does not fit the network, in ", differences.size(),
                                                   " places:\n  ", absl::StrJoin(differences, "\n  ")));
  }
  const auto copy = [&](const NamedTensor& wanted) {
    const auto found = file.tensors.find(wanted.name);
    if (found != file.tensors.end()) wanted.tensor.detach().copy_(found->second);
  };
  for (const NamedTensor& parameter : model.parameters()) copy(parameter);
  for (const NamedTensor& buffer : model.buffers()) copy(buffer);
  model.SetMasks(masks);
  return absl::OkStatus();
}

absl::StatusOr<Model> LoadModel(const std::string& path, at::ScalarType dtype, at::Device device) {
  PRUNELAB_ASSIGN_OR_RETURN(const Safetensors file, ReadSafetensors(path));
  const auto text = file.metadata.find("network");
  if (text == file.metadata.end()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": carries no network; say which one its weights belong to"));
  }
  Network network;
  if (!google::protobuf::TextFormat::ParseFromString(text->second, &network)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": its metadata \"network\" is no network in text format"));
  }
  absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(std::move(network));
  if (!info.ok()) return absl::InvalidArgumentError(absl::StrCat(path, ": ", info.status().message()));
  Model model = Model::Create(*std::move(info), dtype, device);
  PRUNELAB_RETURN_IF_ERROR(LoadIntoModel(file, path, model));
  return model;
}

}  // namespace prunelab
