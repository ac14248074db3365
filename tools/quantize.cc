// Quantizes a trained network: weights and activations of few bits, for integer arithmetic.
#include "ml/quantization/quantize.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gflags/gflags.h>

#include <algorithm>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "experiments/records/table.h"
#include "ml/base/files.h"
#include "ml/base/flags.h"
#include "ml/base/output_guard.h"
#include "ml/base/status_macros.h"
#include "ml/base/with_prefix.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/onnx_export.h"
#include "ml/data/batches.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/plan.h"
#include "ml/models/dataset_defaults.h"
#include "ml/network/value_grids.h"
#include "ml/quantization/integer_network.h"
#include "ml/training/evaluate.h"
#include "tools/command_line.h"
#include "tools/data_flag.h"

DEFINE_string(checkpoint, "", "The trained network, .safetensors or .onnx; masks in it are applied.");
DEFINE_string(network, "",
              "The network that the weights belong to, if the file contains none (a PyTorch state_dict), e.g. "
              "'[type.googleapis.com/prunelab.ResNetCifar] { depth: 56 }'.");
DEFINE_string(dataset, "",
              "Images for the ranges of activations (training part) and for accuracies (test part), e.g. "
              "'[type.googleapis.com/prunelab.Digits] {}'.");
DEFINE_string(output, "", "The quantized network's checkpoint, .safetensors.");
DEFINE_string(onnx, "", "The quantized network as ONNX with QuantizeLinear and DequantizeLinear (opset 17), .onnx.");
DEFINE_int64(weight_bits, 8, "Bits of a weight, from 2 to 8.");
DEFINE_int64(activation_bits, 8, "Bits of an activation, from 2 to 8.");
DEFINE_string(weight_scales, "channel",
              "channel: a scale for each output channel of a weight; layer: one for the layer.");
DEFINE_string(ranges, "mean_square_error",
              "How ranges are chosen: min_max, percentile, or mean_square_error (of values and their grid).");
DEFINE_double(percentile, 99.99, "With --ranges=percentile: so many percent of an activation's values are in range.");
DEFINE_int64(calibration_images, 512, "The number of training images for the ranges.");
DEFINE_int64(compared_images, 1000, "The number of test images on which the networks are compared.");

namespace prunelab {
namespace {

constexpr int64_t kBatch = 32;

absl::Status CheckFlags() {
  const auto refuse = [](auto... text) { return absl::InvalidArgumentError(absl::StrCat(text...)); };
  if (FLAGS_checkpoint.empty()) return refuse("--checkpoint is missing: a .safetensors file");
  if (FLAGS_dataset.empty()) {
    return refuse(
        "--dataset is missing: images show which ranges activations have, e.g. "
        "--dataset='[type.googleapis.com/prunelab.Digits] {}'");
  }
  if (FLAGS_output.empty() && FLAGS_onnx.empty()) {
    return refuse("give --output=F.safetensors or --onnx=F.onnx, or both");
  }
  PRUNELAB_ASSIGN_OR_RETURN(const std::string data, PathOfDataset(FLAGS_dataset));
  PRUNELAB_RETURN_IF_ERROR(CheckOutputs({{"--checkpoint", FLAGS_checkpoint}, {"--dataset's path", data}},
                                        {{"--output", FLAGS_output}, {"--onnx", FLAGS_onnx}}));
  for (const auto& [flag, bits] :
       {std::make_pair("weight_bits", FLAGS_weight_bits), std::make_pair("activation_bits", FLAGS_activation_bits)}) {
    if (bits < 2 || bits > 8) return refuse("--", flag, "=", bits, ": must be from 2 to 8");
  }
  if (FLAGS_weight_scales != "channel" && FLAGS_weight_scales != "layer") {
    return refuse("--weight_scales=", FLAGS_weight_scales, ": must be channel or layer");
  }
  const absl::StatusOr<RangeMethod> method = ParseRangeMethod(FLAGS_ranges);
  if (!method.ok()) return refuse("--ranges=", method.status().message());
  if (!gflags::GetCommandLineFlagInfoOrDie("percentile").is_default && *method != RangeMethod::kPercentile) {
    return refuse("--percentile goes with --ranges=percentile");
  }
  if (!(FLAGS_percentile > 50 && FLAGS_percentile <= 100)) {
    return refuse("--percentile=", FLAGS_percentile, ": must be above 50 and at most 100");
  }
  for (const auto& [flag, count] : {std::make_pair("calibration_images", FLAGS_calibration_images),
                                    std::make_pair("compared_images", FLAGS_compared_images)}) {
    if (count < 1) return refuse("--", flag, "=", count, ": must be at least 1");
  }
  return absl::OkStatus();
}

// The first images of the training part.
absl::StatusOr<std::vector<at::Tensor>> CalibrationImages(const Dataset& data, at::ScalarType dtype) {
  std::vector<at::Tensor> batches;
  const int64_t count = std::min(FLAGS_calibration_images, data.train.size());
  for (int64_t begin = 0; begin < count; begin += kBatch) {
    const int64_t end = std::min(count, begin + kBatch);
    PRUNELAB_ASSIGN_OR_RETURN(const Batch batch,
                              EvaluationBatch(data.train, data.normalization, begin, end, dtype, at::kCPU));
    batches.push_back(batch.images);
  }
  return batches;
}

// What the compared images say.
struct Comparison {
  int64_t images = 0;
  int64_t right_before = 0, right_after = 0, right_in_integers = 0;
  int64_t differing_predictions = 0;  // of the network before and after
  double largest_difference = 0;      // of a logit in integers from that in floating point, over the largest logit
};

absl::StatusOr<Comparison> Compare(const WeightedNetwork& before, const WeightedNetwork& after,
                                   const IntegerNetwork* integers, const Dataset& data) {
  const at::NoGradGuard no_gradients;
  Model dense = ToModel(before, at::kCPU), rounded = ToModel(after, at::kCPU);
  ReferencePlan plan;
  Comparison comparison;
  comparison.images = std::min(FLAGS_compared_images, data.test.size());
  double largest = 0;
  for (int64_t begin = 0; begin < comparison.images; begin += kBatch) {
    const int64_t end = std::min(comparison.images, begin + kBatch);
    PRUNELAB_ASSIGN_OR_RETURN(const Batch batch,
                              EvaluationBatch(data.test, data.normalization, begin, end, dense.dtype(), at::kCPU));
    const auto right = [&](const at::Tensor& logits) {
      return (LabelRanks(logits, batch.labels) < 1).sum().item<int64_t>();
    };
    const at::Tensor a = plan.Forward(dense, batch.images, {}).logits,
                     b = plan.Forward(rounded, batch.images, {}).logits;
    comparison.right_before += right(a);
    comparison.right_after += right(b);
    comparison.differing_predictions += (a.argmax(1) != b.argmax(1)).sum().item<int64_t>();
    if (integers == nullptr) continue;
    const at::Tensor c = integers->Run(batch.images, {}).results[0];
    comparison.right_in_integers += right(c);
    largest = std::max(largest, b.abs().max().item<double>());
    comparison.largest_difference = std::max(comparison.largest_difference, (b - c).abs().max().item<double>());
  }
  if (largest > 0) comparison.largest_difference /= largest;
  return comparison;
}

int64_t FileBytes(const WeightedNetwork& network) {
  return static_cast<int64_t>(SerializeSafetensors(ModelToSafetensors(ToModel(network, at::kCPU))).size());
}

// What is quantized is exported and compared, and keeps its grids.
absl::Status CheckNothingToChoose(const std::string& path) {
  const auto refuse = [&](absl::string_view flag) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is quantized already, so --", flag, " has no effect; --onnx exports it as it is"));
  };
  if (!FLAGS_output.empty()) return refuse("output");
  for (const char* flag :
       {"weight_bits", "activation_bits", "weight_scales", "ranges", "percentile", "calibration_images"}) {
    if (!gflags::GetCommandLineFlagInfoOrDie(flag).is_default) return refuse(flag);
  }
  return absl::OkStatus();
}

absl::Status Main() {
  ProtectWhatIsRead();
  PRUNELAB_RETURN_IF_ERROR(CheckFlags());
  PRUNELAB_ASSIGN_OR_RETURN(const std::optional<Dataset> opened, OpenDataFlag(FLAGS_dataset));
  const Dataset& data = *opened;
  PRUNELAB_ASSIGN_OR_RETURN(const Model model,
                            OpenCheckpoint(FLAGS_checkpoint, FLAGS_network, DefaultsOf(data.info), at::kCPU));
  PRUNELAB_RETURN_IF_ERROR(CheckDataFit(model.info(), data.info));
  const std::string path = UserPath(FLAGS_checkpoint);
  absl::StatusOr<WeightedNetwork> given = ToWeightedNetwork(model);
  if (!given.ok()) return WithPrefix(path, given.status());
  WeightedNetwork network = *given;
  QuantizationReport report;
  const bool already = IsQuantized(network.network);
  if (already) {
    PRUNELAB_RETURN_IF_ERROR(CheckNothingToChoose(path));
    report = ReportOf(network);
  } else {
    for (auto& [name, tensor] : network.tensors) tensor = tensor.clone();
    QuantizeOptions options;
    options.weight_bits = FLAGS_weight_bits;
    options.activation_bits = FLAGS_activation_bits;
    options.per_channel = FLAGS_weight_scales == "channel";
    options.ranges = {*ParseRangeMethod(FLAGS_ranges), FLAGS_percentile};
    PRUNELAB_ASSIGN_OR_RETURN(const std::vector<at::Tensor> calibration, CalibrationImages(data, network.DType()));
    absl::StatusOr<QuantizationReport> done = Quantize(network, calibration, options);
    if (!done.ok()) return WithPrefix(path, done.status());
    report = *std::move(done);
  }
  const absl::StatusOr<IntegerNetwork> integers = IntegerNetwork::Create(network);
  if (!integers.ok() && report.in_float.empty()) return WithPrefix(path, integers.status());

  if (!FLAGS_output.empty()) {
    PRUNELAB_RETURN_IF_ERROR(WriteSafetensors(UserPath(FLAGS_output), ModelToSafetensors(ToModel(network, at::kCPU))));
  }
  if (!FLAGS_onnx.empty()) PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(UserPath(FLAGS_onnx), ToOnnx(network)));

  std::cout << absl::StrFormat("%d layers with weights on grids, %d activations on grids\n", report.quantized_layers,
                               report.grids);
  if (!report.in_float.empty()) {
    std::cout << "in floating point, between grids: " << absl::StrJoin(report.in_float, ", ")
              << "; so integers alone cannot compute this network\n";
  }
  PRUNELAB_ASSIGN_OR_RETURN(const Comparison comparison,
                            Compare(*given, network, integers.ok() ? &*integers : nullptr, data));
  const auto percent = [&](int64_t right) {
    return absl::StrFormat("%.2f %%", 100.0 * static_cast<double>(right) / static_cast<double>(comparison.images));
  };
  const int64_t before_bytes = FileBytes(*given), after_bytes = FileBytes(network);
  std::vector<std::vector<std::string>> rows = {
      {"", "before", "quantized", "in integers"},
      {absl::StrCat("top-1 of ", comparison.images, " test images"), percent(comparison.right_before),
       percent(comparison.right_after), integers.ok() ? percent(comparison.right_in_integers) : "-"},
      {"checkpoint, bytes", absl::StrCat(before_bytes), absl::StrCat(after_bytes), ""}};
  std::cout << Aligned(rows);
  std::cout << "predictions that quantization changed: " << comparison.differing_predictions << " of "
            << comparison.images << "\n";
  if (integers.ok()) {
    std::cout << absl::StrFormat("integers and floating point: largest difference of a logit / largest logit: %.2e\n",
                                 comparison.largest_difference);
  }
  for (const std::string* output : {&FLAGS_output, &FLAGS_onnx}) {
    if (!output->empty()) std::cout << "wrote " << UserPath(*output) << "\n";
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  return prunelab::RunMain("quantizes a trained network for integer arithmetic; see docs/quantization.md", argc, argv,
                           [] { return prunelab::ExitStatus(prunelab::Main()); });
}
