#include "experiments/reporting/run_records.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "ml/base/files.h"

namespace prunelab {
namespace {

using Json = nlohmann::json;

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
  EpochCurves& epochs = run.records.epochs;
  const std::string damage = ReadEpochs(file("epochs.jsonl"), &epochs);
  const absl::StatusOr<std::string> text = ReadFile(file("result.json"));
  run.finished = text.ok();
  if (!run.finished) {
    if (epochs.count() > 0) run.unfinished = absl::StrCat(epochs.count(), " epochs");
    if (!damage.empty()) run.unfinished = damage;
    return run;
  }
  run.left_out = TakeResult(*text, found, &result);
  if (!run.left_out.empty()) return run;
  AddTiming(found.folder, result);
  if (!damage.empty()) {
    run.left_out = damage;
  } else if (result.status != "failed") {
    if (epochs.count() == 0) {
      run.notes.push_back("has no epochs.jsonl; its result is used, its curves are not there");
    }
    run.left_out = Disagreement(epochs, result);
  }
  return run;
}

}  // namespace prunelab
