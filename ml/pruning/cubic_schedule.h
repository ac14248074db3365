// The cubic schedule of Zhu and Gupta ("To prune, or not to prune", 2017), eq. 1: the rate rises from an initial one,
// fast at first and slowly towards the end,
//
//   rate(t) = rate + (initial_rate - rate) (1 - (t - begin) / (end - begin))^3
//
// where t counts steps. Rankings come at begin, every `period` steps after it, and at end.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

struct CubicSchedule {
  double initial_rate = 0;
  double rate = 0;
  int64_t begin_epoch = 0;  // begin is its first step
  int64_t end_epoch = -1;   // end is its first step; -1: half of the run's steps, or last_epoch's first if earlier
  int64_t period = 1;
  bool goes_on = false;     // whether rankings continue at the full rate, every `period` steps,
  int64_t last_epoch = -1;  // up to this epoch; -1: no limit

  // No value where nothing is ranked before the step.
  std::optional<double> RateAt(const StepPosition& position) const;
};

// That of parameters with the fields initial_rate, begin_epoch, end_epoch and period.
template <typename Parameters>
CubicSchedule CubicScheduleOf(const Parameters& parameters, double rate) {
  CubicSchedule schedule;
  schedule.initial_rate = parameters.initial_rate();
  schedule.rate = rate;
  schedule.begin_epoch = parameters.begin_epoch();
  schedule.end_epoch = parameters.end_epoch();
  schedule.period = parameters.period();
  return schedule;
}

// Field errors of initial_rate (at most the rate), begin_epoch, end_epoch, period and last_epoch.
absl::Status ValidateCubicSchedule(const CubicSchedule& schedule);

// The rate at step t, begin <= t <= end, begin < end.
double CubicRate(double initial_rate, double rate, int64_t begin, int64_t end, int64_t t);

}  // namespace prunelab
