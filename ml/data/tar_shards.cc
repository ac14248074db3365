#include "ml/data/tar_shards.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ml/base/digest.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/data/picture_data.h"
#include "ml/data/picture_files.h"
#include "ml/data/picture_folders.h"
#include "ml/data/tar_index.h"

namespace prunelab {
namespace {

constexpr uint64_t kMostPictureBytes = uint64_t{1} << 28;
constexpr uint64_t kMostClassBytes = 32;
constexpr int64_t kMostClasses = 1 << 20;
constexpr uint64_t kMostShards = 1000000;

bool AllDigits(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isdigit(c); });
}

// One range: {08..11}.
absl::StatusOr<std::vector<std::string>> Range(absl::string_view text) {
  const auto refuse = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("{", text, "} ", what));
  };
  const size_t dots = text.find("..");
  uint64_t first = 0, last = 0;
  if (dots == absl::string_view::npos || !AllDigits(text.substr(0, dots)) || !AllDigits(text.substr(dots + 2)) ||
      !absl::SimpleAtoi(text.substr(0, dots), &first) || !absl::SimpleAtoi(text.substr(dots + 2), &last)) {
    return refuse("is no range of numbers, such as {000..099}");
  }
  if (first > last) return refuse("runs backwards");
  if (last - first >= kMostShards) return refuse("has more than a million numbers");
  std::vector<std::string> numbers;
  for (uint64_t i = 0; i <= last - first; ++i) {
    std::string digits = absl::StrCat(first + i);
    if (digits.size() < dots) digits.insert(0, dots - digits.size(), '0');
    numbers.push_back(std::move(digits));
  }
  return numbers;
}

struct Sample {
  int64_t shard = 0;
  std::string name;  // of the picture's file in the shard
  uint64_t offset = 0, bytes = 0;
};

// The pictures of some archives.
class FilesInShards : public PictureFiles {
 public:
  // Reads the archives' headers and the samples' classes.
  static absl::StatusOr<std::shared_ptr<FilesInShards>> List(std::vector<std::string> shards) {
    auto files = std::make_shared<FilesInShards>();
    files->shards_ = std::move(shards);
    files->place_ = files->shards_.size() == 1
                        ? files->shards_[0]
                        : absl::StrCat(files->shards_.front(), " to ", BaseName(files->shards_.back()));
    for (size_t shard = 0; shard < files->shards_.size(); ++shard) {
      PRUNELAB_RETURN_IF_ERROR(files->ListShard(static_cast<int64_t>(shard)));
    }
    if (files->samples_.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(files->place_, ": no picture; files KEY.jpg, KEY.jpeg or KEY.png with KEY.cls are looked for"));
    }
    return files;
  }

  const std::string& place() const override { return place_; }
  std::string AbsolutePlace() const override {
    std::string all;
    for (const std::string& shard : shards_) absl::StrAppend(&all, AbsolutePath(shard), "\n");
    return all;
  }
  const std::vector<std::string>& classes() const override { return classes_; }
  const std::vector<int64_t>& labels() const override { return labels_; }
  void set_classes(int64_t count) {
    classes_.clear();
    for (int64_t i = 0; i < count; ++i) classes_.push_back(absl::StrCat(i));
  }
  int64_t largest_label() const { return *std::max_element(labels_.begin(), labels_.end()); }
  // What is in the archives and was not used: a sentence, or "".
  std::string Ignored() const {
    if (ignored_ == 0) return "";
    return absl::StrCat(place_, ": ", Counted(ignored_, "file", "files"),
                        " that are neither pictures nor classes were left out: ", SomeNames(ignored_names_));
  }

  std::string Name(int64_t picture) const override {
    return absl::StrCat(shards_[samples_[picture].shard], ": ", samples_[picture].name);
  }
  std::string ShortName(int64_t picture) const override {
    return absl::StrCat(BaseName(shards_[samples_[picture].shard]), ": ", samples_[picture].name);
  }

  absl::StatusOr<std::string> Read(int64_t picture) const override {
    const Sample& sample = samples_[picture];
    const std::string& shard = shards_[sample.shard];
    const absl::StatusOr<FileStamp> now = StampOf(shard);
    if (!now.ok()) return absl::AbortedError(now.status().message());
    if (!(*now == stamps_[sample.shard])) {
      return absl::AbortedError(
          absl::StrCat(shard, ": has changed since the data set was opened; start the command again"));
    }
    return ReadFilePart(shard, sample.offset, sample.bytes);
  }

  absl::StatusOr<std::string> Stamp() override {
    Sha256Stream digest;
    for (const FileStamp& stamp : stamps_) digest.Add(absl::StrCat(stamp.size, " ", stamp.changed, "\n"));
    for (size_t i = 0; i < samples_.size(); ++i) {
      const Sample& sample = samples_[i];
      digest.Add(
          absl::StrCat(sample.name, "\n", sample.shard, " ", sample.offset, " ", sample.bytes, " ", labels_[i], "\n"));
    }
    return digest.Finish();
  }

 private:
  static std::string BaseName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

  void Ignore(const std::string& name) {
    constexpr size_t kMostKept = 100;
    ++ignored_;
    if (ignored_names_.size() < kMostKept) ignored_names_.push_back(name);
  }

  absl::Status ListShard(int64_t shard) {
    const std::string& path = shards_[shard];
    const absl::StatusOr<FileStamp> stamp = StampOf(path);
    if (absl::IsNotFound(stamp.status())) return NoSuchFile(path);
    if (!stamp.ok()) return stamp.status();
    stamps_.push_back(*stamp);
    const auto read = [&](uint64_t offset, uint64_t bytes) { return ReadFilePart(path, offset, bytes); };
    const absl::StatusOr<std::vector<TarMember>> members = ListTar(stamp->size, read);
    if (!members.ok()) {
      if (!absl::IsInvalidArgument(members.status())) return members.status();
      return absl::InvalidArgumentError(absl::StrCat(path, ": ", members.status().message()));
    }
    // What belongs together comes one after the other.
    std::string key;
    std::optional<Sample> picture;
    std::optional<int64_t> label;
    const auto refuse = [&](auto... what) { return absl::InvalidArgumentError(absl::StrCat(path, ": ", what...)); };
    const auto end_sample = [&]() -> absl::Status {
      if (picture && !label) return refuse(picture->name, " has no ", key, ".cls beside it, which says its class");
      if (label && !picture) return refuse(key, ".cls has no picture ", key, ".jpg, .jpeg or .png beside it");
      if (picture) {
        samples_.push_back(*std::exchange(picture, std::nullopt));
        labels_.push_back(*std::exchange(label, std::nullopt));
      }
      return absl::OkStatus();
    };
    if (members->empty()) return refuse("holds no file; it may be cut off");
    for (const TarMember& member : *members) {
      const size_t base = member.name.rfind('/') == std::string::npos ? 0 : member.name.rfind('/') + 1;
      if (member.name[base] == '.') {  // what systems leave beside files: ._0001.jpg
        Ignore(member.name);
        continue;
      }
      const size_t dot = member.name.find('.', base);
      const std::string of = member.name.substr(0, dot);
      const std::string end =
          dot == std::string::npos ? "" : absl::AsciiStrToLower(absl::string_view(member.name).substr(dot + 1));
      if (of != key) {
        PRUNELAB_RETURN_IF_ERROR(end_sample());
        key = of;
      }
      if (end == "jpg" || end == "jpeg" || end == "png") {
        if (picture) return refuse(picture->name, " and ", member.name, " are two pictures of one sample");
        if (member.bytes > kMostPictureBytes) {
          return refuse(member.name, " has ", member.bytes, " bytes; at most ", kMostPictureBytes);
        }
        picture = Sample{shard, member.name, member.offset, member.bytes};
      } else if (end == "cls") {
        if (label) return refuse(member.name, " occurs twice");
        std::string text;
        if (member.bytes <= kMostClassBytes) {
          PRUNELAB_ASSIGN_OR_RETURN(text, ReadFilePart(path, member.offset, member.bytes));
        }
        int64_t value = -1;
        if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(text), &value) || value < 0 || value >= kMostClasses) {
          return refuse(member.name, " is no class; must be a number from 0 on, as text");
        }
        label = value;
      } else {
        Ignore(member.name);
      }
    }
    return end_sample();
  }

  std::vector<std::string> shards_;
  std::vector<FileStamp> stamps_;  // of the shards
  std::string place_;
  std::vector<std::string> classes_;
  std::vector<int64_t> labels_;
  std::vector<Sample> samples_;
  size_t ignored_ = 0;
  std::vector<std::string> ignored_names_;
};

struct Parts {
  std::shared_ptr<FilesInShards> train, test;
};

absl::StatusOr<Parts> CheckAndList(const TarShards& parameters) {
  PRUNELAB_RETURN_IF_ERROR(CheckPictureParameters(PictureParametersOf(parameters)));
  const auto list = [](const char* field, const google::protobuf::RepeatedPtrField<std::string>& patterns)
      -> absl::StatusOr<std::shared_ptr<FilesInShards>> {
    if (patterns.empty()) return FieldError(field, "must be set: tar archives, such as data/train-{000..099}.tar");
    std::vector<std::string> shards;
    for (const std::string& pattern : patterns) {
      absl::StatusOr<std::vector<std::string>> names = ExpandBraces(pattern);
      if (!names.ok()) return InField(field, names.status());
      for (const std::string& name : *names) shards.push_back(UserPath(name));
    }
    absl::StatusOr<std::shared_ptr<FilesInShards>> files = FilesInShards::List(std::move(shards));
    return files.ok() ? std::move(files)
                      : absl::StatusOr<std::shared_ptr<FilesInShards>>(InField(field, files.status()));
  };
  Parts parts;
  PRUNELAB_ASSIGN_OR_RETURN(parts.train, list("train", parameters.train()));
  PRUNELAB_ASSIGN_OR_RETURN(parts.test, list("test", parameters.test()));
  const int64_t largest = std::max(parts.train->largest_label(), parts.test->largest_label());
  const int64_t classes = parameters.has_classes() ? parameters.classes() : largest + 1;
  if (classes <= largest || classes < 2 || classes > kMostClasses) {
    return FieldError("classes", absl::StrCat(parameters.has_classes() ? "is " : "is not set, and would be ", classes,
                                              ", and the largest class in the archives is ", largest,
                                              "; must be more than that, at least 2, and at most ", kMostClasses));
  }
  std::vector<int64_t> counts(classes);
  for (const int64_t label : parts.train->labels()) ++counts[label];
  std::vector<std::string> missing;
  for (int64_t i = 0; i < classes; ++i) {
    if (counts[i] == 0) missing.push_back(absl::StrCat(i));
  }
  if (!missing.empty()) {
    return FieldError(
        "train", absl::StrCat("has no picture of ", missing.size() == 1 ? "class " : "the classes ", SomeNames(missing),
                              " of ", classes, "; classes are numbered from 0 without gaps"));
  }
  for (const auto& part : {parts.train, parts.test}) part->set_classes(classes);
  return parts;
}

absl::StatusOr<DatasetInfo> InfoFor(const TarShards& parameters, const Parts& parts) {
  return DescribePictures(PictureParametersOf(parameters), static_cast<int64_t>(parts.train->classes().size()),
                          parts.train->size(), parts.test->size());
}

absl::StatusOr<DatasetInfo> Describe(const TarShards& parameters) {
  PRUNELAB_ASSIGN_OR_RETURN(const Parts parts, CheckAndList(parameters));
  return InfoFor(parameters, parts);
}

absl::StatusOr<Dataset> Open(const TarShards& parameters) {
  PRUNELAB_ASSIGN_OR_RETURN(const Parts parts, CheckAndList(parameters));
  PRUNELAB_RETURN_IF_ERROR(InfoFor(parameters, parts).status());
  std::vector<std::string> notes;
  for (const auto& part : {parts.train, parts.test}) {
    if (std::string ignored = part->Ignored(); !ignored.empty()) notes.push_back(std::move(ignored));
  }
  return OpenPictures(PictureParametersOf(parameters), "train", "test", parts.train, parts.test, std::move(notes));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ExpandBraces(const std::string& pattern) {
  const size_t open = pattern.find('{'), close = pattern.find('}');
  if (open == std::string::npos && close == std::string::npos) return std::vector<std::string>{pattern};
  if (open == std::string::npos || close == std::string::npos || close < open) {
    return absl::InvalidArgumentError(absl::StrCat("\"", pattern, "\" has a brace without its partner"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<std::string> numbers,
                            Range(absl::string_view(pattern).substr(open + 1, close - open - 1)));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<std::string> rests, ExpandBraces(pattern.substr(close + 1)));
  if (numbers.size() * rests.size() > kMostShards) {
    return absl::InvalidArgumentError(absl::StrCat("\"", pattern, "\" stands for more than a million names"));
  }
  std::vector<std::string> names;
  for (const std::string& number : numbers) {
    for (const std::string& rest : rests) names.push_back(absl::StrCat(pattern.substr(0, open), number, rest));
  }
  return names;
}

TypedDatasetFactory<TarShards> CreateTarShards() { return {&Describe, &Open}; }

namespace {
const bool registered = RegisterDataset(&CreateTarShards);
}  // namespace

}  // namespace prunelab
