#include "experiments/reporting/mixtures.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace prunelab {
namespace {

using RunsByName = std::map<std::pair<std::string, int64_t>, const RunRecords*>;  // by arm and seed

// Comparisons and contrasts by what they are called, with their arms.
std::vector<std::pair<std::string, std::vector<std::string>>> ComparedArms(const Ablation& ablation) {
  std::vector<std::pair<std::string, std::vector<std::string>>> comparisons;
  for (const Comparison& c : ablation.comparison()) {
    comparisons.push_back({absl::StrCat(c.treatment(), " vs. ", c.control()), {c.treatment(), c.control()}});
  }
  for (const Contrast& c : ablation.contrast()) {
    comparisons.push_back({c.name(), {}});
    for (const Contrast::Term& term : c.term()) comparisons.back().second.push_back(term.arm());
  }
  return comparisons;
}

std::optional<std::string> ProvenanceOf(const RunRecords& run, const std::string& key) {
  const auto value = run.provenance.find(key);
  if (value != run.provenance.end()) return value->second;
  if (!run.provenance.empty() && key == "precision") return "float32";  // made before there was a choice
  return std::nullopt;
}

// What the arms' runs of one seed say of `key`.
std::set<std::string> ValuesOfSeed(const RunsByName& runs, const std::vector<std::string>& arms, int64_t seed,
                                   const std::string& key) {
  std::set<std::string> values;
  for (const std::string& arm : arms) {
    const auto run = runs.find({arm, seed});
    if (run == runs.end()) continue;
    if (const std::optional<std::string> value = ProvenanceOf(*run->second, key)) values.insert(*value);
  }
  return values;
}

// What `key` is where the arms' runs of one seed differ in it; empty where none do.
std::set<std::string> MixedValues(const RunsByName& runs, const std::vector<std::string>& arms,
                                  const std::string& key) {
  std::set<std::string> mixed;
  for (const auto& [name, run] : runs) {
    if (name.first != arms.front()) continue;
    const std::set<std::string> values = ValuesOfSeed(runs, arms, name.second, key);
    if (values.size() > 1) mixed.insert(values.begin(), values.end());
  }
  return mixed;
}

}  // namespace

std::string SomeOf(const std::vector<std::string>& names) {
  constexpr size_t kShown = 6;
  if (names.size() <= kShown) return absl::StrJoin(names, ", ");
  return absl::StrCat(absl::StrJoin(names.begin(), names.begin() + kShown, ", "), " and ", names.size() - kShown,
                      " more");
}

std::vector<std::string> NotesOnMixtures(const Ablation& ablation, const std::vector<RunRecords>& runs) {
  constexpr const char* kKeys[] = {"code_revision", "data_fingerprint", "cpu_capability", "threads", "device",
                                   "plan",          "precision",        "libtorch"};
  RunsByName by_name;
  for (const RunRecords& run : runs) by_name[{run.result.arm, run.result.seed}] = &run;
  std::map<std::string, std::vector<std::string>> titles;  // by "cpu_capability (AVX2, AVX512)"
  for (const auto& [title, arms] : ComparedArms(ablation)) {
    if (arms.empty()) continue;
    for (const char* key : kKeys) {
      const std::set<std::string> values = MixedValues(by_name, arms, key);
      if (!values.empty()) titles[absl::StrCat(key, " (", absl::StrJoin(values, ", "), ")")].push_back(title);
    }
  }
  std::vector<std::string> notes;
  for (const auto& [what, where] : titles) {
    notes.push_back(absl::StrCat("Pairs of runs differ in ", what, " in: ", SomeOf(where), "."));
  }
  return notes;
}

}  // namespace prunelab
