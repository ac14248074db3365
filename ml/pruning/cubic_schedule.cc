#include "ml/pruning/cubic_schedule.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/pruning/parameter_checks.h"

namespace prunelab {

std::optional<double> CubicSchedule::RateAt(const StepPosition& position) const {
  const int64_t steps = position.iterations_per_epoch;
  const int64_t begin = begin_epoch * steps;
  int64_t end = end_epoch * steps;
  if (end_epoch == -1) {
    end = position.epochs * steps / 2;
    if (last_epoch != -1) end = std::min(end, last_epoch * steps);
    end = std::max(begin + 1, end);
  }
  const int64_t t = position.step();
  if (t < begin || ((t - begin) % period != 0 && t != end)) return std::nullopt;
  if (t <= end) {
    const double now = CubicRate(initial_rate, rate, begin, end, t);
    // A rise from 0 begins with the smallest entry; a rate of 0 would mask nothing (ranking.h).
    return rate > 0 ? std::max(now, std::numeric_limits<double>::min()) : now;
  }
  if (!goes_on || (last_epoch != -1 && position.epoch > last_epoch)) return std::nullopt;
  return rate;
}

absl::Status ValidateCubicSchedule(const CubicSchedule& schedule) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("initial_rate", schedule.initial_rate));
  PRUNELAB_RETURN_IF_ERROR(CheckEpoch("begin_epoch", schedule.begin_epoch));
  PRUNELAB_RETURN_IF_ERROR(CheckPeriod("period", schedule.period));
  if (schedule.initial_rate > schedule.rate) {
    return FieldError("initial_rate",
                      absl::StrCat("is ", schedule.initial_rate, "; must be at most rate (", schedule.rate, ")"));
  }
  if (schedule.end_epoch != -1 && schedule.end_epoch <= schedule.begin_epoch) {
    return FieldError("end_epoch", absl::StrCat("is ", schedule.end_epoch, "; must be later than begin_epoch (",
                                                schedule.begin_epoch, "), or -1 for half of the run"));
  }
  const int64_t least = std::max(schedule.begin_epoch, schedule.end_epoch);
  if (schedule.last_epoch != -1 && schedule.last_epoch < least) {
    return FieldError("last_epoch", absl::StrCat("is ", schedule.last_epoch, "; must be ", least,
                                                 " or later, where the rate is reached, or -1 for no limit"));
  }
  return absl::OkStatus();
}

double CubicRate(double initial_rate, double rate, int64_t begin, int64_t end, int64_t t) {
  const double left = static_cast<double>(end - t) / static_cast<double>(end - begin);
  return rate + (initial_rate - rate) * left * left * left;
}

}  // namespace prunelab
