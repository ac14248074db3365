// Value and gradient of every regularizer with its defaults on ResNet-56's layers in float32, channels_last as in
// training, dense and with 60 % of the filters masked: as training calls it, and by autograd through Value, which
// differs where a regularizer has a closed form.
//
//   bazel run //ml/regularizers:regularizers_benchmark

#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include "google/protobuf/any.pb.h"
#include "ml/base/check.h"
#include "ml/regularizers/correlation.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/testing/example_layers.h"

namespace prunelab {
namespace {

std::unique_ptr<Regularizer> Make(const google::protobuf::Descriptor* parameters) {
  google::protobuf::Any any;
  any.PackFrom(*google::protobuf::MessageFactory::generated_factory()->GetPrototype(parameters));
  absl::StatusOr<std::unique_ptr<Regularizer>> regularizer = CreateRegularizer(any, ResNet56());
  PRUNELAB_CHECK(regularizer.ok()) << regularizer.status();
  return *std::move(regularizer);
}

std::vector<RegularizedLayer> Layers(bool masked) {
  std::vector<RegularizedLayer> layers = ResNet56Layers(at::kFloat);
  if (!masked) return layers;
  for (RegularizedLayer& layer : layers) {
    if (layer.kind != RegularizedLayer::Kind::kConv) continue;
    const at::Tensor filters = at::arange(layer.weight.size(0));
    layer.mask = (filters * 7).remainder(5).ge(3).to(at::kFloat).view({-1, 1, 1, 1});
  }
  return layers;
}

void BM_Autograd(benchmark::State& state, const google::protobuf::Descriptor* parameters) {
  const std::unique_ptr<Regularizer> regularizer = Make(parameters);
  const std::vector<RegularizedLayer> layers = Layers(state.range(0) != 0);
  for (auto _ : state) benchmark::DoNotOptimize(regularizer->Regularizer::ValueAndGradients(layers));
}

void BM_AsInTraining(benchmark::State& state, const google::protobuf::Descriptor* parameters) {
  const std::unique_ptr<Regularizer> regularizer = Make(parameters);
  const std::vector<RegularizedLayer> layers = Layers(state.range(0) != 0);
  for (auto _ : state) benchmark::DoNotOptimize(regularizer->ValueAndGradients(layers));
}

void BM_MeanAbsRho(benchmark::State& state) {
  const std::vector<RegularizedLayer> layers = Layers(state.range(0) != 0);
  for (auto _ : state) benchmark::DoNotOptimize(MeanAbsRho(layers));
}
BENCHMARK(BM_MeanAbsRho)->Arg(0)->Arg(1)->ArgName("masked")->Unit(benchmark::kMillisecond)->UseRealTime();

void RegisterAll() {
  for (const auto& [name, plugin] : Regularizers().linked()) {
    for (const auto& [kind, function] :
         {std::pair("BM_AsInTraining/", &BM_AsInTraining), std::pair("BM_Autograd/", &BM_Autograd)}) {
      benchmark::RegisterBenchmark((kind + name).c_str(), function, plugin.parameters)
          ->Arg(0)
          ->Arg(1)
          ->ArgName("masked")
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    }
  }
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  prunelab::RegisterAll();
  benchmark::RunSpecifiedBenchmarks();
}
