// How much faster integers are: a network in float32, BN folded, by the skipping plan, and the same quantized to 8 bits
// by the integer engine, in one process and in turn.
//
//   bazel run //ml/quantization:integer_benchmark -- --threads=1 --batch_size=64
//   bazel run //ml/quantization:integer_benchmark -- --removed --rate=0.6
//
// It measures the network that --network describes with random weights, dense or (--removed) with the same share of
// each layer's filters removed exactly, or that of --checkpoint. With --serve it does nothing but what a line of
// standard input asks for, "float" or "int8", and answers with the seconds of that one batch, so that
// tools/benchmark/onnxruntime_int8.py can take turns with another engine.
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
#include "ml/base/random.h"
#include "ml/base/status_macros.h"
#include "ml/base/steady_seconds.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/onnx_export.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/skipping_plan.h"
#include "ml/execution/uniform_masks.h"
#include "ml/models/model_builder.h"
#include "ml/quantization/integer_engine.h"
#include "ml/quantization/quantize.h"

DEFINE_string(checkpoint, "", "A .safetensors file with its network and masks.");
DEFINE_string(network, "[type.googleapis.com/prunelab.ResNetCifar] { depth: 56 }",
              "Without --checkpoint: the network.");
DEFINE_bool(removed, false, "Remove dead filters first.");
DEFINE_double(rate, 0.6, "With --removed and without --checkpoint: share of the filters of each layer that are dead.");
DEFINE_int64(round, 1, "With --removed: channels are rounded up to a multiple of it.");
DEFINE_int64(batch_size, 64, "Images.");
DEFINE_int64(runs, 30, "Of each, in turn.");
DEFINE_int32(threads, 1, "Of LibTorch and of the engine.");
DEFINE_bool(serve, false, "Run what lines of standard input ask for.");
DEFINE_string(export_float, "", "The float network as ONNX.");
DEFINE_string(export_int8, "", "The quantized network as ONNX.");

namespace prunelab {
namespace {

absl::StatusOr<Model> BuildModel() {
  if (!FLAGS_checkpoint.empty()) return LoadModel(UserPath(FLAGS_checkpoint), at::kFloat, at::kCPU);
  PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any plugin, ParsePlugin("--network", FLAGS_network));
  PRUNELAB_ASSIGN_OR_RETURN(Network network, BuildNetwork(plugin, {}));
  PRUNELAB_ASSIGN_OR_RETURN(NetworkInfo info, NetworkInfo::Create(std::move(network)));
  Model model = Model::Create(std::move(info), at::kFloat, at::kCPU);
  InitializeParameters(model, 1);
  if (FLAGS_removed) model.SetMasks(UniformFilterMasks(model.info(), FLAGS_rate));
  return model;
}

at::Tensor Images(const NodeShape& shape, int64_t count) {
  RandomStream stream(1, "images");
  at::Tensor images = at::empty({count, shape.channels, shape.height, shape.width});
  float* data = images.data_ptr<float>();
  for (int64_t i = 0; i < images.numel(); ++i) data[i] = static_cast<float>(stream.Normal());
  return images.contiguous(at::MemoryFormat::ChannelsLast);
}

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

absl::Status Main() {
  if (FLAGS_batch_size < 1 || FLAGS_runs < 1 || FLAGS_threads < 1 || FLAGS_round < 1) {
    return absl::InvalidArgumentError("--batch_size, --runs, --threads and --round must be at least 1");
  }
  PRUNELAB_RETURN_IF_ERROR(CheckOutputs({{"--checkpoint", FLAGS_checkpoint}}, {{"--export_float", FLAGS_export_float},
                                                                               {"--export_int8", FLAGS_export_int8}}));
  at::set_num_threads(FLAGS_threads);
  const at::NoGradGuard no_gradients;
  PRUNELAB_ASSIGN_OR_RETURN(const Model built, BuildModel());
  PRUNELAB_ASSIGN_OR_RETURN(WeightedNetwork network, ToWeightedNetwork(built));
  CompressionOptions options;
  options.fold_batch_norm = true;
  options.layout.all.multiple = FLAGS_round;
  if (FLAGS_removed) Compress(network, options);
  Model dense = ToInferenceModel(network, at::kCPU);
  WeightedNetwork quantized = network;
  for (auto& [name, tensor] : quantized.tensors) tensor = tensor.clone();
  const NodeShape& shape = dense.info().input_shape();
  PRUNELAB_ASSIGN_OR_RETURN(const QuantizationReport report, Quantize(quantized, {Images(shape, 16)}, {}));
  if (!report.in_float.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("integers cannot express ", report.in_float[0]));
  }
  PRUNELAB_ASSIGN_OR_RETURN(const IntegerNetwork integers, IntegerNetwork::Create(quantized));
  const auto write = [](const std::string& file, const WeightedNetwork& written) {
    return file.empty() ? absl::OkStatus() : WriteFileAtomically(UserPath(file), ToOnnx(written));
  };
  PRUNELAB_ASSIGN_OR_RETURN(const WeightedNetwork folded, ToWeightedNetwork(dense));
  PRUNELAB_RETURN_IF_ERROR(write(FLAGS_export_float, folded));
  PRUNELAB_RETURN_IF_ERROR(write(FLAGS_export_int8, quantized));

  SkippingPlan plan;
  IntegerEngine engine(integers, FLAGS_batch_size);
  const at::Tensor images = Images(shape, FLAGS_batch_size);
  const auto in_float = [&] { plan.Forward(dense, images, {}); };
  const auto in_integers = [&] { engine.Run(images); };
  const auto seconds = [](const auto& work) {
    const double begin = SteadySeconds();
    work();
    return SteadySeconds() - begin;
  };
  for (int warm = 0; warm < 2; ++warm) {
    in_float();
    in_integers();
  }
  if (FLAGS_serve) {
    for (std::string line; std::getline(std::cin, line);) {
      std::cout << absl::StrFormat("%.9f", line == "int8" ? seconds(in_integers) : seconds(in_float)) << std::endl;
    }
    return absl::OkStatus();
  }
  std::vector<double> floats, integer, ratios;
  for (int64_t run = 0; run < FLAGS_runs; ++run) {
    floats.push_back(seconds(in_float));
    integer.push_back(seconds(in_integers));
    ratios.push_back(floats.back() / integer.back());
  }
  std::cout << absl::StrFormat("batch %d, %d threads, %d MACs, %d runs in turn\n", FLAGS_batch_size, FLAGS_threads,
                               dense.info().MacCount(), FLAGS_runs);
  const auto print = [](const char* name, const std::vector<double>& values) {
    std::cout << absl::StrFormat("%-8s median %8.3f ms, quartiles %.3f to %.3f\n", name, 1e3 * Quantile(values, 0.5),
                                 1e3 * Quantile(values, 0.25), 1e3 * Quantile(values, 0.75));
  };
  print("float32", floats);
  print("int8", integer);
  std::cout << absl::StrFormat("int8 is %.2f times as fast (quartiles of the pairs %.2f to %.2f)\n",
                               Quantile(ratios, 0.5), Quantile(ratios, 0.25), Quantile(ratios, 0.75));
  for (const std::string& node : engine.plain_nodes()) std::cout << "not optimized: " << node << "\n";
  return absl::OkStatus();
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  prunelab::KeepFreedMemory();
  return prunelab::RunMain("float32 against int8: latency of a batch", argc, argv,
                           [] { return prunelab::ExitStatus(prunelab::Main()); });
}
