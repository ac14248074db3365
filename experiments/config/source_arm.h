// The arm that a run waits for.
#pragma once

#include <string>

#include "experiments/config/ablation.pb.h"

namespace prunelab {

// The other arm whose run of the same seed must be done before: that of start_from or from_scratch; "" if there is
// none.
inline const std::string& SourceArm(const RunConfig& config) {
  return config.has_start_from() ? config.start_from().arm() : config.from_scratch().arm();
}

inline bool HasSource(const RunConfig& config) { return config.has_start_from() || config.has_from_scratch(); }

// For a sentence about a run and its source: "takes its shape from" or "starts from".
inline const char* SourceVerb(const RunConfig& config) {
  return config.has_start_from() ? "starts from" : "takes its shape from";
}

}  // namespace prunelab
