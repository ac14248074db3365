// The mask update of each strategy on ResNet-56 (57 convolutions, 2,128 filters, 848,304 weights) from its fresh
// weights, importances included, at a rate of 60 %.
//
//   bazel run //ml/pruning:strategies_benchmark
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "ml/base/check.h"
#include "ml/models/resnet_cifar.h"
#include "ml/network/network.h"
#include "ml/pruning/dynamic_l1.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/random.pb.h"
#include "ml/pruning/static.pb.h"
#include "ml/pruning/unstructured.pb.h"

namespace prunelab {
namespace {

NetworkInfo ResNet56() {
  ResNetCifar parameters;
  parameters.set_depth(56);
  return *NetworkInfo::Create(*CreateResNetCifar(parameters, ImageDefaults()));
}

std::vector<PrunableLayer> Layers(const NetworkInfo& network) {
  at::manual_seed(1);
  std::vector<PrunableLayer> layers;
  for (const ParameterSpec& parameter : network.parameters()) {
    if (parameter.shape.size() != 4) continue;
    PrunableLayer layer;
    layer.node = parameter.node;
    layer.weight = at::randn(parameter.shape).contiguous(at::MemoryFormat::ChannelsLast);
    layer.mask = at::ones({parameter.shape[0], 1, 1, 1});
    layers.push_back(layer);
  }
  return layers;
}

void Update(benchmark::State& state, const google::protobuf::Message& parameters, int64_t iteration) {
  const NetworkInfo network = ResNet56();
  const std::vector<PrunableLayer> layers = Layers(network);
  StepPosition position;
  position.iteration = iteration;
  position.iterations_per_epoch = 100;
  position.epochs = 1;
  for (auto _ : state) {
    // A fresh one: some strategies rank once.
    const std::unique_ptr<PruningStrategy> strategy = *CreatePruningStrategy(parameters, PruningSetup{&network, 1});
    auto update = strategy->Update(position, layers);
    PRUNELAB_CHECK(update.ok() && update->has_value()) << "no update";
    benchmark::DoNotOptimize(update);
  }
}

// Before iteration 3, the first of period 4, or before the first step.
void BM_DynamicL1(benchmark::State& state) { Update(state, DynamicL1(), 3); }

void BM_DynamicL1OfWeights(benchmark::State& state) {
  DynamicL1 parameters;
  parameters.set_granularity(MaskUnit::WEIGHT);
  Update(state, parameters, 3);
}

void BM_Static(benchmark::State& state) { Update(state, Static(), 0); }

void BM_Unstructured(benchmark::State& state) {
  Unstructured parameters;
  parameters.mutable_one_shot();
  Update(state, parameters, 0);
}

void BM_Random(benchmark::State& state) { Update(state, Random(), 0); }

BENCHMARK(BM_DynamicL1)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(BM_DynamicL1OfWeights)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(BM_Static)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(BM_Unstructured)->Unit(benchmark::kMicrosecond)->UseRealTime();
BENCHMARK(BM_Random)->Unit(benchmark::kMicrosecond)->UseRealTime();

}  // namespace
}  // namespace prunelab
