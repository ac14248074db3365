#include "experiments/records/records.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "ml/base/check.h"
#include "ml/base/digest.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
Json Value(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

constexpr char kChecksumKey[] = ",\"crc32c\":";

// Whether it can be read as a T: a fraction, or 1e300, is no count.
template <typename T>
bool IsNumber(const Json& json) {
  return std::is_integral_v<T> ? json.is_number_integer() : json.is_number();
}

// Names and members of the numbers that result.json and results.csv share, in their order.
template <typename Result, typename F>
void ForNumbers(Result& r, F f) {
  f("test_top1", r.test_top1);
  f("test_top5", r.test_top5);
  f("test_loss", r.test_loss);
  f("validation_top1", r.validation_top1);
  f("test_top1_best", r.test_top1_best);
  f("filter_sparsity", r.filter_sparsity);
  f("weight_sparsity", r.weight_sparsity);
  f("paper_sparsity", r.paper_sparsity);
  f("parameters", r.parameters);
  f("live_parameters", r.live_parameters);
  f("macs", r.macs);
  f("live_macs", r.live_macs);
  f("mean_abs_rho", r.mean_abs_rho);
  f("returned_filters", r.returned_filters);
}

// Those of removal, which stand only where there was one.
template <typename Result, typename F>
void ForRemovalNumbers(Result& r, F f) {
  f("physical_parameters", r.physical_parameters);
  f("physical_macs", r.physical_macs);
  f("removed_test_top1", r.removed_test_top1);
  f("fine_tuned_test_top1", r.fine_tuned_test_top1);
}

template <typename Result, typename F>
void ForLatencies(Result& r, F f) {
  f("latency_1_dense", r.latency_1_dense);
  f("latency_1_removed", r.latency_1_removed);
  f("latency_64_dense", r.latency_64_dense);
  f("latency_64_removed", r.latency_64_removed);
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
  line["learning_rate"] = record.learning_rate;
  line["train_loss"] = record.train_loss;
  line["train_top1"] = record.train_top1;
  line["test_loss"] = record.test ? Json(record.test->loss) : Json(nullptr);
  line["test_top1"] = record.test ? Json(record.test->top1) : Json(nullptr);
  line["test_top5"] = record.test ? Json(record.test->top5) : Json(nullptr);
  line["validation_loss"] = record.validation ? Json(record.validation->loss) : Json(nullptr);
  line["validation_top1"] = record.validation ? Json(record.validation->top1) : Json(nullptr);
  line["penalty"] = record.penalty;
  line["penalty_gradient_ratio"] = record.penalty_gradient_ratio;
  line["mean_abs_rho"] = Value(record.mean_abs_rho);
  line["mask_updates"] = record.mask_updates;
  line["mask_changes"] = record.mask_changes;
  line["returned_filters"] = record.returned_filters;
  line["filter_sparsity"] = record.filter_sparsity;
  line["weight_sparsity"] = record.weight_sparsity;
  line["paper_sparsity"] = record.paper_sparsity;
  line["live_parameters"] = record.live_parameters;
  line["live_macs"] = record.live_macs;
  line["live_filters"] = record.live_filters;
  line["diverged"] = record.diverged;
  return WithChecksum(line.dump());
}

absl::StatusOr<EpochRecord> ParseEpochLine(absl::string_view line) {
  const auto refuse = [&] {
    return absl::DataLossError(absl::StrCat("is no whole record of an epoch: ", line.substr(0, 100)));
  };
  if (!ChecksumHolds(line)) return refuse();
  const Json json = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return refuse();
  bool complete = true;
  const auto read = [&](const char* name, auto& value) {
    using T = std::decay_t<decltype(value)>;
    const auto found = json.find(name);
    if (found == json.end()) {
      complete = false;
    } else if (found->is_null() && std::is_same_v<T, double>) {
      value = static_cast<T>(std::nan(""));  // JSON has no other way to say so
    } else if (std::is_same_v<T, bool> ? found->is_boolean() : IsNumber<T>(*found)) {
      value = found->get<T>();
    } else {
      complete = false;
    }
  };
  const auto read_evaluation = [&](const std::string& prefix, std::optional<Evaluation>& evaluation) {
    const auto top1 = json.find(prefix + "_top1");
    if (top1 == json.end() || top1->is_null()) return;
    Evaluation value;
    read((prefix + "_loss").c_str(), value.loss);
    read((prefix + "_top1").c_str(), value.top1);
    if (json.contains(prefix + "_top5")) read((prefix + "_top5").c_str(), value.top5);
    evaluation = value;
  };
  EpochRecord record;
  read("epoch", record.epoch);
  if (json.contains("phase") && json["phase"].is_string()) record.phase = json["phase"].get<std::string>();
  read("learning_rate", record.learning_rate);
  read("train_loss", record.train_loss);
  read("train_top1", record.train_top1);
  read_evaluation("test", record.test);
  read_evaluation("validation", record.validation);
  read("penalty", record.penalty);
  read("penalty_gradient_ratio", record.penalty_gradient_ratio);
  if (json.contains("mean_abs_rho") && json["mean_abs_rho"].is_number()) {
    record.mean_abs_rho = json["mean_abs_rho"].get<double>();
  }
  read("mask_updates", record.mask_updates);
  read("mask_changes", record.mask_changes);
  read("returned_filters", record.returned_filters);
  read("filter_sparsity", record.filter_sparsity);
  read("weight_sparsity", record.weight_sparsity);
  read("paper_sparsity", record.paper_sparsity);
  read("live_parameters", record.live_parameters);
  read("live_macs", record.live_macs);
  if (!json.contains("live_filters") || !json["live_filters"].is_object()) return refuse();
  for (const auto& [node, count] : json["live_filters"].items()) {
    if (!count.is_number_integer()) return refuse();
    record.live_filters[node] = count.get<int64_t>();
  }
  read("diverged", record.diverged);
  if (!complete) return refuse();
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
  ForNumbers(result, [&](const char* name, const auto& value) { json[name] = Value(value); });
  ForRemovalNumbers(result, [&](const char* name, const auto& value) {
    if (value) json[name] = *value;
  });
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
  for (const auto& [name, member] : {std::make_pair("arm", &result.arm), std::make_pair("status", &result.status),
                                     std::make_pair("run_id", &result.run_id)}) {
    if (!json.contains(name) || !json[name].is_string()) return refuse(absl::StrCat("has no text \"", name, "\""));
    *member = json[name].get<std::string>();
  }
  for (const auto& [name, member] : {std::make_pair("seed", &result.seed), std::make_pair("epochs", &result.epochs)}) {
    if (!json.contains(name) || !json[name].is_number_integer())
      return refuse(absl::StrCat("has no number \"", name, "\""));
    *member = json[name].get<int64_t>();
  }
  if (json.contains("message") && json["message"].is_string()) result.message = json["message"].get<std::string>();
  const auto read = [&](const char* name, auto& value) {
    using T = typename std::decay_t<decltype(value)>::value_type;
    if (json.contains(name) && IsNumber<T>(json[name])) value = json[name].get<T>();
  };
  ForNumbers(result, read);
  ForRemovalNumbers(result, read);
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
    ForLatencies(result, [&](const char* name, auto& value) {
      if (json.is_object() && json.contains(name) && json[name].is_number()) value = json[name].get<double>();
    });
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
  result.seconds = seconds;
  result.images_per_second = images / seconds;
}

RunResult Summarize(const std::vector<EpochRecord>& records, const NetworkInfo& network) {
  RunResult result;
  result.parameters = network.ParameterCount();
  result.macs = network.MacCount();
  result.epochs = static_cast<int64_t>(records.size());
  if (records.empty()) return result;
  const EpochRecord& last = records.back();
  result.status = last.diverged ? "diverged" : "done";
  if (last.diverged && !last.divergence.empty()) {
    result.message = absl::StrCat("in epoch ", last.epoch, ": ", last.divergence);
  }
  if (last.test) {
    result.test_top1 = last.test->top1;
    result.test_top5 = last.test->top5;
    result.test_loss = last.test->loss;
  }
  if (last.validation) result.validation_top1 = last.validation->top1;
  result.filter_sparsity = last.filter_sparsity;
  result.weight_sparsity = last.weight_sparsity;
  result.paper_sparsity = last.paper_sparsity;
  result.mean_abs_rho = last.mean_abs_rho;
  result.live_parameters = last.live_parameters;
  result.live_macs = last.live_macs;
  result.returned_filters = 0;
  for (const EpochRecord& record : records) {
    *result.returned_filters += record.returned_filters;
    if (record.test) result.test_top1_best = std::max(result.test_top1_best.value_or(0), record.test->top1);
  }
  return result;
}

std::vector<std::vector<std::string>> ResultsRows(const std::vector<RunResult>& results) {
  std::vector<std::string> columns = {"arm", "seed", "status", "epochs"};
  RunResult names;
  ForNumbers(names, [&](const char* name, const auto&) { columns.push_back(name); });
  for (const char* name : {"run_id", "seconds", "images_per_second"}) columns.push_back(name);
  const bool removal = std::any_of(results.begin(), results.end(),
                                   [](const RunResult& result) { return result.physical_parameters.has_value(); });
  if (removal) {
    const auto add_name = [&](const char* name, const auto&) { columns.push_back(name); };
    ForRemovalNumbers(names, add_name);
    ForLatencies(names, add_name);
  }
  std::vector<std::vector<std::string>> rows = {columns};
  for (const RunResult& result : results) {
    std::vector<std::string> cells = {result.arm, absl::StrCat(result.seed), result.status,
                                      absl::StrCat(result.epochs)};
    const auto add = [&](const char*, const auto& value) {
      const std::string text = value ? Json(*value).dump() : "";
      cells.push_back(text == "null" ? "" : text);  // what is not a number is absent here
    };
    ForNumbers(result, add);
    cells.push_back(result.run_id);
    add("seconds", result.seconds);
    add("images_per_second", result.images_per_second);
    if (removal) {
      ForRemovalNumbers(result, add);
      ForLatencies(result, add);
    }
    rows.push_back(std::move(cells));
  }
  return rows;
}

std::string ResultsCsv(const std::vector<RunResult>& results) {
  std::string csv;
  for (std::vector<std::string> cells : ResultsRows(results)) {
    for (std::string& cell : cells) {  // names may hold commas and quotes
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
