// Measures how much faster exact removal makes a network: dense and removed, BN folded on both sides, with the same
// plan, in the same process and in turn.
//
//   bazel run //ml/compression:latency_benchmark -- --threads=1
//   bazel run //ml/compression:latency_benchmark -- --checkpoint=runs/digits/dynamic_l1/none/1/last.safetensors
//
// Without a checkpoint it measures the network that --network describes, with random weights and the same share of dead
// filters in each layer. With --export=F it writes the removed network as a checkpoint, with --export_dense=F the dense
// one, for tools/benchmark/pytorch_latency.py.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gflags/gflags.h>

#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ml/base/files.h"
#include "ml/base/flags.h"
#include "ml/base/freed_memory.h"
#include "ml/base/output_guard.h"
#include "ml/base/parse_plugin.h"
#include "ml/base/status_macros.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/fastest_layout.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/latency.h"
#include "ml/execution/uniform_masks.h"
#include "ml/models/model_builder.h"
#include "ml/safetensors/safetensors.h"

DEFINE_string(checkpoint, "", "A .safetensors file with its network and masks: those of a real run.");
DEFINE_string(network, "[type.googleapis.com/prunelab.ResNetCifar] { depth: 56 }",
              "Without --checkpoint: the network.");
DEFINE_double(rate, 0.6, "Without --checkpoint: share of the filters of each layer that are dead.");
DEFINE_int64(batch_size, 64, "Images.");
DEFINE_int64(runs, 20, "Of each network.");
DEFINE_int64(round, 0, "Channels are rounded up to a multiple of it; 0: the fastest layout here, searched for first.");
DEFINE_bool(full_streams, false, "With --round: what is added to a residual stream keeps the width of the stream.");
DEFINE_int32(threads, 1, "Of LibTorch.");
DEFINE_string(export, "", "A .safetensors file for the removed network.");
DEFINE_string(export_dense, "", "A .safetensors file for the dense network, BN folded.");

namespace prunelab {
namespace {

absl::StatusOr<Model> UniformlyMasked() {
  PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any plugin, ParsePlugin("--network", FLAGS_network));
  PRUNELAB_ASSIGN_OR_RETURN(Network network, BuildNetwork(plugin, {}));
  PRUNELAB_ASSIGN_OR_RETURN(NetworkInfo info, NetworkInfo::Create(std::move(network)));
  Model model = Model::Create(std::move(info), at::kFloat, at::kCPU);
  InitializeParameters(model, 1);
  model.SetMasks(UniformFilterMasks(model.info(), FLAGS_rate));
  return model;
}

absl::Status Main() {
  if (FLAGS_batch_size < 1 || FLAGS_runs < 1 || FLAGS_threads < 1 || FLAGS_round < 0) {
    return absl::InvalidArgumentError("--batch_size, --runs and --threads must be at least 1, --round at least 0");
  }
  if (!(FLAGS_rate >= 0 && FLAGS_rate < 1)) {
    return absl::InvalidArgumentError(absl::StrCat("--rate=", FLAGS_rate, ": must be at least 0 and below 1"));
  }
  PRUNELAB_RETURN_IF_ERROR(CheckOutputs({{"--checkpoint", FLAGS_checkpoint}},
                                        {{"--export", FLAGS_export}, {"--export_dense", FLAGS_export_dense}}));
  at::set_num_threads(FLAGS_threads);
  const at::NoGradGuard no_gradients;
  PRUNELAB_ASSIGN_OR_RETURN(const Model masked, FLAGS_checkpoint.empty()
                                                    ? UniformlyMasked()
                                                    : LoadModel(UserPath(FLAGS_checkpoint), at::kFloat, at::kCPU));
  PRUNELAB_ASSIGN_OR_RETURN(WeightedNetwork removed, ToWeightedNetwork(masked));
  Model before = ToInferenceModel(removed, at::kCPU);
  CompressionOptions options;
  options.fold_batch_norm = true;
  options.layout.all = {std::max<int64_t>(FLAGS_round, 1), FLAGS_full_streams ? Streams::kFull : Streams::kScattered};
  if (FLAGS_round == 0) {
    PRUNELAB_ASSIGN_OR_RETURN(const FastestLayout fastest,
                              FindFastestLayout(removed, options, TimerHere({FLAGS_batch_size})));
    for (const TriedLayout& tried : fastest.tried) {
      std::cout << absl::StrFormat("%9d parameters, median %8.2f ms: %s\n", tried.parameters,
                                   1e3 * tried.latency.median, tried.layout.Text());
    }
    options.layout = fastest.layout;
  }
  Compress(removed, options);
  Model after = ToModel(removed, at::kCPU);
  const auto write = [](const std::string& file, const Model& model) {
    return file.empty() ? absl::OkStatus() : WriteSafetensors(UserPath(file), ModelToSafetensors(model));
  };
  PRUNELAB_RETURN_IF_ERROR(write(FLAGS_export, after));
  PRUNELAB_RETURN_IF_ERROR(write(FLAGS_export_dense, before));
  constexpr double kSeconds = 120;
  const std::vector<Latency> latencies = MeasureLatencies({&before, &after}, FLAGS_batch_size, FLAGS_runs, kSeconds);
  std::cout << "batch " << FLAGS_batch_size << ", " << FLAGS_threads << " threads, " << latencies[0].runs
            << " runs in turn, BN folded, " << options.layout.Text() << "\n";
  const auto print = [](const char* name, const NetworkInfo& info, const Latency& latency) {
    std::cout << absl::StrFormat("%-8s %9d parameters %11d MACs  median %8.2f ms, quartiles %.2f to %.2f\n", name,
                                 info.ParameterCount() + info.StoredConstantCount(), info.MacCount(),
                                 1e3 * latency.median, 1e3 * latency.first_quartile, 1e3 * latency.third_quartile);
  };
  print("dense", before.info(), latencies[0]);
  print("removed", after.info(), latencies[1]);
  std::cout << absl::StrFormat("removed is %.2f times as fast\n", latencies[0].median / latencies[1].median);
  return absl::OkStatus();
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  prunelab::KeepFreedMemory();
  return prunelab::RunMain("dense against removed: latency of a batch", argc, argv,
                           [] { return prunelab::ExitStatus(prunelab::Main()); });
}
