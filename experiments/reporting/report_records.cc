#include "experiments/reporting/report_records.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "experiments/config/config.h"
#include "experiments/config/output_files.h"
#include "experiments/config/phases.h"
#include "google/protobuf/empty.pb.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"
#include "ml/base/files.h"
#include "ml/base/glob.h"
#include "ml/base/plugin.h"
#include "ml/base/status_macros.h"
#include "ml/base/textproto.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {
namespace {

using Json = nlohmann::json;

constexpr char kNoPruning[] = "prunelab.NoPruning";
constexpr size_t kMaxDepth = 40;                          // of folders
constexpr int kMaxNesting = 100;                          // of messages, as TextProtoSource has it
constexpr int64_t kMaxArms = 10000, kMaxSeeds = 1000000;  // as for LoadAblation
constexpr int64_t kMaxMissingRuns = 100000;               // that are listed where only the ablation tells of them

constexpr double kKnownVersion = 1;

std::string RunName(const std::string& arm, int64_t seed) { return absl::StrCat(arm, " seed ", seed); }

// "a, b, c and 4 more".
std::string Some(const std::vector<std::string>& names, size_t shown = 6) {
  if (names.size() <= shown) return absl::StrJoin(names, ", ");
  return absl::StrCat(absl::StrJoin(names.begin(), names.begin() + static_cast<int64_t>(shown), ", "), " and ",
                      names.size() - shown, " more");
}

// ---------------------------------------------------------------------------------------------------------------------
// Text protos without their plugins

class AnyIsEmpty : public google::protobuf::TextFormat::Finder {
 public:
  const google::protobuf::Descriptor* FindAnyType(const google::protobuf::Message&, const std::string&,
                                                  const std::string&) const override {
    return google::protobuf::Empty::descriptor();
  }
};

class Silent : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber, const std::string& message) override {
    if (text.empty()) text = absl::StrCat("line ", line + 1, ": ", message);
  }
  std::string text;
};

// "" or what makes the arms or the runs too many to hold, or none: a program that runs ablations writes no such text.
std::string WrongSizes(const Ablation& ablation) {
  int64_t arms = 1;
  for (const Factor& factor : ablation.factor()) {
    arms *= factor.level_size();
    if (arms > kMaxArms) return absl::StrCat("its factors make more than ", kMaxArms, " arms");
  }
  const Seeds& seeds = ablation.seeds();
  if (seeds.count() < 0 || seeds.count() > kMaxSeeds) {
    return absl::StrCat("its seeds.count is ", seeds.count(), ", not from 0 to ", kMaxSeeds);
  }
  if (seeds.first() < 0 || seeds.first() > std::numeric_limits<int64_t>::max() - kMaxSeeds) {
    return absl::StrCat("its seeds.first is ", seeds.first(), ", not from 0 to 2^63 - ", kMaxSeeds);
  }
  return "";
}

// "" or what is wrong. Plugins and fields that are not known here are passed over.
std::string ParseLenient(const std::string& text, Ablation* ablation) {
  AnyIsEmpty finder;
  Silent errors;
  google::protobuf::TextFormat::Parser parser;
  parser.SetFinder(&finder);
  parser.AllowUnknownField(true);
  parser.SetRecursionLimit(kMaxNesting);  // unknown fields may hold each other as deep as a file is long
  parser.RecordErrorsTo(&errors);
  if (parser.ParseFromString(text, ablation)) return WrongSizes(*ablation);
  return errors.text.empty() ? "does not parse" : errors.text;
}

// ---------------------------------------------------------------------------------------------------------------------
// Lines of epochs.jsonl, read without making a tree of them: there may be hundreds of thousands.

int ColumnIndex(absl::string_view name) {
  for (int i = 0; i < kEpochColumnCount; ++i) {
    if (name == kEpochColumns[i]) return i;
  }
  return -1;
}

// A number of a record as it stands there: whole ones exactly, of whatever size.
struct Number {
  double real = std::nan("");  // also where it is null or not there
  std::optional<int64_t> whole;
};

// What a run's epochs come to, exactly: curves are held in fewer digits.
struct Epochs {
  Number last[kEpochColumnCount];
  double best_test_top1 = std::nan("");
  std::optional<int64_t> returned_filters = 0;  // of all epochs; no value: more than can be held
};

class EpochReader : public nlohmann::json_sax<Json> {
 public:
  explicit EpochReader(RunRecords* run) : run_(run) {}
  const Epochs& epochs() const { return epochs_; }

  // Appends the line's epoch to the run. "" or what is wrong.
  std::string Read(absl::string_view line) {
    std::fill(std::begin(row_), std::end(row_), Number());
    depth_ = 0;
    column_ = -1;
    layer_ = 0;
    in_layers_ = false;
    problem_.clear();
    const size_t before = run_->live_filters.size();
    if (!Json::sax_parse(line.begin(), line.end(), this) && problem_.empty()) problem_ = "is no JSON object";
    if (problem_.empty() && row_[0].real != static_cast<double>(run_->epoch_count())) {
      problem_ = absl::StrCat("is not of epoch ", run_->epoch_count());
    }
    if (problem_.empty() && layer_ != run_->layers.size()) problem_ = "names other layers than the line before";
    if (!problem_.empty()) {
      run_->live_filters.resize(before);
      return problem_;
    }
    for (const Number& number : row_) run_->epochs.push_back(static_cast<float>(number.real));
    std::copy(std::begin(row_), std::end(row_), std::begin(epochs_.last));
    static const int kTop1 = ColumnIndex("test_top1"), kReturned = ColumnIndex("returned_filters");
    epochs_.best_test_top1 = std::fmax(epochs_.best_test_top1, row_[kTop1].real);
    int64_t sum = 0;
    const bool too_many = !epochs_.returned_filters ||
                          __builtin_add_overflow(*epochs_.returned_filters, row_[kReturned].whole.value_or(0), &sum);
    epochs_.returned_filters = too_many ? std::nullopt : std::optional<int64_t>(sum);
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
      column_ = ColumnIndex(name);
    } else if (in_layers_ && depth_ == 2) {
      if (run_->epochs.empty()) {
        run_->layers.push_back(name);
      } else if (layer_ >= run_->layers.size() || run_->layers[layer_] != name) {
        problem_ = "names other layers than the line before";
        return false;
      }
    }
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const Json::exception&) override { return false; }

 private:
  bool Set(const Number& number) {
    const double value = number.real;
    if (in_layers_ && depth_ == 2) {
      constexpr double kMost = std::numeric_limits<int32_t>::max();
      run_->live_filters.push_back(static_cast<int32_t>(std::clamp(value, -kMost, kMost)));
      ++layer_;
    } else if (depth_ == 1 && is_version_ && value != kKnownVersion) {
      problem_ = absl::StrCat("is of version ", value, ", which this program does not know");
      return false;
    } else if (depth_ == 1 && column_ >= 0) {
      row_[column_] = number;
    }
    return true;
  }

  RunRecords* run_;
  Epochs epochs_;
  Number row_[kEpochColumnCount];
  int depth_ = 0, column_ = -1;
  size_t layer_ = 0;
  bool in_layers_ = false, is_version_ = false;
  std::string problem_;
};

// "" or why the run's epochs cannot be used.
std::string ReadEpochs(const std::string& path, RunRecords* run, Epochs* epochs) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return absl::IsNotFound(text.status()) ? "" : std::string(text.status().message());
  EpochReader reader(run);
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
  *epochs = reader.epochs();
  if (problem.empty()) return "";
  run->epochs.clear();
  run->layers.clear();
  run->live_filters.clear();
  return absl::StrCat("epochs.jsonl line ", number, " ", problem);
}

// How the result differs from what its epochs say, or "".
std::string Disagreement(const RunRecords& run, const Epochs& epochs) {
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
  const auto last = [&](const char* column) -> const Number& { return epochs.last[ColumnIndex(column)]; };
  const auto check_whole = [&](const char* column, const std::optional<int64_t>& value) {
    const Number& line = last(column);
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
  check_real("test_top1_best", epochs.best_test_top1, result.test_top1_best);
  check("returned_filters", !std::isfinite(last("returned_filters").real) ||
                                (result.returned_filters && epochs.returned_filters == result.returned_filters));
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

// ---------------------------------------------------------------------------------------------------------------------
// Folders

struct FoundRun {
  std::string arm, folder;
  int64_t seed = 0;
};

// <arm>/<seed>/ with records in it, arms being any number of folders deep. `above`: the folders that this one is in, so
// that a link to one of them is not followed round and round.
void FindRuns(const std::string& root, const std::string& relative, std::vector<std::pair<dev_t, ino_t>>* above,
              std::vector<FoundRun>* found) {
  const std::string folder = relative.empty() ? root : JoinPath(root, relative);
  const absl::StatusOr<std::vector<std::string>> names = ListFolder(folder);
  struct stat info;
  if (!names.ok() || above->size() > kMaxDepth || stat(folder.c_str(), &info) != 0) return;
  const std::pair<dev_t, ino_t> self(info.st_dev, info.st_ino);
  if (std::find(above->begin(), above->end(), self) != above->end()) return;
  const std::set<std::string> all(names->begin(), names->end());
  const size_t slash = relative.rfind('/');
  const std::string last = slash == std::string::npos ? "" : relative.substr(slash + 1);
  int64_t seed = 0;
  if (slash != std::string::npos && absl::SimpleAtoi(last, &seed) && last == absl::StrCat(seed) &&
      (all.count("result.json") || all.count("epochs.jsonl") || all.count("config.textproto"))) {
    found->push_back({relative.substr(0, slash), folder, seed});
    return;
  }
  above->push_back(self);
  for (const std::string& name : *names) {
    if (IsFolder(JoinPath(folder, name))) {
      FindRuns(root, relative.empty() ? name : JoinPath(relative, name), above, found);
    }
  }
  above->pop_back();
}

std::vector<FoundRun> FindRuns(const std::string& root) {
  std::vector<std::pair<dev_t, ino_t>> above;
  std::vector<FoundRun> found;
  FindRuns(root, "", &above, &found);
  return found;
}

struct ReadRun {
  RunRecords records;
  std::string config, left_out;  // why it is not used, or ""
  std::string unfinished;        // what there is of a run without a result, or ""
  std::vector<std::string> notes;
  bool finished = false;
};

ReadRun ReadOne(const FoundRun& found) {
  ReadRun run;
  run.records.folder = found.folder;
  RunResult& result = run.records.result;
  result = MissingResult(found.arm, found.seed);
  const auto file = [&](const char* name) { return JoinPath(found.folder, name); };
  run.records.provenance = ReadProvenance(file("provenance.json"));
  run.config = ReadFile(file("config.textproto")).value_or("");
  Epochs epochs;
  const std::string damage = ReadEpochs(file("epochs.jsonl"), &run.records, &epochs);
  const absl::StatusOr<std::string> text = ReadFile(file("result.json"));
  if (!text.ok()) {
    if (run.records.epoch_count() > 0) run.unfinished = absl::StrCat(run.records.epoch_count(), " epochs");
    if (!damage.empty()) run.unfinished = damage;
    return run;
  }
  run.finished = true;
  const Json json = Json::parse(text->begin(), text->end(), nullptr, false);
  if (json.is_object() && json.contains("version") && json["version"] != kKnownVersion) {
    run.left_out =
        absl::StrCat("result.json is of version ", json["version"].dump(), ", which this program does not know");
    return run;
  }
  const absl::StatusOr<RunResult> parsed = ParseResult(*text, "result.json");
  if (!parsed.ok()) {
    run.left_out = std::string(parsed.status().message());
    return run;
  }
  if (parsed->arm != found.arm || parsed->seed != found.seed) {
    run.left_out = absl::StrCat("result.json is that of ", RunName(parsed->arm, parsed->seed));
    return run;
  }
  if (parsed->status != "done" && parsed->status != "diverged" && parsed->status != "failed") {
    run.left_out =
        absl::StrCat("result.json has the status \"", parsed->status, "\", which this program does not know");
    return run;
  }
  result = *parsed;
  AddTiming(found.folder, result);
  if (!damage.empty()) {
    run.left_out = damage;
  } else if (result.status != "failed") {
    if (run.records.epochs.empty())
      run.notes.push_back("has no epochs.jsonl; its result is used, its curves are not there");
    run.left_out = Disagreement(run.records, epochs);
  }
  return run;
}

// ---------------------------------------------------------------------------------------------------------------------
// What the config of an arm tells

// What of a network the phases of a run mask, or no value where that is not known.
std::optional<MaskKind> MasksOf(const RunConfig& config, const NetworkInfo& network) {
  bool filters = false, weights = false;
  for (const RunPhase& phase : PhasesOf(config)) {
    if (AnyTypeName(phase.pruning) == kNoPruning) continue;  // what the phases before masked stays
    PruningSetup setup;
    setup.network = &network;
    const auto strategy = CreatePruningStrategy(phase.pruning, setup);
    if (!strategy.ok()) return std::nullopt;
    ((*strategy)->granularity() == Granularity::kFilter ? filters : weights) = true;
  }
  if (filters && weights) return MaskKind::kBoth;
  return filters ? MaskKind::kFilters : weights ? MaskKind::kWeights : MaskKind::kNone;
}

void Describe(const std::string& config_text, ArmFacts* facts) {
  if (PluginType(config_text, "pruning") == kNoPruning) facts->masks = MaskKind::kNone;
  RunConfig config;
  if (config_text.empty() || !TextProtoSource::Parse("config.textproto", config_text, &config).ok()) return;
  const auto dataset = DescribeRunDataset(config);
  const std::optional<DatasetInfo> info = dataset.ok() ? *dataset : std::nullopt;
  const absl::StatusOr<NetworkInfo> network = BuildRunNetwork(config, info);
  if (!network.ok()) return;
  facts->classes = network->classes();
  facts->masks = MasksOf(config, *network).value_or(facts->masks);
}

// How two configs of an arm differ, "" if they mean the same.
std::string ConfigDifference(const std::string& a, const std::string& b) {
  if (a == b) return "";
  RunConfig first, second;
  if (TextProtoSource::Parse("a", a, &first).ok() && TextProtoSource::Parse("b", b, &second).ok()) {
    return ArmDifference(first, second);
  }
  return "their config.textproto differ\n";
}

// arm -> the config that the ablation gives it. Empty where that is not known: a plugin is not linked.
std::map<std::string, std::string> WrittenConfigs(const std::string& ablation_text) {
  std::map<std::string, std::string> configs;
  const absl::StatusOr<std::vector<Arm>> arms = ArmsAsWritten(ablation_text);
  if (!arms.ok()) return configs;
  for (const Arm& arm : *arms) configs.emplace(arm.name, ResolvedText(arm.config));
  return configs;
}

// Whether the run's id is not that of its config, seed and data, as far as its plugins are linked.
bool HasAnotherIdentity(const ReadRun& run) {
  const auto fingerprint = run.records.provenance.find("data_fingerprint");
  RunConfig config;
  if (fingerprint == run.records.provenance.end() || run.config.empty() ||
      !TextProtoSource::Parse("config.textproto", run.config, &config).ok()) {
    return false;
  }
  // A file that the records do not hold, or another run, is part of it.
  if (config.has_initial_weights() || config.has_from_scratch()) return false;
  const RunResult& result = run.records.result;
  return result.run_id != RunId(config, result.seed, fingerprint->second);
}

// results.csv of the ablation program: which runs it wanted.
std::vector<std::pair<std::string, int64_t>> WantedRuns(const std::string& csv) {
  std::vector<std::pair<std::string, int64_t>> wanted;
  bool header = true;
  for (const absl::string_view line : absl::StrSplit(csv, '\n', absl::SkipEmpty())) {
    if (std::exchange(header, false)) continue;
    std::string arm;
    size_t at = 0;
    if (absl::StartsWith(line, "\"")) {
      for (at = 1; at < line.size() && (line[at] != '"' || (at + 1 < line.size() && line[at + 1] == '"')); ++at) {
        arm += line[at];
        if (line[at] == '"') ++at;
      }
      ++at;
    } else {
      at = std::min(line.find(','), line.size());
      arm = std::string(line.substr(0, at));
    }
    if (at >= line.size()) continue;
    const absl::string_view rest = line.substr(at + 1);
    int64_t seed = 0;
    if (absl::SimpleAtoi(rest.substr(0, rest.find(',')), &seed)) wanted.emplace_back(arm, seed);
  }
  return wanted;
}

// Notes on runs that stand side by side in a comparison but were made on different machines or by different programs.
void NoteMixtures(const Ablation& ablation, const std::vector<RunRecords>& runs, std::vector<std::string>* notes) {
  constexpr const char* kKeys[] = {"code_revision", "data_fingerprint", "cpu_capability", "threads", "device",
                                   "plan",          "precision",        "libtorch"};
  std::map<std::pair<std::string, int64_t>, const RunRecords*> by_name;
  for (const RunRecords& run : runs) by_name[{run.result.arm, run.result.seed}] = &run;
  std::vector<std::pair<std::string, std::vector<std::string>>> comparisons;
  for (const Comparison& c : ablation.comparison()) {
    comparisons.push_back({absl::StrCat(c.treatment(), " vs. ", c.control()), {c.treatment(), c.control()}});
  }
  for (const Contrast& c : ablation.contrast()) {
    comparisons.push_back({c.name(), {}});
    for (const Contrast::Term& term : c.term()) comparisons.back().second.push_back(term.arm());
  }
  std::map<std::string, std::vector<std::string>> mixed;  // "cpu_capability AVX2 / AVX512" -> comparisons
  for (const auto& [title, arms] : comparisons) {
    std::map<std::string, std::set<std::string>> values;
    for (const auto& [name, run] : by_name) {
      if (name.first != arms.front()) continue;
      for (const std::string key : kKeys) {
        std::set<std::string> of_seed;
        for (const std::string& arm : arms) {
          const auto found = by_name.find({arm, name.second});
          if (found == by_name.end()) continue;
          const std::map<std::string, std::string>& provenance = found->second->provenance;
          const auto value = provenance.find(key);
          if (value != provenance.end()) {
            of_seed.insert(value->second);
          } else if (!provenance.empty() && key == "precision") {
            of_seed.insert("float32");  // made before there was another
          }
        }
        if (of_seed.size() > 1) values[key].insert(of_seed.begin(), of_seed.end());
      }
    }
    for (const auto& [key, of_key] : values) {
      mixed[absl::StrCat(key, " (", absl::StrJoin(of_key, ", "), ")")].push_back(title);
    }
  }
  for (const auto& [what, titles] : mixed) {
    notes->push_back(absl::StrCat("Pairs of runs differ in ", what, " in: ", Some(titles), "."));
  }
}

}  // namespace

std::vector<std::string> ArmNames(const Ablation& ablation) {
  std::vector<std::string> names = {""};
  for (const Factor& factor : ablation.factor()) {
    std::vector<std::string> longer;
    for (const std::string& name : names) {
      for (const Level& level : factor.level()) {
        longer.push_back(name.empty() ? level.name() : absl::StrCat(name, "/", level.name()));
      }
    }
    names = std::move(longer);
  }
  if (ablation.factor().empty()) names = {"base"};
  std::set<std::string> seen;  // a text changed by hand may name two levels alike
  const auto is_left_out = [&](const std::string& name) {
    const auto matches = [&](const std::string& glob) { return GlobMatches(glob, name); };
    const auto any = [&](const auto& globs) { return std::any_of(globs.begin(), globs.end(), matches); };
    return any(ablation.exclude()) || (!ablation.include().empty() && !any(ablation.include())) ||
           !seen.insert(name).second;
  };
  names.erase(std::remove_if(names.begin(), names.end(), is_left_out), names.end());
  return names;
}

std::string PluginType(const std::string& config, absl::string_view field) {
  constexpr absl::string_view kPrefix = "type.googleapis.com/";
  const std::string head = absl::StrCat(field, " {");
  std::vector<std::string> types;
  for (size_t at = config.find(head); at != std::string::npos; at = config.find(head, at + 1)) {
    const size_t type = config.find(std::string(kPrefix), at);
    if (type == std::string::npos) break;
    const size_t begin = type + kPrefix.size();
    const std::string name = config.substr(begin, config.find(']', begin) - begin);
    if (std::find(types.begin(), types.end(), name) == types.end()) types.push_back(name);
  }
  return absl::StrJoin(types, "+");
}

absl::Status KeepPlan(const std::string& output, const std::string& ablation_text) {
  const std::vector<FoundRun> found = FindRuns(output);
  const bool any_result = std::any_of(
      found.begin(), found.end(), [](const FoundRun& run) { return PathExists(JoinPath(run.folder, "result.json")); });
  if (any_result) return absl::OkStatus();
  return WriteFileAtomically(JoinPath(output, kPlanFile), ablation_text);
}

absl::StatusOr<ReportRecords> ReadResults(const std::vector<std::string>& folders) {
  ReportRecords records;
  records.folders = folders;
  std::vector<FoundRun> found;
  std::vector<std::pair<std::string, int64_t>> wanted;
  bool has_ablation = false;
  for (const std::string& folder : folders) {
    if (!IsFolder(folder)) {
      return absl::NotFoundError(
          absl::StrCat(folder, ": is no folder; give one that an ablation has written, e.g. runs/digits"));
    }
    const std::vector<FoundRun> here = FindRuns(folder);
    found.insert(found.end(), here.begin(), here.end());
    const absl::StatusOr<std::string> text = ReadFile(JoinPath(folder, kAblationFile));
    if (!text.ok() && here.empty()) {
      return absl::NotFoundError(absl::StrCat(
          folder, ": holds neither ablation.textproto nor a run; give a folder that an ablation has written"));
    }
    if (const auto csv = ReadFile(JoinPath(folder, kResultsFile)); csv.ok()) {
      for (auto& run : WantedRuns(*csv)) wanted.push_back(std::move(run));
    }
    if (!text.ok()) {
      records.notes.push_back(absl::StrCat(folder, " has no ablation.textproto: its comparisons are not known."));
      continue;
    }
    Ablation ablation;
    const std::string problem = ParseLenient(*text, &ablation);
    if (!problem.empty()) {
      records.notes.push_back(
          absl::StrCat(folder, "/ablation.textproto, ", problem, ": its comparisons are not judged."));
      continue;
    }
    if (!has_ablation) {
      has_ablation = true;
      records.ablation = ablation;
      records.ablation_text = *text;
      Ablation planned;
      const absl::StatusOr<std::string> plan = ReadFile(JoinPath(folder, kPlanFile));
      if (plan.ok() && ParseLenient(*plan, &planned).empty()) records.planned = planned;
      if (wanted.empty()) {
        const std::vector<std::string> arms = ArmNames(ablation);
        const int64_t most = kMaxMissingRuns / std::max<int64_t>(1, static_cast<int64_t>(arms.size()));
        for (const std::string& arm : arms) {
          for (int64_t i = 0; i < std::min(ablation.seeds().count(), most); ++i) {
            wanted.emplace_back(arm, ablation.seeds().first() + i);
          }
        }
      }
    } else if (*text != records.ablation_text) {
      records.notes.push_back(absl::StrCat(folder, " holds another ablation than ", folders.front(), " (\"",
                                           ablation.name(),
                                           "\"): comparisons are those of the first, arms are told apart by name."));
    }
  }

  // Runs are read by all cores.
  std::vector<ReadRun> read(found.size());
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < found.size(); i = next++) read[i] = ReadOne(found[i]);
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < std::thread::hardware_concurrency() && i < found.size(); ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();

  std::vector<std::string> order = has_ablation ? ArmNames(records.ablation) : std::vector<std::string>();
  const std::set<std::string> planned_arms(order.begin(), order.end());
  std::set<std::string> known = planned_arms;
  std::vector<std::string> strangers;
  for (const FoundRun& run : found) {
    if (!known.insert(run.arm).second) continue;
    order.push_back(run.arm);
    strangers.push_back(run.arm);
  }
  if (has_ablation && !strangers.empty()) {
    records.notes.push_back(absl::StrCat("Not in ablation.textproto, but with runs: ", Some(strangers), "."));
  }
  // What the runs of an arm must have been made with to be compared: as the ablation says now, else as the first of
  // them.
  const std::map<std::string, std::string> written = WrittenConfigs(records.ablation_text);
  std::map<std::string, std::string> first;
  for (const ReadRun& run : read) {
    if (run.left_out.empty() && IsFinished(run.records.result) && !run.config.empty()) {
      first.emplace(run.records.result.arm, run.config);
    }
  }
  std::map<std::pair<std::string, std::string>, std::string> differences;  // of configs that were held against others
  const auto difference = [&](const std::string& from, const std::string& to) -> const std::string& {
    const auto [found, is_new] = differences.try_emplace({from, to});
    if (is_new) found->second = ConfigDifference(from, to);
    return found->second;
  };
  // "" or why a run is not one of its arm.
  const auto stranger_reason = [&](const ReadRun& run) {
    const std::string& arm = run.records.result.arm;
    const auto own = written.find(arm);
    const auto other = first.find(arm);
    // One that failed may have done so before it wrote its config, and has no numbers.
    if (run.config.empty()) {
      return IsFinished(run.records.result) && other != first.end()
                 ? std::string("it has no config.textproto, so it is not known what it was trained with")
                 : std::string();
    }
    const bool by_plan = own != written.end();
    const std::string& wanted = by_plan ? own->second : other != first.end() ? other->second : run.config;
    const std::string& changes = difference(wanted, run.config);
    if (changes.empty()) return std::string();
    return absl::StrCat(by_plan ? "another config than ablation.textproto gives the arm, "
                                : "another config than the arm's first run has, ",
                        absl::StrJoin(absl::StrSplit(changes, '\n', absl::SkipEmpty()), "; "));
  };
  std::map<std::pair<std::string, int64_t>, RunRecords> usable;
  std::map<std::string, std::vector<std::string>> left_out;  // reason -> runs
  std::vector<std::string> unfinished, strange;
  for (ReadRun& run : read) {
    const RunResult& result = run.records.result;
    const std::string name = RunName(result.arm, result.seed);
    for (const std::string& note : run.notes) records.notes.push_back(absl::StrCat(name, " ", note, "."));
    if (!run.left_out.empty()) {
      left_out[run.left_out].push_back(name);
      continue;
    }
    if (!run.unfinished.empty()) unfinished.push_back(absl::StrCat(name, " (", run.unfinished, ")"));
    if (!run.finished) continue;  // counted as missing
    const std::string reason = stranger_reason(run);
    if (!reason.empty()) {
      left_out[reason].push_back(name);
      continue;
    }
    if (HasAnotherIdentity(run)) strange.push_back(name);
    if (!run.config.empty()) records.configs.emplace(result.arm, run.config);
    const auto [at, is_new] = usable.emplace(std::make_pair(result.arm, result.seed), run.records);
    if (is_new) continue;
    RunRecords& there = at->second;
    if (!IsFinished(there.result) && IsFinished(result)) {  // the one that failed stands for nothing
      left_out[absl::StrCat("it failed there, and is done in ", run.records.folder)].push_back(
          absl::StrCat(name, " in ", there.folder));
      there = run.records;
      continue;
    }
    left_out[!IsFinished(result) && IsFinished(there.result)
                 ? absl::StrCat("it failed there, and is done in ", there.folder)
             : there.result.run_id == result.run_id
                 ? absl::StrCat("the same run is in ", there.folder, " too")
                 : absl::StrCat("another run of that arm and seed is in ", there.folder)]
        .push_back(absl::StrCat(name, " in ", run.records.folder));
  }
  for (const auto& [reason, names] : left_out) {
    records.notes.push_back(absl::StrCat("Left out: ", Some(names), ": ", reason, "."));
  }
  if (!unfinished.empty()) records.notes.push_back(absl::StrCat("Unfinished, so left out: ", Some(unfinished), "."));
  if (!strange.empty()) {
    records.notes.push_back(
        absl::StrCat("Used, but with a run_id that is not that of their config, seed and data (one of them was changed "
                     "after the run, "
                     "or another version of the program made it): ",
                     Some(strange), "."));
  }
  for (const auto& [arm, seed] : wanted) {
    RunRecords missing;
    missing.result = MissingResult(arm, seed);
    if (known.insert(arm).second) order.push_back(arm);
    usable.emplace(std::make_pair(arm, seed), missing);
  }
  std::map<std::string, int64_t> counts;
  for (const std::string& arm : order) {
    ArmFacts& facts = records.arms.emplace_back();
    facts.name = arm;
    const auto config = records.configs.find(arm);
    if (config != records.configs.end()) Describe(config->second, &facts);
    for (auto run = usable.lower_bound({arm, std::numeric_limits<int64_t>::min()});
         run != usable.end() && run->first.first == arm; ++run) {
      ++counts[run->second.result.status];
      records.runs.push_back(std::move(run->second));
    }
  }
  std::vector<std::string> notes;
  if (counts["missing"] > 0 || counts["failed"] > 0) {
    notes.push_back(absl::StrCat("Incomplete: of ", records.runs.size(), " runs ", counts["missing"],
                                 " are missing and ", counts["failed"], " failed."));
  }
  if (counts["diverged"] > 0) {
    notes.push_back(absl::StrCat(counts["diverged"], counts["diverged"] == 1 ? " run" : " runs",
                                 " diverged: counted as chance in the verdicts, left out of the arms' means."));
  }
  NoteMixtures(records.ablation, records.runs, &records.notes);
  records.notes.insert(records.notes.begin(), notes.begin(), notes.end());
  return records;
}

}  // namespace prunelab
