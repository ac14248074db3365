// One-shot pruning of a trained network by any linked strategy: its masks, without training.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/any.pb.h"
#include "ml/data/dataset.h"
#include "ml/execution/model.h"

namespace prunelab {

// The number of steps of the imaginary training: enough for a strategy that prunes late or bit by bit to finish.
constexpr int64_t kOneShotEpochs = 300;

// Asks the strategy like a training of kOneShotEpochs epochs of one step each, whose weights never change, and leaves
// its last masks in `model`. Weights that the strategy sets are also kept, but masked or grown weights are not zeroed:
// a weight keeps the value that it would have if it returned. Weights that are masked already count as zero and stay
// masked, whatever the strategy says, because no training could bring them back.
//
// A strategy that reads gradients gets, before as after each step, those of the mean cross-entropy over the first
// `calibration_images` training images of `data`, in evaluation mode, of the dense weights under the masks in force;
// one that looks at training images sees these. Errors: the strategy's own, prefixed as a field error of "pruning"; one
// that needs gradients or images without data; a field that only a training reads (ml/pruning/field_options.proto) set
// to anything but its default, or what the strategy asks for: all such are named in one error; a strategy that masks
// nothing, or nothing more. With `masks_nothing` this last one is no error, but said there.
absl::Status PruneOnce(Model& model, const google::protobuf::Any& pruning, uint64_t seed, const Dataset* data,
                       int64_t calibration_images, bool* masks_nothing = nullptr);

// The same of a copy with weights of its own: a strategy may write to weights, and `model` stays as it is.
absl::StatusOr<Model> PrunedOnce(const Model& model, const google::protobuf::Any& pruning, uint64_t seed,
                                 const Dataset* data, int64_t calibration_images, bool* masks_nothing = nullptr);

}  // namespace prunelab
