#include "experiments/reporting/page_curves.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "ml/statistics/summary.h"

namespace prunelab {
namespace {

using Json = nlohmann::ordered_json;
using Runs = std::vector<const RunRecords*>;

// Four digits, which is what a screen shows; null if there is no number.
void AppendShort(double value, std::string* text) {
  if (!std::isfinite(value)) {
    text->append("null");
  } else {
    absl::StrAppend(text, absl::StrFormat("%.4g", value));
  }
}

// At most `points` of 0, ..., n - 1, evenly spaced, including the last.
std::vector<size_t> Thinned(size_t n, int64_t points) {
  const size_t count = std::min(n, static_cast<size_t>(points));
  std::vector<size_t> chosen;
  for (size_t i = 0; i < count; ++i) {
    chosen.push_back(count == 1 ? n - 1 : (i * (n - 1) + (count - 1) / 2) / (count - 1));
  }
  return chosen;
}

Runs DrawnRuns(const ReportRecords& records, const std::string& arm) {
  Runs runs;
  for (const RunRecords& run : records.runs) {
    if (run.result.arm == arm && run.result.status == "done" && run.epochs.count() > 0) runs.push_back(&run);
  }
  return runs;
}

int64_t MostEpochs(const Runs& runs) {
  int64_t epochs = 0;
  for (const RunRecords* run : runs) epochs = std::max(epochs, run->epochs.count());
  return epochs;
}

// The finite values of the runs in a column of an epoch, ascending.
std::vector<float> ValuesAt(const Runs& runs, int64_t epoch, size_t column) {
  std::vector<float> values;
  for (const RunRecords* run : runs) {
    const float value = run->epochs.Value(epoch, column);
    if (std::isfinite(value)) values.push_back(value);
  }
  std::sort(values.begin(), values.end());
  return values;
}

// ,"test_top1":{"x":[...],"m":[...],"l":[...],"h":[...]}, or nothing where no run has a value.
std::string Curve(const Runs& runs, int64_t epochs, size_t column, int64_t points) {
  std::vector<int64_t> with_values;  // some measures are not taken every epoch
  for (int64_t epoch = 0; epoch < epochs; ++epoch) {
    const bool any = std::any_of(runs.begin(), runs.end(), [&](const RunRecords* run) {
      return std::isfinite(run->epochs.Value(epoch, column));
    });
    if (any) with_values.push_back(epoch);
  }
  if (with_values.empty()) return "";
  std::string x, middle, low, high;
  for (const size_t index : Thinned(with_values.size(), points)) {
    const std::vector<float> values = ValuesAt(runs, with_values[index], column);
    absl::StrAppend(&x, x.empty() ? "" : ",", with_values[index]);
    for (auto [out, q] : {std::pair(&middle, 0.5), std::pair(&low, 0.1), std::pair(&high, 0.9)}) {
      if (!out->empty()) out->append(",");
      AppendShort(QuantileOfSorted(values, q), out);
    }
  }
  std::string text = absl::StrCat(",\"", EpochColumns()[column]->name(), "\":{\"x\":[", x, "],\"m\":[", middle, "]");
  if (low != high) absl::StrAppend(&text, ",\"l\":[", low, "],\"h\":[", high, "]");
  return text + "}";
}

// How many filters each of these layers has: as its network says, or, where that is not known, the most of them that
// any of the arm's runs had live.
std::vector<int64_t> Widths(const ArmFacts& arm, const std::vector<std::string>& layers, const Runs& runs) {
  std::vector<int64_t> widths(layers.size(), 0);
  for (const RunRecords* run : runs) {
    for (size_t i = 0; i < run->epochs.live_filters.size(); ++i) {
      int64_t& width = widths[i % layers.size()];
      width = std::max<int64_t>(width, run->epochs.live_filters[i]);
    }
  }
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    const auto found = arm.filters.find(layers[layer]);
    if (found != arm.filters.end()) widths[layer] = std::max(widths[layer], found->second);
  }
  return widths;
}

// A layer's live filters in these epochs: means over the runs that came so far.
std::string MeansOfLayer(const Runs& runs, size_t layer, const std::vector<size_t>& epochs) {
  std::string row;
  for (const size_t epoch : epochs) {
    double sum = 0;
    int64_t count = 0;
    for (const RunRecords* run : runs) {
      if (static_cast<int64_t>(epoch) >= run->epochs.count()) continue;
      sum += run->epochs.live_filters[epoch * run->epochs.layers.size() + layer];
      ++count;
    }
    absl::StrAppend(&row, row.empty() ? "" : ",", absl::StrFormat("%.6g", sum / static_cast<double>(count)));
  }
  return row;
}

}  // namespace

std::string ForScript(absl::string_view json) { return absl::StrReplaceAll(json, {{"<", "\\u003c"}}); }

std::string Curves(const ReportRecords& records, int64_t points) {
  std::string text = "[";
  for (size_t a = 0; a < records.arms.size(); ++a) {
    const Runs runs = DrawnRuns(records, records.arms[a].name);
    if (runs.empty()) continue;
    const int64_t epochs = MostEpochs(runs);
    absl::StrAppend(&text, text.size() > 1 ? "," : "", "{\"arm\":", a, ",\"n\":", runs.size());
    for (size_t column = 0; column < EpochColumns().size(); ++column) {
      if (EpochColumns()[column]->options().has_curve()) text += Curve(runs, epochs, column, points);
    }
    text += "}";
  }
  return text + "]";
}

std::string LiveFilters(const ReportRecords& records, int64_t points) {
  std::string text = "[";
  for (size_t a = 0; a < records.arms.size(); ++a) {
    Runs runs = DrawnRuns(records, records.arms[a].name);
    if (runs.empty() || runs.front()->epochs.layers.empty()) continue;
    const std::vector<std::string>& layers = runs.front()->epochs.layers;
    runs.erase(
        std::remove_if(runs.begin(), runs.end(), [&](const RunRecords* run) { return run->epochs.layers != layers; }),
        runs.end());
    const std::vector<size_t> shown = Thinned(static_cast<size_t>(MostEpochs(runs)), points);
    std::string z;
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      const std::string row = MeansOfLayer(runs, layer, shown);
      absl::StrAppend(&z, z.empty() ? "[" : ",[", row, "]");
    }
    Json head;
    head["arm"] = a;
    head["x"] = shown;
    head["layers"] = layers;
    head["max"] = Widths(records.arms[a], layers, runs);
    std::string object = ForScript(head.dump(-1, ' ', false, Json::error_handler_t::replace));
    object.pop_back();
    absl::StrAppend(&text, text.size() > 1 ? "," : "", object, ",\"z\":[", z, "]}");
  }
  return text + "]";
}

}  // namespace prunelab
