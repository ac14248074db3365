// Evaluates a checkpoint: accuracy and loss on a data set, or the logits of a batch.
#include "ml/training/evaluate.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gflags/gflags.h>

#include <algorithm>
#include <array>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "ml/base/files.h"
#include "ml/base/flags.h"
#include "ml/base/output_guard.h"
#include "ml/base/parse_plugin.h"
#include "ml/base/status_macros.h"
#include "ml/base/with_prefix.h"
#include "ml/data/dataset.h"
#include "ml/data/image_layout.h"
#include "ml/execution/device.h"
#include "ml/execution/plan.h"
#include "ml/models/dataset_defaults.h"
#include "ml/safetensors/safetensors.h"
#include "tools/command_line.h"

DEFINE_string(checkpoint, "", "The weights, a .safetensors file; masks in it are applied.");
DEFINE_string(network, "",
              "The network that the weights belong to, if the file contains none (a PyTorch state_dict), e.g. "
              "'[type.googleapis.com/prunelab.ResNetCifar] { depth: 56 }'.");
DEFINE_string(dataset, "", "The data, e.g. '[type.googleapis.com/prunelab.Cifar10] { path: \"data\" }'.");
DEFINE_string(split, "test", "test or train: which part of --dataset.");
DEFINE_string(input, "", "Instead of --dataset: a .safetensors file with `images`, float32 (N, C, H, W), as they are.");
DEFINE_string(output, "", "With --input: the file for `logits` (N, classes), of --dtype.");
DEFINE_string(
    dtype, "float32",
    "With --input: float32, or float64 to compute the logits of the same weights and images in float64, where "
    "rounding hides no difference.");
DEFINE_int64(batch_size, 500, "The number of images in a batch.");
DEFINE_string(device, "auto", "auto, cpu or cuda; auto uses a GPU if there is one.");

namespace prunelab {
namespace {

std::string Sizes(int64_t channels, int64_t height, int64_t width) {
  return absl::StrCat(channels, "x", height, "x", width);
}

absl::Status CheckImages(const NetworkInfo& network, absl::string_view whose, int64_t channels, int64_t height,
                         int64_t width) {
  const NodeShape& wanted = network.input_shape();
  if (wanted.channels == channels && wanted.height == height && wanted.width == width) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(whose, " are ", Sizes(channels, height, width), "; the network takes ",
                                                 Sizes(wanted.channels, wanted.height, wanted.width),
                                                 " (channels, height, width)"));
}

absl::Status EvaluateDataset(at::Device device) {
  PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any plugin, ParsePlugin("--dataset", FLAGS_dataset));
  const absl::StatusOr<Dataset> dataset = OpenDataset(plugin);
  if (!dataset.ok()) return WithPrefix("--dataset", dataset.status());
  for (const std::string& note : dataset->notes) std::cerr << note << "\n";
  PRUNELAB_ASSIGN_OR_RETURN(Model model,
                            OpenCheckpoint(FLAGS_checkpoint, FLAGS_network, DefaultsOf(dataset->info), device));
  PRUNELAB_RETURN_IF_ERROR(CheckImages(model.info(), "the data set's images", dataset->info.channels,
                                       dataset->info.height, dataset->info.width));
  PRUNELAB_RETURN_IF_ERROR(model.info().CheckLogits());
  if (model.info().classes() != dataset->info.classes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the data set has ", dataset->info.classes, " classes; the network has ", model.info().classes()));
  }
  const LabelledImages& part = FLAGS_split == "train" ? dataset->train : dataset->test;
  ReferencePlan plan;
  PRUNELAB_ASSIGN_OR_RETURN(const Evaluation evaluation,
                            Evaluate(model, plan, part, dataset->normalization, FLAGS_batch_size));
  const std::string fault = EvaluationFault(evaluation);
  if (!fault.empty()) {
    return absl::DataLossError(absl::StrCat(UserPath(FLAGS_checkpoint), ": ", fault, " (", AnyTypeName(plugin), ", ",
                                            FLAGS_split, "); such an evaluation counts nothing as right or wrong"));
  }
  std::cout << absl::StrFormat("%s, %s: %d images\ntop-1  %.4f %%\ntop-5  %.4f %%\nloss   %.6f\n", AnyTypeName(plugin),
                               FLAGS_split, part.size(), 100 * evaluation.top1, 100 * evaluation.top5, evaluation.loss);
  return absl::OkStatus();
}

absl::StatusOr<at::Tensor> ReadImages(const std::string& path) {
  PRUNELAB_ASSIGN_OR_RETURN(const Safetensors file, ReadSafetensors(path, {"images"}));
  const auto found = file.tensors.find("images");
  if (const auto other = file.passed_over.find("images"); other != file.passed_over.end()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": `images` are ", other->second.dtype_name,
                                                   "; must be float32 (N, C, H, W), normalised as for training"));
  }
  if (found == file.tensors.end()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": has no tensor `images`; must have float32 (N, C, H, W)"));
  }
  const at::Tensor& images = found->second;
  if (images.dim() != 4 || images.scalar_type() != at::kFloat || images.numel() == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": `images` are ", c10::toString(images.scalar_type()), " (", absl::StrJoin(images.sizes(), ", "),
        "); must be float32 (N, C, H, W), each at least 1, normalised as for "
        "training"));
  }
  const at::Tensor bad = at::isfinite(images).logical_not().nonzero();
  if (bad.size(0) > 0) {
    const int64_t* at = bad.data_ptr<int64_t>();
    const float value = images[at[0]][at[1]][at[2]][at[3]].item<float>();
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": images[", absl::StrJoin(at, at + 4, ", "), "] is ", value, "; must be finite"));
  }
  return images;
}

// The same network, with its masks, in another precision.
Model InDType(const Model& model, at::ScalarType dtype) {
  Model converted = Model::Create(model.info(), dtype, model.device());
  const at::NoGradGuard no_gradients;
  for (const std::vector<NamedTensor>* tensors : {&model.parameters(), &model.buffers()}) {
    for (const NamedTensor& tensor : *tensors) converted.Get(tensor.name).detach().copy_(tensor.tensor);
  }
  std::map<std::string, at::Tensor> masks;
  for (const auto& [node, mask] : model.masks()) masks[node] = mask.to(dtype);
  converted.SetMasks(masks);
  return converted;
}

absl::Status WriteLogits(at::Device device) {
  PRUNELAB_RETURN_IF_ERROR(
      CheckOutputs({{"--input", FLAGS_input}, {"--checkpoint", FLAGS_checkpoint}}, {{"--output", FLAGS_output}}));
  const std::string input = UserPath(FLAGS_input), output = UserPath(FLAGS_output);
  PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor images, ReadImages(input));
  ImageDefaults defaults;
  defaults.channels = images.size(1);
  defaults.height = images.size(2);
  defaults.width = images.size(3);
  const std::array<int64_t, 3> axes = {images.size(1), images.size(2), images.size(3)};
  // For tensors that do not fit, and may be images with another order of axes.
  const auto hinted = [&](const absl::Status& status, bool channels_last) {
    if (status.ok() || !channels_last) return status;
    return absl::Status(status.code(),
                        absl::StrCat(status.message(), "\n", input, ": `images`: ", ChannelsLastText(axes)));
  };
  absl::StatusOr<Model> opened = OpenCheckpoint(FLAGS_checkpoint, FLAGS_network, defaults, device);
  // Only if --network takes its sizes from the images do these decide whether the weights fit.
  if (!opened.ok()) return hinted(opened.status(), !FLAGS_network.empty() && LooksChannelsLast(axes));
  Model model = *std::move(opened);
  const NodeShape& wanted = model.info().input_shape();
  PRUNELAB_RETURN_IF_ERROR(
      hinted(CheckImages(model.info(), absl::StrCat(input, ": `images`"), axes[0], axes[1], axes[2]),
             axes == std::array<int64_t, 3>{wanted.height, wanted.width, wanted.channels} || LooksChannelsLast(axes)));
  const at::ScalarType dtype = FLAGS_dtype == "float64" ? at::kDouble : at::kFloat;
  if (model.dtype() != dtype) model = InDType(model, dtype);
  ReferencePlan plan;
  const at::NoGradGuard no_gradients;
  std::vector<std::vector<at::Tensor>> results(model.info().outputs().size());
  for (int64_t begin = 0; begin < images.size(0); begin += FLAGS_batch_size) {
    const int64_t count = std::min(FLAGS_batch_size, images.size(0) - begin);
    const at::Tensor batch =
        images.narrow(0, begin, count).to(device, dtype).contiguous(at::MemoryFormat::ChannelsLast);
    const ForwardResult result = plan.Forward(model, batch, {});
    for (size_t k = 0; k < results.size(); ++k) results[k].push_back(result.results[k].to(at::kCPU));
  }
  Safetensors file;
  for (size_t k = 0; k < results.size(); ++k) file.tensors[model.info().ResultName(k)] = at::cat(results[k]);
  const int64_t not_finite = CountNotFinite(file.tensors["logits"]).item<int64_t>();
  if (not_finite > 0) {
    return absl::DataLossError(absl::StrCat(UserPath(FLAGS_checkpoint), ": ", NotFiniteText(not_finite, images.size(0)),
                                            "; nothing is written"));
  }
  PRUNELAB_RETURN_IF_ERROR(WriteSafetensors(output, file));
  std::cout << output << ": logits (" << images.size(0) << ", " << model.info().classes() << ")\n";
  return absl::OkStatus();
}

absl::Status Main() {
  ProtectWhatIsRead();
  if (FLAGS_checkpoint.empty()) return absl::InvalidArgumentError("--checkpoint is missing: a .safetensors file");
  const bool logits = !FLAGS_input.empty() || !FLAGS_output.empty();
  if (FLAGS_dataset.empty() != logits || (logits && (FLAGS_input.empty() || FLAGS_output.empty()))) {
    return absl::InvalidArgumentError(
        "give either --dataset='[type.googleapis.com/prunelab.Digits] {}', or both --input and --output "
        "(.safetensors)");
  }
  if (FLAGS_split != "test" && FLAGS_split != "train") {
    return absl::InvalidArgumentError(absl::StrCat("--split=", FLAGS_split, ": must be test or train"));
  }
  if (logits && FLAGS_split != "test") {
    return absl::InvalidArgumentError("--split goes with --dataset; all images of --input are taken");
  }
  if (FLAGS_dtype != "float32" && FLAGS_dtype != "float64") {
    return absl::InvalidArgumentError(absl::StrCat("--dtype=", FLAGS_dtype, ": must be float32 or float64"));
  }
  if (!logits && FLAGS_dtype != "float32") {
    return absl::InvalidArgumentError("--dtype goes with --input; a data set is evaluated in float32");
  }
  if (FLAGS_batch_size < 1) {
    return absl::InvalidArgumentError(absl::StrCat("--batch_size=", FLAGS_batch_size, ": must be at least 1"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(const at::Device device, ChooseDevice(FLAGS_device));
  return logits ? WriteLogits(device) : EvaluateDataset(device);
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  return prunelab::RunMain("evaluates a checkpoint on a data set, or writes logits; see docs/tools.md", argc, argv,
                           [] { return prunelab::ExitStatus(prunelab::Main()); });
}
