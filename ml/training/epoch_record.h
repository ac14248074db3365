// What a training tells of an epoch: what Trainer::RunEpoch returns and records of runs keep.
#pragma once

#include <cstdint>
#include <string>

#include "ml/training/metrics.pb.h"

namespace prunelab {

struct EpochRecord {
  int64_t epoch = 0;  // of the run
  std::string phase;  // the phase of the run, if it has phases; the trainer leaves it empty
  // The loss, a weight, a running statistic or a logit of an evaluation is infinite or NaN: training cannot continue,
  // and there are no evaluations among the measures.
  bool diverged = false;
  std::string divergence;  // which of them, for messages; not in the files of records
  Measures measures;       // metrics.proto says what each is
};

}  // namespace prunelab
