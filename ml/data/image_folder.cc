#include "ml/data/image_folder.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "ml/base/digest.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/data/picture_data.h"
#include "ml/data/picture_files.h"
#include "ml/data/picture_folders.h"

namespace prunelab {
namespace {

constexpr uint64_t kMostFileBytes = uint64_t{1} << 28;

// The pictures of a folder.
class FilesInFolder : public PictureFiles {
 public:
  explicit FilesInFolder(PictureListing listing) : listing_(std::move(listing)) {}

  const std::string& place() const override { return listing_.folder; }
  std::string AbsolutePlace() const override { return AbsolutePath(listing_.folder); }
  const std::vector<std::string>& classes() const override { return listing_.classes; }
  const std::vector<int64_t>& labels() const override { return listing_.labels; }
  std::string Name(int64_t picture) const override { return listing_.files[picture]; }
  std::string ShortName(int64_t picture) const override {
    return std::string(absl::StripPrefix(listing_.files[picture], listing_.folder + "/"));
  }

  absl::StatusOr<std::string> Read(int64_t picture) const override {
    const std::string& file = listing_.files[picture];
    if (!stamps_.empty()) {
      const absl::StatusOr<FileStamp> now = StampOrMissing(file);
      if (!now.ok()) return absl::AbortedError(now.status().message());
      if (!(*now == stamps_[picture])) {
        return absl::AbortedError(
            absl::StrCat(file, ": has changed since the data set was opened; start the command again"));
      }
    }
    absl::StatusOr<std::string> bytes = ReadFile(file, kMostFileBytes);
    const bool never = absl::IsNotFound(bytes.status()) || absl::IsResourceExhausted(bytes.status());
    return never ? absl::StatusOr<std::string>(absl::DataLossError(bytes.status().message())) : std::move(bytes);
  }

  absl::StatusOr<std::string> Stamp() override {
    Sha256Stream digest;
    stamps_.clear();
    for (int64_t i = 0; i < size(); ++i) {
      PRUNELAB_ASSIGN_OR_RETURN(const FileStamp stamp, StampOrMissing(listing_.files[i]));
      stamps_.push_back(stamp);
      digest.Add(absl::StrCat(ShortName(i), "\n", listing_.labels[i], " ", stamp.size, " ", stamp.changed, "\n"));
    }
    return digest.Finish();
  }

 private:
  // A link that leads nowhere is no reason to refuse all pictures.
  static absl::StatusOr<FileStamp> StampOrMissing(const std::string& file) {
    absl::StatusOr<FileStamp> stamp = StampOf(file);
    if (absl::IsNotFound(stamp.status())) return FileStamp{0, -1};
    return stamp;
  }

  const PictureListing listing_;
  std::vector<FileStamp> stamps_;  // by picture, once Stamp was called
};

absl::StatusOr<PictureFolders> CheckAndList(const ImageFolder& parameters) {
  PRUNELAB_RETURN_IF_ERROR(CheckPictureParameters(PictureParametersOf(parameters)));
  if (parameters.path().empty()) return FieldError("path", "must be set: the folder that holds train and test");
  absl::StatusOr<PictureFolders> folders = FindPictures(UserPath(parameters.path()));
  if (!folders.ok()) return InField("path", folders.status());
  return folders;
}

absl::StatusOr<DatasetInfo> InfoFor(const ImageFolder& parameters, const PictureFolders& folders) {
  return DescribePictures(PictureParametersOf(parameters), static_cast<int64_t>(folders.train.classes.size()),
                          static_cast<int64_t>(folders.train.files.size()),
                          static_cast<int64_t>(folders.test.files.size()));
}

absl::StatusOr<DatasetInfo> Describe(const ImageFolder& parameters) {
  PRUNELAB_ASSIGN_OR_RETURN(const PictureFolders folders, CheckAndList(parameters));
  return InfoFor(parameters, folders);
}

absl::StatusOr<Dataset> Open(const ImageFolder& parameters) {
  PRUNELAB_ASSIGN_OR_RETURN(PictureFolders folders, CheckAndList(parameters));
  PRUNELAB_RETURN_IF_ERROR(InfoFor(parameters, folders).status());
  return OpenPictures(PictureParametersOf(parameters), "path", "path",
                      std::make_shared<FilesInFolder>(std::move(folders.train)),
                      std::make_shared<FilesInFolder>(std::move(folders.test)), std::move(folders.notes));
}

}  // namespace

TypedDatasetFactory<ImageFolder> CreateImageFolder() { return {&Describe, &Open}; }

namespace {
const bool registered = RegisterDataset(&CreateImageFolder);
}  // namespace

}  // namespace prunelab
