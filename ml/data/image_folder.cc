#include "ml/data/image_folder.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/data/channel_normalization.h"
#include "ml/data/picture.h"
#include "ml/data/picture_folders.h"

namespace prunelab {
namespace {

constexpr uint64_t kMostFileBytes = uint64_t{1} << 28;
constexpr size_t kMostNamed = 10;  // pictures in an error

absl::Status PathError(absl::StatusCode code, absl::string_view message) {
  return InField("path", absl::Status(code, message));
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

// Everything that is known without opening a picture.
absl::StatusOr<DatasetInfo> InfoFor(const ImageFolder& parameters, const PictureFolders& folders) {
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
                     "; choose a smaller image_size, or raise the limit if the machine has the memory"));
  }
  return info;
}

absl::StatusOr<PictureFolders> CheckAndList(const ImageFolder& parameters) {
  PRUNELAB_RETURN_IF_ERROR(CheckRange("image_size", parameters.image_size(), 1, 4096));
  PRUNELAB_RETURN_IF_ERROR(CheckRange("resize", ResizeOf(parameters), parameters.image_size(), 8192));
  PRUNELAB_RETURN_IF_ERROR(CheckRange("max_memory_mb", parameters.max_memory_mb(), 1, int64_t{1} << 40));
  PRUNELAB_RETURN_IF_ERROR(NormalizationOf(parameters).status());
  if (parameters.path().empty()) return FieldError("path", "must be set: the folder that holds train and test");
  absl::StatusOr<PictureFolders> folders = FindPictures(UserPath(parameters.path()));
  if (!folders.ok()) return InField("path", folders.status());
  return folders;
}

// What the user should know about a picture that was decoded.
struct PictureKind {
  bool not_turned = false;  // although its EXIF data say that it should be
  bool exif_damaged = false;
  bool deep_grey = false;
};

absl::Status DecodeInto(const std::string& file, const ImageFolder& parameters, PictureKind* kind, uint8_t* out) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file, kMostFileBytes));
  absl::StatusOr<Picture> picture = DecodePicture(bytes);
  if (!picture.ok()) return absl::DataLossError(absl::StrCat(file, ": ", picture.status().message()));
  if (parameters.exif_orientation()) TurnUpright(*picture);
  *kind = {picture->orientation != 1, picture->exif_damaged, picture->deep_grey};
  ResizeAndCrop(*picture, ResizeOf(parameters), parameters.image_size(), parameters.grey() ? 1 : 3, out);
  return absl::OkStatus();
}

struct DecodedPart {
  LabelledImages data;
  std::vector<std::string> bad;  // what is wrong with each picture that was left out
  // The names, within the part's folder, of the pictures that were not left out.
  std::vector<std::string> not_turned, exif_damaged, deep_grey;
};

DecodedPart Decode(const PictureListing& listing, const ImageFolder& parameters) {
  const int64_t n = static_cast<int64_t>(listing.files.size());
  const int64_t size = parameters.image_size(), channels = parameters.grey() ? 1 : 3;
  const int64_t image_bytes = channels * size * size;
  const at::Tensor images = at::empty({n, channels, size, size}, at::kByte);
  uint8_t* pixels = images.mutable_data_ptr<uint8_t>();
  // Each picture has a fixed place, whichever thread decodes it.
  std::vector<absl::Status> statuses(n);
  std::vector<PictureKind> kinds(n);
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t i = next++; i < n; i = next++) {
      statuses[i] = DecodeInto(listing.files[i], parameters, &kinds[i], pixels + i * image_bytes);
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
    const auto name_in = [&](std::vector<std::string>& names) {
      names.push_back(std::string(absl::StripPrefix(listing.files[i], listing.folder + "/")));
    };
    if (kinds[i].not_turned) name_in(part.not_turned);
    if (kinds[i].exif_damaged) name_in(part.exif_damaged);
    if (kinds[i].deep_grey) name_in(part.deep_grey);
  }
  const int64_t good = static_cast<int64_t>(labels.size());
  part.data.images = images.narrow(0, 0, good);
  part.data.labels = at::empty({good}, at::kLong);
  std::copy(labels.begin(), labels.end(), part.data.labels.mutable_data_ptr<int64_t>());
  return part;
}

// What is wrong with pictures, one line each; only the first ones if there are many.
std::string LinesOf(const std::vector<std::string>& bad) {
  const size_t shown = std::min(bad.size(), kMostNamed);
  return absl::StrCat("\n  ", absl::StrJoin(bad.begin(), bad.begin() + shown, "\n  "),
                      bad.size() > shown ? absl::StrCat("\n  and ", bad.size() - shown, " more") : "");
}

absl::Status RefuseBad(const PictureFolders& folders, const DecodedPart& train, const DecodedPart& test) {
  std::vector<std::string> bad = train.bad;
  bad.insert(bad.end(), test.bad.begin(), test.bad.end());
  if (bad.empty()) return absl::OkStatus();
  return PathError(absl::StatusCode::kDataLoss,
                   absl::StrCat(bad.size(), " of ", folders.train.files.size() + folders.test.files.size(),
                                " pictures cannot be used; repair or remove them, or set on_bad_image: SKIP to do "
                                "without:",
                                LinesOf(bad)));
}

// Notes pictures whose pixels may not be what the user expects.
void NoteKinds(const PictureListing& listing, const DecodedPart& part, const ImageFolder& parameters,
               std::vector<std::string>& notes) {
  const auto note = [&](const std::vector<std::string>& names, absl::string_view what) {
    if (names.empty()) return;
    notes.push_back(absl::StrCat(listing.folder, ": ", names.size(), " of ",
                                 Counted(part.data.size(), "picture", "pictures"), " ",
                                 names.size() == 1 ? "has " : "have ", what, ": ", SomeNames(names)));
  };
  note(part.not_turned,
       "an EXIF orientation, which is not applied (nor is it by torchvision); set exif_orientation: true to turn such "
       "pictures upright");
  if (parameters.exif_orientation()) {
    note(part.exif_damaged,
         "damaged EXIF data, so that the orientation is not known; such pictures are used as stored");
  }
  note(part.deep_grey,
       "grey values of 16 bits, of which the upper eight are used (Pillow, and so torchvision, makes all values above "
       "255 "
       "white)");
}

// Notes which pictures of a part were left out; refuses the part if a class has none left.
absl::Status NoteLeftOut(const PictureListing& listing, const DecodedPart& part, std::vector<std::string>& notes) {
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
                   absl::StrCat(listing.folder, ": no picture is left of the classes ", SomeNames(lost),
                                " without those that cannot be used:", LinesOf(part.bad)));
}

absl::StatusOr<DatasetInfo> Describe(const ImageFolder& parameters) {
  PRUNELAB_ASSIGN_OR_RETURN(const PictureFolders folders, CheckAndList(parameters));
  return InfoFor(parameters, folders);
}

absl::StatusOr<Dataset> Open(const ImageFolder& parameters) {
  PRUNELAB_ASSIGN_OR_RETURN(const PictureFolders folders, CheckAndList(parameters));
  Dataset dataset;
  PRUNELAB_ASSIGN_OR_RETURN(dataset.info, InfoFor(parameters, folders));
  PRUNELAB_ASSIGN_OR_RETURN(dataset.normalization, NormalizationOf(parameters));
  DecodedPart train = Decode(folders.train, parameters);
  DecodedPart test = Decode(folders.test, parameters);
  if (parameters.on_bad_image() != ImageFolder::SKIP) PRUNELAB_RETURN_IF_ERROR(RefuseBad(folders, train, test));
  dataset.notes = folders.notes;
  PRUNELAB_RETURN_IF_ERROR(NoteLeftOut(folders.train, train, dataset.notes));
  PRUNELAB_RETURN_IF_ERROR(NoteLeftOut(folders.test, test, dataset.notes));
  NoteKinds(folders.train, train, parameters, dataset.notes);
  NoteKinds(folders.test, test, parameters, dataset.notes);
  dataset.train = std::move(train.data);
  dataset.test = std::move(test.data);
  dataset.info = InfoOf(dataset.info.classes, dataset.train, dataset.test);
  dataset.fingerprint = DataFingerprint(dataset.train, dataset.test);
  return dataset;
}

}  // namespace

TypedDatasetFactory<ImageFolder> CreateImageFolder() { return {&Describe, &Open}; }

namespace {
const bool registered = RegisterDataset(&CreateImageFolder);
}  // namespace

}  // namespace prunelab
