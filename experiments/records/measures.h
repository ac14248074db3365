// The measures of metrics.proto by reflection: what writes, checks, tables or draws them goes over these and names
// none.
//
//   for (const Measure& measure : AllMeasures()) {
//     if (!measure.options().table()) continue;
//     if (const std::optional<double> value = measure.Value(run.measures)) ...
//   }
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "ml/training/metrics.pb.h"

namespace prunelab {

// One field of Measures.
class Measure {
 public:
  explicit Measure(const google::protobuf::FieldDescriptor* field);

  // The key in records, the column in results.csv, the tag in TensorBoard, e.g. "test_top1".
  const std::string& name() const { return field_->name(); }
  const MeasureOptions& options() const { return *options_; }
  // What its values are: whole numbers (int64), real ones (double), or a whole number for each layer.
  bool is_whole() const;
  bool is_by_layer() const { return field_->is_map(); }

  // A number; no value if it is absent. A ratio is computed and has no Set.
  std::optional<double> Value(const Measures& measures) const;
  // The same in a record of an epoch, where one that is always written is 0 if nothing set it.
  std::optional<double> EpochValue(const Measures& measures) const;
  void Set(double value, Measures* measures) const;  // of a real one
  void Clear(Measures* measures) const;
  // Of a whole number, exactly.
  std::optional<int64_t> Whole(const Measures& measures) const;
  void SetWhole(int64_t value, Measures* measures) const;
  // By layer, in the order of their names.
  std::map<std::string, int64_t> ByLayer(const Measures& measures) const;
  void SetLayer(const std::string& layer, int64_t value, Measures* measures) const;

  // The displayed number is value * scale(), with scale() 100 or 1. It is followed by "%", "x" or nothing.
  double scale() const;
  const char* unit() const;
  // The label with its unit, e.g. "test top-1 (%)".
  std::string Heading() const;

 private:
  const google::protobuf::FieldDescriptor* field_;
  const MeasureOptions* options_;
};

using MeasureList = std::vector<const Measure*>;

// In the order of the fields, which is that of the tables.
const std::vector<Measure>& AllMeasures();

// Null if there is none of that name.
const Measure* FindMeasure(absl::string_view name);
// By what a comparison by `metric` goes.
const Measure& MeasureOf(Metric metric);

// Those that `wanted` chooses, by their place where `place` gives one, the others after them.
MeasureList MeasuresInOrder(const std::function<bool(const MeasureOptions&)>& wanted,
                            const std::function<std::optional<int>(const MeasureOptions&)>& place);

// Those of a line of epochs.jsonl, in its order; one by layer may be among them.
const MeasureList& EpochMeasures();
// Those of result.json, in its order.
const MeasureList& ResultMeasures();
// Columns of results.csv before the run's identity, after it, and those that only some runs have, in their order.
const MeasureList& ResultColumns();
const MeasureList& ClockColumns();
const MeasureList& RareColumns();

// Adds an epoch's measures to those of its run, epoch by epoch (MeasureOptions::of_run); `run` starts empty. A sum that
// int64 cannot represent stays at its maximum.
void AddEpoch(const Measures& epoch, Measures* run);

}  // namespace prunelab
