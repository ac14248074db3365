#include "experiments/reporting/epoch_curves.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "experiments/records/records.h"
#include "ml/base/files.h"

namespace prunelab {
namespace {

using Json = nlohmann::json;

class EpochReader : public nlohmann::json_sax<Json> {
 public:
  explicit EpochReader(EpochCurves* curves) : curves_(curves) {}
  const EpochTotals& totals() const { return totals_; }

  // Appends the line's epoch to the run. "" or what is wrong.
  std::string Read(absl::string_view line) {
    std::fill(std::begin(row_), std::end(row_), RecordNumber());
    depth_ = 0;
    column_ = -1;
    layer_ = 0;
    in_layers_ = false;
    problem_.clear();
    const size_t before = curves_->live_filters.size();
    if (!Json::sax_parse(line.begin(), line.end(), this) && problem_.empty()) problem_ = "is no JSON object";
    if (problem_.empty() && row_[0].real != static_cast<double>(curves_->epoch_count())) {
      problem_ = absl::StrCat("is not of epoch ", curves_->epoch_count());
    }
    if (problem_.empty() && layer_ != curves_->layers.size()) problem_ = "names other layers than the line before";
    if (!problem_.empty()) {
      curves_->live_filters.resize(before);
      return problem_;
    }
    for (const RecordNumber& number : row_) curves_->epochs.push_back(static_cast<float>(number.real));
    std::copy(std::begin(row_), std::end(row_), std::begin(totals_.last));
    static const int kTop1 = EpochColumn("test_top1"), kReturned = EpochColumn("returned_filters");
    totals_.best_test_top1 = std::fmax(totals_.best_test_top1, row_[kTop1].real);
    int64_t sum = 0;
    const bool too_many = !totals_.returned_filters ||
                          __builtin_add_overflow(*totals_.returned_filters, row_[kReturned].whole.value_or(0), &sum);
    totals_.returned_filters = too_many ? std::nullopt : std::optional<int64_t>(sum);
    return "";
  }

  bool null() override { return true; }
  bool boolean(bool value) override { return Set({value ? 1.0 : 0.0, value}); }
  bool number_integer(number_integer_t value) override { return Set({static_cast<double>(value), value}); }
  bool number_unsigned(number_unsigned_t value) override {
    const bool fits = value <= static_cast<number_unsigned_t>(std::numeric_limits<int64_t>::max());
    return Set({static_cast<double>(value), fits ? std::optional<int64_t>(static_cast<int64_t>(value)) : std::nullopt});
  }
  bool number_float(number_float_t value, const string_t&) override { return Set({value, std::nullopt}); }
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
      column_ = EpochColumn(name);
    } else if (in_layers_ && depth_ == 2) {
      if (curves_->epochs.empty()) {
        curves_->layers.push_back(name);
      } else if (layer_ >= curves_->layers.size() || curves_->layers[layer_] != name) {
        problem_ = "names other layers than the line before";
        return false;
      }
    }
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const Json::exception&) override { return false; }

 private:
  bool Set(const RecordNumber& number) {
    const double value = number.real;
    if (in_layers_ && depth_ == 2) {
      constexpr double kMost = std::numeric_limits<int32_t>::max();
      curves_->live_filters.push_back(static_cast<int32_t>(std::clamp(value, -kMost, kMost)));
      ++layer_;
    } else if (depth_ == 1 && is_version_ && value != kRecordsVersion) {
      problem_ = absl::StrCat("is of version ", value, ", which this program does not know");
      return false;
    } else if (depth_ == 1 && column_ >= 0) {
      row_[column_] = number;
    }
    return true;
  }

  EpochCurves* curves_;
  EpochTotals totals_;
  RecordNumber row_[kEpochColumnCount];
  int depth_ = 0, column_ = -1;
  size_t layer_ = 0;
  bool in_layers_ = false, is_version_ = false;
  std::string problem_;
};

}  // namespace

int EpochColumn(absl::string_view name) {
  for (int i = 0; i < kEpochColumnCount; ++i) {
    if (name == kEpochColumns[i]) return i;
  }
  return -1;
}

std::string ReadEpochs(const std::string& path, EpochCurves* curves, EpochTotals* totals) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return absl::IsNotFound(text.status()) ? "" : std::string(text.status().message());
  EpochReader reader(curves);
  int64_t number = 0;
  std::string problem;
  size_t at = 0;
  while (at < text->size() && problem.empty()) {
    ++number;
    const size_t end = text->find('\n', at);
    const absl::string_view line = absl::string_view(*text).substr(at, end == std::string::npos ? end : end - at);
    at = end == std::string::npos ? text->size() : end + 1;
    if (line.empty()) continue;
    if (!ChecksumHolds(line)) {
      problem = end == std::string::npos || at >= text->size()
                    ? "is torn or was changed after it was written (its crc32c does not hold)"
                    : "was changed after it was written (its crc32c does not hold)";
    } else {
      problem = reader.Read(line);
    }
  }
  *totals = reader.totals();
  if (problem.empty()) return "";
  *curves = EpochCurves();
  return absl::StrCat("epochs.jsonl line ", number, " ", problem);
}

}  // namespace prunelab
