// The time of one mask update on ResNet-56 (57 convolutions, 2,128 filters, 848,304 weights), with given importances,
// compared with the paper's way: a full sort, the threshold, and a comparison. It also measures the cost of the other
// scopes and the limits.
//
//   bazel run //ml/pruning:ranking_benchmark
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ml/models/resnet_cifar.h"
#include "ml/network/network.h"
#include "ml/pruning/ranking.h"

namespace prunelab {
namespace {

constexpr double kRate = 0.6;

std::vector<RankedLayer> ResNet56Importances(bool weights) {
  ResNetCifar parameters;
  parameters.set_depth(56);
  const NetworkInfo network = *NetworkInfo::Create(*CreateResNetCifar(parameters, ImageDefaults()));
  at::manual_seed(1);
  std::vector<RankedLayer> layers;
  for (const ParameterSpec& parameter : network.parameters()) {
    if (parameter.shape.size() != 4) continue;
    const at::Tensor weight = at::randn(parameter.shape).contiguous(at::MemoryFormat::ChannelsLast).abs();
    layers.push_back({parameter.node, weights ? weight : weight.mean({1, 2, 3}, /*keepdim=*/true)});
  }
  return layers;
}

void BM_RankMasks(benchmark::State& state, bool weights, Ranking ranking) {
  const std::vector<RankedLayer> layers = ResNet56Importances(weights);
  for (auto _ : state) benchmark::DoNotOptimize(RankMasks(ranking, kRate, layers));
}

void BM_FullSort(benchmark::State& state, bool weights) {
  const std::vector<RankedLayer> layers = ResNet56Importances(weights);
  for (auto _ : state) {
    std::vector<at::Tensor> flat;
    for (const RankedLayer& layer : layers) flat.push_back(layer.importance.reshape({-1}));
    const at::Tensor all = at::cat(flat);
    const at::Tensor sorted = std::get<0>(all.sort());
    const at::Tensor threshold = sorted[static_cast<int64_t>(static_cast<double>(all.numel()) * kRate)];
    std::map<std::string, at::Tensor> masks;
    for (const RankedLayer& layer : layers) masks[layer.node] = layer.importance.gt(threshold).to(at::kFloat);
    benchmark::DoNotOptimize(masks);
  }
}

Ranking Scope(Ranking::Scope scope) {
  Ranking ranking;
  ranking.set_scope(scope);
  return ranking;
}

Ranking Limits() {
  Ranking ranking;
  ranking.set_min_live_filters(2);
  ranking.set_max_rate(0.9);
  return ranking;
}

BENCHMARK_CAPTURE(BM_FullSort, filters, false)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_RankMasks, filters_global, false, Scope(Ranking::GLOBAL))->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_RankMasks, filters_per_layer, false, Scope(Ranking::PER_LAYER))->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_RankMasks, filters_lamp, false, Scope(Ranking::GLOBAL_LAMP))->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_RankMasks, filters_limits, false, Limits())->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_FullSort, weights, true)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_RankMasks, weights_global, true, Scope(Ranking::GLOBAL))->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_RankMasks, weights_per_layer, true, Scope(Ranking::PER_LAYER))->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_RankMasks, weights_lamp, true, Scope(Ranking::GLOBAL_LAMP))->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_RankMasks, weights_limits, true, Limits())->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace prunelab
