#include "experiments/records/records.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "experiments/records/measures.h"
#include "ml/base/check.h"
#include "ml/base/digest.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kChecksumKey[] = ",\"crc32c\":";

// Its value in a record: null if it has none, but 0 in a record that always contains it.
Json ToJson(const Measure& measure, const Measures& measures, MeasureOptions::Written written) {
  const bool always = written == MeasureOptions::ALWAYS;
  if (measure.is_by_layer()) return Json(measure.ByLayer(measures));
  if (measure.is_whole()) {
    const std::optional<int64_t> whole = measure.Whole(measures);
    return whole || always ? Json(whole.value_or(0)) : Json(nullptr);
  }
  const std::optional<double> value = measure.Value(measures);
  return value || always ? Json(value.value_or(0)) : Json(nullptr);
}

// Adds it under its name, if it is written.
void Write(const Measure& measure, const Measures& measures, MeasureOptions::Written written, Json* record) {
  Json value = ToJson(measure, measures, written);
  if (written == MeasureOptions::IF_PRESENT && (value.is_null() || value.empty())) return;
  (*record)[measure.name()] = std::move(value);
}

bool ReadLayers(const Measure& measure, const Json& layers, Measures* measures) {
  if (!layers.is_object()) return false;
  for (const auto& [layer, count] : layers.items()) {
    if (!count.is_number_integer()) return false;
    measure.SetLayer(layer, count.get<int64_t>(), measures);
  }
  return true;
}

// Takes it from a record. False where the record lacks what must always be there, or has something of another kind: a
// fraction, or 1e300, is no whole number.
bool Read(const Measure& measure, const Json& record, MeasureOptions::Written written, Measures* measures) {
  const auto found = record.find(measure.name());
  const bool always = written == MeasureOptions::ALWAYS;
  if (found == record.end()) return !always;
  if (measure.is_by_layer()) return ReadLayers(measure, *found, measures);
  if (found->is_null() && !always) return true;
  if (measure.is_whole()) {
    if (!found->is_number_integer()) return false;
    measure.SetWhole(found->get<int64_t>(), measures);
    return true;
  }
  if (!found->is_number() && !found->is_null()) return false;
  measure.Set(found->is_null() ? std::nan("") : found->get<double>(), measures);  // JSON cannot express NaN otherwise
  return true;
}

// The columns of the measures that only some runs have, where any of these has one of them.
MeasureList ColumnsThatAnyHas(const std::vector<RunResult>& results) {
  std::set<std::string> there;  // MeasureOptions::columns, or the name of a single one
  const auto columns = [](const Measure& measure) {
    return measure.options().has_columns() ? measure.options().columns() : measure.name();
  };
  for (const Measure* measure : RareColumns()) {
    const bool any = std::any_of(results.begin(), results.end(),
                                 [&](const RunResult& result) { return measure->Value(result.measures).has_value(); });
    if (any) there.insert(columns(*measure));
  }
  MeasureList list;
  for (const Measure* measure : RareColumns()) {
    if (there.count(columns(*measure)) > 0) list.push_back(measure);
  }
  return list;
}

}  // namespace

std::string WithChecksum(const std::string& object) {
  PRUNELAB_CHECK(object.size() > 2 && object.back() == '}') << object;
  return absl::StrCat(object.substr(0, object.size() - 1), kChecksumKey, Crc32c(object), "}");
}

bool ChecksumHolds(absl::string_view line) {
  const size_t at = line.rfind(kChecksumKey);
  if (line.empty() || at == absl::string_view::npos || line.back() != '}') return false;
  const absl::string_view digits = line.substr(at + sizeof(kChecksumKey) - 1, line.size() - at - sizeof(kChecksumKey));
  uint32_t checksum = 0;
  return absl::SimpleAtoi(digits, &checksum) && Crc32c(absl::StrCat(line.substr(0, at), "}")) == checksum;
}

std::string EpochLine(const EpochRecord& record) {
  Json line;
  line["epoch"] = record.epoch;
  if (!record.phase.empty()) line["phase"] = record.phase;
  for (const Measure* measure : EpochMeasures()) {
    Write(*measure, record.measures, measure->options().epoch(), &line);
  }
  line["diverged"] = record.diverged;
  return WithChecksum(line.dump());
}

absl::StatusOr<EpochRecord> ParseEpochLine(absl::string_view line) {
  const auto refuse = [&] {
    return absl::DataLossError(absl::StrCat("is no whole record of an epoch: ", line.substr(0, 100)));
  };
  if (!ChecksumHolds(line)) return refuse();
  const Json json = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("epoch") || !json["epoch"].is_number_integer() ||
      !json.contains("diverged") || !json["diverged"].is_boolean()) {
    return refuse();
  }
  EpochRecord record;
  record.epoch = json["epoch"].get<int64_t>();
  if (json.contains("phase") && json["phase"].is_string()) record.phase = json["phase"].get<std::string>();
  for (const Measure* measure : EpochMeasures()) {
    if (!Read(*measure, json, measure->options().epoch(), &record.measures)) return refuse();
  }
  record.diverged = json["diverged"].get<bool>();
  return record;
}

std::vector<std::string> WholeLines(absl::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (end == absl::string_view::npos || !ChecksumHolds(text.substr(0, end))) break;
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  return lines;
}

std::string ResultJson(const RunResult& result) {
  Json json;
  json["arm"] = result.arm;
  json["seed"] = result.seed;
  json["status"] = result.status;
  if (!result.message.empty()) json["message"] = result.message;
  json["epochs"] = result.epochs;
  for (const Measure* measure : ResultMeasures()) {
    Write(*measure, result.measures, measure->options().result(), &json);
  }
  json["run_id"] = result.run_id;
  return absl::StrCat(json.dump(2, ' ', false, Json::error_handler_t::replace), "\n");
}

absl::StatusOr<RunResult> ParseResult(absl::string_view text, const std::string& path) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  const auto refuse = [&](absl::string_view what) {
    return absl::DataLossError(absl::StrCat(path, ": ", what, "; remove the file to have the run done again"));
  };
  if (!json.is_object()) return refuse("is no JSON object");
  RunResult result;
  for (const auto& [name, member] :
       {std::pair("arm", &result.arm), std::pair("status", &result.status), std::pair("run_id", &result.run_id)}) {
    if (!json.contains(name) || !json[name].is_string()) return refuse(absl::StrCat("has no text \"", name, "\""));
    *member = json[name].get<std::string>();
  }
  for (const auto& [name, member] : {std::pair("seed", &result.seed), std::pair("epochs", &result.epochs)}) {
    if (!json.contains(name) || !json[name].is_number_integer())
      return refuse(absl::StrCat("has no number \"", name, "\""));
    *member = json[name].get<int64_t>();
  }
  if (json.contains("message") && json["message"].is_string()) result.message = json["message"].get<std::string>();
  for (const Measure* measure : ResultMeasures()) {
    Read(*measure, json, measure->options().result(), &result.measures);  // of another kind: absent
  }
  return result;
}

absl::StatusOr<RunResult> ReadResult(const std::string& folder) {
  const std::string path = JoinPath(folder, "result.json");
  PRUNELAB_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseResult(text, path);
}

bool IsFinished(const RunResult& result) { return result.status == "done" || result.status == "diverged"; }

absl::StatusOr<RunResult> KeepResult(const std::string& folder, const RunResult& result) {
  const std::string text = ResultJson(result);
  const absl::StatusOr<RunResult> there = ReadResult(folder);
  if (there.ok() && IsFinished(*there)) {
    if (ResultJson(*there) == text || (there->run_id == result.run_id && !IsFinished(result))) return there;
    return absl::AlreadyExistsError(absl::StrCat(JoinPath(folder, "result.json"), ": holds a finished result, ",
                                                 there->run_id == result.run_id ? "of the same" : "of another",
                                                 " run, and is not replaced by a different one (", there->status,
                                                 " there, ", result.status, " here)"));
  }
  PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(JoinPath(folder, "result.json"), text));
  return result;
}

RunResult MissingResult(const std::string& arm, int64_t seed) {
  RunResult missing;
  missing.arm = arm;
  missing.seed = seed;
  missing.status = "missing";
  return missing;
}

void AddTiming(const std::string& folder, RunResult& result) {
  const std::string latencies = ReadFile(JoinPath(folder, "latency.json")).value_or("");
  const absl::string_view line = absl::StripTrailingAsciiWhitespace(latencies);
  if (ChecksumHolds(line)) {
    const Json json = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
    for (const Measure* measure : RareColumns()) {
      const MeasureOptions::Written written = measure->options().clock();
      if (json.is_object() && written != MeasureOptions::NOWHERE) Read(*measure, json, written, &result.measures);
    }
  }
  const absl::StatusOr<std::string> text = ReadFile(JoinPath(folder, "timing.jsonl"));
  if (!text.ok()) return;
  double seconds = 0, images = 0;
  for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const Json json = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !ChecksumHolds(line)) continue;
    if (json.contains("seconds") && json["seconds"].is_number()) seconds += json["seconds"].get<double>();
    if (json.contains("images") && json["images"].is_number()) images += json["images"].get<double>();
  }
  if (!(seconds > 0)) return;
  result.measures.set_seconds(seconds);
  result.measures.set_images_per_second(images / seconds);
}

RunResult Summarize(const std::vector<EpochRecord>& records, const NetworkInfo& network) {
  RunResult result;
  result.measures.set_parameters(network.ParameterCount());
  result.measures.set_macs(network.MacCount());
  result.epochs = static_cast<int64_t>(records.size());
  if (records.empty()) return result;
  const EpochRecord& last = records.back();
  result.status = last.diverged ? "diverged" : "done";
  if (last.diverged && !last.divergence.empty()) {
    result.message = absl::StrCat("in epoch ", last.epoch, ": ", last.divergence);
  }
  for (const EpochRecord& record : records) AddEpoch(record.measures, &result.measures);
  return result;
}

std::vector<std::vector<std::string>> ResultsRows(const std::vector<RunResult>& results) {
  const MeasureList rare = ColumnsThatAnyHas(results);
  std::vector<std::vector<std::string>> rows = {{"arm", "seed", "status", "epochs"}};
  for (const Measure* measure : ResultColumns()) rows[0].push_back(measure->name());
  rows[0].push_back("run_id");
  for (const MeasureList* list : {&ClockColumns(), &rare}) {
    for (const Measure* measure : *list) rows[0].push_back(measure->name());
  }
  for (const RunResult& result : results) {
    std::vector<std::string>& cells = rows.emplace_back();
    cells = {result.arm, absl::StrCat(result.seed), result.status, absl::StrCat(result.epochs)};
    const auto add = [&](const MeasureList& list) {
      for (const Measure* measure : list) {
        const std::string text = ToJson(*measure, result.measures, MeasureOptions::NULL_IF_ABSENT).dump();
        cells.push_back(text == "null" ? "" : text);  // NaN is absent here
      }
    };
    add(ResultColumns());
    cells.push_back(result.run_id);
    add(ClockColumns());
    add(rare);
  }
  return rows;
}

std::string ResultsCsv(const std::vector<RunResult>& results) {
  std::string csv;
  for (std::vector<std::string> cells : ResultsRows(results)) {
    for (std::string& cell : cells) {  // names may contain commas and quotes
      if (cell.find_first_of(",\"\n") == std::string::npos) continue;
      std::string quoted = "\"";
      for (const char c : cell) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
      cell = quoted + "\"";
    }
    absl::StrAppend(&csv, absl::StrJoin(cells, ","), "\n");
  }
  return csv;
}

}  // namespace prunelab
