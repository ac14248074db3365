#include "experiments/config/config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "experiments/config/output_files.h"
#include "experiments/config/phases.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/text_format.h"
#include "ml/base/check.h"
#include "ml/base/digest.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/glob.h"
#include "ml/base/plugin.h"
#include "ml/base/spelling.h"
#include "ml/base/status_macros.h"
#include "ml/base/textproto.h"
#include "ml/data/validation_split.h"
#include "ml/models/dataset_defaults.h"
#include "ml/models/model_builder.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/regularizers/regularizer.h"
#include "ml/safetensors/safetensors.h"
#include "ml/training/training_config.h"

namespace prunelab {
namespace {

constexpr char kOverride[] = "--override";
constexpr char kNoPruning[] = "prunelab.NoPruning";
constexpr char kPenaltyWeight[] = "regularization.weight";
constexpr int64_t kMaxArms = 10000;
constexpr int64_t kMaxSeeds = 1000000;
constexpr size_t kMaxNameBytes = 200;  // most file systems take 255

std::string Quote(absl::string_view text) { return absl::StrCat("\"", absl::Utf8SafeCEscape(text), "\""); }

// Error lines in the order in which they were found, each once.
class ErrorLines {
 public:
  void Add(absl::string_view place, absl::string_view field, absl::string_view text) {
    std::string line = absl::StrCat(place, ": ", field, field.empty() ? "" : ": ", text);
    if (seen_.insert(line).second) lines_.push_back(std::move(line));
  }
  bool empty() const { return lines_.empty(); }
  absl::Status ToStatus() const {
    return empty() ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrJoin(lines_, "\n"));
  }

 private:
  std::vector<std::string> lines_;
  std::set<std::string> seen_;
};

// A text that sets fields of a message which stands at `prefix` in it.
struct Candidate {
  const TextProtoSource* source = nullptr;
  std::string prefix;                 // "" for the whole text
  const RunConfig* config = nullptr;  // the message, where it is a RunConfig
};

std::string Under(absl::string_view prefix, absl::string_view path) {
  return absl::StrCat(prefix, prefix.empty() || path.empty() ? "" : ".", path);
}

// How many pieces of `path` the text sets, from its head on.
int SetDepth(const Candidate& candidate, absl::string_view path) {
  const std::vector<std::string> pieces = absl::StrSplit(path, '.', absl::SkipEmpty());
  int depth = 0;
  std::string head;
  for (const std::string& piece : pieces) {
    head = Under(head, piece);
    if (!candidate.source->Has(Under(candidate.prefix, head))) break;
    ++depth;
  }
  return depth;
}

// Where the field was set last: `candidates` by precedence. One that sets the whole path wins over one that sets its
// head. No value when none sets even the head.
std::optional<std::string> LastPlace(const std::vector<Candidate>& candidates, absl::string_view path) {
  int deepest = 0;
  const Candidate* best = nullptr;
  for (const Candidate& candidate : candidates) {
    const int depth = SetDepth(candidate, path);
    if (depth > deepest) {
      deepest = depth;
      best = &candidate;
    }
  }
  if (best == nullptr) return std::nullopt;
  return best->source->Place(Under(best->prefix, path));
}

// The plugin choice that `path` goes through, or null.
const google::protobuf::Any* ChoiceAt(const RunConfig& config, absl::string_view path) {
  const auto is_in = [&](absl::string_view field) {
    return path == field || absl::StartsWith(path, absl::StrCat(field, "."));
  };
  if (is_in("network")) return config.has_network() ? &config.network() : nullptr;
  if (is_in("dataset")) return config.has_dataset() ? &config.dataset() : nullptr;
  if (is_in("pruning")) return config.has_pruning() ? &config.pruning() : nullptr;
  if (is_in("regularization.regularizer")) {
    return config.regularization().has_regularizer() ? &config.regularization().regularizer() : nullptr;
  }
  return nullptr;
}

std::string ListOf(const std::vector<std::string>& names) {
  constexpr size_t kShown = 30;
  if (names.size() <= kShown) return absl::StrJoin(names, ", ");
  return absl::StrCat(absl::StrJoin(names.begin(), names.begin() + kShown, ", "), ", and ", names.size() - kShown,
                      " more");
}

// "; did you mean "x"? arms: a, b".
std::string ArmChoices(absl::string_view name, const std::vector<std::string>& arms) {
  const std::string hint = DidYouMean(name, arms);
  return absl::StrCat(hint, hint.empty() ? "; " : " ", "arms: ", ListOf(arms));
}

// What a name must not be, or "". Names become folders and stand in globs.
std::string NameFault(absl::string_view name) {
  constexpr absl::string_view kRule =
      "; names become folders: write letters, digits, \"_\" or \"-\", e.g. \"dynamic_l1\"";
  std::string fault;
  if (name.empty()) return absl::StrCat("is empty", kRule);
  if (name.size() > kMaxNameBytes) return absl::StrCat("has ", name.size(), " bytes; must be at most ", kMaxNameBytes);
  for (const char c : name) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
      fault = "has a control character";
    } else if (absl::StrContains("/\\*?,", c)) {
      fault = absl::StrCat("has a \"", std::string(1, c), "\"");
    }
    if (!fault.empty()) break;
  }
  if (fault.empty() && absl::StrContains(name, "..")) fault = "has \"..\"";
  if (fault.empty() && (name[0] == '-' || name[0] == '.'))
    fault = absl::StrCat("begins with \"", name.substr(0, 1), "\"");
  if (fault.empty() && absl::StripAsciiWhitespace(name) != name) fault = "begins or ends with a space";
  return fault.empty() ? "" : absl::StrCat("is ", Quote(name), ", which ", fault, kRule);
}

std::vector<std::string> GlobParts(absl::string_view glob) {
  std::vector<std::string> parts;
  for (const absl::string_view part : absl::StrSplit(glob, ',')) parts.emplace_back(absl::StripAsciiWhitespace(part));
  return parts;
}

// The first part of `glob` that matches none of `names`, if any.
std::optional<std::string> UnmatchedPart(absl::string_view glob, const std::vector<std::string>& names) {
  for (const std::string& part : GlobParts(glob)) {
    if (std::none_of(names.begin(), names.end(), [&](const std::string& name) { return GlobMatches(part, name); })) {
      return part;
    }
  }
  return std::nullopt;
}

google::protobuf::Any EmptyPlugin(const char* type) {
  google::protobuf::Any any;
  any.set_type_url(absl::StrCat("type.googleapis.com/", type));
  return any;
}

// Says what a config leaves unsaid, so that two ways to write a run have one identity.
void FillIn(RunConfig* config) {
  if (!config->has_pruning()) *config->mutable_pruning() = EmptyPlugin(kNoPruning);
  FillInRegularization(config->mutable_regularization());
  Training* training = config->mutable_training();
  if (training->optimizer_case() == Training::OPTIMIZER_NOT_SET) training->mutable_sgd();
  if (training->schedule().kind_case() == Schedule::KIND_NOT_SET) training->mutable_schedule()->mutable_constant();
  FillInPhases(config);
}

std::string ImageText(int64_t channels, int64_t height, int64_t width) {
  return absl::StrCat(channels, "x", height, "x", width);
}

absl::Status ValidateCompression(const Compression& compression) {
  if (compression.fine_tune_epochs() < 0) {
    return FieldError("fine_tune_epochs", absl::StrCat("is ", compression.fine_tune_epochs(), "; must be at least 0"));
  }
  if (!compression.has_rate()) return absl::OkStatus();
  if (compression.mode() != Compression::COUPLED) {
    return FieldError("rate", "goes with mode: COUPLED; in EXACT mode only masks decide");
  }
  if (!(compression.rate() >= 0 && compression.rate() < 1)) {
    return FieldError("rate", absl::StrCat("is ", compression.rate(), "; must be at least 0 and below 1"));
  }
  return absl::OkStatus();
}

// The network that a file of weights carries.
absl::StatusOr<Network> StoredNetwork(const std::string& path) {
  const absl::StatusOr<SafetensorsHeader> file = ReadSafetensorsHeader(UserPath(path));
  if (absl::IsNotFound(file.status())) return NoSuchFile(path);
  PRUNELAB_RETURN_IF_ERROR(file.status());
  const auto text = file->metadata.find("network");
  Network network;
  if (text == file->metadata.end() || !google::protobuf::TextFormat::ParseFromString(text->second, &network)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": carries no network; say with `network` which one its weights belong to"));
  }
  return network;
}

// What says how initial weights are taken, where there are none or it says nothing.
std::vector<absl::Status> CheckInitialWeightsFields(const RunConfig& config) {
  std::vector<absl::Status> errors;
  if (config.initial_weights().empty()) {
    constexpr char kAlone[] = "goes with initial_weights, which is not set; all weights are fresh without it";
    if (config.fresh_weights_size() > 0) errors.push_back(FieldError("fresh_weights", kAlone));
    if (!config.initial_weights_prefix().empty()) errors.push_back(FieldError("initial_weights_prefix", kAlone));
  }
  for (int i = 0; i < config.fresh_weights_size(); ++i) {
    if (!absl::StripAsciiWhitespace(config.fresh_weights(i)).empty()) continue;
    errors.push_back(FieldError(absl::StrCat("fresh_weights[", i, "]"),
                                "is empty; write a glob over names of weights, e.g. \"fc.*\""));
  }
  return errors;
}

// What a run's config, or one of its phases, sets itself.
struct ChosenPlugins {
  std::string field;                 // where they stand, relative to RunConfig: "" or "phase[i]"
  std::optional<Training> training;  // of a phase: the run's with what it changes
  const google::protobuf::Any* pruning = nullptr;
  bool fresh_weights = false;  // at the first step of its strategy
  const Regularization* regularization = nullptr;
};

std::vector<ChosenPlugins> ChosenBy(const RunConfig& config) {
  // The first phase alone begins with what the run starts from.
  const bool fresh = !config.has_initial_weights();
  const bool first_has_own = config.phase_size() > 0 && config.phase(0).has_pruning();
  std::vector<ChosenPlugins> chosen = {
      {"", std::nullopt, &config.pruning(), fresh && !first_has_own, &config.regularization()}};
  const std::vector<RunPhase> phases = PhasesOf(config);
  for (int i = 0; i < config.phase_size(); ++i) {
    const Phase& phase = config.phase(i);
    ChosenPlugins own;
    own.field = absl::StrCat("phase[", i, "]");
    // Of a phase without epochs that alone is said. The run's own schedule may not fit a phase's epochs.
    if (phase.epochs() >= 1) own.training = phases[i].training;
    if (phase.has_pruning()) own.pruning = &phase.pruning();
    own.fresh_weights = fresh && i == 0;
    if (phase.regularization().has_regularizer()) own.regularization = &phase.regularization();
    chosen.push_back(std::move(own));
  }
  return chosen;
}

// Everything that can be wrong with a run's config, by field.
std::vector<absl::Status> CheckRun(const RunConfig& config, uint64_t seed) {
  std::vector<absl::Status> errors;
  const auto check = [&errors](const absl::Status& status) {
    if (!status.ok()) errors.push_back(status);
    return status.ok();
  };
  const absl::StatusOr<std::optional<DatasetInfo>> dataset = DescribeRunDataset(config);
  check(dataset.status());
  for (const absl::Status& status : CheckPhases(config)) check(status);
  for (const absl::Status& status : CheckInitialWeightsFields(config)) check(status);
  const bool training_ok = check(InField("training", ValidateTraining(config.training())));
  if (training_ok && dataset.ok() && *dataset) {
    check(InField("training", CheckTrainingFitsData(config.training(), **dataset)));
  }
  const std::vector<ChosenPlugins> chosen = ChosenBy(config);
  std::vector<bool> pruning_linked, regularizer_linked;
  for (const ChosenPlugins& plugins : chosen) {
    if (plugins.training && training_ok) check(InField(plugins.field, ValidateTraining(*plugins.training)));
    const std::string penalty = Under(plugins.field, "regularization");
    if (plugins.regularization != nullptr) check(InField(penalty, ValidateRegularization(*plugins.regularization)));
    pruning_linked.push_back(
        plugins.pruning != nullptr &&
        check(InField(Under(plugins.field, "pruning"), PruningStrategies().CheckLinked(*plugins.pruning))));
    regularizer_linked.push_back(plugins.regularization != nullptr &&
                                 check(InField(Under(penalty, "regularizer"),
                                               Regularizers().CheckLinked(plugins.regularization->regularizer()))));
  }
  if (!dataset.ok()) {
    // Without the data's sizes a network may be wrong for no fault of its own: only its kind is looked at.
    if (config.has_network() || !config.has_initial_weights()) {
      check(InField("network", NetworkFamilies().CheckLinked(config.network())));
    }
    return errors;
  }
  check(InField("compression", ValidateCompression(config.compression())));
  const absl::StatusOr<NetworkInfo> network = BuildRunNetwork(config, *dataset);
  if (!check(network.status())) return errors;
  // How many images of each class there are to set aside, the data alone tell: RunAblation and DryRun look then.
  if (training_ok && *dataset && config.training().validation_fraction() == 0) {
    check(InField("training", CheckLastBatch(config.training(), *network, (*dataset)->train_images)));
  }
  PruningSetup setup;
  setup.network = &*network;
  setup.seed = seed;
  for (size_t i = 0; i < chosen.size(); ++i) {
    const std::string& field = chosen[i].field;
    if (pruning_linked[i]) {
      setup.fresh_weights = chosen[i].fresh_weights;
      check(InField(Under(field, "pruning"), CreatePruningStrategy(*chosen[i].pruning, setup).status()));
    }
    if (regularizer_linked[i]) {
      check(InField(Under(field, "regularization.regularizer"),
                    CreateRegularizer(chosen[i].regularization->regularizer(), *network).status()));
    }
  }
  return errors;
}

// The arm of these levels, base and patches merged and no more.
absl::StatusOr<Arm> MergedArm(const Ablation& ablation, const std::vector<int>& levels) {
  Arm arm;
  arm.config = ablation.base();
  for (int f = 0; f < ablation.factor_size(); ++f) {
    const Level& level = ablation.factor(f).level(levels[f]);
    arm.levels.push_back(level.name());
    PRUNELAB_RETURN_IF_ERROR(MergePatch(level.patch(), &arm.config));
  }
  arm.name = arm.levels.empty() ? "base" : absl::StrJoin(arm.levels, "/");
  return arm;
}

// Goes to the next arm's levels, the last factor's first; false behind the last arm.
bool NextLevels(const Ablation& ablation, std::vector<int>* levels) {
  for (int f = ablation.factor_size() - 1; f >= 0; --f) {
    if (++(*levels)[f] < ablation.factor(f).level_size()) return true;
    (*levels)[f] = 0;
  }
  return false;
}

// Turns the file and the override into a LoadedAblation, collecting errors.
class Loader {
 public:
  Loader(const Ablation& file, const TextProtoSource& file_source, const Ablation& overriding,
         const TextProtoSource& override_source)
      : file_(file), file_source_(file_source), override_(overriding), override_source_(override_source) {}

  absl::StatusOr<LoadedAblation> Load() {
    loaded_.ablation = file_;
    PRUNELAB_RETURN_IF_ERROR(MergePatch(override_, &loaded_.ablation));
    CheckName("name", ablation().has_name(), ablation().name(),
              "say what the ablation is called, e.g. name: \"digits\"");
    CheckSeeds();
    CheckFactors();
    if (!factors_ok_) return errors_.ToStatus();
    PRUNELAB_RETURN_IF_ERROR(MakeArms());
    for (size_t i = 0; i < loaded_.arms.size(); ++i) {
      CheckArm(loaded_.arms[i], arm_levels_[i]);
      loaded_.arms[i].places = {{"initial_weights", PlaceInArm(loaded_.arms[i], arm_levels_[i], "initial_weights")},
                                {"dataset", PlaceInArm(loaded_.arms[i], arm_levels_[i], "dataset.path")}};
      CheckFromScratch(loaded_.arms[i], arm_levels_[i]);
    }
    for (int i = 0; i < ablation().comparison_size(); ++i) CheckComparison(i);
    for (int i = 0; i < ablation().contrast_size(); ++i) CheckContrast(i);
    PRUNELAB_RETURN_IF_ERROR(errors_.ToStatus());
    return std::move(loaded_);
  }

 private:
  const Ablation& ablation() const { return loaded_.ablation; }

  // The texts that set `path` of the ablation, by precedence. A repeated field comes as a whole from one of them.
  std::vector<Candidate> CandidatesFor(absl::string_view path) const {
    const std::string head(path.substr(0, path.find_first_of(".[")));
    const google::protobuf::FieldDescriptor* field = Ablation::descriptor()->FindFieldByName(head);
    const bool repeated = field != nullptr && field->is_repeated();
    if (repeated) return {{override_source_.Has(head) ? &override_source_ : &file_source_, "", nullptr}};
    return {{&override_source_, "", nullptr}, {&file_source_, "", nullptr}};
  }

  std::string PlaceOf(absl::string_view path) const {
    return LastPlace(CandidatesFor(path), path).value_or(file_source_.name());
  }

  void Error(const std::string& path, absl::string_view text) {
    factors_ok_ = factors_ok_ && !absl::StartsWith(path, "factor");
    errors_.Add(PlaceOf(path), path, text);
  }

  void CheckName(const std::string& path, bool has, const std::string& name, absl::string_view missing) {
    if (!has) {
      Error(path, absl::StrCat("is not set; ", missing));
      return;
    }
    const std::string fault = NameFault(name);
    if (!fault.empty()) Error(path, fault);
  }

  void CheckSeeds() {
    const Seeds& seeds = ablation().seeds();
    if (!seeds.has_count()) {
      Error("seeds", "has no count; say which seeds to run, e.g. seeds { first: 1 count: 3 }");
    } else if (seeds.count() < 1 || seeds.count() > kMaxSeeds) {
      Error("seeds.count", absl::StrCat("is ", seeds.count(), "; must be from 1 to ", kMaxSeeds));
    }
    if (seeds.first() < 0 || seeds.first() > std::numeric_limits<int64_t>::max() - kMaxSeeds) {
      Error("seeds.first", absl::StrCat("is ", seeds.first(), "; must be from 0 to 2^63 - ", kMaxSeeds));
    }
  }

  void CheckFactors() {
    std::map<std::string, int> factors;
    int64_t arms = 1;
    for (int f = 0; f < ablation().factor_size(); ++f) {
      const Factor& factor = ablation().factor(f);
      const std::string path = absl::StrCat("factor[", f, "]");
      CheckName(path + ".name", factor.has_name(), factor.name(),
                "say what the factor is called, e.g. name: \"pruning\"");
      CheckOnce(path + ".name", factor.name(), "factor", f, &factors);
      if (factor.level_size() == 0) {
        Error(path, "has no level; give it at least one, e.g. level { name: \"none\" }");
      }
      std::map<std::string, int> levels;
      for (int l = 0; l < factor.level_size(); ++l) {
        const std::string level = absl::StrCat(path, ".level[", l, "].name");
        CheckName(level, factor.level(l).has_name(), factor.level(l).name(),
                  "say what the level is called, e.g. name: \"cov\"");
        if (IsOutputFile(factor.level(l).name())) {
          Error(level, absl::StrCat("is ", Quote(factor.level(l).name()),
                                    ", which is the name of a file of the results; levels become folders beside it: "
                                    "choose another name"));
        }
        CheckOnce(level, factor.level(l).name(), path + ".level", l, &levels);
      }
      arms *= std::max(1, factor.level_size());
      if (arms > kMaxArms) {
        Error(path, absl::StrCat("makes more than ", kMaxArms, " arms with the factors before it; give fewer levels"));
        return;
      }
    }
  }

  void CheckOnce(const std::string& path, const std::string& name, const std::string& siblings, int index,
                 std::map<std::string, int>* seen) {
    if (name.empty()) return;
    const auto [first, is_new] = seen->emplace(name, index);
    if (is_new) return;
    Error(path,
          absl::StrCat("is ", Quote(name), ", as is that at ",
                       PlaceOf(absl::StrCat(siblings, "[", first->second, "].name")), "; give each a name of its own"));
  }

  absl::Status MakeArms() {
    std::vector<std::string> all_names;
    std::vector<Arm> all;
    std::vector<std::vector<int>> all_levels;
    std::vector<int> index(ablation().factor_size(), 0);
    bool any_regularizer = false;
    std::optional<std::string> idle_weight;  // the place of a penalty's weight in an arm without a penalty
    do {
      PRUNELAB_ASSIGN_OR_RETURN(Arm arm, MergedArm(ablation(), index));
      const Regularization& regularization = arm.config.regularization();
      if (regularization.has_regularizer()) {
        any_regularizer = true;
      } else if (regularization.has_weight() && regularization.weight() != 0 && !idle_weight) {
        idle_weight = PlaceInArm(arm, index, kPenaltyWeight);
      }
      FillIn(&arm.config);
      all_names.push_back(arm.name);
      all.push_back(std::move(arm));
      all_levels.push_back(index);
    } while (NextLevels(ablation(), &index));
    // One arm without a penalty is a control; an ablation without any, but with a weight, is a regularizer forgotten.
    if (idle_weight && !any_regularizer) {
      errors_.Add(
          *idle_weight, kPenaltyWeight,
          "is set, but no arm has a regularizer; name one, e.g. regularizer { [type.googleapis.com/prunelab.Cov] "
          "{} }, or leave the weight out");
    }
    const auto check_globs = [&](const char* field, const auto& globs) {
      for (int i = 0; i < globs.size(); ++i) {
        const std::optional<std::string> part = UnmatchedPart(globs[i], all_names);
        if (part) {
          Error(absl::StrCat(field, "[", i, "]"),
                absl::StrCat(Quote(*part), " matches no arm", ArmChoices(*part, all_names)));
        }
      }
    };
    check_globs("exclude", ablation().exclude());
    check_globs("include", ablation().include());
    for (size_t i = 0; i < all.size(); ++i) {
      const auto matches = [&](const std::string& glob) { return GlobMatches(glob, all_names[i]); };
      const auto any = [&](const auto& globs) { return std::any_of(globs.begin(), globs.end(), matches); };
      if (any(ablation().exclude()) || (!ablation().include().empty() && !any(ablation().include()))) {
        excluded_.insert(all_names[i]);
        continue;
      }
      arm_names_.push_back(all_names[i]);
      arm_levels_.push_back(all_levels[i]);
      loaded_.arms.push_back(std::move(all[i]));
    }
    if (loaded_.arms.empty()) {
      Error(ablation().exclude().empty() ? "include" : "exclude",
            absl::StrCat("leaves no arm to run; of ", all.size(), " arms keep at least one"));
    }
    return absl::OkStatus();
  }

  // Where an arm's field was set last: the levels' patches from the last to the first, then the base.
  std::string PlaceInArm(const Arm& arm, const std::vector<int>& levels, absl::string_view path) const {
    std::vector<Candidate> candidates;
    for (int f = static_cast<int>(levels.size()) - 1; f >= 0; --f) {
      const std::string prefix = absl::StrCat("factor[", f, "].level[", levels[f], "].patch");
      candidates.push_back(
          {CandidatesFor("factor").front().source, prefix, &ablation().factor(f).level(levels[f]).patch()});
    }
    candidates.push_back({&override_source_, "base", &override_.base()});
    candidates.push_back({&file_source_, "base", &file_.base()});
    // A choice of another plugin hides what was set before it.
    if (const google::protobuf::Any* chosen = ChoiceAt(arm.config, path)) {
      const auto hidden = std::find_if(candidates.begin(), candidates.end(), [&](const Candidate& candidate) {
        const google::protobuf::Any* own = ChoiceAt(*candidate.config, path);
        return own != nullptr && AnyTypeName(*own) != AnyTypeName(*chosen);
      });
      candidates.erase(hidden, candidates.end());
    }
    return LastPlace(candidates, path).value_or(PlaceOf("base"));
  }

  void CheckArm(const Arm& arm, const std::vector<int>& levels) {
    for (const absl::Status& status : CheckRun(arm.config, static_cast<uint64_t>(ablation().seeds().first()))) {
      errors_.Add(PlaceInArm(arm, levels, ErrorField(status)), ErrorField(status), ErrorText(status));
    }
  }

  void CheckFromScratch(const Arm& arm, const std::vector<int>& levels) {
    if (!arm.config.has_from_scratch()) return;
    const std::string& source = arm.config.from_scratch().arm();
    std::string fault;
    const auto found = std::find(arm_names_.begin(), arm_names_.end(), source);
    if (found == arm_names_.end()) {
      fault = absl::StrCat("no arm that is run is called ", Quote(source), ArmChoices(source, arm_names_));
    } else if (loaded_.arms[found - arm_names_.begin()].config.has_from_scratch()) {
      fault = absl::StrCat(Quote(source), " is trained from another arm's shape itself; name one that is not");
    } else if (arm.config.has_initial_weights()) {
      fault = "goes with fresh weights; leave initial_weights unset in this arm";
    }
    if (!fault.empty()) errors_.Add(PlaceInArm(arm, levels, "from_scratch.arm"), "from_scratch.arm", fault);
  }

  bool CheckIsArm(const std::string& path, bool has, const std::string& name) {
    if (!has) {
      Error(path, absl::StrCat("is not set; name an arm: ", ListOf(arm_names_)));
    } else if (excluded_.count(name)) {
      Error(path, absl::StrCat(Quote(name), " is excluded; name one of the arms that are run: ", ListOf(arm_names_)));
    } else if (std::find(arm_names_.begin(), arm_names_.end(), name) == arm_names_.end()) {
      Error(path, absl::StrCat("no arm is called ", Quote(name), ArmChoices(name, arm_names_)));
    } else {
      return true;
    }
    return false;
  }

  // Of an arm that is there.
  void CheckMeasures(const std::string& path, Metric metric, const std::string& name) {
    if (metric != VALIDATION_TOP1) return;
    const size_t index = std::find(arm_names_.begin(), arm_names_.end(), name) - arm_names_.begin();
    if (loaded_.arms[index].config.training().validation_fraction() > 0) return;
    Error(path, absl::StrCat("is VALIDATION_TOP1, but the arm ", Quote(name),
                             " sets no images aside for validation; give its training a validation_fraction, e.g. 0.1, "
                             "or compare another metric"));
  }

  void CheckMargin(const std::string& path, double margin) {
    if (!(margin >= 0 && std::isfinite(margin))) {
      Error(path, absl::StrCat("is ", margin, "; must be a finite number, at least 0"));
    }
  }

  void CheckComparison(int i) {
    const Comparison& comparison = ablation().comparison(i);
    const std::string path = absl::StrCat("comparison[", i, "]");
    const bool treatment = CheckIsArm(path + ".treatment", comparison.has_treatment(), comparison.treatment());
    const bool control = CheckIsArm(path + ".control", comparison.has_control(), comparison.control());
    if (treatment && control && comparison.treatment() == comparison.control()) {
      Error(path + ".control",
            absl::StrCat("is ", Quote(comparison.control()), ", as the treatment; compare two different arms"));
    }
    if (treatment) CheckMeasures(path + ".metric", comparison.metric(), comparison.treatment());
    if (control) CheckMeasures(path + ".metric", comparison.metric(), comparison.control());
    CheckMargin(path + ".margin", comparison.margin());
    for (int j = 0; j < i; ++j) {
      const Comparison& other = ablation().comparison(j);
      if (other.treatment() == comparison.treatment() && other.control() == comparison.control() &&
          other.metric() == comparison.metric()) {
        Error(path, absl::StrCat("compares what that at ", PlaceOf(absl::StrCat("comparison[", j, "]")),
                                 " compares; keep one"));
        return;
      }
    }
  }

  void CheckContrast(int i) {
    const Contrast& contrast = ablation().contrast(i);
    const std::string path = absl::StrCat("contrast[", i, "]");
    CheckName(path + ".name", contrast.has_name(), contrast.name(),
              "say what the contrast is called, e.g. name: \"interaction\"");
    for (int j = 0; j < i; ++j) {
      if (!contrast.name().empty() && ablation().contrast(j).name() == contrast.name()) {
        Error(path + ".name",
              absl::StrCat("is ", Quote(contrast.name()), ", as is that at ",
                           PlaceOf(absl::StrCat("contrast[", j, "].name")), "; give each a name of its own"));
        break;
      }
    }
    CheckMargin(path + ".margin", contrast.margin());
    if (contrast.term_size() < 2) {
      Error(path, absl::StrCat("has ", contrast.term_size(), contrast.term_size() == 1 ? " term" : " terms",
                               "; must have at least two, e.g. term { arm: ",
                               Quote(arm_names_.empty() ? "arm" : arm_names_[0]), " weight: 1 }"));
      return;
    }
    std::set<std::string> arms;
    bool weights_ok = true;
    double sum = 0, size = 0;
    for (int t = 0; t < contrast.term_size(); ++t) {
      const Contrast::Term& term = contrast.term(t);
      const std::string term_path = absl::StrCat(path, ".term[", t, "]");
      if (CheckIsArm(term_path + ".arm", term.has_arm(), term.arm())) {
        if (!arms.insert(term.arm()).second) {
          Error(term_path + ".arm", absl::StrCat("is ", Quote(term.arm()), " a second time; give each arm one weight"));
        }
        CheckMeasures(path + ".metric", contrast.metric(), term.arm());
      }
      if (term.weight() == 0 || !std::isfinite(term.weight())) {
        Error(term_path + ".weight", absl::StrCat("is ", term.weight(), "; must be a finite number other than 0"));
        weights_ok = false;
      }
      sum += term.weight();
      size += std::abs(term.weight());
    }
    if (weights_ok && std::abs(sum) > 1e-9 * size) {
      Error(path, absl::StrCat("has weights that sum to ", sum, "; they must sum to 0, as 1, -1 or 1, -1, -1, 1 do"));
    }
  }

  const Ablation& file_;
  const TextProtoSource& file_source_;
  const Ablation& override_;
  const TextProtoSource& override_source_;
  ErrorLines errors_;
  bool factors_ok_ = true;  // arms can be made
  LoadedAblation loaded_;
  std::vector<std::string> arm_names_;
  std::vector<std::vector<int>> arm_levels_;  // for each arm the index of its level in each factor
  std::set<std::string> excluded_;
};

std::string CanonicalOf(const google::protobuf::Message& message) {
  absl::StatusOr<std::string> text = CanonicalText(message);
  PRUNELAB_CHECK(text.ok()) << text.status();
  return *std::move(text);
}

// What of a phase CanonicalText leaves out though it is another run for it: a field of sgd that the phase sets to its
// default has a say where the run's, over which it is merged, is another.
std::string DefaultsOverTheRuns(const RunConfig& config) {
  using google::protobuf::FieldDescriptor;
  const auto is_default = [](const Sgd& sgd, const FieldDescriptor* field) {
    Sgd rest = sgd, alone;
    sgd.GetReflection()->SwapFields(&rest, &alone, {field});
    return CanonicalOf(alone).empty();
  };
  std::string text;
  for (int i = 0; i < config.phase_size(); ++i) {
    const Sgd& own = config.phase(i).sgd();
    std::vector<const FieldDescriptor*> fields;
    own.GetReflection()->ListFields(own, &fields);
    for (const FieldDescriptor* field : fields) {
      if (!is_default(own, field) || is_default(config.training().sgd(), field)) continue;
      std::string value;
      google::protobuf::TextFormat::PrintFieldValueToString(own, field, -1, &value);
      absl::StrAppend(&text, "phase[", i, "].sgd.", field->name(), ": ", value, "\n");
    }
  }
  return text;
}

std::string CanonicalConfig(const RunConfig& config) {
  // A removal with all its defaults is one too, and no other text says that it is there.
  return absl::StrCat(CanonicalOf(config), config.has_compression() ? "compression: {}\n" : "",
                      DefaultsOverTheRuns(config));
}

std::vector<std::pair<std::string, std::string>> CanonicalLines(const RunConfig& config) {
  const std::string text = CanonicalConfig(config);
  std::vector<std::pair<std::string, std::string>> lines;  // path, value
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    lines.push_back(absl::StrSplit(line, absl::MaxSplits(absl::ByString(": "), 1)));
  }
  return lines;
}

}  // namespace

absl::StatusOr<LoadedAblation> LoadAblation(const std::string& path, absl::string_view override_text) {
  Ablation file, overriding;
  const absl::StatusOr<std::unique_ptr<TextProtoSource>> file_source =
      TextProtoSource::ParseFile(UserPath(path), &file);
  const absl::StatusOr<std::unique_ptr<TextProtoSource>> override_source =
      TextProtoSource::Parse(kOverride, override_text, &overriding);
  if (!file_source.ok() && !override_source.ok()) {
    return absl::Status(file_source.status().code(),
                        absl::StrCat(file_source.status().message(), "\n", override_source.status().message()));
  }
  PRUNELAB_RETURN_IF_ERROR(file_source.status());
  PRUNELAB_RETURN_IF_ERROR(override_source.status());
  return Loader(file, **file_source, overriding, **override_source).Load();
}

absl::StatusOr<std::vector<Arm>> ArmsAsWritten(const std::string& text) {
  Ablation ablation;
  PRUNELAB_RETURN_IF_ERROR(TextProtoSource::Parse("ablation", text, &ablation).status());
  int64_t count = 1;
  for (const Factor& factor : ablation.factor()) {
    count *= factor.level_size();
    if (count < 1 || count > kMaxArms) return absl::InvalidArgumentError("has no arms, or more than can be");
  }
  std::vector<Arm> arms;
  std::vector<int> levels(ablation.factor_size(), 0);
  do {
    PRUNELAB_ASSIGN_OR_RETURN(Arm arm, MergedArm(ablation, levels));
    FillIn(&arm.config);
    arms.push_back(std::move(arm));
  } while (NextLevels(ablation, &levels));
  return arms;
}

absl::StatusOr<std::vector<Arm>> SelectArms(const std::vector<Arm>& arms, absl::string_view glob) {
  std::vector<std::string> names;
  for (const Arm& arm : arms) names.push_back(arm.name);
  if (const std::optional<std::string> part = UnmatchedPart(glob, names)) {
    return absl::InvalidArgumentError(absl::StrCat(Quote(*part), " matches no arm", ArmChoices(*part, names)));
  }
  std::vector<Arm> selected;
  for (const Arm& arm : arms) {
    if (GlobMatches(glob, arm.name)) selected.push_back(arm);
  }
  return selected;
}

absl::StatusOr<Seeds> ParseSeeds(absl::string_view text) {
  const std::vector<absl::string_view> ends = absl::StrSplit(absl::StripAsciiWhitespace(text), absl::MaxSplits('-', 1));
  int64_t first = 0, last = 0;
  if (!absl::SimpleAtoi(ends.front(), &first) || !absl::SimpleAtoi(ends.back(), &last) || first < 0 || last < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quote(text), " names no seeds; write first-last, e.g. 1-10, or one, e.g. 5"));
  }
  if (last < first) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quote(text), " ends before it begins; write ", last, "-", first, " for those seeds"));
  }
  if (last - first >= kMaxSeeds || first > std::numeric_limits<int64_t>::max() - kMaxSeeds) {
    return absl::InvalidArgumentError(absl::StrCat(Quote(text), " is out of range; write at most ", kMaxSeeds,
                                                   " seeds, the first at most 2^63 - ", kMaxSeeds, " (",
                                                   std::numeric_limits<int64_t>::max() - kMaxSeeds, ")"));
  }
  Seeds seeds;
  seeds.set_first(first);
  seeds.set_count(last - first + 1);
  return seeds;
}

absl::Status CheckTrainingFitsData(const Training& training, const DatasetInfo& dataset) {
  Training whole = training;  // as if nothing were set aside: how much that is, the data alone tell
  whole.clear_validation_fraction();
  PRUNELAB_RETURN_IF_ERROR(CheckBatchSize(whole, dataset.train_images));
  const int64_t size = std::min(dataset.height, dataset.width);
  if (training.random_crop_padding() > size) {
    return FieldError("random_crop_padding",
                      absl::StrCat("is ", training.random_crop_padding(), ", but the images are ", dataset.height, "x",
                                   dataset.width, "; must be at most ", size));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> CheckTrainingOnData(const Training& training, const NetworkInfo& network,
                                            const Dataset& dataset) {
  PRUNELAB_RETURN_IF_ERROR(CheckTrainingFitsData(training, dataset.info));
  PRUNELAB_ASSIGN_OR_RETURN(const int64_t set_aside,
                            CountValidation(dataset.train, dataset.info.classes, training.validation_fraction()));
  const int64_t images = dataset.train.size() - set_aside;
  PRUNELAB_RETURN_IF_ERROR(CheckBatchSize(training, images));
  PRUNELAB_RETURN_IF_ERROR(CheckLastBatch(training, network, images));
  return images;
}

absl::StatusOr<std::optional<DatasetInfo>> DescribeRunDataset(const RunConfig& config) {
  PRUNELAB_RETURN_IF_ERROR(InField("dataset", Datasets().CheckLinked(config.dataset())));
  const absl::StatusOr<DatasetInfo> info = DescribeDataset(config.dataset());
  if (info.ok()) return *info;
  if (absl::IsNotFound(info.status())) return std::nullopt;
  return InField("dataset", info.status());
}

absl::StatusOr<NetworkInfo> BuildRunNetwork(const RunConfig& config, const std::optional<DatasetInfo>& dataset) {
  const ImageDefaults defaults = dataset ? DefaultsOf(*dataset) : ImageDefaults();
  const bool stored = !config.has_network() && config.has_initial_weights();
  absl::StatusOr<Network> network =
      stored ? StoredNetwork(config.initial_weights()) : BuildNetwork(config.network(), defaults);
  if (!network.ok() && stored) return FieldError("initial_weights", network.status().message());
  if (!network.ok()) return InField("network", network.status());
  absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(*std::move(network));
  if (!info.ok()) return InField("network", info.status());
  if (!dataset) return info;
  const NodeShape& images = info->input_shape();
  if (images.channels != dataset->channels || images.height != dataset->height || images.width != dataset->width) {
    return FieldError(
        "network",
        absl::StrCat("takes images of ", ImageText(images.channels, images.height, images.width),
                     ", but the data set's are ", ImageText(dataset->channels, dataset->height, dataset->width),
                     " (channels, height, width); leave the network's sizes unset to take the data's"));
  }
  if (info->classes() != dataset->classes && stored) {
    return FieldError(
        "initial_weights",
        absl::StrCat("its network has ", info->classes(), " classes, but the data set has ", dataset->classes,
                     "; set `network`, which then takes the data's, and start its last layer afresh by fresh_weights"));
  }
  if (info->classes() != dataset->classes) {
    return FieldError("network",
                      absl::StrCat("has ", info->classes(), " classes, but the data set has ", dataset->classes,
                                   "; leave the network's classes unset to take the data's"));
  }
  return info;
}

std::string RunId(const RunConfig& config, int64_t seed, absl::string_view fingerprint) {
  return Sha256(absl::StrCat(CanonicalConfig(config), "seed: ", seed, "\ndata: ", fingerprint, "\n"));
}

std::string ArmDifference(const RunConfig& old_config, const RunConfig& new_config) {
  const auto old_lines = CanonicalLines(old_config);
  const auto new_lines = CanonicalLines(new_config);
  const std::map<std::string, std::string> old_values(old_lines.begin(), old_lines.end());
  const std::map<std::string, std::string> new_values(new_lines.begin(), new_lines.end());
  std::string text;
  for (const auto& [path, value] : old_lines) {
    const auto now = new_values.find(path);
    if (now != new_values.end() && now->second == value) continue;
    absl::StrAppend(&text, "- ", path, ": ", value, "\n");
    if (now != new_values.end()) absl::StrAppend(&text, "+ ", path, ": ", now->second, "\n");
  }
  for (const auto& [path, value] : new_lines) {
    if (!old_values.count(path)) absl::StrAppend(&text, "+ ", path, ": ", value, "\n");
  }
  return text;
}

std::string ResolvedText(const RunConfig& config) {
  // The path under which the records have always named the schema; their bytes stay the same wherever the file lies.
  return absl::StrCat("# proto-file: experiments/ablation.proto\n# proto-message: prunelab.RunConfig\n",
                      PrettyText(config));
}

}  // namespace prunelab
