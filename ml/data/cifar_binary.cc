#include "ml/data/cifar_binary.h"

#include <ATen/ATen.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ml/base/field_error.h"
#include "ml/base/file_kind.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/data/channel_normalization.h"
#include "ml/data/shuffled_classes.h"

namespace prunelab {
namespace {

constexpr int64_t kChannels = 3;
constexpr int64_t kSide = 32;
constexpr int64_t kPixels = kChannels * kSide * kSide;

constexpr char kHome[] = "https://www.cs.toronto.edu/~kriz/cifar.html";

absl::Status PathError(absl::StatusCode code, absl::string_view message) {
  return InField("path", absl::Status(code, message));
}

std::string Parent(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Says how to get the files into `folder`. The archive contains them in a folder of the fixed name, which unpacking
// creates next to it.
std::string UnpackRemedy(const CifarFormat& format, const std::string& folder) {
  std::string trimmed = folder;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  const bool named = trimmed == format.folder || absl::EndsWith(trimmed, absl::StrCat("/", format.folder));
  const std::string where = named ? Parent(trimmed) : trimmed;
  return absl::StrCat("fetch it by ", format.fetch, " --output=", where, ", or get ", format.archive,
                      " (the binary version, from ", kHome, ") and unpack it there: mkdir -p ", where, " && tar -xzf ",
                      format.archive, " -C ", where);
}

// What a file that is not a CIFAR batch is, by its first bytes, or "" if they do not tell.
std::string KindOf(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string bytes(kKindBytes, '\0');
  in.read(&bytes[0], static_cast<std::streamsize>(bytes.size()));
  bytes.resize(in.gcount());
  // Batches begin with a label. A batch that was cut short or padded is not a file of another kind.
  constexpr char kMostLabel = 19;
  if (bytes.empty() || (bytes[0] >= 0 && bytes[0] <= kMostLabel)) return "";
  const FoundKind found = KindOfBytes(bytes);
  switch (found.kind) {
    case FileKind::kPickle:
      return absl::StrCat(found.what, " (the Python version)");
    case FileKind::kMatlab:
      return absl::StrCat(found.what, " (the Matlab version)");
    default:
      return found.what;
  }
}

std::vector<std::string> AllFiles(const CifarFormat& format) {
  std::vector<std::string> names = format.train_files;
  names.push_back(format.test_file);
  return names;
}

// What a folder without any of the files seems to contain, or "".
std::string OtherVersion(const CifarFormat& format, const std::string& folder) {
  if (PathExists(JoinPath(folder, format.archive))) {
    return absl::StrCat("holds the archive, not yet unpacked (", format.archive, ")");
  }
  const struct {
    const char* name;
    const char* what;
  } signs[] = {
      {"data_batch_1", "holds the Python version of CIFAR-10"},
      {"cifar-10-batches-py", "holds the Python version of CIFAR-10"},
      {"cifar-10-python.tar.gz", "holds the Python version of CIFAR-10, packed"},
      {"data_batch_1.mat", "holds the Matlab version of CIFAR-10"},
      {"cifar-10-batches-mat", "holds the Matlab version of CIFAR-10"},
      {"cifar-100-python", "holds the Python version of CIFAR-100"},
      {"cifar-100-python.tar.gz", "holds the Python version of CIFAR-100, packed"},
      {"train.mat", "holds the Matlab version of CIFAR-100"},
      {"train", "holds what looks like the Python version of CIFAR-100"},
      {"train.bin", "holds what looks like CIFAR-100"},
      {"data_batch_1.bin", "holds what looks like CIFAR-10"},
  };
  for (const auto& sign : signs) {
    if (PathExists(JoinPath(folder, sign.name))) return absl::StrCat(sign.what, " (", sign.name, ")");
  }
  return "";
}

// The folder that contains the files.
absl::StatusOr<std::string> FindFolder(const CifarFormat& format, const std::string& path) {
  if (path.empty()) {
    return PathError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("is empty; must be the folder that holds ", format.test_file));
  }
  const std::string given = UserPath(path);
  if (!PathExists(given)) {
    return PathError(absl::StatusCode::kNotFound,
                     absl::StrCat(given, ": no such folder; ", UnpackRemedy(format, given)));
  }
  if (!IsFolder(given)) {
    const std::string kind = KindOf(given);
    return PathError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(given, ": is ", kind.empty() ? "a file" : kind, ", where the folder that holds ",
                                  format.test_file, " should be; ", UnpackRemedy(format, Parent(given))));
  }
  std::string folder = given;
  const auto missing_in = [&format](const std::string& in) {
    std::vector<std::string> missing;
    for (const std::string& name : AllFiles(format)) {
      if (!PathExists(JoinPath(in, name))) missing.push_back(name);
    }
    return missing;
  };
  std::vector<std::string> missing = missing_in(folder);
  const bool none_here = missing.size() == AllFiles(format).size();
  if (none_here && IsFolder(JoinPath(given, format.folder))) {
    folder = JoinPath(given, format.folder);
    missing = missing_in(folder);
  }
  if (missing.empty()) return folder;
  if (missing.size() < AllFiles(format).size()) {
    return PathError(absl::StatusCode::kNotFound, absl::StrCat(folder, ": lacks ", absl::StrJoin(missing, ", "), "; ",
                                                               UnpackRemedy(format, folder), " again"));
  }
  const std::string other = OtherVersion(format, folder);
  return PathError(
      absl::StatusCode::kNotFound,
      absl::StrCat(folder, ": ", other.empty() ? absl::StrCat("holds none of ", format.name, "'s files") : other,
                   ", not the binary version's ", format.train_files.front(), " and ", format.test_file, "; ",
                   UnpackRemedy(format, folder)));
}

// The labels of one file's records, as a vector for each label byte, and the pixels.
struct Records {
  std::vector<std::vector<int64_t>> labels;
  uint8_t* pixels = nullptr;  // where the next record's pixels go
};

// Appends the records of one file.
absl::Status ReadRecords(const CifarFormat& format, const std::string& file, int64_t count, Records& records) {
  const int64_t label_bytes = static_cast<int64_t>(format.labels.size());
  const int64_t record_bytes = label_bytes + kPixels;
  const int64_t file_bytes = count * record_bytes;
  const std::string remedy = absl::StrCat("unpack ", format.archive, " again");
  struct stat info;
  if (stat(file.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_size != file_bytes) {
    const std::string kind = KindOf(file);
    const char* wrong = !kind.empty() ? kind.c_str() : info.st_size < file_bytes ? "truncated" : "too long";
    return PathError(
        absl::StatusCode::kDataLoss,
        absl::StrCat(file, ": is ", wrong, ": ", info.st_size, " bytes, where the binary version of ", format.name,
                     " has ", file_bytes, " (", count, " records of ", record_bytes, "); ", remedy));
  }
  const absl::StatusOr<std::string> read = ReadFile(file, file_bytes);
  if (!read.ok()) return InField("path", read.status());
  const std::string& bytes = *read;
  if (static_cast<int64_t>(bytes.size()) != file_bytes) {
    return PathError(absl::StatusCode::kDataLoss, absl::StrCat(file, ": changed while it was read; start again"));
  }
  for (int64_t record = 0; record < count; ++record) {
    const uint8_t* source = reinterpret_cast<const uint8_t*>(bytes.data()) + record * record_bytes;
    for (int64_t i = 0; i < label_bytes; ++i) {
      if (source[i] >= format.labels[i].classes) {
        return PathError(
            absl::StatusCode::kDataLoss,
            absl::StrCat(file, ": record ", record, ", byte ", record * record_bytes + i, ": the ",
                         format.labels[i].name, " is ", static_cast<int>(source[i]), "; must be from 0 to ",
                         format.labels[i].classes - 1, "; the file is damaged or not ", format.name, "; ", remedy));
      }
      records.labels[i].push_back(source[i]);
    }
    records.pixels = std::copy(source + label_bytes, source + record_bytes, records.pixels);
  }
  return absl::OkStatus();
}

// Checks that every class has its share of the images, and that every coarse class (the first label of two) consists of
// whole fine classes.
absl::Status CheckLabels(const CifarFormat& format, const std::string& place,
                         const std::vector<std::vector<int64_t>>& labels) {
  const std::string remedy = absl::StrCat("; unpack ", format.archive, " again");
  for (size_t i = 0; i < labels.size(); ++i) {
    const int64_t share = static_cast<int64_t>(labels[i].size()) / format.labels[i].classes;
    std::vector<int64_t> counts(format.labels[i].classes);
    for (const int64_t label : labels[i]) ++counts[label];
    std::vector<std::string> wrong;
    for (size_t label = 0; label < counts.size(); ++label) {
      if (counts[label] != share) wrong.push_back(absl::StrCat(label, ": ", counts[label]));
    }
    if (wrong.empty()) continue;
    const size_t shown = std::min<size_t>(wrong.size(), 10);
    return PathError(absl::StatusCode::kDataLoss,
                     absl::StrCat(place, ": not ", format.name, ": images by ", format.labels[i].name, " ",
                                  absl::StrJoin(wrong.begin(), wrong.begin() + shown, ", "),
                                  wrong.size() > shown ? ", ..." : "", ", where each has ", share, remedy));
  }
  if (labels.size() < 2) return absl::OkStatus();
  std::vector<int64_t> coarse(format.labels[1].classes, -1);
  for (size_t record = 0; record < labels[1].size(); ++record) {
    int64_t& known = coarse[labels[1][record]];
    if (known == -1) known = labels[0][record];
    if (known != labels[0][record]) {
      return PathError(absl::StatusCode::kDataLoss,
                       absl::StrCat(place, ": not ", format.name, ": record ", record, " has ", format.labels[1].name,
                                    " ", labels[1][record], " with ", format.labels[0].name, " ", labels[0][record],
                                    ", an earlier one with ", known, remedy));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<LabelledImages> ReadPart(const CifarFormat& format, const std::string& folder,
                                        const std::vector<std::string>& names, int64_t images) {
  LabelledImages part;
  part.images = at::empty({images, kChannels, kSide, kSide}, at::kByte);
  Records records = {std::vector<std::vector<int64_t>>(format.labels.size()), part.images.mutable_data_ptr<uint8_t>()};
  for (const std::string& name : names) {
    PRUNELAB_RETURN_IF_ERROR(ReadRecords(format, JoinPath(folder, name), images / names.size(), records));
  }
  const std::string place =
      absl::StrCat(JoinPath(folder, names.front()), names.size() > 1 ? " and the other files" : "");
  PRUNELAB_RETURN_IF_ERROR(CheckLabels(format, place, records.labels));
  part.labels = at::tensor(records.labels[format.label], at::kLong);
  return part;
}

// `count` images (0: all), equally many of each class, in the order of the files.
LabelledImages Subset(const CifarFormat& format, const LabelledImages& all, int64_t count, uint64_t seed,
                      absl::string_view part) {
  if (count == 0 || count == all.size()) return all;
  const int64_t classes = format.labels[format.label].classes;
  const std::vector<std::vector<int64_t>> members = ShuffledClasses(
      all.labels.const_data_ptr<int64_t>(), all.size(), classes, seed, absl::StrCat(format.stream, "/", part));
  std::vector<int64_t> chosen;
  for (int64_t label = 0; label < classes; ++label) {
    const int64_t wanted = count / classes + (label < count % classes);
    chosen.insert(chosen.end(), members[label].begin(), members[label].begin() + wanted);
  }
  std::sort(chosen.begin(), chosen.end());
  const at::Tensor index = at::tensor(chosen, at::kLong);
  return {all.images.index_select(0, index), all.labels.index_select(0, index)};
}

// [N, 3, 32, 32] -> [N, 3, size, size]
at::Tensor Shrink(const at::Tensor& images, int64_t size) {
  if (size == kSide) return images;
  const int64_t n = images.size(0), block = kSide / size, area = block * block;
  at::Tensor small = at::empty({n, kChannels, size, size}, at::kByte);
  const uint8_t* source = images.const_data_ptr<uint8_t>();
  uint8_t* out = small.mutable_data_ptr<uint8_t>();
  for (int64_t plane = 0; plane < n * kChannels; ++plane, source += kSide * kSide) {
    for (int64_t y = 0; y < size; ++y) {
      for (int64_t x = 0; x < size; ++x) {
        int64_t sum = area / 2;
        for (int64_t i = 0; i < block; ++i) {
          const uint8_t* row = source + (y * block + i) * kSide + x * block;
          for (int64_t j = 0; j < block; ++j) sum += row[j];
        }
        *out++ = static_cast<uint8_t>(sum / area);
      }
    }
  }
  return small;
}

absl::Status CheckCount(const char* field, int64_t value, int64_t least, int64_t most) {
  if (value == 0 || (value >= least && value <= most)) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; must be 0 (all) or from ", least, " to ", most));
}

}  // namespace

absl::StatusOr<DatasetInfo> DescribeCifar(const CifarFormat& format, const CifarOptions& options) {
  const int64_t classes = format.labels[format.label].classes;
  PRUNELAB_RETURN_IF_ERROR(CheckCount("train_images", options.train_images, classes, format.train_images));
  PRUNELAB_RETURN_IF_ERROR(CheckCount("test_images", options.test_images, classes, format.test_images));
  const int64_t size = options.image_size;
  if (size < 1 || size > kSide || kSide % size != 0) {
    return FieldError("image_size", absl::StrCat("is ", size, "; must be 1, 2, 4, 8, 16 or 32"));
  }
  PRUNELAB_RETURN_IF_ERROR(ChooseNormalization(options.mean, options.stddev, kChannels, {}).status());
  DatasetInfo info;
  info.classes = classes;
  info.channels = kChannels;
  info.height = info.width = size;
  info.train_images = options.train_images == 0 ? format.train_images : options.train_images;
  info.test_images = options.test_images == 0 ? format.test_images : options.test_images;
  return info;
}

absl::StatusOr<Dataset> OpenCifar(const CifarFormat& format, const CifarOptions& options) {
  Dataset dataset;
  PRUNELAB_ASSIGN_OR_RETURN(dataset.info, DescribeCifar(format, options));
  PRUNELAB_ASSIGN_OR_RETURN(dataset.normalization, ChooseNormalization(options.mean, options.stddev, kChannels, {}));
  PRUNELAB_ASSIGN_OR_RETURN(const std::string folder, FindFolder(format, options.path));
  PRUNELAB_ASSIGN_OR_RETURN(dataset.train, ReadPart(format, folder, format.train_files, format.train_images));
  PRUNELAB_ASSIGN_OR_RETURN(dataset.test, ReadPart(format, folder, {format.test_file}, format.test_images));
  dataset.train = Subset(format, dataset.train, options.train_images, options.subset_seed, "train");
  dataset.test = Subset(format, dataset.test, options.test_images, options.subset_seed, "test");
  dataset.train.images = Shrink(dataset.train.images, options.image_size);
  dataset.test.images = Shrink(dataset.test.images, options.image_size);
  dataset.fingerprint = DataFingerprint(dataset.train, dataset.test);
  return dataset;
}

}  // namespace prunelab
