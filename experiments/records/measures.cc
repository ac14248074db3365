#include "experiments/records/measures.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/message.h"
#include "ml/base/check.h"

namespace prunelab {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Reflection;

constexpr int kLast = std::numeric_limits<int>::max();  // the place of those that have none

const Measure& Named(const std::string& name) {
  const Measure* measure = FindMeasure(name);
  PRUNELAB_CHECK(measure != nullptr) << name;
  return *measure;
}

std::optional<int> ResultPlace(const MeasureOptions& options) {
  return options.has_result_place() ? std::optional<int>(options.result_place()) : std::nullopt;
}

std::optional<double> Ratio(const MeasureOptions::Ratio& ratio, const Measures& measures) {
  const std::optional<double> above = Named(ratio.above()).Value(measures),
                              below = Named(ratio.below()).Value(measures);
  if (!above || !below || *below <= 0) return std::nullopt;
  return *above / *below;
}

void AddToSum(const Measure& measure, const Measures& epoch, Measures* run) {
  if (!measure.is_whole()) {
    if (const auto value = measure.Value(epoch)) measure.Set(measure.Value(*run).value_or(0) + *value, run);
    return;
  }
  const std::optional<int64_t> value = measure.Whole(epoch);
  if (!value) return;
  int64_t sum = 0;
  const bool too_large = __builtin_add_overflow(measure.Whole(*run).value_or(0), *value, &sum);
  measure.SetWhole(too_large ? std::numeric_limits<int64_t>::max() : sum, run);
}

void KeepBest(const Measure& measure, const Measures& epoch, Measures* run) {
  const Measure& of = Named(measure.options().best_of());
  const std::optional<double> value = of.Value(epoch);
  if (!value || std::isnan(*value)) return;
  const double best = measure.Value(*run).value_or(*value);
  measure.Set(of.options().better() == MeasureOptions::LOWER ? std::min(best, *value) : std::max(best, *value), run);
}

void KeepLast(const Measure& measure, const Measures& epoch, Measures* run) {
  measure.Clear(run);
  if (measure.is_whole()) {
    if (const auto value = measure.Whole(epoch)) measure.SetWhole(*value, run);
  } else if (const auto value = measure.Value(epoch)) {
    measure.Set(*value, run);
  }
}

}  // namespace

Measure::Measure(const FieldDescriptor* field)
    : field_(field), options_(&field->options().GetExtension(prunelab::measure)) {}

bool Measure::is_whole() const { return field_->cpp_type() == FieldDescriptor::CPPTYPE_INT64; }

std::optional<double> Measure::Value(const Measures& measures) const {
  if (options_->has_ratio()) return Ratio(options_->ratio(), measures);
  if (is_by_layer()) return std::nullopt;
  if (is_whole()) {
    const std::optional<int64_t> whole = Whole(measures);
    return whole ? std::optional<double>(static_cast<double>(*whole)) : std::nullopt;
  }
  const Reflection& reflection = *measures.GetReflection();
  if (!reflection.HasField(measures, field_)) return std::nullopt;
  return reflection.GetDouble(measures, field_);
}

std::optional<double> Measure::EpochValue(const Measures& measures) const {
  const std::optional<double> value = Value(measures);
  return value || options_->epoch() != MeasureOptions::ALWAYS ? value : 0;
}

void Measure::Set(double value, Measures* measures) const {
  measures->GetReflection()->SetDouble(measures, field_, value);
}

void Measure::Clear(Measures* measures) const { measures->GetReflection()->ClearField(measures, field_); }

std::optional<int64_t> Measure::Whole(const Measures& measures) const {
  const Reflection& reflection = *measures.GetReflection();
  if (!reflection.HasField(measures, field_)) return std::nullopt;
  return reflection.GetInt64(measures, field_);
}

void Measure::SetWhole(int64_t value, Measures* measures) const {
  measures->GetReflection()->SetInt64(measures, field_, value);
}

std::map<std::string, int64_t> Measure::ByLayer(const Measures& measures) const {
  const Reflection& reflection = *measures.GetReflection();
  const FieldDescriptor *layer = field_->message_type()->map_key(), *value = field_->message_type()->map_value();
  std::map<std::string, int64_t> values;
  for (int i = 0; i < reflection.FieldSize(measures, field_); ++i) {
    const google::protobuf::Message& entry = reflection.GetRepeatedMessage(measures, field_, i);
    values[entry.GetReflection()->GetString(entry, layer)] = entry.GetReflection()->GetInt64(entry, value);
  }
  return values;
}

void Measure::SetLayer(const std::string& layer, int64_t value, Measures* measures) const {
  google::protobuf::Message* entry = measures->GetReflection()->AddMessage(measures, field_);
  entry->GetReflection()->SetString(entry, field_->message_type()->map_key(), layer);
  entry->GetReflection()->SetInt64(entry, field_->message_type()->map_value(), value);
}

double Measure::scale() const { return options_->unit() == MeasureOptions::PERCENT ? 100 : 1; }

const char* Measure::unit() const {
  switch (options_->unit()) {
    case MeasureOptions::PERCENT:
      return "%";
    case MeasureOptions::TIMES:
      return "x";
    case MeasureOptions::NUMBER:
      break;
  }
  return "";
}

std::string Measure::Heading() const {
  return *unit() == '\0' ? options_->label() : absl::StrCat(options_->label(), " (", unit(), ")");
}

const std::vector<Measure>& AllMeasures() {
  static const auto* measures = [] {
    auto* all = new std::vector<Measure>;
    const google::protobuf::Descriptor& descriptor = *Measures::descriptor();
    for (int i = 0; i < descriptor.field_count(); ++i) all->emplace_back(descriptor.field(i));
    return all;
  }();
  return *measures;
}

const Measure* FindMeasure(absl::string_view name) {
  static const auto* by_name = [] {
    auto* all = new std::map<std::string, const Measure*, std::less<>>;
    for (const Measure& measure : AllMeasures()) (*all)[measure.name()] = &measure;
    return all;
  }();
  const auto found = by_name->find(name);
  return found == by_name->end() ? nullptr : found->second;
}

const Measure& MeasureOf(Metric metric) { return Named(absl::AsciiStrToLower(Metric_Name(metric))); }

MeasureList MeasuresInOrder(const std::function<bool(const MeasureOptions&)>& wanted,
                            const std::function<std::optional<int>(const MeasureOptions&)>& place) {
  MeasureList list;
  for (const Measure& measure : AllMeasures()) {
    if (wanted(measure.options())) list.push_back(&measure);
  }
  std::stable_sort(list.begin(), list.end(), [&](const Measure* a, const Measure* b) {
    return place(a->options()).value_or(kLast) < place(b->options()).value_or(kLast);
  });
  return list;
}

const MeasureList& EpochMeasures() {
  static const auto* list = [] {
    auto* all = new MeasureList;
    std::map<int, const Measure*> by_number;
    const google::protobuf::Descriptor& descriptor = *Measures::descriptor();
    for (const Measure& measure : AllMeasures()) {
      if (measure.options().epoch() == MeasureOptions::NOWHERE) continue;
      by_number[descriptor.FindFieldByName(measure.name())->number()] = &measure;
    }
    for (const auto& [number, measure] : by_number) all->push_back(measure);
    return all;
  }();
  return *list;
}

const MeasureList& ResultColumns() {
  static const auto* list = new MeasureList(MeasuresInOrder(
      [](const MeasureOptions& options) { return options.result() == MeasureOptions::NULL_IF_ABSENT; }, ResultPlace));
  return *list;
}

const MeasureList& ClockColumns() {
  static const auto* list = new MeasureList(MeasuresInOrder(
      [](const MeasureOptions& options) { return options.clock() == MeasureOptions::NULL_IF_ABSENT; }, ResultPlace));
  return *list;
}

const MeasureList& RareColumns() {
  static const auto* list = new MeasureList(MeasuresInOrder(
      [](const MeasureOptions& options) {
        return options.result() == MeasureOptions::IF_PRESENT || options.clock() == MeasureOptions::IF_PRESENT;
      },
      ResultPlace));
  return *list;
}

const MeasureList& ResultMeasures() {
  static const auto* list = [] {
    auto* all = new MeasureList(ResultColumns());
    for (const Measure* measure : RareColumns()) {
      if (measure->options().result() == MeasureOptions::IF_PRESENT) all->push_back(measure);
    }
    return all;
  }();
  return *list;
}

void AddEpoch(const Measures& epoch, Measures* run) {
  for (const Measure& measure : AllMeasures()) {
    switch (measure.options().of_run()) {
      case MeasureOptions::MEASURED_ONCE:
        break;
      case MeasureOptions::LAST:
        KeepLast(measure, epoch, run);
        break;
      case MeasureOptions::SUM:
        AddToSum(measure, epoch, run);
        break;
      case MeasureOptions::BEST:
        KeepBest(measure, epoch, run);
        break;
    }
  }
}

}  // namespace prunelab
