#include "ml/pruning/testing/reference_network.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

Safetensors ReadReference() {
  absl::StatusOr<Safetensors> file = ReadSafetensors("ml/pruning/testing/probe_reference.safetensors");
  PRUNELAB_CHECK(file.ok()) << file.status();
  return *std::move(file);
}

Model ReferenceModel(const Safetensors& file) {
  NetworkWriter net;
  const auto unit = [&](const std::string& conv, const std::string& batch_norm, const std::string& input,
                        const NetworkWriter::ConvShape& shape) {
    return net.BatchNorm(batch_norm, net.Conv(conv, input, shape));
  };
  const std::string stem = net.Relu("relu1", unit("conv1", "bn1", net.Image(3, 8, 8), {6, 3, 1, 1}));
  std::string x = net.Relu("relu2", unit("conv2", "bn2", stem, {8, 3, 2, 1}));
  x = net.Relu("relu3", unit("conv3", "bn3", x, {7, 3, 1, 1}));
  x = unit("conv4", "bn4", x, {6, 1, 1, 0});
  x = net.Relu("relu4", net.Add("add", {x, unit("shortcut", "bn5", stem, {6, 1, 2, 0})}));
  net.Classifier("fc", x, 4);
  absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(net.Take());
  PRUNELAB_CHECK(info.ok()) << info.status();
  Model model = Model::Create(*std::move(info), at::kDouble, at::kCPU);
  for (const auto* named : {&model.parameters(), &model.buffers()}) {
    for (const NamedTensor& entry : *named) entry.tensor.detach().copy_(file.tensors.at(entry.name));
  }
  return model;
}

}  // namespace

ReferenceNetwork::ReferenceNetwork()
    : file_(ReadReference()),
      model_(ReferenceModel(file_)),
      images_{Value("images"), Value("labels")},
      normalization_{1, {0, 0, 0}, {1, 1, 1}},
      probe_(model_, &images_, &normalization_, /*seed=*/3) {}

std::vector<PrunableLayer> ReferenceNetwork::Layers(Granularity granularity) const {
  std::vector<PrunableLayer> layers;
  for (const ConvInfo& conv : info().convs()) {
    PrunableLayer layer;
    layer.node = conv.node;
    layer.weight = model_.Get(absl::StrCat(conv.node, ".weight")).detach();
    layer.mask = granularity == Granularity::kFilter ? at::ones({conv.filters, 1, 1, 1}, layer.weight.options())
                                                     : at::ones_like(layer.weight);
    layers.push_back(std::move(layer));
  }
  return layers;
}

const at::Tensor& ReferenceNetwork::Value(const std::string& name) const {
  const auto found = file_.tensors.find(name);
  PRUNELAB_CHECK(found != file_.tensors.end()) << "no tensor " << name;
  return found->second;
}

PruningSetup ReferenceNetwork::Setup() const {
  PruningSetup setup;
  setup.network = &info();
  setup.seed = 3;
  return setup;
}

std::map<std::string, at::Tensor> ReferenceNetwork::FeatureMaps() const {
  ProbeRequest request;
  request.images = Images();
  request.capture = {"relu1", "relu2", "relu3", "relu4"};
  const ProbeResult result = probe().Forward(request);
  std::map<std::string, at::Tensor> maps;
  for (const auto& [node, map] : std::map<std::string, std::string>{
           {"conv1", "relu1"}, {"conv2", "relu2"}, {"conv3", "relu3"}, {"conv4", "relu4"}, {"shortcut", "relu4"}}) {
    maps[node] = result.captured.at(map);
  }
  return maps;
}

MaskUpdate ReferenceNetwork::FirstUpdate(PruningStrategy& strategy, int64_t epoch) const {
  PRUNELAB_CHECK(strategy.needs_probe());
  strategy.Attach(probe_);
  StepPosition position;
  position.iterations_per_epoch = 5;
  position.epochs = epoch + 3;
  for (; position.step() < epoch * 5;) {
    const auto early = strategy.Update(position, Layers(strategy.granularity()));
    PRUNELAB_CHECK(early.ok() && !early->has_value()) << "an update before epoch " << epoch;
    if (++position.iteration == 5) {
      ++position.epoch;
      position.iteration = 0;
    }
  }
  absl::StatusOr<std::optional<MaskUpdate>> update = strategy.Update(position, Layers(strategy.granularity()));
  PRUNELAB_CHECK(update.ok()) << update.status();
  PRUNELAB_CHECK(update->has_value()) << "no update at epoch " << epoch;
  return **std::move(update);
}

bool AgreesWithReference(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() &&
         (a - b).abs().max().item<double>() <= 1e-6 * b.abs().max().item<double>();
}

}  // namespace prunelab
