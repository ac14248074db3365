#include "tools/dataset_flag.h"

#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "ml/base/parse_plugin.h"
#include "ml/base/plugin.h"
#include "ml/base/status_macros.h"
#include "ml/base/with_prefix.h"

namespace prunelab {

absl::StatusOr<std::string> PathOfDataset(absl::string_view text) {
  PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any plugin, ParsePlugin("--dataset", text));
  const absl::StatusOr<std::unique_ptr<google::protobuf::Message>> parameters = UnpackAny(plugin);
  if (!parameters.ok()) return std::string();
  const google::protobuf::FieldDescriptor* path = (*parameters)->GetDescriptor()->FindFieldByName("path");
  const bool is_text =
      path != nullptr && !path->is_repeated() && path->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING;
  return is_text ? (*parameters)->GetReflection()->GetString(**parameters, path) : std::string();
}

absl::StatusOr<Dataset> OpenDatasetFlag(absl::string_view text) {
  PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any plugin, ParsePlugin("--dataset", text));
  absl::StatusOr<Dataset> opened = OpenDataset(plugin);
  if (!opened.ok()) return WithPrefix("--dataset", opened.status());
  for (const std::string& note : opened->notes) std::cerr << note << "\n";
  return opened;
}

absl::Status CheckDataFit(const NetworkInfo& info, const ImageDefaults& data) {
  PRUNELAB_RETURN_IF_ERROR(info.CheckLogits());
  const NodeShape& shape = info.input_shape();
  if (shape.channels == data.channels && shape.height == data.height && shape.width == data.width &&
      info.classes() == data.classes) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("--dataset: has images of ", *data.channels, "x", *data.height, "x",
                                                 *data.width, " and ", *data.classes, " classes; the network takes ",
                                                 shape.channels, "x", shape.height, "x", shape.width,
                                                 " (channels, height, width) and has ", info.classes()));
}

}  // namespace prunelab
