#include "ml/pruning/scored_pruning.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "ml/base/check.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/network/layer_selection.pb.h"
#include "ml/pruning/cubic_schedule.h"
#include "ml/pruning/parameter_checks.h"
#include "ml/pruning/ranked_pruning.h"
#include "ml/pruning/ranking.h"
#include "ml/pruning/ranking.pb.h"
#include "ml/pruning/update_times.h"

namespace prunelab {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// The fields of a message by name: the value, its default where unset; no value where the message has no such field.
class Fields {
 public:
  explicit Fields(const Message& message) : message_(message), reflection_(*message.GetReflection()) {}

  bool Has(const std::string& name) const { return message_.GetDescriptor()->FindFieldByName(name) != nullptr; }

  std::optional<double> Double(const std::string& name) const {
    const FieldDescriptor* field = Find(name, FieldDescriptor::CPPTYPE_DOUBLE);
    return field ? std::optional<double>(reflection_.GetDouble(message_, field)) : std::nullopt;
  }
  std::optional<int64_t> Int(const std::string& name) const {
    const FieldDescriptor* field = Find(name, FieldDescriptor::CPPTYPE_INT64);
    return field ? std::optional<int64_t>(reflection_.GetInt64(message_, field)) : std::nullopt;
  }
  template <typename Enum>
  std::optional<Enum> EnumValue(const std::string& name) const {
    const FieldDescriptor* field = Find(name, FieldDescriptor::CPPTYPE_ENUM);
    if (field == nullptr) return std::nullopt;
    return static_cast<Enum>(reflection_.GetEnumValue(message_, field));
  }
  template <typename Submessage>
  std::optional<Submessage> Sub(const std::string& name) const {
    const FieldDescriptor* field = Find(name, FieldDescriptor::CPPTYPE_MESSAGE);
    if (field == nullptr) return std::nullopt;
    return static_cast<const Submessage&>(reflection_.GetMessage(message_, field));
  }

 private:
  // Null if there is no such field.
  const FieldDescriptor* Find(const std::string& name, FieldDescriptor::CppType type) const {
    const FieldDescriptor* field = message_.GetDescriptor()->FindFieldByName(name);
    PRUNELAB_CHECK(field == nullptr || (field->cpp_type() == type && !field->is_repeated()))
        << field->full_name() << " has another type than scored_pruning.h says";
    return field;
  }

  const Message& message_;
  const google::protobuf::Reflection& reflection_;
};

// When the fields say that layers are ranked.
struct Times {
  RateAt rate_at;
  bool again = false;        // until the end: what is masked may return
  bool before_step = false;  // the first ranking comes before any step; if scores need gradients,
  std::string field;         // this field is to blame,
  std::string remedy;        // and this would help
};

absl::StatusOr<Times> OnceTimes(const Fields& fields, double rate) {
  const int64_t epoch = *fields.Int("epoch");
  PRUNELAB_RETURN_IF_ERROR(CheckEpoch("epoch", epoch));
  return Times{RateOnce(epoch, rate), false, epoch == 0, "epoch", "must be 1 or later"};
}

absl::StatusOr<Times> PeriodicTimes(const Fields& fields, double rate) {
  const int64_t period = *fields.Int("period");
  const int64_t first_epoch = fields.Int("first_epoch").value_or(0), last_epoch = fields.Int("last_epoch").value_or(-1);
  PRUNELAB_RETURN_IF_ERROR(CheckPeriod("period", period));
  PRUNELAB_RETURN_IF_ERROR(CheckEpochRange(first_epoch, last_epoch));
  const RateAt rate_at = [=](const StepPosition& position) {
    return IsPeriodicUpdate(position, period, first_epoch, last_epoch) ? std::optional<double>(rate) : std::nullopt;
  };
  return Times{rate_at, true, period == 1 && first_epoch == 0, fields.Has("importance") ? "importance" : "period",
               "use a period of 2 or more, or a first_epoch of 1 or later"};
}

absl::StatusOr<Times> RisingTimes(const Fields& fields, double rate) {
  CubicSchedule schedule;
  schedule.rate = rate;
  schedule.initial_rate = fields.Double("initial_rate").value_or(0);
  schedule.begin_epoch = *fields.Int("begin_epoch");
  schedule.end_epoch = fields.Int("end_epoch").value_or(-1);
  schedule.period = *fields.Int("period");
  schedule.goes_on = fields.Has("last_epoch");
  schedule.last_epoch = fields.Int("last_epoch").value_or(-1);
  PRUNELAB_RETURN_IF_ERROR(ValidateCubicSchedule(schedule));
  const RateAt rate_at = [schedule](const StepPosition& position) { return schedule.RateAt(position); };
  return Times{rate_at, schedule.goes_on, schedule.begin_epoch == 0, "begin_epoch", "must be 1 or later"};
}

absl::StatusOr<Times> TimesOf(const Fields& fields, const std::string& message, double rate) {
  PRUNELAB_CHECK(fields.Has("epoch") != fields.Has("period")) << message << " must have one of epoch and period";
  if (fields.Has("epoch")) return OnceTimes(fields, rate);
  return fields.Has("begin_epoch") ? RisingTimes(fields, rate) : PeriodicTimes(fields, rate);
}

absl::StatusOr<DeadGradient> DeadGradientOf(const Fields& fields, GradientPolicy policy) {
  const auto wanted = fields.Sub<DeadGradientScale>("dead_gradient");
  if (!wanted) return DeadGradient();
  if (!(wanted->scale() >= 0 && std::isfinite(wanted->scale()))) {
    return FieldError("dead_gradient.scale", absl::StrCat("is ", wanted->scale(), "; must be at least 0 and finite"));
  }
  const DeadGradient gradient = {wanted->scale(), wanted->as_live()};
  if (gradient.changes() && policy != GradientPolicy::kStraightThrough) {
    return FieldError("dead_gradient", "scales straight-through gradients; gradient must be STRAIGHT_THROUGH");
  }
  return gradient;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateScoredPruning(const Message& parameters,
                                                                     const PruningSetup& setup,
                                                                     LayerRankingOptions options) {
  const Fields fields(parameters);
  const std::string& message = parameters.GetDescriptor()->full_name();
  PRUNELAB_CHECK(fields.Has("rate")) << message << " must have a field rate";
  const double rate = *fields.Double("rate");
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", rate));
  PRUNELAB_ASSIGN_OR_RETURN(const Times times, TimesOf(fields, message, rate));

  if (const auto layers = fields.Sub<LayerSelection>("layers")) options.layers = *layers;
  if (const auto ranking = fields.Sub<Ranking>("ranking")) options.ranking = *ranking;
  if (const auto unit = fields.EnumValue<MaskUnit::Kind>("granularity")) options.granularity = ToGranularity(*unit);
  if (const auto kind = fields.EnumValue<Importance::Kind>("importance")) options.scores = ImportanceScores(*kind);
  if (options.scores.needs_gradients && times.before_step) {
    return FieldError(times.field,
                      absl::StrCat("lets the first ranking, of scores that need gradients, come before any "
                                   "step has given one; ",
                                   times.remedy));
  }
  if (options.scores.of_batch_norm && times.before_step && setup.fresh_weights && rate > 0) {
    return FieldError(times.field,
                      absl::StrCat("lets the first ranking come before any step, where the weights are fresh and all "
                                   "scales of batch norms are 1; ",
                                   times.remedy));
  }
  PRUNELAB_ASSIGN_OR_RETURN(LayerRanking ranking, LayerRanking::Create(std::move(options), *setup.network));

  RankedPruningOptions ranked;
  ranked.rate_at = times.rate_at;
  ranked.regrows = times.again;
  ranked.gradient_policy = times.again ? GradientPolicy::kStraightThrough : GradientPolicy::kMasked;
  if (const auto gradient = fields.EnumValue<MaskGradient::Policy>("gradient")) {
    ranked.gradient_policy = ToGradientPolicy(*gradient);
  }
  PRUNELAB_ASSIGN_OR_RETURN(ranked.dead_gradient, DeadGradientOf(fields, ranked.gradient_policy));
  if (ranked.dead_gradient.as_live && ranking.granularity() != Granularity::kFilter) {
    return FieldError(
        "dead_gradient.as_live",
        "is about filters whose output is 0, and weights are masked; must be false, or granularity FILTER");
  }
  if (const auto on_return = fields.EnumValue<OnReturn::Kind>("on_return")) ranked.on_return = *on_return;
  if (ranked.on_return != OnReturn::KEEP && ranking.granularity() != Granularity::kFilter) {
    return FieldError("on_return", absl::StrCat("is ", OnReturn::Kind_Name(ranked.on_return),
                                                ", which changes filters, and weights are masked; must be KEEP, or "
                                                "granularity FILTER"));
  }
  ranked.seed = setup.seed;
  if (ranked.on_return == OnReturn::REINITIALISE) {
    for (const std::string& node : ranking.nodes()) {
      ranked.deviations[node] = setup.network->InitialDeviation(setup.network->Index(node));
    }
  }
  return MakeRankedPruning(std::move(ranked), std::move(ranking));
}

}  // namespace prunelab
