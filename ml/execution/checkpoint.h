// A checkpoint of a model: one .safetensors file with parameters and buffers under their PyTorch names, masks as
// "<conv>.mask" (float32 0 and 1 in the weight's shape), and the network as text proto under the metadata key
// "network", so that it can always be loaded. The weights of a layer with weight_bits that are whole multiples of
// weight_scale are stored as those whole numbers, int8. This file also handles weights from elsewhere, with the names
// that other people's files use.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/execution/model.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {

// The metadata key for the network, and its value.
constexpr char kNetworkKey[] = "network";
// The metadata key of the nodes that have masks of filters, joined by commas. Files store every mask in the weight's
// shape, so that a mask of weights may look like one of filters; the key is written where the file would be misread.
constexpr char kFilterMasksKey[] = "filter_masks";
std::string NetworkText(const Network& network);

Safetensors ModelToSafetensors(const Model& model);

// The network in a file's metadata. Errors: there is none, or it is refused.
absl::StatusOr<NetworkInfo> StoredNetwork(const std::map<std::string, std::string>& metadata, const std::string& name);

// Whether the file's tensors are those of the network; one error lists all differences of names, shapes and types.
// "num_batches_tracked" may be missing. Masks may have the weight's shape or [out, 1, 1, 1], and must contain only 0
// and 1.
absl::Status CheckFits(const Safetensors& file, const std::string& name, const NetworkInfo& info);

// Whether the network can compute with the file's values. An error names the tensors and, for each, the first value
// that is not finite in float32 or that is a negative running variance.
absl::Status CheckValues(const Safetensors& file, const std::string& name, const NetworkInfo& info);

// Copies weights, buffers and masks into `model`. Where CheckFits refuses the file nothing is changed. What
// ModelToSafetensors wrote keeps its masks' granularity; in a file from elsewhere the masks are those of filters where
// every one of them is the same within each filter, else those of weights.
absl::Status LoadIntoModel(const Safetensors& file, const std::string& name, Model& model);

// How a file of weights is read.
struct WeightsOptions {
  // A prefix that is taken off the tensors' names, e.g. "module."; tensors without it are skipped. "auto": the prefix
  // with which most of the names are the network's, if there is one.
  std::string prefix;
  // Globs over names (without the prefix). Matching tensors of the network are not read from the file and may be
  // missing there; matching tensors of the file are skipped. A mask goes with its weight.
  std::vector<std::string> fresh;
  // Names of the network that are treated so if the file has not got them.
  std::vector<std::string> fresh_if_missing;
  // Globs over names in the file alone; matching tensors are skipped.
  std::vector<std::string> ignored;
  // How a user sets these, for the remedies in errors, with $0 for the value: "--strip_prefix=$0". "" if they cannot be
  // set.
  std::string prefix_setting, fresh_setting, ignored_setting;
};

struct Weights {
  Safetensors file;                // with the network's names; fits the network except for `fresh`
  std::vector<std::string> fresh;  // parameters and buffers of the network that must be initialized freshly
  std::vector<std::string> notes;  // what was skipped or read differently from how it is stored, for the user
};

// Turns the tensors of `file` into weights for the network `info`:
//   - a prefix is taken off the names, as above; without being asked for, it is an error that names it;
//   - X_orig and X_mask of torch.nn.utils.prune are the weight X and its mask; of anything but a convolution's weight
//     the mask is multiplied in;
//   - sizes of 1 at the end of a shape may be there or not (a linear layer's weight [out, in] is that of a 1x1
//     convolution, [out, in, 1, 1]), and a channel_scale's weight may have the node's name alone (ConvNeXt's
//     layer_scale);
//   - a training's state (a run's checkpoint) is its weights and masks;
//   - total_ops and total_params, which the profiler thop leaves, and tensors of types that are not read are passed
//     over.
// The result passes CheckFits, except for the tensors in `fresh`, and CheckValues. Errors: theirs, with `name` for the
// file and with remedies; globs that match nothing.
absl::StatusOr<Weights> TakeWeights(Safetensors file, const std::string& name, const NetworkInfo& info,
                                    const WeightsOptions& options);

// A model with the tensors of `file` for `info`, read by TakeWeights; notes are added to `notes` if it is given.
absl::StatusOr<Model> ModelOf(Safetensors file, const std::string& name, NetworkInfo info,
                              const WeightsOptions& options, at::ScalarType dtype, at::Device device,
                              std::vector<std::string>* notes);

// A model from a file that contains its network. Errors: those of ReadSafetensors, StoredNetwork, TakeWeights.
absl::StatusOr<Model> LoadModel(const std::string& path, at::ScalarType dtype, at::Device device);

}  // namespace prunelab
