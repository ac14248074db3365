// What the tools take from their command lines alike: plugins in text form, networks, checkpoints.
//
//   --network='[type.googleapis.com/prunelab.ResNetCifar] { depth: 56 }'
//
// Errors are one line or more that begin with the flag or the file, and say what would be right.
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

// The network that --network names; what it leaves unset is `defaults`.
absl::StatusOr<NetworkInfo> ParseNetwork(absl::string_view text, const ImageDefaults& defaults);

// A checkpoint in float32 with the network that it carries, or, where `network_text` is not empty, with that of
// --network: a PyTorch state_dict carries none. By --strip_prefix and --ignore, which every program that links this
// has; what was passed over is said on the standard error.
absl::StatusOr<Model> OpenCheckpoint(const std::string& path, absl::string_view network_text,
                                     const ImageDefaults& defaults, at::Device device);

// Refuses --strip_prefix and --ignore where no checkpoint is read.
absl::Status CheckNoCheckpointFlags();

}  // namespace prunelab
