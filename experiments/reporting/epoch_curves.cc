#include "experiments/reporting/epoch_curves.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "ml/base/files.h"

namespace prunelab {
namespace {

using Json = nlohmann::json;

// Collects the numbers of each line as the parser reaches them.
class EpochReader : public nlohmann::json_sax<Json> {
 public:
  explicit EpochReader(EpochCurves* epochs) : epochs_(epochs) {}

  // Appends the line's epoch. "" or what is wrong with it.
  std::string Read(absl::string_view line) {
    row_.Clear();
    epoch_ = std::nan("");
    depth_ = 0;
    measure_ = nullptr;
    layer_ = 0;
    in_layers_ = is_version_ = is_epoch_ = false;
    problem_.clear();
    const size_t before = epochs_->live_filters.size();
    if (!Json::sax_parse(line.begin(), line.end(), this) && problem_.empty()) problem_ = "is no JSON object";
    if (problem_.empty() && epoch_ != static_cast<double>(epochs_->count())) {
      problem_ = absl::StrCat("is not of epoch ", epochs_->count());
    }
    if (problem_.empty() && layer_ != epochs_->layers.size()) problem_ = "names other layers than the line before";
    if (!problem_.empty()) {
      epochs_->live_filters.resize(before);
      return problem_;
    }
    for (const Measure* column : EpochColumns()) {
      epochs_->values.push_back(static_cast<float>(column->Value(row_).value_or(std::nan(""))));
    }
    AddEpoch(row_, &epochs_->totals);
    return "";
  }

  bool null() override { return true; }
  bool boolean(bool value) override { return number_integer(value); }
  bool number_integer(number_integer_t value) override { return Set(static_cast<double>(value), value); }
  bool number_unsigned(number_unsigned_t value) override {
    const bool fits = value <= static_cast<number_unsigned_t>(std::numeric_limits<int64_t>::max());
    return Set(static_cast<double>(value), fits ? std::optional<int64_t>(static_cast<int64_t>(value)) : std::nullopt);
  }
  bool number_float(number_float_t value, const string_t&) override { return Set(value, std::nullopt); }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    ++depth_;
    return true;
  }
  bool end_object() override {
    if (--depth_ == 1) in_layers_ = false;
    return true;
  }
  bool start_array(std::size_t) override {
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(string_t& name) override {
    if (depth_ == 1) {
      in_layers_ = name == "live_filters";
      is_version_ = name == "version";
      is_epoch_ = name == "epoch";
      measure_ = FindMeasure(name);
    } else if (in_layers_ && depth_ == 2) {
      if (epochs_->values.empty()) {
        epochs_->layers.push_back(name);
      } else if (layer_ >= epochs_->layers.size() || epochs_->layers[layer_] != name) {
        problem_ = "names other layers than the line before";
        return false;
      }
    }
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const Json::exception&) override { return false; }

 private:
  // A number as it is written in the line: `whole` if int64 can represent it.
  bool Set(double real, std::optional<int64_t> whole) {
    if (in_layers_ && depth_ == 2) {
      constexpr double kMost = std::numeric_limits<int32_t>::max();
      epochs_->live_filters.push_back(static_cast<int32_t>(std::clamp(real, -kMost, kMost)));
      ++layer_;
    } else if (depth_ != 1) {
      return true;
    } else if (is_version_ && real != kRecordsVersion) {
      problem_ = absl::StrCat("is of version ", real, ", which this program does not know");
    } else if (is_epoch_) {
      epoch_ = real;
    } else if (measure_ != nullptr && measure_->is_whole()) {
      if (!whole) problem_ = absl::StrCat("has no whole number as ", measure_->name());
      if (whole) measure_->SetWhole(*whole, &row_);
    } else if (measure_ != nullptr && !measure_->is_by_layer()) {
      measure_->Set(real, &row_);
    }
    return problem_.empty();
  }

  EpochCurves* epochs_;
  Measures row_;  // of the line
  double epoch_ = 0;
  const Measure* measure_ = nullptr;  // the key whose value comes next, if it is a column's
  int depth_ = 0;
  size_t layer_ = 0;
  bool in_layers_ = false, is_version_ = false, is_epoch_ = false;
  std::string problem_;
};

// "" or what is wrong with the line; `last`: of the file, which a killed writer may have torn.
std::string ReadLine(absl::string_view line, bool last, EpochReader& reader) {
  if (ChecksumHolds(line)) return reader.Read(line);
  return absl::StrCat(last ? "is torn or was" : "was", " changed after it was written (its crc32c does not hold)");
}

// Whether a result's number is that of its epochs, where they have one.
bool Agrees(const Measure& measure, const Measures& epochs, const Measures& result) {
  const std::optional<double> value = measure.Value(epochs);
  if (!value || !std::isfinite(*value)) return true;
  return measure.is_whole() ? measure.Whole(epochs) == measure.Whole(result) : value == measure.Value(result);
}

}  // namespace

const MeasureList& EpochColumns() {
  static const auto* columns = [] {
    auto* list = new MeasureList;
    for (const Measure* measure : EpochMeasures()) {
      if (!measure->is_by_layer()) list->push_back(measure);
    }
    return list;
  }();
  return *columns;
}

float EpochCurves::Value(int64_t epoch, size_t column) const {
  if (epoch >= count()) return std::nanf("");
  return values[static_cast<size_t>(epoch) * EpochColumns().size() + column];
}

std::string ReadEpochs(const std::string& path, EpochCurves* epochs) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return absl::IsNotFound(text.status()) ? "" : std::string(text.status().message());
  EpochReader reader(epochs);
  int64_t number = 0;
  std::string problem;
  for (size_t at = 0; at < text->size() && problem.empty();) {
    ++number;
    const size_t end = std::min(text->find('\n', at), text->size());
    const absl::string_view line = absl::string_view(*text).substr(at, end - at);
    at = end + 1;
    if (!line.empty()) problem = ReadLine(line, /*last=*/at >= text->size(), reader);
  }
  if (problem.empty()) return "";
  *epochs = EpochCurves();
  return absl::StrCat("epochs.jsonl line ", number, " ", problem);
}

std::string Disagreement(const EpochCurves& epochs, const RunResult& result) {
  if (epochs.count() == 0) return "";
  if (epochs.count() != result.epochs) {
    return absl::StrCat("result.json tells of ", result.epochs, " epochs, epochs.jsonl of ", epochs.count());
  }
  for (const Measure& measure : AllMeasures()) {
    if (measure.options().of_run() == MeasureOptions::MEASURED_ONCE) continue;
    if (Agrees(measure, epochs.totals, result.measures)) continue;
    return absl::StrCat("result.json and epochs.jsonl have another ", measure.name(),
                        ": one of them was changed after it was written");
  }
  return "";
}

}  // namespace prunelab
