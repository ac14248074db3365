#include "tools/data_flag.h"

#include <iostream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/message.h"
#include "ml/base/parse_plugin.h"
#include "ml/base/plugin.h"
#include "ml/base/status_macros.h"
#include "ml/base/with_prefix.h"

namespace prunelab {

absl::StatusOr<std::string> PathOfDataset(const std::string& text) {
  if (text.empty()) return std::string();
  PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any dataset, ParsePlugin("--dataset", text));
  const absl::StatusOr<std::unique_ptr<google::protobuf::Message>> parameters = UnpackAny(dataset);
  if (!parameters.ok()) return std::string();
  const google::protobuf::FieldDescriptor* path = (*parameters)->GetDescriptor()->FindFieldByName("path");
  const bool is_text =
      path != nullptr && !path->is_repeated() && path->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_STRING;
  return is_text ? (*parameters)->GetReflection()->GetString(**parameters, path) : std::string();
}

absl::StatusOr<std::optional<Dataset>> OpenDataFlag(const std::string& text) {
  if (text.empty()) return std::optional<Dataset>();
  PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any plugin, ParsePlugin("--dataset", text));
  absl::StatusOr<Dataset> opened = OpenDataset(plugin);
  if (!opened.ok()) return WithPrefix("--dataset", opened.status());
  for (const std::string& note : opened->notes) std::cerr << note << "\n";
  return std::optional<Dataset>(*std::move(opened));
}

absl::Status CheckDataFit(const NetworkInfo& network, const DatasetInfo& data) {
  PRUNELAB_RETURN_IF_ERROR(network.CheckLogits());
  const NodeShape& shape = network.input_shape();
  if (shape.channels == data.channels && shape.height == data.height && shape.width == data.width &&
      network.classes() == data.classes) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("--dataset: has images of ", data.channels, "x", data.height, "x",
                                                 data.width, " and ", data.classes, " classes; the network takes ",
                                                 shape.channels, "x", shape.height, "x", shape.width,
                                                 " (channels, height, width) and has ", network.classes()));
}

}  // namespace prunelab
