#include "experiments/reporting/report_records.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <limits>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "experiments/config/arms.h"
#include "experiments/config/output_files.h"
#include "experiments/reporting/mixtures.h"
#include "experiments/reporting/written_configs.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

constexpr int64_t kMaxMissingRuns = 100000;  // that are listed where only the ablation tells of them

using RunKey = std::pair<std::string, int64_t>;  // arm, seed

// results.csv of the ablation program: which runs it wanted.
std::vector<RunKey> WantedRuns(const std::string& csv) {
  std::vector<RunKey> wanted;
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

// The runs that the ablation wants, where no results.csv says so.
std::vector<RunKey> RunsOf(const Ablation& ablation) {
  std::vector<RunKey> runs;
  const std::vector<std::string> arms = ArmNames(ablation);
  const int64_t most = kMaxMissingRuns / std::max<int64_t>(1, static_cast<int64_t>(arms.size()));
  for (const std::string& arm : arms) {
    for (int64_t i = 0; i < std::min(ablation.seeds().count(), most); ++i) {
      runs.emplace_back(arm, ablation.seeds().first() + i);
    }
  }
  return runs;
}

// Reads the runs by all cores.
std::vector<ReadRun> ReadAll(const std::vector<FoundRun>& found) {
  std::vector<ReadRun> read(found.size());
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < found.size(); i = next++) read[i] = ReadRunRecords(found[i]);
  };
  std::vector<std::thread> threads;
  for (unsigned i = 1; i < std::thread::hardware_concurrency() && i < found.size(); ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();
  return read;
}

// The config that the runs of an arm must have been made with to be compared: what the ablation says now, else that of
// the first run.
class ArmConfigs {
 public:
  ArmConfigs(const std::string& ablation_text, const std::vector<ReadRun>& runs)
      : written_(WrittenConfigs(ablation_text)) {
    for (const ReadRun& run : runs) {
      if (run.left_out.empty() && IsFinished(run.records.result) && !run.config.empty()) {
        first_.emplace(run.records.result.arm, run.config);
      }
    }
  }

  // "" or the reason why a run does not belong to its arm.
  std::string StrangerReason(const ReadRun& run) {
    const std::string& arm = run.records.result.arm;
    const auto own = written_.find(arm);
    const auto other = first_.find(arm);
    // A run may have failed before it wrote its config, and has no numbers.
    if (run.config.empty()) {
      return IsFinished(run.records.result) && other != first_.end()
                 ? "it has no config.textproto, so it is not known what it was trained with"
                 : "";
    }
    const bool by_plan = own != written_.end();
    const std::string& wanted = by_plan ? own->second : other != first_.end() ? other->second : run.config;
    const std::string& changes = Difference(wanted, run.config);
    if (changes.empty()) return "";
    return absl::StrCat(by_plan ? "another config than ablation.textproto gives the arm, "
                                : "another config than the arm's first run has, ",
                        absl::StrJoin(absl::StrSplit(changes, '\n', absl::SkipEmpty()), "; "));
  }

 private:
  const std::string& Difference(const std::string& from, const std::string& to) {
    const auto [found, is_new] = differences_.try_emplace({from, to});
    if (is_new) found->second = ConfigDifference(from, to);
    return found->second;
  }

  const std::map<std::string, std::string> written_;                        // by arm
  std::map<std::string, std::string> first_;                                // by arm
  std::map<std::pair<std::string, std::string>, std::string> differences_;  // of configs that were compared
};

class ResultsReader {
 public:
  absl::StatusOr<ReportRecords> Read(const std::vector<std::string>& folders) {
    records_.folders = folders;
    for (const std::string& folder : folders) PRUNELAB_RETURN_IF_ERROR(ReadFolder(folder));
    std::vector<ReadRun> runs = ReadAll(found_);
    OrderArms();
    ChooseRuns(runs);
    NoteChoice();
    AddMissing();
    FillIn();
    NoteOutcome();
    return std::move(records_);
  }

 private:
  // Finds the folder's runs, and takes its ablation.
  absl::Status ReadFolder(const std::string& folder) {
    if (!IsFolder(folder)) {
      return absl::NotFoundError(
          absl::StrCat(folder, ": is no folder; give one that an ablation has written, e.g. runs/digits"));
    }
    const std::vector<FoundRun> here = FindRuns(folder);
    found_.insert(found_.end(), here.begin(), here.end());
    const absl::StatusOr<std::string> text = ReadFile(JoinPath(folder, kAblationFile));
    if (!text.ok() && here.empty()) {
      return absl::NotFoundError(absl::StrCat(
          folder, ": holds neither ablation.textproto nor a run; give a folder that an ablation has written"));
    }
    if (text.ok()) TakeAblation(folder, *text);
    if (const auto csv = ReadFile(JoinPath(folder, kResultsFile)); csv.ok() && !records_.search) {
      for (RunKey& run : WantedRuns(*csv)) wanted_.push_back(std::move(run));
    }
    if (wanted_.empty() && has_ablation_ && !records_.search) wanted_ = RunsOf(records_.ablation);
    if (!text.ok()) {
      Note(absl::StrCat(folder, " has no ablation.textproto: its comparisons are not known."));
    }
    return absl::OkStatus();
  }

  void TakeAblation(const std::string& folder, const std::string& text) {
    Ablation ablation;
    const std::string problem = ParseWrittenAblation(text, &ablation);
    if (!problem.empty()) {
      Note(absl::StrCat(folder, "/ablation.textproto, ", problem, ": its comparisons are not judged."));
      return;
    }
    if (has_ablation_) {
      if (text == records_.ablation_text) return;
      Note(absl::StrCat(folder, " holds another ablation than ", records_.folders.front(), " (\"", ablation.name(),
                        "\"): comparisons are those of the first, arms are told apart by name."));
      return;
    }
    has_ablation_ = true;
    records_.ablation = ablation;
    records_.ablation_text = text;
    Ablation planned;
    const absl::StatusOr<std::string> plan = ReadFile(JoinPath(folder, kPlanFile));
    if (plan.ok() && ParseWrittenAblation(*plan, &planned).empty()) records_.planned = planned;
    if (ablation.has_search()) {
      TrialScores scores = RecordedScores(ablation, folder);
      records_.search = OutcomeOf(scores);
      return;  // runs of trials that were not trained on are not missing
    }
  }

  // The ablation's arms, then those that only folders know.
  void OrderArms() {
    if (has_ablation_) order_ = ArmNames(records_.ablation);
    known_.insert(order_.begin(), order_.end());
    std::vector<std::string> strangers;
    for (const FoundRun& run : found_) {
      if (!known_.insert(run.arm).second) continue;
      order_.push_back(run.arm);
      strangers.push_back(run.arm);
    }
    if (has_ablation_ && !strangers.empty()) {
      Note(absl::StrCat("Not in ablation.textproto, but with runs: ", SomeOf(strangers), "."));
    }
  }

  // Takes the runs that can be used, one for each arm and seed.
  void ChooseRuns(std::vector<ReadRun>& runs) {
    ArmConfigs configs(records_.ablation_text, runs);
    for (ReadRun& run : runs) {
      const RunResult& result = run.records.result;
      const std::string name = RunName(result.arm, result.seed);
      for (const std::string& note : run.notes) Note(absl::StrCat(name, " ", note, "."));
      if (!run.left_out.empty()) {
        left_out_[run.left_out].push_back(name);
        continue;
      }
      if (!run.unfinished.empty()) unfinished_.push_back(absl::StrCat(name, " (", run.unfinished, ")"));
      if (!run.finished) continue;  // counted as missing
      const std::string reason = configs.StrangerReason(run);
      if (!reason.empty()) {
        left_out_[reason].push_back(name);
        continue;
      }
      const auto fingerprint = run.records.provenance.find("data_fingerprint");
      if (fingerprint != run.records.provenance.end() &&
          HasAnotherIdentity(run.config, result.seed, fingerprint->second, result.run_id)) {
        strange_.push_back(name);
      }
      if (!run.config.empty()) records_.configs.emplace(result.arm, run.config);
      Use(std::move(run.records), name);
    }
  }

  // Among several runs of one arm and seed the first is used, but a finished one replaces a failed one.
  void Use(RunRecords run, const std::string& name) {
    const auto found = usable_.find({run.result.arm, run.result.seed});
    if (found == usable_.end()) {
      usable_.emplace(RunKey(run.result.arm, run.result.seed), std::move(run));
      return;
    }
    RunRecords& used = found->second;
    const bool used_finished = IsFinished(used.result), finished = IsFinished(run.result);
    if (!used_finished && finished) std::swap(used, run);  // `run` is now the one that failed
    std::string reason = "it failed there, and is done in " + used.folder;
    if (used_finished == finished) {
      reason = used.result.run_id == run.result.run_id
                   ? absl::StrCat("the same run is in ", used.folder, " too")
                   : absl::StrCat("another run of that arm and seed is in ", used.folder);
    }
    left_out_[reason].push_back(absl::StrCat(name, " in ", run.folder));
  }

  void NoteChoice() {
    for (const auto& [reason, names] : left_out_) {
      Note(absl::StrCat("Left out: ", SomeOf(names), ": ", reason, "."));
    }
    if (!unfinished_.empty() && !records_.search)
      Note(absl::StrCat("Unfinished, so left out: ", SomeOf(unfinished_), "."));
    if (strange_.empty()) return;
    Note(
        absl::StrCat("Used, but with a run_id that is not that of their config, seed and data (one of them was changed "
                     "after the run, or another version of the program made it): ",
                     SomeOf(strange_), "."));
  }

  // The runs that are wanted and not there.
  void AddMissing() {
    for (const auto& [arm, seed] : wanted_) {
      RunRecords missing;
      missing.result = MissingResult(arm, seed);
      if (known_.insert(arm).second) order_.push_back(arm);
      usable_.emplace(RunKey(arm, seed), std::move(missing));
    }
  }

  // Arms and runs in their order.
  void FillIn() {
    for (const std::string& arm : order_) {
      const auto any = usable_.lower_bound({arm, std::numeric_limits<int64_t>::min()});
      if (records_.search && (any == usable_.end() || any->first.first != arm)) continue;  // not trained to the end
      ArmFacts& facts = records_.arms.emplace_back();
      facts.name = arm;
      const size_t first = records_.runs.size();
      for (auto run = usable_.lower_bound({arm, std::numeric_limits<int64_t>::min()});
           run != usable_.end() && run->first.first == arm; ++run) {
        records_.runs.push_back(std::move(run->second));
      }
      const auto config = records_.configs.find(arm);
      if (config == records_.configs.end()) continue;
      std::vector<const RunRecords*> runs;
      for (size_t i = first; i < records_.runs.size(); ++i) runs.push_back(&records_.runs[i]);
      DescribeArm(config->second, runs, &facts);
    }
  }

  // What a reader must know of all runs together; how many there are comes first.
  void NoteOutcome() {
    std::map<std::string, int64_t> counts;  // by status
    for (const RunRecords& run : records_.runs) ++counts[run.result.status];
    std::vector<std::string> first;
    if (records_.search) first.push_back(absl::StrCat("A search: ", SearchSentence(*records_.search), "."));
    if (counts["missing"] > 0 || counts["failed"] > 0) {
      first.push_back(absl::StrCat("Incomplete: of ", records_.runs.size(), " runs ", counts["missing"],
                                   " are missing and ", counts["failed"], " failed."));
    }
    if (counts["diverged"] > 0) {
      first.push_back(
          absl::StrCat(counts["diverged"], counts["diverged"] == 1 ? " run" : " runs",
                       " diverged: counted in the verdicts as chance, or as the worst run that finished where "
                       "that is worse, and in measures without chance as what they measured; left out of the arms' "
                       "means."));
    }
    for (std::string& note : NotesOnMixtures(records_.ablation, records_.runs)) Note(std::move(note));
    records_.notes.insert(records_.notes.begin(), first.begin(), first.end());
  }

  void Note(std::string note) { records_.notes.push_back(std::move(note)); }

  ReportRecords records_;
  bool has_ablation_ = false;
  std::vector<FoundRun> found_;
  std::vector<RunKey> wanted_;
  std::vector<std::string> order_;  // of arms
  std::set<std::string> known_;     // arms
  std::map<RunKey, RunRecords> usable_;
  std::map<std::string, std::vector<std::string>> left_out_;  // runs by why they are
  std::vector<std::string> unfinished_, strange_;
};

}  // namespace

absl::StatusOr<ReportRecords> ReadResults(const std::vector<std::string>& folders) {
  return ResultsReader().Read(folders);
}

}  // namespace prunelab
