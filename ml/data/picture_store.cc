#include "ml/data/picture_store.h"

#include <ATen/ops/empty.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ml/base/cgroup_limits.h"
#include "ml/base/check.h"
#include "ml/base/digest.h"
#include "ml/base/field_error.h"
#include "ml/base/file_lock.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/base/steady_seconds.h"
#include "ml/data/picture.h"
#include "ml/data/picture_transforms.h"
#include "ml/data/read_ahead.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {
namespace {

constexpr int64_t kShardBytes = int64_t{1} << 26;  // a shard of the cache holds so much, or one picture

// A picture as it is kept: an image [channels, size, size], or, whole, [height, width, channels].
struct KeptPicture {
  std::vector<uint8_t> pixels;
  int64_t height = 0, width = 0;
};

template <typename AnyPicture>
PixelView ViewOf(const AnyPicture& picture, int64_t channels) {
  return {picture.pixels.data(), picture.height, picture.width, channels, picture.width * channels};
}

// From [size, size, channels] to [channels, size, size].
void ToPlanes(const uint8_t* interleaved, int64_t pixels, int64_t channels, uint8_t* out) {
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < pixels; ++i) out[c * pixels + i] = interleaved[i * channels + c];
  }
}

// The image for an evaluation, [channels, size, size].
void CutImage(const Picture& picture, const PictureForm& form, uint8_t* out) {
  if (!form.bilinear) {
    ResizeAndCrop(picture, form.resize, form.image_size, form.channels(), out);
    return;
  }
  const int64_t pixels = form.image_size * form.image_size;
  std::vector<uint8_t> middle(pixels * 3);
  ResizeAndCenterCrop(ViewOf(picture, 3), form.resize, form.image_size, middle.data());
  if (!form.grey) {
    ToPlanes(middle.data(), pixels, 3, out);
    return;
  }
  for (int64_t i = 0; i < pixels; ++i) out[i] = Luma(&middle[3 * i]);
}

// The size of a picture whose shorter side is scaled to `shorter`, rounded as ResizeAndCrop does.
PixelBox ScaledSize(const Picture& picture, int64_t shorter) {
  const int64_t side = std::min(picture.height, picture.width);
  return {0, 0, std::max(shorter, (picture.height * shorter * 2 + side) / (2 * side)),
          std::max(shorter, (picture.width * shorter * 2 + side) / (2 * side))};
}

KeptPicture KeepWhole(Picture picture, const PictureForm& form) {
  const int64_t shorter = form.whole_shorter_side;
  KeptPicture kept;
  if (shorter > 0 && std::min(picture.height, picture.width) > shorter) {
    const PixelBox size = ScaledSize(picture, shorter);
    std::vector<uint8_t> scaled(size.height * size.width * 3);
    ResizeBilinear(ViewOf(picture, 3), size.height, size.width, size, scaled.data());
    picture.pixels = std::move(scaled);
    picture.height = size.height;
    picture.width = size.width;
  }
  kept.height = picture.height;
  kept.width = picture.width;
  kept.pixels = std::move(picture.pixels);
  if (form.grey) {
    const int64_t pixels = kept.height * kept.width;
    for (int64_t i = 0; i < pixels; ++i) kept.pixels[i] = Luma(&kept.pixels[3 * i]);
    kept.pixels.resize(pixels);
  }
  return kept;
}

absl::StatusOr<KeptPicture> DecodeKept(const PictureFiles& files, int64_t index, const PictureForm& form,
                                       PictureKind* kind) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::string bytes, files.Read(index));
  const int64_t shorter = form.whole ? form.whole_shorter_side : form.resize;
  absl::StatusOr<Picture> picture = DecodePicture(bytes, form.scaled_decoding ? shorter : 0);
  if (!picture.ok()) {
    return absl::DataLossError(absl::StrCat(files.Name(index), ": ", picture.status().message()));
  }
  if (form.exif_orientation) TurnUpright(*picture);
  if (kind != nullptr) *kind = {picture->orientation != 1, picture->exif_damaged, picture->deep_grey};
  if (form.whole) return KeepWhole(*std::move(picture), form);
  KeptPicture kept;
  kept.height = kept.width = form.image_size;
  kept.pixels.resize(form.image_bytes());
  CutImage(*picture, form, kept.pixels.data());
  return kept;
}

// What is known of the pictures after each was decoded once.
struct Survey {
  std::vector<PictureKind> kinds;                // of all
  std::map<int64_t, std::string> bad;            // by picture
  std::vector<int64_t> heights, widths, checks;  // of the others, in order: pixels, and their CRC32C
  std::string digest;                            // of all their pixels (and, of whole ones, of their sizes)
  int64_t count() const { return static_cast<int64_t>(heights.size()); }
};

// Says from time to time how far a long reading is.
class Progress {
 public:
  Progress(const PictureFiles& files, const char* what) : files_(files), what_(what) {}
  void At(int64_t done) {
    constexpr double kEvery = 10;  // seconds
    const double seconds = SteadySeconds();
    if (seconds < next_) return;
    next_ = seconds + kEvery;
    std::cerr << absl::StrCat(files_.place(), ": ", done, " of ", files_.size(), " pictures ", what_, ", ",
                              static_cast<int64_t>(static_cast<double>(done) / (seconds - start_)), " a second\n");
  }

 private:
  const PictureFiles& files_;
  const char* const what_;
  const double start_ = SteadySeconds();
  double next_ = SteadySeconds() + 10;
};

// What of the pixels a survey has: a digest of all, and a checksum of each picture's.
struct Sums {
  bool digest = false, checks = false;
};

// Decodes all pictures on all cores and gives those that can be decoded to `keep`, in order.
absl::StatusOr<Survey> Look(const PictureFiles& files, const PictureForm& form, const char* what, const Sums& sums,
                            const std::function<absl::Status(KeptPicture)>& keep) {
  const int64_t cores = std::max<int64_t>(1, std::thread::hardware_concurrency());
  // While one group is being kept, the next ones are decoded. Of whole pictures, which may be large, few are held at
  // once.
  const int64_t group_size = form.whole ? 1 : 16;
  const int64_t groups_ahead = form.whole ? cores + 1 : std::max<int64_t>(2, cores / 4 + 1);
  struct Group {
    std::vector<absl::StatusOr<KeptPicture>> pictures;
    std::shared_ptr<ReadAhead::Task> task;
  };
  Survey survey;
  survey.kinds.resize(files.size());
  Sha256Stream digest;
  Progress progress(files, what);
  std::deque<Group> groups;  // before the threads that work on them
  ReadAhead ahead(std::max<int64_t>(1, cores - 1));
  const auto start = [&](int64_t first) {
    const int64_t count = std::min(group_size, files.size() - first);
    groups.push_back({std::vector<absl::StatusOr<KeptPicture>>(count, absl::UnknownError("")), nullptr});
    auto* pictures = &groups.back().pictures;
    groups.back().task = ahead.Start(count, [=, &files, &form, &survey](int64_t i) {
      (*pictures)[i] = DecodeKept(files, first + i, form, &survey.kinds[first + i]);
      return absl::OkStatus();
    });
  };
  int64_t started = 0;
  for (int64_t first = 0; first < files.size(); first += group_size) {
    for (; started < files.size() && started < first + group_size * groups_ahead; started += group_size) start(started);
    Group& group = groups.front();
    PRUNELAB_RETURN_IF_ERROR(ahead.Finish(*group.task));
    for (size_t i = 0; i < group.pictures.size(); ++i) {
      absl::StatusOr<KeptPicture>& picture = group.pictures[i];
      if (!picture.ok()) {
        // What cannot be read now may be readable the next time: only what never gives a picture is kept in mind.
        if (!absl::IsDataLoss(picture.status())) return picture.status();
        survey.bad[first + static_cast<int64_t>(i)] = std::string(picture.status().message());
        continue;
      }
      const absl::string_view pixels(reinterpret_cast<const char*>(picture->pixels.data()), picture->pixels.size());
      if (sums.digest && form.whole) digest.Add(absl::StrCat(picture->height, "x", picture->width, "\n"));
      if (sums.digest) digest.Add(pixels);
      survey.heights.push_back(picture->height);
      survey.widths.push_back(picture->width);
      survey.checks.push_back(sums.checks ? Crc32c(pixels) : 0);
      PRUNELAB_RETURN_IF_ERROR(keep(*std::move(picture)));
    }
    groups.pop_front();
    progress.At(std::min(first + group_size, files.size()));
  }
  survey.digest = digest.Finish();
  return survey;
}

// ---------------------------------------------------------------------------------------------------------------------
// Sources

// What sources of pictures have in common. A kept picture is an image, or whole, of which Read cuts the image.
class PictureSource : public ImageSource {
 public:
  PictureSource(const PictureForm& form, const PictureStorage& storage, const Survey& survey)
      : form_(form), max_bytes_(storage.max_bytes), digest_(survey.digest), count_(survey.count()) {}

  int64_t size() const override { return count_; }
  std::array<int64_t, 3> shape() const override { return {form_.channels(), form_.image_size, form_.image_size}; }
  bool has_whole_pictures() const override { return form_.whole; }
  int64_t bytes_ahead() const override { return max_bytes_ / 2; }

  std::string DigestLine() const override {
    if (!form_.whole) {
      return absl::StrCat("uint8 ", count_, "x", form_.channels(), "x", form_.image_size, "x", form_.image_size, " ",
                          digest_, "\n");
    }
    // Of the images that are cut from them, what is asked of them says enough.
    return absl::StrCat("uint8 ", count_, " whole pictures of ", form_.channels(), " channels ", digest_, ", ",
                        form_.bilinear ? "bilinear " : "", form_.resize, " ", form_.image_size, "\n");
  }

  absl::Status Read(int64_t image, uint8_t* out) const override {
    if (!form_.whole) {
      PRUNELAB_ASSIGN_OR_RETURN(const std::shared_ptr<const KeptPicture> kept, Kept(image));
      std::copy(kept->pixels.begin(), kept->pixels.end(), out);
      return absl::OkStatus();
    }
    PRUNELAB_ASSIGN_OR_RETURN(const HeldPicture held, ReadWhole(image));
    Picture picture;
    picture.height = held.view.height;
    picture.width = held.view.width;
    const int64_t pixels = picture.height * picture.width;
    if (form_.grey) {
      picture.pixels.reserve(3 * pixels);
      for (int64_t i = 0; i < pixels; ++i) picture.pixels.insert(picture.pixels.end(), 3, held.view.pixels[i]);
    } else {
      picture.pixels.assign(held.view.pixels, held.view.pixels + 3 * pixels);
    }
    CutImage(picture, form_, out);
    return absl::OkStatus();
  }

  absl::StatusOr<HeldPicture> ReadWhole(int64_t image) const override {
    PRUNELAB_CHECK(form_.whole) << "pictures were cut";
    PRUNELAB_ASSIGN_OR_RETURN(std::shared_ptr<const KeptPicture> kept, Kept(image));
    const PixelView view = ViewOf(*kept, form_.channels());
    return HeldPicture{view, std::move(kept)};
  }

 protected:
  virtual absl::StatusOr<std::shared_ptr<const KeptPicture>> Kept(int64_t image) const = 0;
  const PictureForm& form() const { return form_; }

 private:
  const PictureForm form_;
  const int64_t max_bytes_;
  const std::string digest_;
  const int64_t count_;
};

class PicturesInMemory : public PictureSource {
 public:
  PicturesInMemory(const PictureForm& form, const PictureStorage& storage, const Survey& survey,
                   std::vector<std::shared_ptr<const KeptPicture>> pictures)
      : PictureSource(form, storage, survey), pictures_(std::move(pictures)) {}

 protected:
  absl::StatusOr<std::shared_ptr<const KeptPicture>> Kept(int64_t image) const override { return pictures_[image]; }

 private:
  const std::vector<std::shared_ptr<const KeptPicture>> pictures_;
};

class PicturesInFiles : public PictureSource {
 public:
  PicturesInFiles(const PictureForm& form, const PictureStorage& storage, const Survey& survey,
                  std::shared_ptr<const PictureFiles> files, std::vector<int64_t> pictures)
      : PictureSource(form, storage, survey), files_(std::move(files)), pictures_(std::move(pictures)) {}

 protected:
  absl::StatusOr<std::shared_ptr<const KeptPicture>> Kept(int64_t image) const override {
    absl::StatusOr<KeptPicture> kept = DecodeKept(*files_, pictures_[image], form(), nullptr);
    if (kept.ok()) return std::make_shared<const KeptPicture>(*std::move(kept));
    return absl::AbortedError(kept.status().message());
  }

 private:
  const std::shared_ptr<const PictureFiles> files_;
  const std::vector<int64_t> pictures_;  // by image
};

// Where the pictures' pixels are in the shards of a cache: a function of their sizes alone.
struct ShardLayout {
  std::vector<int64_t> shards, offsets;  // by image
  std::vector<int64_t> shard_bytes;      // by shard

  void Add(int64_t bytes) {
    if (shard_bytes.empty() || (shard_bytes.back() > 0 && shard_bytes.back() + bytes > kShardBytes)) {
      shard_bytes.push_back(0);
    }
    shards.push_back(static_cast<int64_t>(shard_bytes.size()) - 1);
    offsets.push_back(shard_bytes.back());
    shard_bytes.back() += bytes;
  }
};

ShardLayout LayoutOf(const Survey& survey, int64_t channels) {
  ShardLayout layout;
  for (int64_t i = 0; i < survey.count(); ++i) layout.Add(survey.heights[i] * survey.widths[i] * channels);
  return layout;
}

class PicturesOnDisk : public PictureSource {
 public:
  // `shard_name`: the shards' path before their number.
  PicturesOnDisk(const PictureForm& form, const PictureStorage& storage, Survey survey, std::string shard_name)
      : PictureSource(form, storage, survey),
        survey_(std::move(survey)),
        layout_(LayoutOf(survey_, form.channels())),
        shard_name_(std::move(shard_name)),
        checked_(survey_.count()) {}

  static std::string ShardPath(const std::string& name, int64_t shard) { return absl::StrCat(name, shard, ".pixels"); }

 protected:
  absl::StatusOr<std::shared_ptr<const KeptPicture>> Kept(int64_t image) const override {
    auto kept = std::make_shared<KeptPicture>();
    kept->height = survey_.heights[image];
    kept->width = survey_.widths[image];
    const std::string path = ShardPath(shard_name_, layout_.shards[image]);
    const absl::StatusOr<std::string> pixels =
        ReadFilePart(path, layout_.offsets[image], kept->height * kept->width * form().channels());
    if (!pixels.ok()) {
      return absl::AbortedError(absl::StrCat("the cache of pictures: ", pixels.status().message()));
    }
    // Each picture is checked when this process reads it first.
    if (!checked_[image].load(std::memory_order_relaxed)) {
      if (Crc32c(*pixels) != survey_.checks[image]) {
        return absl::AbortedError(absl::StrCat(path, ": the pixels of image ", image,
                                               " are not those that were written; remove the file, and the cache "
                                               "is made again"));
      }
      checked_[image].store(true, std::memory_order_relaxed);
    }
    kept->pixels.assign(pixels->begin(), pixels->end());
    return std::shared_ptr<const KeptPicture>(std::move(kept));
  }

 private:
  const Survey survey_;
  const ShardLayout layout_;
  const std::string shard_name_;
  mutable std::vector<std::atomic<bool>> checked_;
};

// ---------------------------------------------------------------------------------------------------------------------
// The index

constexpr char kVersion[] = "1";

std::string FormText(const PictureForm& form) {
  return absl::StrCat(form.image_size, " ", form.resize, " ", form.grey, form.exif_orientation, form.bilinear,
                      form.scaled_decoding, form.whole, " ", form.whole_shorter_side);
}

// Where the index and the cache of these pictures are.
struct CachePlace {
  std::string folder, stamp;
  bool pixels = false;  // whether there is a cache, and not the index alone

  std::string Name(absl::string_view what) const {
    return JoinPath(folder, absl::StrCat(what, "-", absl::string_view(stamp).substr(0, 16)));
  }
  std::string IndexPath() const { return absl::StrCat(Name("index"), ".safetensors"); }
  std::string ShardName() const { return absl::StrCat(Name("pixels"), "-"); }
};

CachePlace PlaceOf(const PictureFiles& files, const PictureForm& form, const PictureStorage& storage,
                   std::string stamp) {
  const std::string key =
      Sha256(absl::StrCat(files.AbsolutePlace(), "\n", FormText(form), "\n", kVersion, " ", DecoderVersions()));
  CachePlace place;
  place.folder = JoinPath(JoinPath(storage.folder, "pictures"), key.substr(0, 16));
  place.stamp = std::move(stamp);
  place.pixels = storage.cache == PictureCache::kDisk;
  return place;
}

at::Tensor LongTensor(const std::vector<int64_t>& values) {
  const at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<int64_t>());
  return tensor;
}

absl::Status WriteIndex(const CachePlace& place, const PictureFiles& files, const PictureForm& form,
                        const Survey& survey) {
  Safetensors index;
  index.tensors["heights"] = LongTensor(survey.heights);
  index.tensors["widths"] = LongTensor(survey.widths);
  index.tensors["checks"] = LongTensor(survey.checks);
  const at::Tensor kinds = at::empty({files.size()}, at::kByte);
  for (int64_t i = 0; i < files.size(); ++i) {
    const PictureKind& kind = survey.kinds[i];
    kinds.mutable_data_ptr<uint8_t>()[i] =
        static_cast<uint8_t>(kind.not_turned | kind.exif_damaged << 1 | kind.deep_grey << 2);
  }
  index.tensors["kinds"] = kinds;
  nlohmann::json bad = nlohmann::json::array();
  for (const auto& [picture, why] : survey.bad) bad.push_back({picture, why});
  // Names of files may be no text.
  index.metadata["bad"] = bad.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  index.metadata["digest"] = survey.digest;
  index.metadata["stamp"] = place.stamp;
  index.metadata["place"] = nlohmann::json(files.place()).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  index.metadata["form"] = FormText(form);
  index.metadata["pixels"] = place.pixels ? "yes" : "no";
  return WriteSafetensors(place.IndexPath(), index);
}

std::vector<int64_t> Values(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<int64_t>(), tensor.const_data_ptr<int64_t>() + tensor.numel()};
}

// No value: there is no index that fits, or its cache is not whole.
std::optional<Survey> ReadIndex(const CachePlace& place, const PictureFiles& files, const PictureForm& form) {
  const absl::StatusOr<Safetensors> index = ReadSafetensors(place.IndexPath());
  if (!index.ok()) return std::nullopt;
  const auto text = [&](const char* key) {
    const auto found = index->metadata.find(key);
    return found == index->metadata.end() ? "" : found->second;
  };
  if (text("stamp") != place.stamp || text("form") != FormText(form)) return std::nullopt;
  if (place.pixels && text("pixels") != "yes") return std::nullopt;
  const auto tensor = [&](const char* key, at::ScalarType type) {
    const auto found = index->tensors.find(key);
    const bool fits = found != index->tensors.end() && found->second.dim() == 1 && found->second.scalar_type() == type;
    return fits ? found->second : at::Tensor();
  };
  const at::Tensor heights = tensor("heights", at::kLong), widths = tensor("widths", at::kLong),
                   checks = tensor("checks", at::kLong), kinds = tensor("kinds", at::kByte);
  const nlohmann::json bad = nlohmann::json::parse(text("bad"), nullptr, /*allow_exceptions=*/false);
  if (!heights.defined() || !widths.defined() || !checks.defined() || !kinds.defined() || !bad.is_array()) {
    return std::nullopt;
  }
  Survey survey;
  survey.digest = text("digest");
  survey.heights = Values(heights);
  survey.widths = Values(widths);
  survey.checks = Values(checks);
  for (const nlohmann::json& entry : bad) {
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_number_integer() || !entry[1].is_string()) {
      return std::nullopt;
    }
    const int64_t picture = entry[0].get<int64_t>();
    if (picture < 0 || picture >= files.size()) return std::nullopt;
    survey.bad[picture] = entry[1].get<std::string>();
  }
  const int64_t good = files.size() - static_cast<int64_t>(survey.bad.size());
  if (survey.count() != good || widths.numel() != good || checks.numel() != good || kinds.numel() != files.size()) {
    return std::nullopt;
  }
  for (const uint8_t kind : absl::string_view(static_cast<const char*>(kinds.const_data_ptr()), kinds.numel())) {
    survey.kinds.push_back({(kind & 1) != 0, (kind & 2) != 0, (kind & 4) != 0});
  }
  if (!place.pixels) return survey;
  for (int64_t i = 0; i < good; ++i) {
    if (survey.heights[i] < 1 || survey.widths[i] < 1 || survey.heights[i] * survey.widths[i] > int64_t{1} << 28) {
      return std::nullopt;
    }
  }
  const ShardLayout layout = LayoutOf(survey, form.channels());
  for (size_t shard = 0; shard < layout.shard_bytes.size(); ++shard) {
    const absl::StatusOr<FileStamp> there =
        StampOf(PicturesOnDisk::ShardPath(place.ShardName(), static_cast<int64_t>(shard)));
    if (!there.ok() || there->size != static_cast<uint64_t>(layout.shard_bytes[shard])) return std::nullopt;
  }
  return survey;
}

// Collects pictures and writes a shard whenever one is full.
class ShardWriter {
 public:
  explicit ShardWriter(std::string name) : name_(std::move(name)) {}
  absl::Status Add(const KeptPicture& picture) {
    const size_t before = layout_.shard_bytes.size();
    layout_.Add(static_cast<int64_t>(picture.pixels.size()));
    if (layout_.shard_bytes.size() > before && before > 0) PRUNELAB_RETURN_IF_ERROR(Write(before - 1));
    pixels_.append(reinterpret_cast<const char*>(picture.pixels.data()), picture.pixels.size());
    return absl::OkStatus();
  }
  absl::Status Finish() {
    return layout_.shard_bytes.empty() ? absl::OkStatus() : Write(layout_.shard_bytes.size() - 1);
  }

 private:
  absl::Status Write(size_t shard) {
    const std::string pixels = std::exchange(pixels_, std::string());
    return WriteFileAtomically(PicturesOnDisk::ShardPath(name_, static_cast<int64_t>(shard)), pixels);
  }
  const std::string name_;
  ShardLayout layout_;
  std::string pixels_;  // of the last shard
};

// Removes a damaged index or cache, and those of other versions of the pictures, if these are older than a day: another
// machine may be training on them.
absl::Status RemoveOld(const CachePlace& place) {
  const int64_t now = std::chrono::nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count();
  constexpr int64_t kDay = int64_t{24} * 3600 * 1000000000;
  PRUNELAB_RETURN_IF_ERROR(RemoveTemporaries(place.folder));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(place.folder));
  for (const std::string& name : names) {
    if (!absl::StartsWith(name, "index-") && !absl::StartsWith(name, "pixels-")) continue;
    const std::string path = JoinPath(place.folder, name);
    const absl::StatusOr<FileStamp> stamp = StampOf(path);
    const bool own = absl::StartsWith(path, place.Name("index")) || absl::StartsWith(path, place.Name("pixels"));
    if (own || (stamp.ok() && now - stamp->changed > kDay)) unlink(path.c_str());
  }
  return absl::OkStatus();
}

// The index's lock, for which this process waits.
absl::StatusOr<FileLock> WaitForLock(const CachePlace& place) {
  const std::string path = JoinPath(place.folder, ".lock");
  for (bool said = false;; said = true) {
    absl::StatusOr<FileLock> lock = FileLock::Take(path, FileLock::Kind::kExclusive);
    if (lock.ok() || !absl::IsFailedPrecondition(lock.status())) return lock;
    if (!said) std::cerr << "waiting for another process to read the pictures: " << lock.status().message() << "\n";
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

// Errors of the folder are those of the field cache_folder.
absl::StatusOr<Survey> MakeIndex(const CachePlace& place, const PictureFiles& files, const PictureForm& form) {
  constexpr char kField[] = "cache_folder";
  PRUNELAB_RETURN_IF_ERROR(InField(kField, CreateFolders(place.folder)));
  const absl::StatusOr<FileLock> lock = WaitForLock(place);
  if (!lock.ok()) return InField(kField, lock.status());
  if (std::optional<Survey> survey = ReadIndex(place, files, form)) return *std::move(survey);
  PRUNELAB_RETURN_IF_ERROR(InField(kField, RemoveOld(place)));
  // What is not complete would only fill the disk.
  bool complete = false;
  const auto clean_up = absl::MakeCleanup([&] {
    if (!complete) RemoveOld(place).IgnoreError();
  });
  ShardWriter shards(place.ShardName());
  const auto keep = [&](const KeptPicture& picture) {
    return place.pixels ? InField(kField, shards.Add(picture)) : absl::OkStatus();
  };
  PRUNELAB_ASSIGN_OR_RETURN(Survey survey,
                            Look(files, form, place.pixels ? "decoded for the cache" : "decoded for the index",
                                 {/*digest=*/true, /*checks=*/place.pixels}, keep));
  if (place.pixels) PRUNELAB_RETURN_IF_ERROR(InField(kField, shards.Finish()));
  PRUNELAB_RETURN_IF_ERROR(InField(kField, WriteIndex(place, files, form, survey)));
  complete = true;
  return survey;
}

}  // namespace

int64_t EighthOfMemory() {
  int64_t memory = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  if (const std::optional<int64_t> limit = ReadCgroupLimits().memory) memory = std::min(memory, *limit);
  return memory / 8;
}

absl::StatusOr<StoredPictures> StorePictures(std::shared_ptr<PictureFiles> files, const PictureForm& form,
                                             const PictureStorage& storage) {
  Survey survey;
  StoredPictures stored;
  at::Tensor images;
  std::vector<std::shared_ptr<const KeptPicture>> whole;
  CachePlace place;
  if (storage.cache == PictureCache::kMemory) {
    if (!form.whole) images = at::empty({files->size(), form.channels(), form.image_size, form.image_size}, at::kByte);
    int64_t count = 0, bytes = 0;
    const auto keep = [&](KeptPicture picture) {
      const int64_t size = static_cast<int64_t>(picture.pixels.size());
      if (!form.whole) {
        std::memcpy(images.mutable_data_ptr<uint8_t>() + count++ * size, picture.pixels.data(), size);
        return absl::OkStatus();
      }
      bytes += size;
      whole.push_back(std::make_shared<const KeptPicture>(std::move(picture)));
      if (bytes <= storage.max_bytes) return absl::OkStatus();
      return absl::FailedPreconditionError(
          absl::StrCat(files->place(), ": the first ", whole.size(), " of ", files->size(), " whole pictures take ",
                       bytes, " bytes of memory, but at most ", storage.max_bytes,
                       " are allowed; set whole_shorter_side, choose another cache, or raise max_memory_mb"));
    };
    PRUNELAB_ASSIGN_OR_RETURN(survey, Look(*files, form, "decoded", {/*digest=*/form.whole, /*checks=*/false}, keep));
  } else {
    PRUNELAB_ASSIGN_OR_RETURN(std::string stamp, files->Stamp());
    place = PlaceOf(*files, form, storage, std::move(stamp));
    std::optional<Survey> known = ReadIndex(place, *files, form);
    if (known) {
      survey = *std::move(known);
    } else {
      PRUNELAB_ASSIGN_OR_RETURN(survey, MakeIndex(place, *files, form));
    }
  }
  for (int64_t i = 0; i < files->size(); ++i) {
    if (survey.bad.count(i) == 0) stored.pictures.push_back(i);
  }
  for (const auto& [picture, why] : survey.bad) stored.bad.push_back(why);
  stored.kinds = survey.kinds;
  std::vector<int64_t> labels;
  for (const int64_t picture : stored.pictures) labels.push_back(files->labels()[picture]);
  stored.data.labels = LongTensor(labels);
  stored.data.cut = !form.whole;
  if (images.defined()) {
    stored.data.images = images.narrow(0, 0, survey.count());
  } else if (storage.cache == PictureCache::kMemory) {
    stored.data.source = std::make_shared<PicturesInMemory>(form, storage, survey, std::move(whole));
  } else if (storage.cache == PictureCache::kDisk) {
    stored.data.source = std::make_shared<PicturesOnDisk>(form, storage, std::move(survey), place.ShardName());
  } else {
    stored.data.source = std::make_shared<PicturesInFiles>(form, storage, survey, std::move(files), stored.pictures);
  }
  return stored;
}

}  // namespace prunelab
