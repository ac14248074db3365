// What skipping adds to a step for ResNet-56 at uniform 60 %, apart from its convolutions: choosing each layer's
// channels (which each step does again, as masks may have changed), and cutting out weights and putting back gradients.
// The convolutions' consumers take all channels.
//
//   bazel run //ml/execution:planning_benchmark
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include <map>
#include <string>
#include <vector>

#include "ml/execution/channel_lists.h"
#include "ml/execution/uniform_masks.h"
#include "ml/models/resnet_cifar.h"
#include "ml/network/network.h"

namespace prunelab {
namespace {

struct Layer {
  at::Tensor weight, mask;
  std::vector<bool> live;
};

std::vector<Layer> ResNet56Layers() {
  ResNetCifar parameters;
  parameters.set_depth(56);
  const NetworkInfo network = *NetworkInfo::Create(*CreateResNetCifar(parameters, ImageDefaults()));
  const std::map<std::string, at::Tensor> masks = UniformFilterMasks(network, 0.6);
  std::vector<Layer> layers;
  for (const ParameterSpec& parameter : network.parameters()) {
    if (parameter.shape.size() != 4) continue;
    Layer layer;
    layer.weight = at::randn(parameter.shape).contiguous(at::MemoryFormat::ChannelsLast);
    layer.mask = masks.at(parameter.node);
    for (int64_t c = 0; c < parameter.shape[0]; ++c) layer.live.push_back(layer.mask[c].item<float>() != 0);
    layers.push_back(layer);
  }
  return layers;
}

void BM_ChooseChannels(benchmark::State& state) {
  const std::vector<Layer> layers = ResNet56Layers();
  for (auto _ : state) {
    for (const Layer& layer : layers) {
      benchmark::DoNotOptimize(ChooseChannels(layer.live, std::vector<bool>(layer.live.size()), false));
    }
  }
}

void BM_WeightsAndGradients(benchmark::State& state) {
  const std::vector<Layer> layers = ResNet56Layers();
  std::vector<ChannelLists> lists;
  for (const Layer& layer : layers) {
    lists.push_back(ChooseChannels(layer.live, std::vector<bool>(layer.live.size()), false));
  }
  for (auto _ : state) {
    for (size_t i = 0; i < layers.size(); ++i) {
      const std::vector<int64_t> columns = AllChannels(layers[i].weight.size(1));
      const at::Tensor slice = WeightSlice(layers[i].weight, layers[i].mask, lists[i].stored, columns);
      benchmark::DoNotOptimize(
          GradientOfSlice(slice, layers[i].weight.sizes(), at::Tensor(), lists[i].stored, columns));
    }
  }
}

BENCHMARK(BM_ChooseChannels)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(BM_WeightsAndGradients)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace prunelab
