// Value and gradient of the penalties on a ResNet-56's weights: the closed forms, and autograd of Value.
//
//   bazel run //ml/regularizers:regularizers_benchmark
#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include "ml/base/check.h"
#include "ml/regularizers/cov.h"
#include "ml/regularizers/example_layers.h"
#include "ml/regularizers/kernel_cov.h"
#include "ml/regularizers/squared_correlation.h"

namespace prunelab {
namespace {

enum Form { kClosedForm, kAutograd };

template <typename Parameters, typename Create>
void Run(benchmark::State& state, Create create, Form form) {
  at::set_num_threads(static_cast<int>(state.range(0)));
  const auto regularizer = create(Parameters(), ResNet56());
  PRUNELAB_CHECK(regularizer.ok()) << regularizer.status();
  const std::vector<RegularizedLayer> layers = ResNet56Layers(1);
  for (auto _ : state) {
    benchmark::DoNotOptimize(form == kClosedForm ? (*regularizer)->ValueAndGradients(layers)
                                                 : (*regularizer)->Regularizer::ValueAndGradients(layers));
  }
}

void BM_Cov(benchmark::State& state, Form form) { Run<Cov>(state, CreateCov, form); }
void BM_SquaredCorrelation(benchmark::State& state, Form form) {
  Run<SquaredCorrelation>(state, CreateSquaredCorrelation, form);
}
void BM_KernelCov(benchmark::State& state, Form form) { Run<KernelCov>(state, CreateKernelCov, form); }

#define PRUNELAB_BENCHMARK(name)                    \
  BENCHMARK_CAPTURE(name, closed_form, kClosedForm) \
      ->ArgName("threads")                          \
      ->Arg(1)                                      \
      ->Arg(2)                                      \
      ->UseRealTime()                               \
      ->Unit(benchmark::kMillisecond);              \
  BENCHMARK_CAPTURE(name, autograd, kAutograd)      \
      ->ArgName("threads")                          \
      ->Arg(1)                                      \
      ->Arg(2)                                      \
      ->UseRealTime()                               \
      ->Unit(benchmark::kMillisecond)

PRUNELAB_BENCHMARK(BM_Cov);
PRUNELAB_BENCHMARK(BM_SquaredCorrelation);
PRUNELAB_BENCHMARK(BM_KernelCov);

}  // namespace
}  // namespace prunelab
