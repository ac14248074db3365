#include "experiments/reporting/written_configs.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "experiments/config/identity.h"
#include "experiments/config/load.h"
#include "experiments/config/phases.h"
#include "experiments/config/run_network.h"
#include "experiments/config/source_arm.h"
#include "experiments/config/trials.h"
#include "google/protobuf/empty.pb.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"
#include "ml/base/plugin.h"
#include "ml/base/textproto.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {
namespace {

constexpr char kNoPruning[] = "prunelab.NoPruning";
constexpr int kMaxNesting = 100;  // of messages, as TextProtoSource has it

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

// "" or what makes the arms or the runs too many to hold in memory, or none: a program that runs ablations writes no
// such text.
std::string WrongSizes(const Ablation& ablation) {
  if (!CountArms(ablation)) return absl::StrCat("its factors make more than ", kMaxArms, " arms");
  const Seeds& seeds = ablation.seeds();
  if (seeds.count() < 0 || seeds.count() > kMaxSeeds) {
    return absl::StrCat("its seeds.count is ", seeds.count(), ", not from 0 to ", kMaxSeeds);
  }
  if (seeds.first() < 0 || seeds.first() > std::numeric_limits<int64_t>::max() - kMaxSeeds) {
    return absl::StrCat("its seeds.first is ", seeds.first(), ", not from 0 to 2^63 - ", kMaxSeeds);
  }
  if (ablation.has_search()) {
    const std::vector<absl::Status> errors = CheckSearch(ablation);
    if (!errors.empty()) return absl::StrCat("its ", errors.front().message());
    if (ablation.search().trials() * std::max<int64_t>(1, seeds.count()) > kMaxSeeds) {
      return absl::StrCat("its search makes more than ", kMaxSeeds, " runs");
    }
  }
  return "";
}

struct Masked {
  bool filters = false, weights = false;
};

// What the phases of a run mask, or no value if that is not known.
std::optional<Masked> MaskedByPhases(const RunConfig& config, const NetworkInfo& network) {
  Masked masked;
  for (const RunPhase& phase : PhasesOf(config)) {
    if (!IsToMask(phase.pruning)) continue;  // what the previous phases masked stays masked
    PruningSetup setup;
    setup.network = &network;
    const auto strategy = CreatePruningStrategy(phase.pruning, setup);
    if (!strategy.ok()) return std::nullopt;
    ((*strategy)->granularity() == Granularity::kFilter ? masked.filters : masked.weights) = true;
  }
  return masked;
}

// What a run ended with: single weights where more weights are masked than the filters without a live weight hold.
Masked MaskedInTheEnd(const NetworkInfo& network, const RunRecords& run) {
  Masked masked;
  const EpochCurves& epochs = run.epochs;
  if (epochs.count() == 0 || !run.result.measures.has_weight_sparsity()) return masked;
  std::map<std::string, int64_t> live;
  for (size_t layer = 0; layer < epochs.layers.size(); ++layer) {
    live[epochs.layers[layer]] =
        epochs.live_filters[static_cast<size_t>(epochs.count() - 1) * epochs.layers.size() + layer];
  }
  int64_t of_dead_filters = 0;
  for (const ConvInfo& conv : network.convs()) {
    const auto found = live.find(conv.node);
    if (found != live.end()) of_dead_filters += (conv.filters - found->second) * conv.weights_per_filter;
  }
  const double all =
      static_cast<double>(run.result.measures.weight_sparsity()) * static_cast<double>(network.ConvWeightCount());
  masked.weights = all > static_cast<double>(of_dead_filters) + 0.5;
  masked.filters = !masked.weights && of_dead_filters > 0;
  return masked;
}

// The same of a run that starts from another one's end, whose network may be narrower than what the config says: only
// what was measured counts. No value: that does not tell.
std::optional<Masked> MaskedSinceTheStart(const RunRecords& run, Masked phases) {
  const Measures& measures = run.result.measures;
  if (!measures.has_weight_sparsity() || !measures.has_filter_sparsity()) return std::nullopt;
  if (measures.weight_sparsity() == 0 || phases.filters || phases.weights) return phases;
  (measures.filter_sparsity() > 0 ? phases.filters : phases.weights) = true;
  return phases;
}

// What of a network's sizes does not depend on the data.
struct KnownSizes {
  bool classes = false;
  bool weights = false;  // the number of the convolutions' weights
};

// Where the data are not here: a network that says itself what it is for refuses other data.
KnownSizes SizesWithoutData(const RunConfig& config, const NetworkInfo& network) {
  const NodeShape& image = network.input_shape();
  const auto refuses = [&](int64_t classes, int64_t channels) {
    return !BuildRunNetwork(config, DatasetInfo{classes, channels, image.height, image.width, 1, 1}).ok();
  };
  return {refuses(network.classes() + 1, image.channels), refuses(network.classes(), image.channels + 1)};
}

// The number of classes that the runs' provenance names; no value where none does, or they differ.
std::optional<int64_t> RecordedClasses(const std::vector<const RunRecords*>& runs) {
  std::optional<int64_t> classes;
  for (const RunRecords* run : runs) {
    const auto found = run->provenance.find("classes");
    int64_t number = 0;
    if (found == run->provenance.end() || !absl::SimpleAtoi(found->second, &number) || number < 1) continue;
    if (classes && *classes != number) return std::nullopt;
    classes = number;
  }
  return classes;
}

MaskKind KindOf(const Masked& masked) {
  if (masked.filters && masked.weights) return MaskKind::kBoth;
  return masked.filters ? MaskKind::kFilters : masked.weights ? MaskKind::kWeights : MaskKind::kNone;
}

}  // namespace

std::string ParseWrittenAblation(const std::string& text, Ablation* ablation) {
  AnyIsEmpty finder;
  Silent errors;
  google::protobuf::TextFormat::Parser parser;
  parser.SetFinder(&finder);
  parser.AllowUnknownField(true);
  parser.SetRecursionLimit(kMaxNesting);  // unknown fields may be nested as deeply as a file is long
  parser.RecordErrorsTo(&errors);
  if (parser.ParseFromString(text, ablation)) return WrongSizes(*ablation);
  return errors.text.empty() ? "does not parse" : errors.text;
}

std::map<std::string, std::string> WrittenConfigs(const std::string& ablation_text) {
  std::map<std::string, std::string> configs;
  const absl::StatusOr<std::vector<Arm>> arms = ArmsAsWritten(ablation_text);
  if (!arms.ok()) return configs;
  for (const Arm& arm : *arms) configs.emplace(arm.name, ResolvedText(arm.config));
  return configs;
}

std::string ConfigDifference(const std::string& a, const std::string& b) {
  if (a == b) return "";
  RunConfig first, second;
  if (TextProtoSource::Parse("a", a, &first).ok() && TextProtoSource::Parse("b", b, &second).ok()) {
    return ArmDifference(first, second);
  }
  return "their config.textproto differ\n";
}

bool HasAnotherIdentity(const std::string& config_text, int64_t seed, const std::string& data_fingerprint,
                        const std::string& run_id) {
  RunConfig config;
  if (config_text.empty() || !TextProtoSource::Parse("config.textproto", config_text, &config).ok()) return false;
  // A file that is not in the records, or another run, is part of it.
  if (config.has_initial_weights() || HasSource(config) || config.training().has_teacher()) return false;
  return run_id != RunId(config, seed, data_fingerprint);
}

void DescribeArm(const std::string& config_text, const std::vector<const RunRecords*>& runs, ArmFacts* facts) {
  facts->classes = RecordedClasses(runs);
  if (PluginType(config_text, "pruning") == kNoPruning && !absl::StrContains(config_text, "initial_weights") &&
      !absl::StrContains(config_text, "start_from")) {
    facts->masks = MaskKind::kNone;
  }
  RunConfig config;
  if (config_text.empty() || !TextProtoSource::Parse("config.textproto", config_text, &config).ok()) return;
  const auto dataset = DescribeRunDataset(config);
  const std::optional<DatasetInfo> info = dataset.ok() ? *dataset : std::nullopt;
  const absl::StatusOr<NetworkInfo> network = BuildRunNetwork(config, info);
  if (!network.ok()) return;
  const KnownSizes known = info ? KnownSizes{true, true} : SizesWithoutData(config, *network);
  if (known.classes) facts->classes = network->classes();
  if (!HasSource(config)) {
    for (const ConvInfo& conv : network->convs()) facts->filters[conv.node] = conv.filters;
  }
  std::optional<Masked> masked = MaskedByPhases(config, *network);
  if (!masked) return;
  const auto done =
      std::find_if(runs.begin(), runs.end(), [](const RunRecords* run) { return run->result.status == "done"; });
  if (config.has_start_from()) {
    if (done == runs.end()) return;
    masked = MaskedSinceTheStart(**done, *masked);
    if (!masked) return;
  } else if (config.has_initial_weights() && done != runs.end()) {
    if (!known.weights) return;
    const Masked seen = MaskedInTheEnd(*network, **done);
    masked->filters = masked->filters || seen.filters;
    masked->weights = masked->weights || seen.weights;
  }
  facts->masks = KindOf(*masked);
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

}  // namespace prunelab
