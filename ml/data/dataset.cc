#include "ml/data/dataset.h"

#include <c10/core/ScalarType.h>

#include <memory>

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

std::string DataFingerprint(const LabelledImages& train, const LabelledImages& test) {
  return Sha256(absl::StrCat(TensorLine(train.images), TensorLine(train.labels), TensorLine(test.images),
                             TensorLine(test.labels)));
}

DatasetInfo InfoOf(int64_t classes, const LabelledImages& train, const LabelledImages& test) {
  DatasetInfo info;
  info.classes = classes;
  info.channels = train.images.size(1);
  info.height = train.images.size(2);
  info.width = train.images.size(3);
  info.train_images = train.size();
  info.test_images = test.size();
  return info;
}

}  // namespace prunelab
