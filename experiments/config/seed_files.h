// Files that differ between seeds: "{seed}" in initial_weights, or in the name of a teacher's checkpoint, is the run's
// seed, e.g. "pruned/{seed}.onnx".
#pragma once

#include <cstdint>

#include "experiments/config/ablation.pb.h"

namespace prunelab {

inline constexpr char kSeedInName[] = "{seed}";

// Whether a file of the config has the seed in its name.
bool NamesSeed(const RunConfig& config);

// The config of a run of this seed: with the names of its own files.
RunConfig ForSeed(const RunConfig& config, int64_t seed);

}  // namespace prunelab
