// A run's identity, which is in its records, and how configs differ.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "experiments/config/ablation.pb.h"

namespace prunelab {

// A run's identity: SHA-256 (64 hexadecimal digits) of the config's canonical text, the seed and the data's
// fingerprint. The arm's name and fields marked (prunelab.execution) are not part of it. `config` is an Arm's.
std::string RunId(const RunConfig& config, int64_t seed, absl::string_view fingerprint);

// What a run is computed from besides its config and seed; "" where there is none.
struct RunSources {
  std::string data_fingerprint;
  std::string weights_digest;  // of its initial weights
  std::string teacher_digest;  // of training.teacher.checkpoint
  std::string source_run_id;   // the identity of the run that it starts from, or whose shape it has
};

// RunId with all of these.
std::string FullRunId(const RunConfig& config, int64_t seed, const RunSources& sources);

// How the canonical configs differ, one line for each field: "- training.sgd.learning_rate: 0.1" then "+ ...: 0.2"; ""
// if they do not.
std::string ArmDifference(const RunConfig& old_config, const RunConfig& new_config);

// The text of config.textproto in a run's folder: a RunConfig with its plugins expanded, which reads back equal.
std::string ResolvedText(const RunConfig& config);

}  // namespace prunelab
