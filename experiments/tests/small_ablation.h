// What tests of whole runs share: a small ablation to start from, and how its runs are trained in this process.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "experiments/config/load.h"
#include "experiments/sweep/runner.h"

namespace prunelab {

// The text of an ablation of one arm and one seed: ResNet-8 of width 4 on the digits, batches of 128, which are 12
// steps an epoch. `training` is added to its training, `base` to its base.
std::string SmallAblation(const std::string& training, const std::string& base = "");

// The ablation of this text with `override_text` merged over it. The test fails if it cannot be loaded.
LoadedAblation LoadText(const std::string& text, const std::string& override_text = "");

// To run all arms with all seeds on the CPU into `output`, one after the other in this process.
RunnerOptions AllRuns(const LoadedAblation& loaded, const std::string& output);

// Runs them. `stop`: as RunnerOptions has it.
absl::StatusOr<AblationOutcome> RunAll(const LoadedAblation& loaded, const std::string& output,
                                       std::function<bool()> stop = nullptr);

// Trains the one run of arm "base" undisturbed, and again stopped at another step each time; the test fails unless both
// leave the same bytes in these files of the run's folder.
void ExpectTheSameFilesStoppedAtAnyStep(const LoadedAblation& loaded, const std::string& undisturbed,
                                        const std::string& stopped, const std::vector<std::string>& files);

}  // namespace prunelab
