// provenance.json: what a run was computed on.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "c10/core/Device.h"
#include "experiments/runs/run.pb.h"
#include "ml/data/dataset.h"

namespace prunelab {

// The file's text for a run on `device`. `existing`: the current text, or "". If the run began on something else, that
// is kept under "earlier": such a run is not bit-identical to an undisturbed one.
std::string ProvenanceText(const RunRequest& request, const Dataset& dataset, c10::Device device,
                           const std::string& existing);

}  // namespace prunelab
