// What the tools share in reading their command lines: plugins in text form, networks, checkpoints.
//
//   --network='[type.googleapis.com/prunelab.ResNetCifar] { depth: 56 }'
//
// Errors are one or more lines that begin with the flag or the file, and say what would be right.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/any.pb.h"
#include "ml/execution/model.h"
#include "ml/models/model_builder.h"
#include "ml/network/network.h"

namespace prunelab {

// The network that --network names; `defaults` fill in what it leaves unset.
absl::StatusOr<NetworkInfo> ParseNetwork(absl::string_view text, const ImageDefaults& defaults);

// A checkpoint, a .pdc file or an ONNX file, in float32 with the network that it contains or, if `network_text` is not
// empty, with the network of --network: a PyTorch state_dict contains none. It follows --strip_prefix and --ignore,
// which every program that links this library has. Skipped tensors are listed on standard error.
absl::StatusOr<Model> OpenCheckpoint(const std::string& path, absl::string_view network_text,
                                     const ImageDefaults& defaults, at::Device device);

// Refuses --strip_prefix and --ignore if no checkpoint is read.
absl::Status CheckNoCheckpointFlags();

}  // namespace prunelab
