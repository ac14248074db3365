#include "ml/data/image_folder.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/data/channel_normalization.h"
#include "ml/data/picture.h"

namespace prunelab {
namespace {

constexpr uint64_t kMostFileBytes = uint64_t{1} << 28;
constexpr size_t kMostNamed = 10;  // pictures or classes in an error

absl::Status PathError(absl::StatusCode code, absl::string_view message) {
  return InField("path", absl::Status(code, message));
}

bool IsPicture(const std::string& name) {
  const std::string lower = absl::AsciiStrToLower(name);
  return absl::EndsWith(lower, ".jpg") || absl::EndsWith(lower, ".jpeg") || absl::EndsWith(lower, ".png");
}

std::string FirstOf(const std::vector<std::string>& names) {
  const size_t shown = std::min(names.size(), kMostNamed);
  return absl::StrCat(absl::StrJoin(names.begin(), names.begin() + shown, ", "),
                      names.size() > shown ? absl::StrCat(", and ", names.size() - shown, " more") : "");
}

// The pictures of train or test.
struct Listing {
  std::string folder;
  std::vector<std::string> classes;
  std::vector<std::string> files;
  std::vector<int64_t> labels;  // one a file
  int64_t left_out = 0;         // files that are no pictures by their names
};

absl::StatusOr<Listing> List(const std::string& folder) {
  Listing listing;
  listing.folder = folder;
  const absl::StatusOr<std::vector<std::string>> classes = ListFolder(folder);
  if (!classes.ok()) return InField("path", classes.status());
  std::vector<std::string> empty;
  for (const std::string& name : *classes) {
    const std::string class_folder = JoinPath(folder, name);
    if (absl::StartsWith(name, ".")) continue;
    if (!IsFolder(class_folder)) {
      ++listing.left_out;
      continue;
    }
    const absl::StatusOr<std::vector<std::string>> files = ListFolder(class_folder);
    if (!files.ok()) return InField("path", files.status());
    const size_t before = listing.files.size();
    for (const std::string& file : *files) {
      if (absl::StartsWith(file, ".")) continue;
      if (!IsPicture(file)) {
        ++listing.left_out;
        continue;
      }
      listing.files.push_back(JoinPath(class_folder, file));
      listing.labels.push_back(static_cast<int64_t>(listing.classes.size()));
    }
    if (listing.files.size() == before) empty.push_back(name);
    listing.classes.push_back(name);
  }
  if (listing.classes.empty()) {
    return PathError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(folder, ": has no folders; must have one for each class"));
  }
  if (!empty.empty()) {
    return PathError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(folder, ": no .jpg, .jpeg or .png file in the class folders ", FirstOf(empty)));
  }
  return listing;
}

struct Folders {
  Listing train, test;
};

absl::StatusOr<Folders> ListAll(const std::string& path) {
  if (path.empty()) return FieldError("path", "must be set: the folder that holds train and test");
  const std::string folder = UserPath(path);
  const std::string wanted = "must hold train/CLASS/*.jpg|png and test/CLASS/*.jpg|png (or val/CLASS/...)";
  if (!PathExists(folder)) {
    return PathError(absl::StatusCode::kNotFound, absl::StrCat(folder, ": no such folder; it ", wanted));
  }
  if (!IsFolder(folder)) {
    return PathError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(folder, ": is a file; must be a folder, and ", wanted));
  }
  const std::string test = JoinPath(folder, IsFolder(JoinPath(folder, "test")) ? "test" : "val");
  if (!IsFolder(JoinPath(folder, "train"))) {
    return PathError(absl::StatusCode::kNotFound, absl::StrCat(folder, ": has no folder train; it ", wanted));
  }
  if (!IsFolder(test)) {
    return PathError(absl::StatusCode::kNotFound, absl::StrCat(folder, ": has neither test nor val; it ", wanted));
  }
  Folders folders;
  PRUNELAB_ASSIGN_OR_RETURN(folders.train, List(JoinPath(folder, "train")));
  PRUNELAB_ASSIGN_OR_RETURN(folders.test, List(test));
  const std::vector<std::string>&a = folders.train.classes, &b = folders.test.classes;
  std::vector<std::string> only_train, only_test, differences;
  std::set_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(only_train));
  std::set_difference(b.begin(), b.end(), a.begin(), a.end(), std::back_inserter(only_test));
  if (!only_train.empty()) differences.push_back(absl::StrCat("only in train: ", FirstOf(only_train)));
  if (!only_test.empty()) differences.push_back(absl::StrCat("only in ", test, ": ", FirstOf(only_test)));
  if (!differences.empty()) {
    return PathError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(folder, ": the class folders of training and test data differ: ",
                                  absl::StrJoin(differences, "; "), "; both must have the same"));
  }
  if (a.size() < 2) {
    return PathError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(folder, ": has one class, ", a.front(), "; must have two or more"));
  }
  return folders;
}

absl::Status CheckRange(const char* field, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; must be from ", least, " to ", most));
}

int64_t ResizeOf(const ImageFolder& parameters) {
  return parameters.has_resize() ? parameters.resize() : parameters.image_size();
}

absl::StatusOr<Normalization> NormalizationOf(const ImageFolder& parameters) {
  return ChooseNormalization({parameters.mean().begin(), parameters.mean().end()},
                             {parameters.stddev().begin(), parameters.stddev().end()}, parameters.grey() ? 1 : 3, {});
}

// All that can be said without opening a picture.
absl::StatusOr<DatasetInfo> InfoFor(const ImageFolder& parameters, const Folders& folders) {
  DatasetInfo info;
  info.classes = static_cast<int64_t>(folders.train.classes.size());
  info.channels = parameters.grey() ? 1 : 3;
  info.height = info.width = parameters.image_size();
  info.train_images = static_cast<int64_t>(folders.train.files.size());
  info.test_images = static_cast<int64_t>(folders.test.files.size());
  const int64_t images = info.train_images + info.test_images;
  const double megabytes = static_cast<double>(images) * info.channels * info.height * info.width / 1e6;
  if (megabytes > static_cast<double>(parameters.max_memory_mb())) {
    return FieldError(
        "max_memory_mb",
        absl::StrCat("is ", parameters.max_memory_mb(), ", but ", images, " images of ", info.channels, "x",
                     info.height, "x", info.width, " bytes take ", static_cast<int64_t>(megabytes) + 1,
                     "; choose a smaller image_size, or set it higher where the machine has the memory"));
  }
  return info;
}

absl::StatusOr<Folders> CheckAndList(const ImageFolder& parameters) {
  PRUNELAB_RETURN_IF_ERROR(CheckRange("image_size", parameters.image_size(), 1, 4096));
  PRUNELAB_RETURN_IF_ERROR(CheckRange("resize", ResizeOf(parameters), parameters.image_size(), 8192));
  PRUNELAB_RETURN_IF_ERROR(CheckRange("max_memory_mb", parameters.max_memory_mb(), 1, int64_t{1} << 40));
  PRUNELAB_RETURN_IF_ERROR(NormalizationOf(parameters).status());
  return ListAll(parameters.path());
}

absl::Status DecodeInto(const std::string& file, const ImageFolder& parameters, uint8_t* out) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file, kMostFileBytes));
  const absl::StatusOr<Picture> picture = DecodePicture(bytes);
  if (!picture.ok()) return absl::DataLossError(absl::StrCat(file, ": ", picture.status().message()));
  ResizeAndCrop(*picture, ResizeOf(parameters), parameters.image_size(), parameters.grey() ? 1 : 3, out);
  return absl::OkStatus();
}

struct DecodedPart {
  LabelledImages data;
  std::vector<std::string> bad;  // what is wrong with each picture that was left out
};

DecodedPart Decode(const Listing& listing, const ImageFolder& parameters) {
  const int64_t n = static_cast<int64_t>(listing.files.size());
  const int64_t size = parameters.image_size(), channels = parameters.grey() ? 1 : 3;
  const int64_t image_bytes = channels * size * size;
  const at::Tensor images = at::empty({n, channels, size, size}, at::kByte);
  uint8_t* pixels = images.mutable_data_ptr<uint8_t>();
  // Each picture has its place whichever thread decodes it.
  std::vector<absl::Status> statuses(n);
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t i = next++; i < n; i = next++) {
      statuses[i] = DecodeInto(listing.files[i], parameters, pixels + i * image_bytes);
    }
  };
  std::vector<std::thread> threads;
  const int64_t helpers = std::min<int64_t>(std::max(1u, std::thread::hardware_concurrency()), n) - 1;
  for (int64_t i = 0; i < helpers; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();

  DecodedPart part;
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < n; ++i) {
    if (!statuses[i].ok()) {
      part.bad.push_back(std::string(statuses[i].message()));
      continue;
    }
    const int64_t place = static_cast<int64_t>(labels.size());
    if (place != i) std::memcpy(pixels + place * image_bytes, pixels + i * image_bytes, image_bytes);
    labels.push_back(listing.labels[i]);
  }
  const int64_t good = static_cast<int64_t>(labels.size());
  part.data.images = images.narrow(0, 0, good);
  part.data.labels = at::empty({good}, at::kLong);
  std::copy(labels.begin(), labels.end(), part.data.labels.mutable_data_ptr<int64_t>());
  return part;
}

// What is wrong with pictures, a line each; of many the first.
std::string LinesOf(const std::vector<std::string>& bad) {
  const size_t shown = std::min(bad.size(), kMostNamed);
  return absl::StrCat("\n  ", absl::StrJoin(bad.begin(), bad.begin() + shown, "\n  "),
                      bad.size() > shown ? absl::StrCat("\n  and ", bad.size() - shown, " more") : "");
}

absl::Status RefuseBad(const Folders& folders, const DecodedPart& train, const DecodedPart& test) {
  std::vector<std::string> bad = train.bad;
  bad.insert(bad.end(), test.bad.begin(), test.bad.end());
  if (bad.empty()) return absl::OkStatus();
  return PathError(absl::StatusCode::kDataLoss,
                   absl::StrCat(bad.size(), " of ", folders.train.files.size() + folders.test.files.size(),
                                " pictures cannot be used; mend or remove them, or set on_bad_image: SKIP to do "
                                "without:",
                                LinesOf(bad)));
}

// Notes what was left out of a part; refuses one that has lost a class by it.
absl::Status NoteLeftOut(const Listing& listing, const DecodedPart& part, std::vector<std::string>& notes) {
  if (listing.left_out > 0) {
    notes.push_back(
        absl::StrCat(listing.folder, ": ", listing.left_out, " files that are no .jpg, .jpeg or .png were left out"));
  }
  if (part.bad.empty()) return absl::OkStatus();
  notes.push_back(absl::StrCat(listing.folder, ": ", part.bad.size(), " of ", listing.files.size(),
                               " pictures were left out:", LinesOf(part.bad)));
  std::vector<int64_t> counts(listing.classes.size());
  const int64_t* labels = part.data.labels.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < part.data.size(); ++i) ++counts[labels[i]];
  std::vector<std::string> lost;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) lost.push_back(listing.classes[i]);
  }
  if (lost.empty()) return absl::OkStatus();
  return PathError(absl::StatusCode::kDataLoss,
                   absl::StrCat(listing.folder, ": no picture is left of the classes ", FirstOf(lost),
                                " without those that cannot be used:", LinesOf(part.bad)));
}

absl::StatusOr<DatasetInfo> Describe(const ImageFolder& parameters) {
  PRUNELAB_ASSIGN_OR_RETURN(const Folders folders, CheckAndList(parameters));
  return InfoFor(parameters, folders);
}

absl::StatusOr<Dataset> Open(const ImageFolder& parameters) {
  PRUNELAB_ASSIGN_OR_RETURN(const Folders folders, CheckAndList(parameters));
  Dataset dataset;
  PRUNELAB_ASSIGN_OR_RETURN(dataset.info, InfoFor(parameters, folders));
  PRUNELAB_ASSIGN_OR_RETURN(dataset.normalization, NormalizationOf(parameters));
  DecodedPart train = Decode(folders.train, parameters);
  DecodedPart test = Decode(folders.test, parameters);
  if (parameters.on_bad_image() != ImageFolder::SKIP) PRUNELAB_RETURN_IF_ERROR(RefuseBad(folders, train, test));
  PRUNELAB_RETURN_IF_ERROR(NoteLeftOut(folders.train, train, dataset.notes));
  PRUNELAB_RETURN_IF_ERROR(NoteLeftOut(folders.test, test, dataset.notes));
  dataset.train = std::move(train.data);
  dataset.test = std::move(test.data);
  dataset.info = InfoOf(dataset.info.classes, dataset.train, dataset.test);
  dataset.fingerprint = DataFingerprint(dataset.train, dataset.test);
  return dataset;
}

}  // namespace

TypedDatasetFactory<ImageFolder> CreateImageFolder() { return {&Describe, &Open}; }

}  // namespace prunelab
