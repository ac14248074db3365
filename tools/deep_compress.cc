// Deep Compression: a pruned checkpoint as a small .pdc file, and back.
#include <ATen/ATen.h>
#include <gflags/gflags.h>
#include <lzma.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "experiments/records/table.h"
#include "ml/base/files.h"
#include "ml/base/flags.h"
#include "ml/base/output_guard.h"
#include "ml/base/parse_plugin.h"
#include "ml/base/status_macros.h"
#include "ml/base/with_prefix.h"
#include "ml/data/dataset.h"
#include "ml/deep_compression/deep_compressed.h"
#include "ml/deep_compression/fine_tune.h"
#include "ml/deep_compression/weight_sharing.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/plan.h"
#include "ml/models/dataset_defaults.h"
#include "ml/onnx/checkpoint_file.h"
#include "ml/safetensors/safetensors.h"
#include "ml/training/evaluate.h"
#include "ml/training/one_shot.h"
#include "tools/command_line.h"
#include "tools/data_flag.h"

DEFINE_string(checkpoint, "", "The trained and pruned network, a .safetensors file; masked weights count as zero.");
DEFINE_string(network, "",
              "The network that the weights belong to, if the file contains none (a PyTorch state_dict), e.g. "
              "'[type.googleapis.com/prunelab.LeNet] {}'.");
DEFINE_string(output, "", "The small file, .pdc; with --decode the checkpoint, .safetensors.");
DEFINE_string(decode, "", "Instead of --checkpoint: a .pdc file, to be written as the checkpoint that it holds.");
DEFINE_int32(conv_bits, 8, "A convolution has at most 2^conv_bits different weights besides zero.");
DEFINE_int32(linear_bits, 5, "A linear layer, or a 1x1 convolution of one pixel, has at most 2^linear_bits.");
DEFINE_int32(gap_bits, 0, "Bits of the distance between weights that are not zero; 0: for each layer the best number.");
DEFINE_string(pruning, "",
              "Masks the network first, once, e.g. '[type.googleapis.com/prunelab.Unstructured] { rate: 0.9 }'; masked "
              "weights stay masked.");
DEFINE_string(dataset, "",
              "Data on which the accuracy is measured before and after, e.g. '[type.googleapis.com/prunelab.Digits] "
              "{}'; also for --fine_tune_epochs and for a strategy that reads gradients.");
DEFINE_int64(calibration_images, 512, "The number of training images for a strategy's gradients.");
DEFINE_int64(fine_tune_epochs, 0, "Trains the shared values so many epochs on --dataset's training images.");
DEFINE_double(fine_tune_rate, 1e-3, "The learning rate of --fine_tune_epochs.");
DEFINE_int64(seed, 1, "For the order of images and for strategies that draw random numbers.");

namespace prunelab {
namespace {

constexpr int64_t kBatch = 500;

absl::Status Refuse(absl::string_view text) { return absl::InvalidArgumentError(text); }

bool IsSet(const char* flag) { return !gflags::GetCommandLineFlagInfoOrDie(flag).is_default; }

absl::Status CheckBits(const char* flag, int bits) {
  if (bits >= 1 && bits <= kMostClusterBits) return absl::OkStatus();
  return Refuse(absl::StrCat("--", flag, "=", bits, ": must be from 1 to ", kMostClusterBits));
}

absl::Status CheckDecodeFlags() {
  if (!FLAGS_checkpoint.empty())
    return Refuse("give either --checkpoint, to make a .pdc file, or --decode, to read one");
  for (const char* flag : {"network", "conv_bits", "linear_bits", "gap_bits", "pruning", "dataset",
                           "calibration_images", "fine_tune_epochs", "fine_tune_rate", "seed"}) {
    if (IsSet(flag)) return Refuse(absl::StrCat("--", flag, " goes with --checkpoint; --decode only reads"));
  }
  PRUNELAB_RETURN_IF_ERROR(CheckNoCheckpointFlags());
  return CheckOutputs({{"--decode", FLAGS_decode}}, {{"--output", FLAGS_output}});
}

absl::Status CheckFlags() {
  if (FLAGS_output.empty()) return Refuse("--output is missing: a .pdc file, or with --decode a .safetensors file");
  if (!FLAGS_decode.empty()) return CheckDecodeFlags();
  if (FLAGS_checkpoint.empty()) {
    return Refuse("give --checkpoint=F.safetensors, to make a .pdc file, or --decode=F.pdc, to read one");
  }
  PRUNELAB_ASSIGN_OR_RETURN(const std::string data, PathOfDataset(FLAGS_dataset));
  PRUNELAB_RETURN_IF_ERROR(
      CheckOutputs({{"--checkpoint", FLAGS_checkpoint}, {"--dataset's path", data}}, {{"--output", FLAGS_output}}));
  PRUNELAB_RETURN_IF_ERROR(CheckBits("conv_bits", FLAGS_conv_bits));
  PRUNELAB_RETURN_IF_ERROR(CheckBits("linear_bits", FLAGS_linear_bits));
  if (FLAGS_gap_bits < 0 || FLAGS_gap_bits > 16) {
    return Refuse(absl::StrCat("--gap_bits=", FLAGS_gap_bits, ": must be from 1 to 16, or 0 for the best"));
  }
  if (FLAGS_calibration_images < 1) {
    return Refuse(absl::StrCat("--calibration_images=", FLAGS_calibration_images, ": must be at least 1"));
  }
  if (IsSet("calibration_images") && (FLAGS_pruning.empty() || FLAGS_dataset.empty())) {
    return Refuse("--calibration_images goes with --pruning and --dataset: a strategy reads them");
  }
  if (FLAGS_fine_tune_epochs < 0) {
    return Refuse(absl::StrCat("--fine_tune_epochs=", FLAGS_fine_tune_epochs, ": must be at least 0"));
  }
  if (FLAGS_fine_tune_epochs > 0 && FLAGS_dataset.empty()) {
    return Refuse("--fine_tune_epochs goes with --dataset, whose training images it reads");
  }
  if (IsSet("fine_tune_rate") && FLAGS_fine_tune_epochs == 0)
    return Refuse("--fine_tune_rate goes with --fine_tune_epochs");
  if (!(FLAGS_fine_tune_rate > 0)) {
    return Refuse(absl::StrCat("--fine_tune_rate=", FLAGS_fine_tune_rate, ": must be above 0"));
  }
  if (IsSet("seed") && FLAGS_pruning.empty() && FLAGS_fine_tune_epochs == 0) {
    return Refuse("--seed goes with --pruning or --fine_tune_epochs: here nothing is drawn");
  }
  return absl::OkStatus();
}

absl::Status Decode() {
  const std::string path = UserPath(FLAGS_decode), output = UserPath(FLAGS_output);
  const absl::StatusOr<std::string> bytes = ReadFile(path);
  if (absl::IsNotFound(bytes.status())) return WithPrefix("--decode", NoSuchFile(FLAGS_decode));
  PRUNELAB_RETURN_IF_ERROR(bytes.status());
  PRUNELAB_ASSIGN_OR_RETURN(const Safetensors file, DecodeDeepCompressed(*bytes, path));
  PRUNELAB_RETURN_IF_ERROR(WriteSafetensors(output, file));
  std::cout << file.tensors.size() << " tensors\nwrote " << output << "\n";
  return absl::OkStatus();
}

// The model's checkpoint, with what else the file says in its metadata.
absl::StatusOr<Safetensors> CheckpointOf(const Model& model) {
  Safetensors file = ModelToSafetensors(model);
  PRUNELAB_ASSIGN_OR_RETURN(auto metadata, CheckpointMetadata(UserPath(FLAGS_checkpoint)));
  metadata.erase(kFilterMasksKey);  // of the masks before --pruning
  metadata.erase(kNetworkKey);
  file.metadata.insert(metadata.begin(), metadata.end());
  return file;
}

DeepCompressionOptions OptionsOfFlags() {
  DeepCompressionOptions options;
  options.conv_bits = FLAGS_conv_bits;
  options.linear_bits = FLAGS_linear_bits;
  if (FLAGS_gap_bits > 0) options.gap_bits = FLAGS_gap_bits;
  return options;
}

// Shares the model's weights and trains the shared values.
absl::Status FineTune(Model& model, const Dataset& data, const DeepCompressionOptions& options) {
  const std::string name = UserPath(FLAGS_checkpoint);
  PRUNELAB_ASSIGN_OR_RETURN(const Safetensors file, CheckpointOf(model));
  PRUNELAB_ASSIGN_OR_RETURN(const Safetensors shared, ShareCheckpoint(file, name, options));
  PRUNELAB_RETURN_IF_ERROR(LoadIntoModel(shared, name, model));
  PRUNELAB_ASSIGN_OR_RETURN(const auto kinds, SharedLayers(shared, name, options.least_weights));
  std::map<std::string, SharedWeights> layers;
  for (const auto& [weight, kind] : kinds) {
    const int bits = kind == SharedLayerKind::kLinear ? options.linear_bits : options.conv_bits;
    layers[weight] = ShareWeights(shared.tensors.at(weight), int64_t{1} << bits);
  }
  FineTuneOptions training;
  training.epochs = FLAGS_fine_tune_epochs;
  training.learning_rate = FLAGS_fine_tune_rate;
  training.seed = static_cast<uint64_t>(FLAGS_seed);
  const absl::StatusOr<std::vector<double>> losses =
      FineTuneCodebooks(model, layers, data.train, data.normalization, training);
  if (!losses.ok()) return WithPrefix("--fine_tune_epochs", losses.status());
  if (!losses->empty()) {
    std::cout << absl::StrFormat("fine-tuned %d epochs: training loss %.6f in the first, %.6f in the last\n",
                                 FLAGS_fine_tune_epochs, losses->front(), losses->back());
  }
  return absl::OkStatus();
}

absl::StatusOr<Evaluation> Evaluated(Model& model, const Dataset& data) {
  ReferencePlan plan;
  PRUNELAB_ASSIGN_OR_RETURN(const Evaluation evaluation, Evaluate(model, plan, data.test, data.normalization, kBatch));
  const std::string fault = EvaluationFault(evaluation);
  if (!fault.empty()) return absl::DataLossError(absl::StrCat(UserPath(FLAGS_checkpoint), ": ", fault));
  return evaluation;
}

std::string Percent(double part, double whole) {
  return absl::StrFormat("%.2f %%", whole > 0 ? 100 * part / whole : 0);
}

std::string Times(double large, double small) { return absl::StrFormat("%.2f", small > 0 ? large / small : 0); }

void SayLayers(const DeepCompressionReport& report) {
  std::vector<std::vector<std::string>> rows = {{"layer", "kind", "weights", "not zero", "values", "index bits",
                                                 "gap bits", "dense", "pruned", "shared", "coded"}};
  DeepCompressedLayer sum;
  for (const DeepCompressedLayer& layer : report.layers) {
    rows.push_back({std::string(absl::StripSuffix(layer.name, ".weight")),
                    layer.kind == SharedLayerKind::kLinear ? "linear" : "conv", absl::StrCat(layer.weights),
                    Percent(static_cast<double>(layer.nonzero), static_cast<double>(layer.weights)),
                    absl::StrCat(layer.clusters), absl::StrFormat("%d / %.2f", layer.index_bits, layer.mean_index_bits),
                    absl::StrFormat("%d / %.2f", layer.gap_bits, layer.mean_gap_bits), absl::StrCat(4 * layer.weights),
                    absl::StrCat(layer.pruned_bytes), absl::StrCat(layer.shared_bytes),
                    absl::StrCat(layer.coded_bytes)});
    sum.weights += layer.weights;
    sum.nonzero += layer.nonzero;
    sum.pruned_bytes += layer.pruned_bytes;
    sum.shared_bytes += layer.shared_bytes;
    sum.coded_bytes += layer.coded_bytes;
  }
  const auto dense = static_cast<double>(4 * sum.weights);
  rows.push_back({"all layers", "", absl::StrCat(sum.weights),
                  Percent(static_cast<double>(sum.nonzero), static_cast<double>(sum.weights)), "", "", "",
                  absl::StrCat(4 * sum.weights), absl::StrCat(sum.pruned_bytes), absl::StrCat(sum.shared_bytes),
                  absl::StrCat(sum.coded_bytes)});
  rows.push_back({"times smaller", "", "", "", "", "", "", "", Times(dense, static_cast<double>(sum.pruned_bytes)),
                  Times(dense, static_cast<double>(sum.shared_bytes)),
                  Times(dense, static_cast<double>(sum.coded_bytes))});
  std::cout << Aligned(rows) << "\n";
}

// The size of what xz -9e makes of the bytes.
absl::StatusOr<int64_t> XzBytes(const std::string& bytes) {
  std::vector<uint8_t> out(lzma_stream_buffer_bound(bytes.size()));
  size_t size = 0;
  const lzma_ret result = lzma_easy_buffer_encode(9 | LZMA_PRESET_EXTREME, LZMA_CHECK_CRC64, nullptr,
                                                  reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(),
                                                  out.data(), &size, out.size());
  if (result != LZMA_OK) return absl::ResourceExhaustedError(absl::StrCat("xz: error ", result, " of liblzma"));
  return static_cast<int64_t>(size);
}

absl::Status SaySizes(const DeepCompressed& small) {
  const DeepCompressionReport& report = small.report;
  Safetensors without_masks = small.shared;
  for (auto tensor = without_masks.tensors.begin(); tensor != without_masks.tensors.end();) {
    tensor = absl::EndsWith(tensor->first, ".mask") ? without_masks.tensors.erase(tensor) : std::next(tensor);
  }
  PRUNELAB_ASSIGN_OR_RETURN(const int64_t xz, XzBytes(SerializeSafetensors(without_masks)));
  const auto dense = static_cast<double>(report.dense_bytes);
  const auto row = [&](const char* what, int64_t bytes) {
    return std::vector<std::string>{what, absl::StrCat(bytes), Times(dense, static_cast<double>(bytes))};
  };
  std::cout << Aligned({{"", "bytes", "times smaller"},
                        {"the dense network, without masks", absl::StrCat(report.dense_bytes), ""},
                        {"biases, norms, small weights, as they are", absl::StrCat(report.other_bytes), ""},
                        {"masks", absl::StrCat(report.mask_bytes), ""},
                        {"header: the network, names, shapes", absl::StrCat(report.header_bytes), ""},
                        row("the file", report.file_bytes),
                        row("the file without its header", report.file_bytes - report.header_bytes),
                        row("xz -9e of the same tensors, without masks", xz)})
            << "\n";
  return absl::OkStatus();
}

absl::Status Encode() {
  const std::string name = UserPath(FLAGS_checkpoint), output = UserPath(FLAGS_output);
  PRUNELAB_ASSIGN_OR_RETURN(const std::optional<Dataset> dataset, OpenDataFlag(FLAGS_dataset));
  const Dataset* const data = dataset ? &*dataset : nullptr;
  PRUNELAB_ASSIGN_OR_RETURN(Model model,
                            OpenCheckpoint(FLAGS_checkpoint, FLAGS_network,
                                           data != nullptr ? DefaultsOf(data->info) : ImageDefaults(), at::kCPU));
  if (data != nullptr) PRUNELAB_RETURN_IF_ERROR(CheckDataFit(model.info(), data->info));
  if (!FLAGS_pruning.empty()) {
    PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any plugin, ParsePlugin("--pruning", FLAGS_pruning));
    const absl::Status pruned =
        PruneOnce(model, plugin, static_cast<uint64_t>(FLAGS_seed), data, FLAGS_calibration_images);
    if (!pruned.ok()) return WithPrefix("--pruning", pruned);
  }
  const DeepCompressionOptions options = OptionsOfFlags();
  std::optional<Evaluation> before;
  if (data != nullptr) {
    PRUNELAB_ASSIGN_OR_RETURN(before, Evaluated(model, *data));
  }
  if (FLAGS_fine_tune_epochs > 0) PRUNELAB_RETURN_IF_ERROR(FineTune(model, *data, options));
  PRUNELAB_ASSIGN_OR_RETURN(const Safetensors file, CheckpointOf(model));
  PRUNELAB_ASSIGN_OR_RETURN(const DeepCompressed small, EncodeDeepCompressed(file, name, options));
  const absl::StatusOr<Safetensors> decoded = DecodeDeepCompressed(small.bytes, output);
  if (!decoded.ok() || SerializeSafetensors(*decoded) != SerializeSafetensors(small.shared)) {
    return absl::InternalError(absl::StrCat(
        "the file would not hold the shared checkpoint, so nothing is written; this is a fault of this program: please "
        "report it with the checkpoint. ",
        decoded.status().message()));
  }
  PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(output, small.bytes));
  SayLayers(small.report);
  PRUNELAB_RETURN_IF_ERROR(SaySizes(small));
  if (data != nullptr) {
    PRUNELAB_RETURN_IF_ERROR(LoadIntoModel(*decoded, output, model));
    PRUNELAB_ASSIGN_OR_RETURN(const Evaluation after, Evaluated(model, *data));
    std::cout << absl::StrFormat("top-1 on %d test images: %.4f %% before sharing, %.4f %% after\n", after.images,
                                 100 * before->top1, 100 * after.top1)
              << absl::StrFormat("loss: %.6f before sharing, %.6f after\n", before->loss, after.loss);
  }
  std::cout << "wrote " << output << "\n";
  return absl::OkStatus();
}

absl::Status Main() {
  ProtectWhatIsRead();
  PRUNELAB_RETURN_IF_ERROR(CheckFlags());
  return FLAGS_decode.empty() ? Encode() : Decode();
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  return prunelab::RunMain("makes a small .pdc file of a pruned checkpoint, and reads it; see docs/compression.md",
                           argc, argv, [] {
                             const absl::Status status = prunelab::Main();
                             const int exit_status = prunelab::ExitStatus(status);
                             // The result would be wrong.
                             return absl::IsInternal(status) ? prunelab::kNotAllDone : exit_status;
                           });
}
