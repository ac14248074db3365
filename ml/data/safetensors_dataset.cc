#include "ml/data/safetensors_dataset.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/data/channel_normalization.h"
#include "ml/data/image_layout.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {
namespace {

constexpr int64_t kMostClasses = 1 << 16;
constexpr char kTrainImages[] = "train_images", kTrainLabels[] = "train_labels";
constexpr char kTestImages[] = "test_images", kTestLabels[] = "test_labels";

std::string ShapeText(const SafetensorsEntry& entry) {
  const bool read = entry.dtype != at::ScalarType::Undefined;
  return absl::StrCat(read ? c10::toString(entry.dtype) : entry.dtype_name.c_str(), " [",
                      absl::StrJoin(entry.shape, ", "), "]");
}

absl::Status InPath(const absl::Status& status) { return InField("path", status); }

// What labels of a wrong type or shape may be instead, and how to convert them to integers [images]; "" if that is not
// known.
std::string LabelsHint(const SafetensorsEntry& labels) {
  if (labels.shape.size() == 2 && labels.shape[1] == 1) return ", which labels.reshape(-1) makes of them";
  if (labels.shape.size() == 2 && labels.shape[1] > 1) {
    return ", which labels.argmax(1) makes of one-hot rows or probabilities";
  }
  if (labels.shape.size() != 1) return "";
  return labels.dtype == at::kBool ? ", which a conversion to uint8 makes of them"
                                   : ", which a conversion to int64 makes of whole numbers";
}

// Everything that is wrong with the four tensors' types and shapes.
std::vector<std::string> Differences(const std::map<std::string, SafetensorsEntry>& tensors, bool channels_first) {
  std::vector<std::string> differences;
  const auto find = [&](const char* name, const char* wanted) -> const SafetensorsEntry* {
    const auto found = tensors.find(name);
    if (found != tensors.end()) return &found->second;
    differences.push_back(absl::StrCat(name, " is missing; must be ", wanted));
    return nullptr;
  };
  const auto check_images = [&](const char* name) {
    const char* wanted = "uint8 or float32 [images, channels, height, width]";
    const SafetensorsEntry* images = find(name, wanted);
    if (images == nullptr) return images;
    const bool fits = images->shape.size() == 4 && (images->dtype == at::kByte || images->dtype == at::kFloat) &&
                      std::all_of(images->shape.begin(), images->shape.end(), [](int64_t n) { return n >= 1; });
    if (!fits) {
      differences.push_back(absl::StrCat(name, " is ", ShapeText(*images), "; must be ", wanted));
      return static_cast<const SafetensorsEntry*>(nullptr);
    }
    const std::array<int64_t, 3> axes = {images->shape[1], images->shape[2], images->shape[3]};
    if (!channels_first && LooksChannelsLast(axes)) {
      differences.push_back(absl::StrCat(name, " is ", ShapeText(*images), "; must be ", wanted, ", but ",
                                         ChannelsLastText(axes), "; or, if ", axes[0], " channels of ", axes[1], "x",
                                         axes[2], " pixels are meant, set channels_first: true"));
    }
    return images;
  };
  const auto check_labels = [&](const char* name, const SafetensorsEntry* images) {
    const SafetensorsEntry* labels = find(name, "integers [images]");
    if (labels == nullptr) return;
    if (labels->shape.size() != 1 || !c10::isIntegralType(labels->dtype, /*includeBool=*/false)) {
      differences.push_back(
          absl::StrCat(name, " is ", ShapeText(*labels), "; must be integers [images]", LabelsHint(*labels)));
    } else if (images != nullptr && labels->shape[0] != images->shape[0]) {
      differences.push_back(absl::StrCat(name, " has ", labels->shape[0], " labels for ", images->shape[0], " images"));
    }
  };
  const SafetensorsEntry* train = check_images(kTrainImages);
  check_labels(kTrainLabels, train);
  const SafetensorsEntry* test = check_images(kTestImages);
  check_labels(kTestLabels, test);
  if (train != nullptr && test != nullptr &&
      (train->dtype != test->dtype ||
       !std::equal(train->shape.begin() + 1, train->shape.end(), test->shape.begin() + 1))) {
    differences.push_back(absl::StrCat("train_images are ", ShapeText(*train), ", test_images ", ShapeText(*test),
                                       "; must be the same except for their number"));
  }
  return differences;
}

// Labels as int64, checked to be in [0, classes); `classes` is 0 if it is not known yet.
absl::StatusOr<at::Tensor> Labels(const Safetensors& file, const std::string& path, const char* name, int64_t classes) {
  const at::Tensor labels = file.tensors.at(name).to(at::kLong);
  const int64_t most = classes > 0 ? classes : kMostClasses;
  const at::Tensor wrong = ((labels < 0) | (labels >= most)).nonzero();
  if (wrong.size(0) == 0) return labels;
  const int64_t at = wrong[0][0].item<int64_t>();
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": ", name, "[", at, "] is ", labels[at].item<int64_t>(), "; must be from 0 to ", most - 1));
}

struct Opened {
  std::string path;
  DatasetInfo info;
  bool floating = false;
};

// Reads the header, the sizes, and, if `classes` is unset, the number of classes from the labels.
absl::StatusOr<Opened> OpenHeader(const SafetensorsDataset& parameters) {
  if (parameters.path().empty()) {
    return FieldError("path",
                      "must be set: a safetensors file with train_images, train_labels, test_images, test_labels");
  }
  if (parameters.has_classes() && !(parameters.classes() >= 2 && parameters.classes() <= kMostClasses)) {
    return FieldError("classes", absl::StrCat("is ", parameters.classes(), "; must be from 2 to ", kMostClasses));
  }
  if (parameters.has_scale() && !(parameters.scale() > 0 && std::isfinite(parameters.scale()))) {
    return FieldError("scale", absl::StrCat("is ", parameters.scale(), "; must be above 0 and finite"));
  }
  Opened opened;
  opened.path = UserPath(parameters.path());
  const absl::StatusOr<SafetensorsHeader> header = ReadSafetensorsHeader(opened.path);
  if (!header.ok()) return InPath(header.status());
  const std::vector<std::string> differences = Differences(header->tensors, parameters.channels_first());
  if (!differences.empty()) {
    std::vector<std::string> names;
    for (const auto& [name, entry] : header->tensors) names.push_back(name);
    const size_t shown = std::min<size_t>(names.size(), 10);
    return InPath(absl::InvalidArgumentError(
        absl::StrCat(opened.path, ": is not a data set:\n  ", absl::StrJoin(differences, "\n  "), "\nit has ",
                     names.empty() ? "no tensors" : absl::StrJoin(names.begin(), names.begin() + shown, ", "),
                     names.size() > shown ? ", ..." : "")));
  }
  const SafetensorsEntry& train = header->tensors.at(kTrainImages);
  opened.floating = train.dtype == at::kFloat;
  opened.info.channels = train.shape[1];
  opened.info.height = train.shape[2];
  opened.info.width = train.shape[3];
  opened.info.train_images = train.shape[0];
  opened.info.test_images = header->tensors.at(kTestImages).shape[0];
  opened.info.classes = parameters.classes();
  if (!parameters.has_classes()) {
    const absl::StatusOr<Safetensors> file = ReadSafetensors(opened.path, {kTrainLabels, kTestLabels});
    if (!file.ok()) return InPath(file.status());
    const absl::StatusOr<at::Tensor> trained = Labels(*file, opened.path, kTrainLabels, 0);
    if (!trained.ok()) return InPath(trained.status());
    const absl::StatusOr<at::Tensor> tested = Labels(*file, opened.path, kTestLabels, 0);
    if (!tested.ok()) return InPath(tested.status());
    opened.info.classes =
        std::max<int64_t>(2, std::max(trained->max().item<int64_t>(), tested->max().item<int64_t>()) + 1);
    const at::Tensor unseen = (at::bincount(*trained, {}, opened.info.classes) == 0).nonzero();
    if (unseen.size(0) > 0) {
      return InPath(absl::InvalidArgumentError(
          absl::StrCat(opened.path, ": no training image has label ", unseen[0][0].item<int64_t>(), " of the ",
                       opened.info.classes, " that the labels span; number the classes from 0 without gaps",
                       unseen[0][0].item<int64_t>() == 0 ? " (labels from 1 on: subtract 1)" : "", ", or set ",
                       "`classes` if this is intended")));
    }
  }
  return opened;
}

absl::StatusOr<Normalization> NormalizationOf(const SafetensorsDataset& parameters, const Opened& opened) {
  NormalizationDefaults defaults;
  if (opened.floating) defaults = {1, 0, 1};
  if (parameters.has_scale()) defaults.scale = parameters.scale();
  return ChooseNormalization({parameters.mean().begin(), parameters.mean().end()},
                             {parameters.stddev().begin(), parameters.stddev().end()}, opened.info.channels, defaults);
}

absl::StatusOr<LabelledImages> Part(Safetensors& file, const std::string& path, const char* images, const char* labels,
                                    int64_t classes) {
  LabelledImages part;
  part.images = file.tensors.at(images);
  PRUNELAB_ASSIGN_OR_RETURN(part.labels, Labels(file, path, labels, classes));
  if (part.images.scalar_type() == at::kFloat) {
    const at::Tensor wrong = at::isfinite(part.images).logical_not().flatten(1).any(1).nonzero();
    if (wrong.size(0) > 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": ", images, "[", wrong[0][0].item<int64_t>(), "] has pixels that are infinite or NaN"));
    }
  }
  return part;
}

absl::StatusOr<DatasetInfo> Describe(const SafetensorsDataset& parameters) {
  PRUNELAB_ASSIGN_OR_RETURN(const Opened opened, OpenHeader(parameters));
  PRUNELAB_RETURN_IF_ERROR(NormalizationOf(parameters, opened).status());
  return opened.info;
}

absl::StatusOr<Dataset> Open(const SafetensorsDataset& parameters) {
  PRUNELAB_ASSIGN_OR_RETURN(const Opened opened, OpenHeader(parameters));
  Dataset dataset;
  dataset.info = opened.info;
  PRUNELAB_ASSIGN_OR_RETURN(dataset.normalization, NormalizationOf(parameters, opened));
  absl::StatusOr<Safetensors> file =
      ReadSafetensors(opened.path, {kTrainImages, kTrainLabels, kTestImages, kTestLabels});
  if (!file.ok()) return InPath(file.status());
  absl::StatusOr<LabelledImages> train = Part(*file, opened.path, kTrainImages, kTrainLabels, opened.info.classes);
  if (!train.ok()) return InPath(train.status());
  absl::StatusOr<LabelledImages> test = Part(*file, opened.path, kTestImages, kTestLabels, opened.info.classes);
  if (!test.ok()) return InPath(test.status());
  dataset.train = *std::move(train);
  dataset.test = *std::move(test);
  dataset.fingerprint = DataFingerprint(dataset.train, dataset.test);
  return dataset;
}

}  // namespace

TypedDatasetFactory<SafetensorsDataset> CreateSafetensorsDataset() { return {&Describe, &Open}; }

namespace {
const bool registered = RegisterDataset(&CreateSafetensorsDataset);
}  // namespace

}  // namespace prunelab
