#include "experiments/sweep/collected_results.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "experiments/config/output_files.h"
#include "ml/base/files.h"

namespace prunelab {
namespace {

// The seeds of an arm that the ablation wants, or that have a folder.
std::set<int64_t> SeedsOfArm(const LoadedAblation& loaded, const RunnerOptions& options, const Arm& arm) {
  std::set<int64_t> seeds;
  for (int64_t i = 0; i < loaded.ablation.seeds().count(); ++i) seeds.insert(loaded.ablation.seeds().first() + i);
  const auto names = ListFolder(JoinPath(options.output, arm.name)).value_or(std::vector<std::string>());
  for (const std::string& name : names) {
    int64_t seed = 0;
    if (absl::SimpleAtoi(name, &seed) && absl::StrCat(seed) == name) seeds.insert(seed);
  }
  return seeds;
}

std::vector<RunResult> OtherResults(const LoadedAblation& loaded, const RunnerOptions& options,
                                    const std::set<std::string>& own_folders) {
  std::vector<RunResult> results;
  for (const Arm& arm : loaded.arms) {
    for (const int64_t seed : SeedsOfArm(loaded, options, arm)) {
      const std::string folder = RunFolder(options, arm, seed);
      if (own_folders.count(folder)) continue;
      results.push_back(ReadResult(folder).value_or(MissingResult(arm.name, seed)));
      AddTiming(folder, results.back());
    }
  }
  return results;
}

}  // namespace

absl::Status CollectResults(const LoadedAblation& loaded, const RunnerOptions& options,
                            const std::vector<PlannedRun>& runs, const std::vector<RunResult>& results) {
  std::set<std::string> own;
  for (const PlannedRun& run : runs) own.insert(run.folder);
  std::vector<RunResult> all = results;
  for (RunResult& other : OtherResults(loaded, options, own)) all.push_back(std::move(other));
  std::map<std::string, size_t> place;
  for (const Arm& arm : loaded.arms) place.emplace(arm.name, place.size());
  std::stable_sort(all.begin(), all.end(), [&](const RunResult& a, const RunResult& b) {
    return std::make_pair(place[a.arm], a.seed) < std::make_pair(place[b.arm], b.seed);
  });
  return WriteFileAtomically(JoinPath(options.output, kResultsFile), ResultsCsv(all));
}

}  // namespace prunelab
