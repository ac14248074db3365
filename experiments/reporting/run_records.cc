#include "experiments/reporting/run_records.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "ml/base/files.h"

namespace prunelab {
namespace {

using Json = nlohmann::json;

// How the result differs from what its epochs say, or "".
std::string Disagreement(const RunRecords& run, const EpochTotals& totals) {
  if (run.epochs.empty()) return "";
  const RunResult& result = run.result;
  if (run.epoch_count() != result.epochs) {
    return absl::StrCat("result.json tells of ", result.epochs, " epochs, epochs.jsonl of ", run.epoch_count());
  }
  std::string name;
  const auto check = [&](const char* column, bool agrees) {
    if (name.empty() && !agrees) name = column;
  };
  const auto check_real = [&](const char* column, double line, const std::optional<double>& value) {
    check(column, !std::isfinite(line) || value == line);  // null in one of them
  };
  const auto last = [&](const char* column) -> const RecordNumber& { return totals.last[EpochColumn(column)]; };
  const auto check_whole = [&](const char* column, const std::optional<int64_t>& value) {
    const RecordNumber& line = last(column);
    check(column, !std::isfinite(line.real) ||
                      (line.whole ? value == line.whole : value && static_cast<double>(*value) == line.real));
  };
  check_real("test_top1", last("test_top1").real, result.test_top1);
  check_real("test_top5", last("test_top5").real, result.test_top5);
  check_real("test_loss", last("test_loss").real, result.test_loss);
  check_real("validation_top1", last("validation_top1").real, result.validation_top1);
  check_real("filter_sparsity", last("filter_sparsity").real, result.filter_sparsity);
  check_real("weight_sparsity", last("weight_sparsity").real, result.weight_sparsity);
  check_real("paper_sparsity", last("paper_sparsity").real, result.paper_sparsity);
  check_whole("live_parameters", result.live_parameters);
  check_whole("live_macs", result.live_macs);
  check_real("mean_abs_rho", last("mean_abs_rho").real, result.mean_abs_rho);
  check_real("test_top1_best", totals.best_test_top1, result.test_top1_best);
  check("returned_filters", !std::isfinite(last("returned_filters").real) ||
                                (result.returned_filters && totals.returned_filters == result.returned_filters));
  if (name.empty()) return "";
  return absl::StrCat("result.json and epochs.jsonl have another ", name,
                      ": one of them was changed after it was written");
}

std::map<std::string, std::string> ReadProvenance(const std::string& path) {
  std::map<std::string, std::string> provenance;
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return provenance;
  const Json json = Json::parse(text->begin(), text->end(), nullptr, false);
  if (!json.is_object()) return provenance;
  for (const auto& [key, value] : json.items()) {
    if (value.is_string()) provenance[key] = value.get<std::string>();
    if (value.is_number()) provenance[key] = value.dump();
  }
  return provenance;
}

// Takes the run's result from the text of result.json. "" or why it cannot be used.
std::string TakeResult(const std::string& text, const FoundRun& found, RunResult* result) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, false);
  if (json.is_object() && json.contains("version") && json["version"] != kRecordsVersion) {
    return absl::StrCat("result.json is of version ", json["version"].dump(), ", which this program does not know");
  }
  absl::StatusOr<RunResult> parsed = ParseResult(text, "result.json");
  if (!parsed.ok()) return std::string(parsed.status().message());
  if (parsed->arm != found.arm || parsed->seed != found.seed) {
    return absl::StrCat("result.json is that of ", RunName(parsed->arm, parsed->seed));
  }
  if (parsed->status != "done" && parsed->status != "diverged" && parsed->status != "failed") {
    return absl::StrCat("result.json has the status \"", parsed->status, "\", which this program does not know");
  }
  *result = *std::move(parsed);
  return "";
}

}  // namespace

std::string RunName(const std::string& arm, int64_t seed) { return absl::StrCat(arm, " seed ", seed); }

ReadRun ReadRunRecords(const FoundRun& found) {
  ReadRun run;
  run.records.folder = found.folder;
  RunResult& result = run.records.result;
  result = MissingResult(found.arm, found.seed);
  const auto file = [&](const char* name) { return JoinPath(found.folder, name); };
  run.records.provenance = ReadProvenance(file("provenance.json"));
  run.config = ReadFile(file("config.textproto")).value_or("");
  EpochTotals totals;
  const std::string damage = ReadEpochs(file("epochs.jsonl"), &run.records, &totals);
  const absl::StatusOr<std::string> text = ReadFile(file("result.json"));
  run.finished = text.ok();
  if (!run.finished) {
    if (run.records.epoch_count() > 0) run.unfinished = absl::StrCat(run.records.epoch_count(), " epochs");
    if (!damage.empty()) run.unfinished = damage;
    return run;
  }
  run.left_out = TakeResult(*text, found, &result);
  if (!run.left_out.empty()) return run;
  AddTiming(found.folder, result);
  if (!damage.empty()) {
    run.left_out = damage;
  } else if (result.status != "failed") {
    if (run.records.epochs.empty()) {
      run.notes.push_back("has no epochs.jsonl; its result is used, its curves are not there");
    }
    run.left_out = Disagreement(run.records, totals);
  }
  return run;
}

}  // namespace prunelab
