#include "ml/data/picture_data.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/data/channel_normalization.h"
#include "ml/data/picture_folders.h"

namespace prunelab {
namespace {

constexpr size_t kMostNamed = 10;  // pictures in an error

absl::Status CheckRange(const char* field, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; must be from ", least, " to ", most));
}

absl::StatusOr<Normalization> NormalizationOf(const PictureParameters& parameters) {
  return ChooseNormalization(parameters.mean, parameters.stddev, static_cast<int>(parameters.form.channels()), {});
}

// What is wrong with pictures, one line each; only the first ones if there are many.
std::string LinesOf(const std::vector<std::string>& bad) {
  const size_t shown = std::min(bad.size(), kMostNamed);
  return absl::StrCat("\n  ", absl::StrJoin(bad.begin(), bad.begin() + shown, "\n  "),
                      bad.size() > shown ? absl::StrCat("\n  and ", bad.size() - shown, " more") : "");
}

// A part of the data set with where it comes from.
struct Part {
  const char* field;  // that names it
  std::shared_ptr<PictureFiles> files;
  StoredPictures stored;
};

absl::Status RefuseBad(const Part& train, const Part& test) {
  std::vector<std::string> bad = train.stored.bad;
  bad.insert(bad.end(), test.stored.bad.begin(), test.stored.bad.end());
  if (bad.empty()) return absl::OkStatus();
  return InField(
      train.stored.bad.empty() ? test.field : train.field,
      absl::DataLossError(absl::StrCat(
          bad.size(), " of ", train.files->size() + test.files->size(),
          " pictures cannot be used; repair or remove them, or set on_bad_image: SKIP to do without:", LinesOf(bad))));
}

// Notes pictures whose pixels may not be what the user expects.
void NoteKinds(const Part& part, const PictureParameters& parameters, std::vector<std::string>& notes) {
  const auto note = [&](bool PictureKind::*has, absl::string_view what) {
    std::vector<std::string> names;
    for (const int64_t picture : part.stored.pictures) {
      if (part.stored.kinds[picture].*has) names.push_back(part.files->ShortName(picture));
    }
    if (names.empty()) return;
    notes.push_back(absl::StrCat(part.files->place(), ": ", names.size(), " of ",
                                 Counted(part.stored.data.size(), "picture", "pictures"), " ",
                                 names.size() == 1 ? "has " : "have ", what, ": ", SomeNames(names)));
  };
  note(&PictureKind::not_turned,
       "an EXIF orientation, which is not applied (nor is it by torchvision); set exif_orientation: true to turn such "
       "pictures upright");
  if (parameters.form.exif_orientation) {
    note(&PictureKind::exif_damaged,
         "damaged EXIF data, so that the orientation is not known; such pictures are used as stored");
  }
  note(&PictureKind::deep_grey,
       "grey values of 16 bits, of which the upper eight are used (Pillow, and so torchvision, makes all values above "
       "255 "
       "white)");
}

// Notes which pictures of a part were left out; refuses the part if a class has none left.
absl::Status NoteLeftOut(const Part& part, std::vector<std::string>& notes) {
  const std::vector<std::string>& bad = part.stored.bad;
  if (bad.empty()) return absl::OkStatus();
  const std::string& place = part.files->place();
  notes.push_back(
      absl::StrCat(place, ": ", bad.size(), " of ", part.files->size(), " pictures were left out:", LinesOf(bad)));
  std::vector<int64_t> counts(part.files->classes().size());
  const int64_t* labels = part.stored.data.labels.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < part.stored.data.size(); ++i) ++counts[labels[i]];
  std::vector<std::string> lost;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) lost.push_back(part.files->classes()[i]);
  }
  if (lost.empty()) return absl::OkStatus();
  return InField(part.field,
                 absl::DataLossError(absl::StrCat(place, ": no picture is left of the classes ", SomeNames(lost),
                                                  " without those that cannot be used:", LinesOf(bad))));
}

double Megabytes(const PictureParameters& parameters, int64_t images) {
  return static_cast<double>(images) * static_cast<double>(parameters.form.image_bytes()) / 1e6;
}

// How a part is kept. With AUTO whole pictures are not, as only their files tell how large they are.
PictureStorage StorageOf(const PictureParameters& parameters, int64_t images, bool whole) {
  PictureStorage storage;
  storage.max_bytes = parameters.max_bytes();
  storage.folder = parameters.cache_folder;
  const bool fits = Megabytes(parameters, images) * 1e6 <= static_cast<double>(storage.max_bytes);
  storage.cache = parameters.cache.value_or(fits && !whole ? PictureCache::kMemory : PictureCache::kNone);
  return storage;
}

}  // namespace

absl::Status CheckPictureParameters(const PictureParameters& parameters) {
  const PictureForm& form = parameters.form;
  PRUNELAB_RETURN_IF_ERROR(CheckRange("image_size", form.image_size, 1, 4096));
  PRUNELAB_RETURN_IF_ERROR(CheckRange("resize", form.resize, form.image_size, 8192));
  if (parameters.has_max_memory) {
    PRUNELAB_RETURN_IF_ERROR(CheckRange("max_memory_mb", parameters.max_memory_mb, 1, int64_t{1} << 40));
  }
  if (parameters.has_whole_shorter_side) {
    PRUNELAB_RETURN_IF_ERROR(CheckRange("whole_shorter_side", form.whole_shorter_side, form.resize, 8192));
    if (!parameters.whole_training) {
      return FieldError("whole_shorter_side", "is of whole pictures; set whole_training_pictures: true, too");
    }
  }
  if (parameters.cache_folder.empty()) return FieldError("cache_folder", "is empty; name a folder, or leave it out");
  if (parameters.cache_folder[0] == '~' && parameters.cache != PictureCache::kMemory) {
    return FieldError("cache_folder", absl::StrCat("is ", parameters.cache_folder,
                                                   ", but this user's home folder is not known; name another folder"));
  }
  return NormalizationOf(parameters).status();
}

absl::StatusOr<DatasetInfo> DescribePictures(const PictureParameters& parameters, int64_t classes, int64_t train_images,
                                             int64_t test_images) {
  DatasetInfo info;
  info.classes = classes;
  info.channels = parameters.form.channels();
  info.height = info.width = parameters.form.image_size;
  info.train_images = train_images;
  info.test_images = test_images;
  const int64_t images = parameters.whole_training ? test_images : train_images + test_images;
  const double megabytes = Megabytes(parameters, images);
  const int64_t most = parameters.max_bytes() / 1000000;
  if (parameters.cache == PictureCache::kMemory && megabytes > static_cast<double>(most)) {
    return FieldError(
        "max_memory_mb",
        absl::StrCat("is ", most, parameters.has_max_memory ? "" : " (an eighth of this machine's memory)", ", but ",
                     images, " images of ", info.channels, "x", info.height, "x", info.width, " bytes take ",
                     static_cast<int64_t>(megabytes) + 1,
                     "; choose a smaller image_size or another cache, or raise the limit if the machine has the "
                     "memory"));
  }
  return info;
}

absl::StatusOr<Dataset> OpenPictures(const PictureParameters& parameters, const char* train_field,
                                     const char* test_field, std::shared_ptr<PictureFiles> train_files,
                                     std::shared_ptr<PictureFiles> test_files, std::vector<std::string> notes) {
  Dataset dataset;
  PRUNELAB_ASSIGN_OR_RETURN(dataset.normalization, NormalizationOf(parameters));
  const int64_t images = train_files->size() + test_files->size();
  const auto store = [&](const char* field, std::shared_ptr<PictureFiles> files, bool whole) -> absl::StatusOr<Part> {
    PictureForm form = parameters.form;
    form.whole = whole;
    if (!whole) form.whole_shorter_side = 0;
    const int64_t counted = parameters.whole_training && !whole ? files->size() : images;
    absl::StatusOr<StoredPictures> stored = StorePictures(files, form, StorageOf(parameters, counted, whole));
    if (!stored.ok()) return ErrorField(stored.status()).empty() ? InField(field, stored.status()) : stored.status();
    return Part{field, std::move(files), *std::move(stored)};
  };
  PRUNELAB_ASSIGN_OR_RETURN(Part train, store(train_field, std::move(train_files), parameters.whole_training));
  PRUNELAB_ASSIGN_OR_RETURN(Part test, store(test_field, std::move(test_files), false));
  if (!parameters.skip_bad) PRUNELAB_RETURN_IF_ERROR(RefuseBad(train, test));
  dataset.notes = std::move(notes);
  for (const Part* part : {&train, &test}) PRUNELAB_RETURN_IF_ERROR(NoteLeftOut(*part, dataset.notes));
  for (const Part* part : {&train, &test}) NoteKinds(*part, parameters, dataset.notes);
  dataset.train = std::move(train.stored.data);
  dataset.test = std::move(test.stored.data);
  dataset.info = InfoOf(static_cast<int64_t>(train.files->classes().size()), dataset.train, dataset.test);
  dataset.fingerprint = DataFingerprint(dataset.train, dataset.test);
  return dataset;
}

}  // namespace prunelab
