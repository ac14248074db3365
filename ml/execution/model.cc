#include "ml/execution/model.h"

#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/random.h"

namespace prunelab {
namespace {

// Fills `tensor` (a parameter) with values that `value` computes in float64, element by element in the order of its
// shape.
template <typename F>
void Fill(const at::Tensor& tensor, F value) {
  at::Tensor values = at::zeros(tensor.sizes(), at::kDouble);
  double* data = values.data_ptr<double>();
  for (int64_t i = 0; i < values.numel(); ++i) data[i] = value();
  tensor.detach().copy_(values);
}

}  // namespace

Model Model::Create(NetworkInfo info, at::ScalarType dtype, at::Device device) {
  Model model(std::move(info), dtype, device);
  for (const ParameterSpec& spec : model.info().parameters()) {
    at::Tensor tensor =
        at::full(spec.shape, spec.initial, at::TensorOptions(device).dtype(spec.is_integer ? at::kLong : dtype));
    if (spec.shape.size() == 4) tensor = tensor.contiguous(at::MemoryFormat::ChannelsLast);
    if (!spec.is_buffer) tensor.set_requires_grad(true);
    model.by_name_.emplace(spec.name, tensor);
    (spec.is_buffer ? model.buffers_ : model.parameters_).push_back({spec.name, spec.node, tensor});
  }
  return model;
}

const at::Tensor& Model::Get(const std::string& name) const {
  const auto found = by_name_.find(name);
  PRUNELAB_CHECK(found != by_name_.end()) << "no parameter \"" << name << "\"";
  return found->second;
}

void Model::SetMasks(const std::map<std::string, at::Tensor>& masks) {
  for (const auto& [node, mask] : masks) {
    const at::Tensor& weight = Get(absl::StrCat(node, ".weight"));
    const bool filters = mask.sizes() == at::IntArrayRef({weight.size(0), 1, 1, 1});
    PRUNELAB_CHECK(filters || mask.sizes() == weight.sizes()) << node << ": a mask of shape " << mask.sizes();
    // A copy, because the caller may keep writing to its own.
    at::Tensor own = mask.to(weight.options().requires_grad(false), /*non_blocking=*/false, /*copy=*/true);
    masks_[node] = filters ? own.contiguous() : own.contiguous(at::MemoryFormat::ChannelsLast);
  }
}

Model Model::With(const std::map<std::string, at::Tensor>& tensors) const {
  Model other = *this;
  for (const auto& [name, tensor] : tensors) {
    PRUNELAB_CHECK(Get(name).sizes() == tensor.sizes()) << name << ": of shape " << tensor.sizes();
    other.by_name_[name] = tensor;
  }
  for (std::vector<NamedTensor>* named : {&other.parameters_, &other.buffers_}) {
    for (NamedTensor& entry : *named) entry.tensor = other.by_name_.at(entry.name);
  }
  if (!other.parameters_.empty()) other.dtype_ = other.parameters_[0].tensor.scalar_type();
  return other;
}

at::Tensor Model::Index(const std::string& key, const std::vector<int64_t>& values) const {
  HeldIndex& held = (*indices_)[key];
  if (!held.tensor.defined()) {
    held.values = values;
    held.tensor = at::tensor(values, at::TensorOptions(at::kLong).device(device_));
  }
  PRUNELAB_CHECK(held.values == values) << "another index under \"" << key << "\"";
  return held.tensor;
}

at::Tensor Model::MaskedWeight(const std::string& conv_node) const {
  const at::Tensor weight = Get(absl::StrCat(conv_node, ".weight")).detach();
  const auto mask = masks_.find(conv_node);
  return mask == masks_.end() ? weight : weight * mask->second;
}

void InitializeParameters(Model& model, uint64_t seed) {
  const NetworkInfo& info = model.info();
  std::map<std::string, double> initial;
  for (const ParameterSpec& spec : info.parameters()) initial[spec.name] = spec.initial;
  for (const NamedTensor& parameter : model.parameters()) {
    const Node& node = info.node(info.Index(parameter.node));
    const at::Tensor& tensor = parameter.tensor;
    RandomStream stream(seed, absl::StrCat("weights/", parameter.name));
    if (node.op_case() == Node::kConv2D && node.conv2d().initial_identity() && tensor.dim() == 4) {
      tensor.detach().copy_(at::eye(tensor.size(0), tensor.size(1)).view(tensor.sizes()));
    } else if (node.op_case() == Node::kConv2D && tensor.dim() == 4) {
      const double stddev = info.InitialDeviation(info.Index(parameter.node));
      Fill(tensor, [&] { return stddev * stream.Normal(); });
    } else if (node.op_case() == Node::kConvTranspose2D && tensor.dim() == 4) {
      // PyTorch's default, which counts the pixels that each input is added to.
      const double bound = 1 / std::sqrt(static_cast<double>(tensor.size(1) * tensor.size(2) * tensor.size(3)));
      Fill(tensor, [&] { return bound * (2 * stream.Uniform() - 1); });
    } else if (node.op_case() == Node::kLinear && node.linear().has_initial_deviation()) {
      if (tensor.dim() == 2) {
        Fill(tensor, [&] { return node.linear().initial_deviation() * stream.Normal(); });
      } else {
        tensor.detach().fill_(0);
      }
    } else if (node.op_case() == Node::kLinear) {
      const int64_t fan_in = model.Get(absl::StrCat(parameter.node, ".weight")).size(1);
      const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
      Fill(tensor, [&] { return bound * (2 * stream.Uniform() - 1); });
    } else {
      tensor.detach().fill_(initial.at(parameter.name));
    }
  }
  for (const NamedTensor& buffer : model.buffers()) {
    if (info.node(info.Index(buffer.node)).op_case() != Node::kConstant) buffer.tensor.fill_(initial.at(buffer.name));
  }
}

}  // namespace prunelab
