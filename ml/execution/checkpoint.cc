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

// The conv node whose mask the tensor `name` is, or null.
const ConvInfo* MaskedNode(const NetworkInfo& info, const std::string& name) {
  absl::string_view node = name;
  if (!absl::ConsumeSuffix(&node, ".mask")) return nullptr;
  for (const ConvInfo& conv : info.convs()) {
    if (conv.node == node) return &conv;
  }
  return nullptr;
}

// [out, 1, 1, 1] where every filter is on or off as a whole, else the mask as it is.
at::Tensor Narrowed(const at::Tensor& mask) {
  const at::Tensor first = mask.slice(1, 0, 1).slice(2, 0, 1).slice(3, 0, 1);
  return (mask == first).all().item<bool>() ? first.contiguous() : mask;
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

absl::Status CheckFits(const Safetensors& file, const std::string& name, const NetworkInfo& info) {
  std::vector<std::string> differences;
  std::map<std::string, const ParameterSpec*> wanted;
  for (const ParameterSpec& spec : info.parameters()) {
    wanted[spec.name] = &spec;
    const auto found = file.tensors.find(spec.name);
    if (found == file.tensors.end()) {
      if (!absl::EndsWith(spec.name, ".num_batches_tracked")) {
        differences.push_back(absl::StrCat("missing ", spec.name, " ", Shape(spec.shape)));
      }
    } else if (found->second.sizes() != at::IntArrayRef(spec.shape)) {
      differences.push_back(
          absl::StrCat(spec.name, " is ", Shape(found->second.sizes()), "; the network needs ", Shape(spec.shape)));
    }
  }
  for (const auto& [tensor_name, tensor] : file.tensors) {
    if (wanted.count(tensor_name) > 0) continue;
    const ConvInfo* conv = MaskedNode(info, tensor_name);
    if (conv == nullptr) {
      differences.push_back(absl::StrCat("unexpected ", tensor_name, " ", Shape(tensor.sizes())));
      continue;
    }
    const at::IntArrayRef weight = wanted.at(absl::StrCat(conv->node, ".weight"))->shape;
    const std::vector<int64_t> filters = {conv->filters, 1, 1, 1};
    if (tensor.sizes() != weight && tensor.sizes() != at::IntArrayRef(filters)) {
      differences.push_back(absl::StrCat(tensor_name, " is ", Shape(tensor.sizes()), "; must be ", Shape(weight),
                                         " or ", Shape(filters)));
    } else if (!((tensor == 0) | (tensor == 1)).all().item<bool>()) {
      differences.push_back(absl::StrCat(tensor_name, " holds values other than 0 and 1"));
    }
  }
  if (differences.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": does not fit the network, in ", differences.size(),
                                                 differences.size() == 1 ? " place:\n  " : " places:\n  ",
                                                 absl::StrJoin(differences, "\n  ")));
}

absl::Status LoadIntoModel(const Safetensors& file, const std::string& name, Model& model) {
  PRUNELAB_RETURN_IF_ERROR(CheckFits(file, name, model.info()));
  const auto copy = [&](const NamedTensor& wanted) {
    const auto found = file.tensors.find(wanted.name);
    if (found != file.tensors.end()) wanted.tensor.detach().copy_(found->second);
  };
  for (const NamedTensor& parameter : model.parameters()) copy(parameter);
  for (const NamedTensor& buffer : model.buffers()) copy(buffer);
  std::map<std::string, at::Tensor> masks;
  for (const auto& [tensor_name, tensor] : file.tensors) {
    const ConvInfo* conv = model.Has(tensor_name) ? nullptr : MaskedNode(model.info(), tensor_name);
    if (conv != nullptr) masks[conv->node] = Narrowed(tensor.to(at::kFloat));
  }
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
  PRUNELAB_RETURN_IF_ERROR(CheckFits(file, path, *info));  // before room is made for whatever sizes the network has
  Model model = Model::Create(*std::move(info), dtype, device);
  PRUNELAB_RETURN_IF_ERROR(LoadIntoModel(file, path, model));
  return model;
}

}  // namespace prunelab
