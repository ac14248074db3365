// One-shot pruning of a trained network by any linked strategy: its masks, without training.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "google/protobuf/any.pb.h"
#include "ml/data/dataset.h"
#include "ml/execution/model.h"

namespace prunelab {

// The steps of the imagined training: enough for a strategy that prunes late or bit by bit to come to its end.
constexpr int64_t kOneShotEpochs = 300;

// Asks the strategy as a training of kOneShotEpochs epochs of one step each would, whose weights never change, and
// leaves its last masks in `model` (and the weights that it sets beside them; zeroing masked or grown ones is left out:
// a weight keeps the value that it would have if it came back). Weights that are masked already count as zero and stay
// masked, whatever the strategy says: nothing is trained that could come back.
//
// A strategy that reads gradients gets, before as after each step, those of the mean cross-entropy over the first
// `calibration_images` training images of `data`, in evaluation mode, of the dense weights under the masks in force;
// one that looks at training images sees these. Errors: the strategy's own, prefixed as a field error of "pruning"; one
// that needs gradients or images without data; one that masks nothing; a field that only a training
// reads (ml/pruning/field_options.proto) set to anything but its default, or what the strategy asks for: all such are
// named in one error.
absl::Status PruneOnce(Model& model, const google::protobuf::Any& pruning, uint64_t seed, const Dataset* data,
                       int64_t calibration_images);

}  // namespace prunelab
