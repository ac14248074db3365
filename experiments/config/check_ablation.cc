#include "experiments/config/check_ablation.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "experiments/config/names.h"
#include "experiments/config/output_files.h"
#include "experiments/config/source_arm.h"
#include "experiments/config/trials.h"

namespace prunelab {
namespace {

void CheckName(const std::string& path, bool has, const std::string& name, absl::string_view missing,
               AblationErrors& errors) {
  if (!has) {
    errors.Add(path, absl::StrCat("is not set; ", missing));
    return;
  }
  const std::string fault = NameFault(name);
  if (!fault.empty()) errors.Add(path, fault);
}

// Whether a name occurs once among its siblings, e.g. "factor"; `seen`: the earlier ones, with their positions in the
// list.
void CheckOnce(const std::string& path, const std::string& name, const std::string& siblings, int index,
               std::map<std::string, int>* seen, AblationErrors& errors) {
  if (name.empty()) return;
  const auto [first, is_new] = seen->emplace(name, index);
  if (is_new) return;
  errors.Add(path, absl::StrCat("is ", Quote(name), ", as is that at ",
                                errors.PlaceOf(absl::StrCat(siblings, "[", first->second, "].name")),
                                "; give each a name of its own"));
}

void CheckLevels(const Factor& factor, const std::string& path, AblationErrors& errors) {
  if (factor.level_size() == 0) {
    errors.Add(path, "has no level; give it at least one, e.g. level { name: \"none\" }");
  }
  std::map<std::string, int> seen;
  for (int l = 0; l < factor.level_size(); ++l) {
    const Level& level = factor.level(l);
    const std::string name_path = absl::StrCat(path, ".level[", l, "].name");
    CheckName(name_path, level.has_name(), level.name(), "say what the level is called, e.g. name: \"cov\"", errors);
    if (IsOutputFile(level.name())) {
      errors.Add(name_path, absl::StrCat("is ", Quote(level.name()),
                                         ", which is the name of a file of the results; levels become folders beside "
                                         "it: choose another name"));
    }
    CheckOnce(name_path, level.name(), path + ".level", l, &seen, errors);
  }
}

// Comparisons and contrasts, of arms that are run.
class ComparisonCheck {
 public:
  ComparisonCheck(const Ablation& ablation, const std::vector<Arm>& arms, const std::set<std::string>& excluded,
                  AblationErrors& errors)
      : ablation_(ablation), arms_(arms), excluded_(excluded), errors_(errors) {
    for (const Arm& arm : arms) names_.push_back(arm.name);
  }

  void CheckComparison(int i) {
    const Comparison& comparison = ablation_.comparison(i);
    const std::string path = absl::StrCat("comparison[", i, "]");
    const bool treatment = CheckIsArm(path + ".treatment", comparison.has_treatment(), comparison.treatment());
    const bool control = CheckIsArm(path + ".control", comparison.has_control(), comparison.control());
    if (treatment && control && comparison.treatment() == comparison.control()) {
      errors_.Add(path + ".control",
                  absl::StrCat("is ", Quote(comparison.control()), ", as the treatment; compare two different arms"));
    }
    if (treatment) CheckMeasured(path + ".metric", comparison.metric(), comparison.treatment());
    if (control) CheckMeasured(path + ".metric", comparison.metric(), comparison.control());
    CheckMargin(path + ".margin", comparison.margin());
    CheckPlan(comparison, path, treatment ? comparison.treatment() : "", control ? comparison.control() : "");
    for (int j = 0; j < i; ++j) {
      const Comparison& other = ablation_.comparison(j);
      if (other.treatment() == comparison.treatment() && other.control() == comparison.control() &&
          other.metric() == comparison.metric()) {
        errors_.Add(path, absl::StrCat("compares what that at ", errors_.PlaceOf(absl::StrCat("comparison[", j, "]")),
                                       " compares; keep one"));
        return;
      }
    }
  }

  void CheckContrast(int i) {
    const Contrast& contrast = ablation_.contrast(i);
    const std::string path = absl::StrCat("contrast[", i, "]");
    CheckName(path + ".name", contrast.has_name(), contrast.name(),
              "say what the contrast is called, e.g. name: \"interaction\"", errors_);
    CheckOnce(path + ".name", contrast.name(), "contrast", i, &contrasts_, errors_);
    CheckMargin(path + ".margin", contrast.margin());
    CheckPlan(contrast, path, "", "");
    if (contrast.term_size() < 2) {
      errors_.Add(path, absl::StrCat("has ", contrast.term_size(), contrast.term_size() == 1 ? " term" : " terms",
                                     "; must have at least two, e.g. term { arm: ",
                                     Quote(names_.empty() ? "arm" : names_[0]), " weight: 1 }"));
      return;
    }
    CheckTerms(contrast, path);
  }

  // The numbers of the primary ones are 1, 2, ..., each once.
  void CheckPrimary() {
    std::set<int32_t> seen;
    for (const auto& [number, path] : primary_) {
      const auto most = static_cast<int32_t>(primary_.size());
      if (number < 1 || number > most || !seen.insert(number).second) {
        errors_.Add(path, absl::StrCat("is ", number, "; the primary comparisons and contrasts have the numbers 1 to ",
                                       most, ", each once"));
      }
    }
  }

 private:
  bool CheckIsArm(const std::string& path, bool has, const std::string& name) {
    if (!has) {
      errors_.Add(path, absl::StrCat("is not set; name an arm: ", ListOf(names_)));
    } else if (excluded_.count(name)) {
      errors_.Add(path, absl::StrCat(Quote(name), " is excluded; name one of the arms that are run: ", ListOf(names_)));
    } else if (std::find(names_.begin(), names_.end(), name) == names_.end()) {
      errors_.Add(path, absl::StrCat("no arm is called ", Quote(name), ArmChoices(name, names_)));
    } else {
      return true;
    }
    return false;
  }

  // Whether the arm, which is one of those run, measures what is compared.
  void CheckMeasured(const std::string& path, Metric metric, const std::string& name) {
    const size_t index = std::find(names_.begin(), names_.end(), name) - names_.begin();
    const bool of_filters =
        metric == LIVE_FILTER_NORM || metric == DEAD_FILTER_NORM || metric == TURNED_DEGREES || metric == MASK_AGE;
    if (of_filters && !arms_[index].config.training().filter_measures()) {
      errors_.Add(path, absl::StrCat("is ", Metric_Name(metric), ", which the arm ", Quote(name),
                                     " does not measure; set filter_measures: true in its training"));
    }
    if (metric != VALIDATION_TOP1) return;
    if (arms_[index].config.training().validation_fraction() > 0) return;
    errors_.Add(path,
                absl::StrCat("is VALIDATION_TOP1, but the arm ", Quote(name),
                             " sets no images aside for validation; give its training a validation_fraction, e.g. 0.1, "
                             "or compare another metric"));
  }

  // What comparisons and contrasts say alike. `treatment` and `control`: the arms of a comparison, to which a check of
  // manipulation may leave its own; "" if it has none, or a wrong one.
  template <typename Wanted>
  void CheckPlan(const Wanted& wanted, const std::string& path, const std::string& treatment,
                 const std::string& control) {
    if (wanted.has_claim() && !(wanted.claim() > 0 && std::isfinite(wanted.claim()))) {
      errors_.Add(path + ".claim", absl::StrCat("is ", wanted.claim(), "; must be a finite number above 0"));
    }
    if (wanted.has_primary()) primary_.emplace_back(wanted.primary(), path + ".primary");
    for (int m = 0; m < wanted.manipulation_size(); ++m) {
      CheckManipulation(wanted.manipulation(m), absl::StrCat(path, ".manipulation[", m, "]"), treatment, control);
    }
  }

  void CheckManipulation(const ManipulationCheck& check, const std::string& path, const std::string& treatment,
                         const std::string& control) {
    if (!check.has_metric()) errors_.Add(path + ".metric", "is not set; name a metric, e.g. MEAN_ABS_RHO");
    // The arm that is meant; "" if none can be.
    const auto arm = [&](const char* field, bool has, const std::string& own, const std::string& otherwise) {
      const bool left = !has && !otherwise.empty();
      if (!left && !CheckIsArm(absl::StrCat(path, ".", field), has, own)) return std::string();
      const std::string& name = left ? otherwise : own;
      if (check.has_metric()) CheckMeasured(path + ".metric", check.metric(), name);
      return name;
    };
    const std::string of = arm("treatment", check.has_treatment(), check.treatment(), treatment);
    const std::string to = arm("control", check.has_control(), check.control(), control);
    if (!of.empty() && of == to) {
      errors_.Add(path, absl::StrCat("compares ", Quote(of), " with itself; name two different arms"));
    }
    if (check.has_at_most() == check.has_at_least()) {
      errors_.Add(path, absl::StrCat("has ", check.has_at_most() ? "both" : "none",
                                     " of at_most and at_least; give one, "
                                     "the ratio of the treatment's mean to the control's"));
    }
    for (const double ratio :
         {check.has_at_most() ? check.at_most() : 1, check.has_at_least() ? check.at_least() : 1}) {
      if (!(ratio > 0 && std::isfinite(ratio))) {
        errors_.Add(path, absl::StrCat("has the ratio ", ratio, "; must be a finite number above 0"));
      }
    }
  }

  void CheckMargin(const std::string& path, double margin) {
    if (!(margin >= 0 && std::isfinite(margin))) {
      errors_.Add(path, absl::StrCat("is ", margin, "; must be a finite number, at least 0"));
    }
  }

  // At least two, of different arms, with weights that sum to 0.
  void CheckTerms(const Contrast& contrast, const std::string& path) {
    std::set<std::string> arms;
    bool weights_ok = true;
    double sum = 0, size = 0;
    for (int t = 0; t < contrast.term_size(); ++t) {
      const Contrast::Term& term = contrast.term(t);
      const std::string term_path = absl::StrCat(path, ".term[", t, "]");
      if (CheckIsArm(term_path + ".arm", term.has_arm(), term.arm())) {
        if (!arms.insert(term.arm()).second) {
          errors_.Add(term_path + ".arm",
                      absl::StrCat("is ", Quote(term.arm()), " a second time; give each arm one weight"));
        }
        CheckMeasured(path + ".metric", contrast.metric(), term.arm());
      }
      if (term.weight() == 0 || !std::isfinite(term.weight())) {
        errors_.Add(term_path + ".weight",
                    absl::StrCat("is ", term.weight(), "; must be a finite number other than 0"));
        weights_ok = false;
      }
      sum += term.weight();
      size += std::abs(term.weight());
    }
    if (weights_ok && std::abs(sum) > 1e-9 * size) {
      errors_.Add(path,
                  absl::StrCat("has weights that sum to ", sum, "; they must sum to 0, as 1, -1 or 1, -1, -1, 1 do"));
    }
  }

  const Ablation& ablation_;
  const std::vector<Arm>& arms_;
  const std::set<std::string>& excluded_;
  std::vector<std::string> names_;  // of the arms
  AblationErrors& errors_;
  std::vector<std::pair<int32_t, std::string>> primary_;  // with their places
  std::map<std::string, int> contrasts_;                  // by name
};

}  // namespace

void CheckNameAndSeeds(const Ablation& ablation, AblationErrors& errors) {
  CheckName("name", ablation.has_name(), ablation.name(), "say what the ablation is called, e.g. name: \"digits\"",
            errors);
  const Seeds& seeds = ablation.seeds();
  if (!seeds.has_count()) {
    errors.Add("seeds", "has no count; say which seeds to run, e.g. seeds { first: 1 count: 3 }");
  } else if (seeds.count() < 1 || seeds.count() > kMaxSeeds) {
    errors.Add("seeds.count", absl::StrCat("is ", seeds.count(), "; must be from 1 to ", kMaxSeeds));
  }
  if (seeds.first() < 0 || seeds.first() > std::numeric_limits<int64_t>::max() - kMaxSeeds) {
    errors.Add("seeds.first", absl::StrCat("is ", seeds.first(), "; must be from 0 to 2^63 - ", kMaxSeeds));
  }
}

bool CheckFactors(const Ablation& ablation, AblationErrors& errors) {
  const size_t before = errors.size();
  std::map<std::string, int> seen;
  int64_t arms = 1;
  for (int f = 0; f < ablation.factor_size(); ++f) {
    const Factor& factor = ablation.factor(f);
    const std::string path = absl::StrCat("factor[", f, "]");
    CheckName(path + ".name", factor.has_name(), factor.name(), "say what the factor is called, e.g. name: \"pruning\"",
              errors);
    CheckOnce(path + ".name", factor.name(), "factor", f, &seen, errors);
    CheckLevels(factor, path, errors);
    arms *= std::max(1, factor.level_size());
    if (arms > kMaxArms) {
      errors.Add(path,
                 absl::StrCat("makes more than ", kMaxArms, " arms with the factors before it; give fewer levels"));
      break;
    }
  }
  return errors.size() == before;
}

void CheckSelection(const Ablation& ablation, const std::vector<ArmLevels>& arms, AblationErrors& errors) {
  std::vector<std::string> names;
  for (const ArmLevels& arm : arms) names.push_back(arm.name);
  const auto check_globs = [&](const char* field, const auto& globs) {
    for (int i = 0; i < globs.size(); ++i) {
      const std::optional<std::string> part = UnmatchedPart(globs[i], names);
      if (!part) continue;
      errors.Add(absl::StrCat(field, "[", i, "]"),
                 absl::StrCat(Quote(*part), " matches no arm", ArmChoices(*part, names)));
    }
  };
  check_globs("exclude", ablation.exclude());
  check_globs("include", ablation.include());
  if (std::any_of(arms.begin(), arms.end(), [](const ArmLevels& arm) { return arm.is_run; })) return;
  errors.Add(ablation.exclude().empty() ? "include" : "exclude",
             absl::StrCat("leaves no arm to run; of ", arms.size(), " arms keep at least one"));
}

void CheckTrials(const Ablation& ablation, const std::vector<Arm>& arms, AblationErrors& errors) {
  const Search& search = ablation.search();
  const int64_t epochs = arms.front().config.training().epochs();
  for (const Arm& arm : arms) {
    if (HasSource(arm.config)) {
      errors.Add("search",
                 absl::StrCat("does not go with ", arm.config.has_start_from() ? "start_from" : "from_scratch",
                              ", since trials do not wait for each other; leave it out"));
      return;
    }
    if (arm.config.training().epochs() != epochs) {
      errors.Add("search", absl::StrCat("has trials of ", epochs, " and of ", arm.config.training().epochs(),
                                        " epochs; they are compared after equally many, so leave epochs alone"));
      return;
    }
  }
  if (search.first_epochs() > epochs) {
    errors.Add("search.first_epochs",
               absl::StrCat("is ", search.first_epochs(), "; must be from 1 to the ", epochs, " epochs of training"));
    return;
  }
  // Of each rung one in `reduction` goes on.
  int64_t needed = 1;
  for (size_t rung = 1; rung < Rungs(search, epochs).size(); ++rung) needed *= search.reduction();
  if (search.trials() < needed) {
    errors.Add("search.trials",
               absl::StrCat("is ", search.trials(), ", of which none would be trained to the end: one in ",
                            search.reduction(), " goes on after ", absl::StrJoin(Rungs(search, epochs), ", "),
                            " epochs; must be at least ", needed, ", or use a larger first_epochs"));
  }
  for (const int64_t rung : Rungs(search, epochs)) {
    for (const Arm& arm : arms) {
      const int64_t every = arm.config.training().evaluate_every();
      if (every < 1 || rung % every == 0 || rung == epochs) continue;
      errors.Add("search", absl::StrCat("compares trials after ", rung, " epochs, but training.evaluate_every is ",
                                        every, "; make it a divisor of that"));
      return;
    }
  }
}

void CheckComparisons(const Ablation& ablation, const std::vector<Arm>& arms, const std::set<std::string>& excluded,
                      AblationErrors& errors) {
  ComparisonCheck check(ablation, arms, excluded, errors);
  for (int i = 0; i < ablation.comparison_size(); ++i) check.CheckComparison(i);
  for (int i = 0; i < ablation.contrast_size(); ++i) check.CheckContrast(i);
  check.CheckPrimary();
}

}  // namespace prunelab
