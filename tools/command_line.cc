#include "tools/command_line.h"

#include <gflags/gflags.h>

#include <iostream>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "ml/base/files.h"
#include "ml/base/parse_plugin.h"
#include "ml/base/status_macros.h"
#include "ml/base/with_prefix.h"
#include "ml/execution/checkpoint.h"
#include "ml/onnx/checkpoint_file.h"

DEFINE_string(
    strip_prefix, "",
    "A prefix that is taken off the names in --checkpoint, e.g. module. (DataParallel's); tensors without it are "
    "skipped. auto: the prefix with which most names are the network's.");
DEFINE_string(ignore, "", "Tensors of --checkpoint to skip: a glob over names; a comma means or, e.g. 'epoch,ema.*'.");

namespace prunelab {
namespace {

constexpr char kNetworkExample[] = "--network='[type.googleapis.com/prunelab.ResNetCifar] { depth: 56 }'";

WeightsOptions OptionsOfFlags() {
  WeightsOptions options;
  options.prefix = FLAGS_strip_prefix;
  if (!FLAGS_ignore.empty()) options.ignored.push_back(FLAGS_ignore);
  options.prefix_setting = "--strip_prefix=$0";
  options.ignored_setting = "--ignore='$0'";
  return options;
}

}  // namespace

absl::StatusOr<NetworkInfo> ParseNetwork(absl::string_view text, const ImageDefaults& defaults) {
  PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any plugin, ParsePlugin("--network", text));
  absl::StatusOr<Network> network = BuildNetwork(plugin, defaults);
  if (!network.ok()) return WithPrefix("--network", network.status());
  absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(*std::move(network));
  if (!info.ok()) return WithPrefix("--network", info.status());
  return info;
}

absl::StatusOr<Model> OpenCheckpoint(const std::string& path, absl::string_view network_text,
                                     const ImageDefaults& defaults, at::Device device) {
  const std::string file_path = UserPath(path);
  std::vector<std::string> notes;
  absl::StatusOr<Safetensors> file = ReadCheckpointFile(file_path, &notes);
  if (absl::IsNotFound(file.status())) return WithPrefix("--checkpoint", NoSuchFile(path));
  PRUNELAB_RETURN_IF_ERROR(file.status());
  if (network_text.empty() && file->metadata.count(kNetworkKey) == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(file_path, ": carries no network; say which one its weights belong to, e.g. ", kNetworkExample));
  }
  PRUNELAB_ASSIGN_OR_RETURN(NetworkInfo info, network_text.empty() ? StoredNetwork(file->metadata, file_path)
                                                                   : ParseNetwork(network_text, defaults));
  absl::StatusOr<Model> model =
      ModelOf(*std::move(file), file_path, std::move(info), OptionsOfFlags(), at::kFloat, device, &notes);
  for (const std::string& note : notes) std::cerr << note << "\n";
  return model;
}

absl::Status CheckNoCheckpointFlags() {
  for (const auto& [name, value] : {std::pair("strip_prefix", FLAGS_strip_prefix), std::pair("ignore", FLAGS_ignore)}) {
    if (!value.empty()) return absl::InvalidArgumentError(absl::StrCat("--", name, " goes with --checkpoint"));
  }
  return absl::OkStatus();
}

}  // namespace prunelab
