#include "ml/data/dataset.h"

#include <ATen/ops/index_select.h>
#include <c10/core/ScalarType.h>

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ml/base/check.h"
#include "ml/base/digest.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

// "uint8 1438x1x8x8 <SHA-256 of the bytes>\n"
std::string TensorLine(const at::Tensor& tensor) {
  PRUNELAB_CHECK(tensor.is_cpu() && tensor.is_contiguous());
  const char* type = tensor.scalar_type() == at::kByte    ? "uint8"
                     : tensor.scalar_type() == at::kFloat ? "float32"
                     : tensor.scalar_type() == at::kLong  ? "int64"
                                                          : nullptr;
  PRUNELAB_CHECK(type != nullptr) << "a data set holds no " << at::toString(tensor.scalar_type());
  const absl::string_view bytes(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  return absl::StrCat(type, " ", absl::StrJoin(tensor.sizes(), "x"), " ", Sha256(bytes), "\n");
}

std::string ImagesLine(const LabelledImages& data) {
  return data.source != nullptr ? data.source->DigestLine() : TensorLine(data.images);
}

// Some images of a source.
class SelectedImages : public ImageSource {
 public:
  SelectedImages(std::shared_ptr<const ImageSource> all, std::vector<int64_t> index)
      : all_(std::move(all)), index_(std::move(index)) {}

  int64_t size() const override { return static_cast<int64_t>(index_.size()); }
  std::array<int64_t, 3> shape() const override { return all_->shape(); }
  absl::Status Read(int64_t image, uint8_t* out) const override { return all_->Read(index_[image], out); }
  bool has_whole_pictures() const override { return all_->has_whole_pictures(); }
  absl::StatusOr<HeldPicture> ReadWhole(int64_t image) const override { return all_->ReadWhole(index_[image]); }
  std::string DigestLine() const override {
    const absl::string_view bytes(reinterpret_cast<const char*>(index_.data()), index_.size() * sizeof(int64_t));
    return absl::StrCat("images ", Sha256(bytes), " of ", all_->DigestLine());
  }
  int64_t bytes_ahead() const override { return all_->bytes_ahead(); }

 private:
  const std::shared_ptr<const ImageSource> all_;
  const std::vector<int64_t> index_;
};

// "; relative paths are taken from ...", if the data were looked for under a relative path and the error does not say
// so.
std::string FolderNote(const google::protobuf::Message& parameters, const absl::Status& error) {
  const google::protobuf::FieldDescriptor* field = parameters.GetDescriptor()->FindFieldByName("path");
  if (field == nullptr || field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_STRING ||
      field->is_repeated() || absl::StrContains(error.message(), "relative paths")) {
    return "";
  }
  const std::string path = parameters.GetReflection()->GetString(parameters, field);
  if (path.empty() || absl::StartsWith(path, "/") || absl::StartsWith(path, "~/")) return "";
  return absl::StrCat("; relative paths are taken from ", UserFolder());
}

}  // namespace

PluginRegistry<DatasetFactory>& Datasets() {
  static auto* registry = new PluginRegistry<DatasetFactory>("data set", "//ml/data");
  return *registry;
}

absl::StatusOr<DatasetInfo> DescribeDataset(const google::protobuf::Any& parameters) {
  PRUNELAB_ASSIGN_OR_RETURN(const DatasetFactory* factory, Datasets().Find(parameters));
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<google::protobuf::Message> message, UnpackAny(parameters));
  return factory->describe(*message);
}

absl::StatusOr<Dataset> OpenDataset(const google::protobuf::Any& parameters) {
  PRUNELAB_ASSIGN_OR_RETURN(const DatasetFactory* factory, Datasets().Find(parameters));
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<google::protobuf::Message> message, UnpackAny(parameters));
  absl::StatusOr<Dataset> dataset = factory->open(*message);
  if (!absl::IsNotFound(dataset.status())) return dataset;
  const absl::Status& error = dataset.status();
  absl::Status with_folder(error.code(), absl::StrCat(error.message(), FolderNote(*message, error)));
  error.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { with_folder.SetPayload(url, payload); });
  return with_folder;
}

std::array<int64_t, 3> ShapeOf(const LabelledImages& data) {
  if (data.source != nullptr) return data.source->shape();
  return {data.images.size(1), data.images.size(2), data.images.size(3)};
}

bool HasBytes(const LabelledImages& data) { return data.source != nullptr || data.images.scalar_type() == at::kByte; }

LabelledImages SelectImages(const LabelledImages& data, const at::Tensor& index) {
  LabelledImages selected = data;
  selected.labels = data.labels.index_select(0, index);
  if (data.source == nullptr) {
    selected.images = data.images.index_select(0, index);
    return selected;
  }
  const int64_t* images = index.const_data_ptr<int64_t>();
  selected.source = std::make_shared<SelectedImages>(data.source, std::vector<int64_t>(images, images + index.numel()));
  return selected;
}

std::string DataFingerprint(const LabelledImages& train, const LabelledImages& test) {
  return Sha256(absl::StrCat(ImagesLine(train), TensorLine(train.labels), ImagesLine(test), TensorLine(test.labels)));
}

DatasetInfo InfoOf(int64_t classes, const LabelledImages& train, const LabelledImages& test) {
  DatasetInfo info;
  info.classes = classes;
  const auto [channels, height, width] = ShapeOf(train);
  info.channels = channels;
  info.height = height;
  info.width = width;
  info.train_images = train.size();
  info.test_images = test.size();
  return info;
}

}  // namespace prunelab
