// A checkpoint of a model: one .safetensors file with parameters and buffers under their PyTorch names, masks as
// "<conv>.mask" (float32 0 and 1 in the weight's shape), and the network as text proto under the metadata key
// "network", so that it can always be loaded. And weights from elsewhere: what other people's files call them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/execution/model.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {

// The metadata key of the network, and its value.
constexpr char kNetworkKey[] = "network";
std::string NetworkText(const Network& network);

Safetensors ModelToSafetensors(const Model& model);

// The network that a file's metadata carry. Errors: none, or one that is refused.
absl::StatusOr<NetworkInfo> StoredNetwork(const std::map<std::string, std::string>& metadata, const std::string& name);

// Whether the file's tensors are those of the network: all differences of names, shapes and types are listed in one
// error. "num_batches_tracked" may be missing; masks may have the weight's shape or [out, 1, 1, 1], and hold 0 and 1.
absl::Status CheckFits(const Safetensors& file, const std::string& name, const NetworkInfo& info);

// Whether the network can compute with the file's values: an error names the tensors and the first value of each that
// is not finite in float32, or that is a negative running variance.
absl::Status CheckValues(const Safetensors& file, const std::string& name, const NetworkInfo& info);

// Copies weights, buffers and masks into `model`. Where CheckFits refuses the file nothing is changed. What
// ModelToSafetensors wrote keeps its masks' granularity; in a file from elsewhere the masks are those of filters where
// every one of them is the same within each filter, else those of weights.
absl::Status LoadIntoModel(const Safetensors& file, const std::string& name, Model& model);

// How a file of weights is read.
struct WeightsOptions {
  // Taken off the tensors' names, e.g. "module."; tensors without it are passed over. "auto": the prefix that makes
  // most of the names the network's, if any does.
  std::string prefix;
  // Globs over names (without the prefix). Of the network: these are not taken from the file, and may be missing there.
  // Of the file: these are passed over. A mask goes with its weight.
  std::vector<std::string> fresh;
  // Globs over names in the file alone: these are passed over.
  std::vector<std::string> ignored;
  // How a person sets these, for errors' remedies, with $0 for the value: "--strip_prefix=$0". "" where nobody can.
  std::string prefix_setting, fresh_setting, ignored_setting;
};

struct Weights {
  Safetensors file;                // with the network's names; fits it but for `fresh`
  std::vector<std::string> fresh;  // parameters and buffers of the network that are left to be made afresh
  std::vector<std::string> notes;  // what was passed over or taken otherwise than it stands there, for people
};

// What the tensors of `file` are to the network `info`:
//   - a prefix is taken off the names, as above; without being asked for, it is an error that names it;
//   - X_orig and X_mask of torch.nn.utils.prune are the weight X and its mask; of anything but a convolution's weight
//     the mask is multiplied in;
//   - a training's state (a run's checkpoint) is its weights and masks;
//   - total_ops and total_params, which the profiler thop leaves, and tensors of types that are not read are passed
//     over.
// The result passes CheckFits, but for what is left fresh, and CheckValues. Errors: as theirs, `name` standing for the
// file, with remedies; globs that match nothing.
absl::StatusOr<Weights> TakeWeights(Safetensors file, const std::string& name, const NetworkInfo& info,
                                    const WeightsOptions& options);

// A model of the tensors of `file` for `info`, as TakeWeights takes them; notes are added to `notes` where it is given.
absl::StatusOr<Model> ModelOf(Safetensors file, const std::string& name, NetworkInfo info,
                              const WeightsOptions& options, at::ScalarType dtype, at::Device device,
                              std::vector<std::string>* notes);

// A model from a file that carries its network. Errors: as ReadSafetensors, StoredNetwork, TakeWeights.
absl::StatusOr<Model> LoadModel(const std::string& path, at::ScalarType dtype, at::Device device);

}  // namespace prunelab
