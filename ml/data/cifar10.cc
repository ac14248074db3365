#include "ml/data/cifar10.h"

#include <ATen/ATen.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/random.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

constexpr int64_t kClasses = 10;
constexpr int64_t kChannels = 3;
constexpr int64_t kSide = 32;
constexpr int64_t kPixels = kChannels * kSide * kSide;
constexpr int64_t kRecordBytes = 1 + kPixels;
constexpr int64_t kRecords = 10000;  // in each file
constexpr int64_t kFileBytes = kRecords * kRecordBytes;
constexpr int64_t kTrainFiles = 5;

constexpr char kFolder[] = "cifar-10-batches-bin";
constexpr char kArchive[] = "cifar-10-binary.tar.gz";
constexpr char kHome[] = "https://www.cs.toronto.edu/~kriz/cifar.html";

std::string TrainFile(int64_t index) { return absl::StrCat("data_batch_", index + 1, ".bin"); }
constexpr char kTestFile[] = "test_batch.bin";

absl::Status PathError(absl::StatusCode code, absl::string_view message) {
  return InField("path", absl::Status(code, message));
}

bool IsFolder(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

std::string Parent(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// How to get the files into `folder`. The archive holds them in a folder of the fixed name, which is then made beside.
std::string UnpackRemedy(const std::string& folder) {
  std::string trimmed = folder;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  const bool named = trimmed == kFolder || absl::EndsWith(trimmed, absl::StrCat("/", kFolder));
  const std::string where = named ? Parent(trimmed) : trimmed;
  return absl::StrCat("get ", kArchive, " (the binary version, from ", kHome, ") and unpack it there: mkdir -p ", where,
                      " && tar -xzf ", kArchive, " -C ", where);
}

// What a file that is not a CIFAR-10 batch is by its first bytes, or "" when they tell nothing.
std::string KindOf(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string bytes(32, '\0');
  in.read(&bytes[0], static_cast<std::streamsize>(bytes.size()));
  bytes.resize(in.gcount());
  if (absl::StartsWith(bytes, "\x1f\x8b")) return "a gzip archive";
  if (absl::StartsWith(bytes, "PK\x03\x04")) return "a zip archive";
  if (bytes.size() >= 2 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5) {
    return "a Python pickle (the Python version of CIFAR-10)";
  }
  if (absl::StartsWith(bytes, "MATLAB")) return "a Matlab file (the Matlab version of CIFAR-10)";
  if (absl::StartsWith(bytes, "<")) return "a web page";
  if (absl::StartsWith(bytes, "version https://git-lfs")) return "a Git LFS pointer, whose file was not fetched";
  return "";
}

std::vector<std::string> AllFiles() {
  std::vector<std::string> names;
  for (int64_t i = 0; i < kTrainFiles; ++i) names.push_back(TrainFile(i));
  names.push_back(kTestFile);
  return names;
}

// What a folder without any of the six files seems to hold, or "".
std::string OtherVersion(const std::string& folder) {
  const struct {
    const char* name;
    const char* what;
  } signs[] = {
      {"data_batch_1", "holds the Python version of CIFAR-10"},
      {"cifar-10-batches-py", "holds the Python version of CIFAR-10"},
      {"cifar-10-python.tar.gz", "holds the Python version of CIFAR-10, packed"},
      {"data_batch_1.mat", "holds the Matlab version of CIFAR-10"},
      {"cifar-10-batches-mat", "holds the Matlab version of CIFAR-10"},
      {"train.bin", "holds what looks like CIFAR-100"},
      {kArchive, "holds the archive, not yet unpacked"},
  };
  for (const auto& sign : signs) {
    if (PathExists(JoinPath(folder, sign.name))) return absl::StrCat(sign.what, " (", sign.name, ")");
  }
  return "";
}

// The folder that holds the six files.
absl::StatusOr<std::string> FindFolder(const std::string& path) {
  if (path.empty()) {
    return PathError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("is empty; must be the folder that holds ", kTestFile));
  }
  const std::string given = UserPath(path);
  if (!PathExists(given)) {
    return PathError(absl::StatusCode::kNotFound, absl::StrCat(given, ": no such folder; ", UnpackRemedy(given)));
  }
  if (!IsFolder(given)) {
    const std::string kind = KindOf(given);
    return PathError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat(given, ": is ", kind.empty() ? "a file" : kind, ", where the folder that holds ",
                                  kTestFile, " should be; ", UnpackRemedy(Parent(given))));
  }
  std::string folder = given;
  const auto missing_in = [](const std::string& in) {
    std::vector<std::string> missing;
    for (const std::string& name : AllFiles()) {
      if (!PathExists(JoinPath(in, name))) missing.push_back(name);
    }
    return missing;
  };
  std::vector<std::string> missing = missing_in(folder);
  const bool none_here = missing.size() == AllFiles().size();
  if (none_here && IsFolder(JoinPath(given, kFolder))) {
    folder = JoinPath(given, kFolder);
    missing = missing_in(folder);
  }
  if (missing.empty()) return folder;
  if (missing.size() < AllFiles().size()) {
    return PathError(absl::StatusCode::kNotFound, absl::StrCat(folder, ": lacks ", absl::StrJoin(missing, ", "), "; ",
                                                               UnpackRemedy(folder), " again"));
  }
  const std::string other = OtherVersion(folder);
  return PathError(
      absl::StatusCode::kNotFound,
      absl::StrCat(folder, ": ", other.empty() ? "holds none of CIFAR-10's files" : other,
                   ", not the binary version's ", TrainFile(0), ", ..., ", kTestFile, "; ", UnpackRemedy(folder)));
}

// Copies the records of one file to `pixels` and `labels`.
absl::Status ReadRecords(const std::string& file, uint8_t* pixels, int64_t* labels) {
  const std::string remedy = absl::StrCat("unpack ", kArchive, " again");
  struct stat info;
  if (stat(file.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_size != kFileBytes) {
    const std::string kind = KindOf(file);
    const char* wrong = !kind.empty() ? kind.c_str() : info.st_size < kFileBytes ? "truncated" : "too long";
    return PathError(absl::StatusCode::kDataLoss,
                     absl::StrCat(file, ": is ", wrong, ": ", info.st_size,
                                  " bytes, where the binary version of CIFAR-10 "
                                  "has ",
                                  kFileBytes, " (", kRecords, " records of ", kRecordBytes, "); ", remedy));
  }
  const absl::StatusOr<std::string> read = ReadFile(file, kFileBytes);
  if (!read.ok()) return InField("path", read.status());
  const std::string& bytes = *read;
  if (static_cast<int64_t>(bytes.size()) != kFileBytes) {
    return PathError(absl::StatusCode::kDataLoss, absl::StrCat(file, ": changed while it was read; start again"));
  }
  for (int64_t record = 0; record < kRecords; ++record) {
    const uint8_t* source = reinterpret_cast<const uint8_t*>(bytes.data()) + record * kRecordBytes;
    if (*source >= kClasses) {
      return PathError(absl::StatusCode::kDataLoss,
                       absl::StrCat(file, ": record ", record, ", byte ", record * kRecordBytes, ": the label is ",
                                    static_cast<int>(*source),
                                    "; must be from 0 to 9; the file is damaged or not "
                                    "CIFAR-10; ",
                                    remedy));
    }
    labels[record] = *source;
    std::copy(source + 1, source + kRecordBytes, pixels + record * kPixels);
  }
  return absl::OkStatus();
}

absl::StatusOr<LabelledImages> ReadPart(const std::string& folder, const std::vector<std::string>& names) {
  const int64_t n = static_cast<int64_t>(names.size()) * kRecords;
  LabelledImages part = {at::empty({n, kChannels, kSide, kSide}, at::kByte), at::empty({n}, at::kLong)};
  uint8_t* pixels = part.images.mutable_data_ptr<uint8_t>();
  int64_t* labels = part.labels.mutable_data_ptr<int64_t>();
  for (const std::string& name : names) {
    PRUNELAB_RETURN_IF_ERROR(ReadRecords(JoinPath(folder, name), pixels, labels));
    pixels += kRecords * kPixels;
    labels += kRecords;
  }
  std::vector<int64_t> counts(kClasses);
  for (const int64_t* label = labels - n; label != labels; ++label) ++counts[*label];
  if (std::any_of(counts.begin(), counts.end(), [n](int64_t count) { return count != n / kClasses; })) {
    return PathError(absl::StatusCode::kDataLoss,
                     absl::StrCat(JoinPath(folder, names.front()), names.size() > 1 ? " and its fellows" : "",
                                  ": not CIFAR-10: the classes have ", absl::StrJoin(counts, ", "),
                                  " images, where each has ", n / kClasses, "; unpack ", kArchive, " again"));
  }
  return part;
}

// `count` images (0: all), equally many of each class, in the order of the files.
LabelledImages Subset(const LabelledImages& all, int64_t count, uint64_t seed, absl::string_view name) {
  if (count == 0 || count == all.size()) return all;
  const int64_t* labels = all.labels.const_data_ptr<int64_t>();
  std::vector<int64_t> by_class[kClasses];
  for (int64_t i = 0; i < all.size(); ++i) by_class[labels[i]].push_back(i);
  std::vector<int64_t> chosen;
  for (int64_t label = 0; label < kClasses; ++label) {
    RandomStream stream(seed, absl::StrCat("cifar10/", name), label);
    const std::vector<int64_t> order = RandomPermutation(static_cast<int64_t>(by_class[label].size()), stream);
    const int64_t wanted = count / kClasses + (label < count % kClasses);
    for (int64_t i = 0; i < wanted; ++i) chosen.push_back(by_class[label][order[i]]);
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

absl::Status CheckCount(const char* field, int64_t value, int64_t most) {
  if (value == 0 || (value >= kClasses && value <= most)) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; must be 0 (all) or from ", kClasses, " to ", most));
}

template <typename Numbers>
absl::StatusOr<std::vector<double>> PerChannel(const char* field, const Numbers& numbers, bool positive) {
  if (numbers.empty()) return std::vector<double>(kChannels, 0.5);
  if (numbers.size() != kChannels) {
    return FieldError(field, absl::StrCat("has ", numbers.size(), " numbers; must have 3 (red, green, blue) or none"));
  }
  for (const double value : numbers) {
    if (!std::isfinite(value) || (positive && !(value > 0))) {
      return FieldError(field, absl::StrCat("holds ", value, "; must be finite", positive ? " and above 0" : ""));
    }
  }
  return std::vector<double>(numbers.begin(), numbers.end());
}

absl::StatusOr<Normalization> NormalizationOf(const Cifar10& parameters) {
  Normalization normalization;
  PRUNELAB_ASSIGN_OR_RETURN(normalization.mean, PerChannel("mean", parameters.mean(), /*positive=*/false));
  PRUNELAB_ASSIGN_OR_RETURN(normalization.stddev, PerChannel("stddev", parameters.stddev(), /*positive=*/true));
  return normalization;
}

absl::StatusOr<DatasetInfo> Describe(const Cifar10& parameters) {
  PRUNELAB_RETURN_IF_ERROR(CheckCount("train_images", parameters.train_images(), kTrainFiles * kRecords));
  PRUNELAB_RETURN_IF_ERROR(CheckCount("test_images", parameters.test_images(), kRecords));
  const int64_t size = parameters.image_size();
  if (size < 1 || size > kSide || kSide % size != 0) {
    return FieldError("image_size", absl::StrCat("is ", size, "; must be 1, 2, 4, 8, 16 or 32"));
  }
  PRUNELAB_RETURN_IF_ERROR(NormalizationOf(parameters).status());
  DatasetInfo info;
  info.classes = kClasses;
  info.channels = kChannels;
  info.height = info.width = size;
  info.train_images = parameters.train_images() == 0 ? kTrainFiles * kRecords : parameters.train_images();
  info.test_images = parameters.test_images() == 0 ? kRecords : parameters.test_images();
  return info;
}

absl::StatusOr<Dataset> Open(const Cifar10& parameters) {
  Dataset dataset;
  PRUNELAB_ASSIGN_OR_RETURN(dataset.info, Describe(parameters));
  PRUNELAB_ASSIGN_OR_RETURN(dataset.normalization, NormalizationOf(parameters));
  PRUNELAB_ASSIGN_OR_RETURN(const std::string folder, FindFolder(parameters.path()));
  std::vector<std::string> train_files = AllFiles();
  train_files.pop_back();
  PRUNELAB_ASSIGN_OR_RETURN(dataset.train, ReadPart(folder, train_files));
  PRUNELAB_ASSIGN_OR_RETURN(dataset.test, ReadPart(folder, {kTestFile}));
  dataset.train = Subset(dataset.train, parameters.train_images(), parameters.subset_seed(), "train");
  dataset.test = Subset(dataset.test, parameters.test_images(), parameters.subset_seed(), "test");
  dataset.train.images = Shrink(dataset.train.images, parameters.image_size());
  dataset.test.images = Shrink(dataset.test.images, parameters.image_size());
  dataset.fingerprint = DataFingerprint(dataset.train, dataset.test);
  return dataset;
}

}  // namespace

TypedDatasetFactory<Cifar10> CreateCifar10() { return {&Describe, &Open}; }

}  // namespace prunelab
