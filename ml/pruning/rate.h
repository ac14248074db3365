// The rate of any strategy, set by whoever looks for one (ml/compression/goal.h).
#pragma once

#include "absl/status/statusor.h"
#include "google/protobuf/any.pb.h"

namespace prunelab {

// The strategy's parameters with this `rate`. Field errors: it has no field `rate`; the parameters set it already, or
// norm_rate or initial_rate, which may not be above it. Other errors: the parameters' type is not linked.
absl::StatusOr<google::protobuf::Any> WithRate(const google::protobuf::Any& pruning, double rate);

}  // namespace prunelab
