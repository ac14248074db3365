// Makes a checkpoint's network smaller: removes what its masks (or zero weights) have killed, folds BN, exports ONNX.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gflags/gflags.h>
#include <sys/stat.h>

#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "experiments/records/table.h"
#include "ml/base/files.h"
#include "ml/base/flags.h"
#include "ml/base/freed_memory.h"
#include "ml/base/output_guard.h"
#include "ml/base/parse_plugin.h"
#include "ml/base/random.h"
#include "ml/base/status_macros.h"
#include "ml/base/textproto.h"
#include "ml/base/with_prefix.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/coupled.h"
#include "ml/compression/fastest_layout.h"
#include "ml/compression/fold_batch_norm.h"
#include "ml/compression/goal.h"
#include "ml/compression/group_ranking_config.h"
#include "ml/compression/joined_channels.h"
#include "ml/compression/network_timer.h"
#include "ml/compression/onnx_export.h"
#include "ml/data/dataset.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/latency.h"
#include "ml/execution/model_probe.h"
#include "ml/models/dataset_defaults.h"
#include "ml/network/value_grids.h"
#include "ml/pruning/rate.h"
#include "ml/training/agreement.h"
#include "ml/training/one_shot.h"
#include "tools/command_line.h"
#include "tools/data_flag.h"
#include "tools/engine_timer.h"
#include "tools/target_flag.h"

DEFINE_string(checkpoint, "", "The trained network, a .safetensors file; its masks say which filters are dead.");
DEFINE_string(network, "",
              "The network that the weights belong to, if the file contains none (a PyTorch state_dict), e.g. "
              "'[type.googleapis.com/prunelab.ResNetCifar] { depth: 56 }'.");
DEFINE_string(output, "", "The smaller network's checkpoint, .safetensors.");
DEFINE_string(onnx, "", "The smaller network as ONNX (opset 17), .onnx.");
DEFINE_string(mode, "exact",
              "exact: the function stays the same, and residual streams keep their width. coupled: channels that sums "
              "tie together are removed together; the function changes, so fine-tune afterwards.");
DEFINE_double(rate, -1,
              "With --mode=coupled: removes this share of the groups, those of least mean |weight|; by default those "
              "whose filters are all dead.");
DEFINE_string(pruning, "",
              "Masks the network first, once, e.g. '[type.googleapis.com/prunelab.Static] { rate: 0.5 }'; masked "
              "weights stay masked.");
DEFINE_string(target, "",
              "What the smaller network may cost, as a share of the dense one's: 'macs: 0.5', 'parameters: 0.3', "
              "'file_bytes: 0.25' or 'latency: 0.5 batch: 1 threads: 1'. Finds the rate that leaves it: that of "
              "--pruning or, with --mode=coupled, --rate.");
DEFINE_string(
    groups, "",
    "With --mode=coupled and --rate or --target: which groups go first, e.g. 'importance: GROUP_NORM normalize: "
    "MEAN scope: PER_SET round: 8'; by default those of least mean |weight|.");
DEFINE_bool(dry_run, false, "With --target: says what shares the rates leave and which one is found; writes nothing.");
DEFINE_string(dataset, "",
              "Real images for comparing the logits, and calibration data for a strategy that reads gradients, e.g. "
              "'[type.googleapis.com/prunelab.Digits] {}'; without it the images are random.");
DEFINE_int64(calibration_images, 512, "The number of training images for gradients.");
DEFINE_int64(compared_images, 256, "The number of images on which logits are compared.");
DEFINE_int64(
    round, 1,
    "Rounds channels up to a multiple of this number by keeping dead ones, because some sizes are faster, e.g. 8; not "
    "if the file would become larger than the checkpoint.");
DEFINE_string(streams, "scattered",
              "How what is added to a residual stream gets there: scattered (the fewest multiplications), full (it "
              "keeps the stream's width) or convolved (put into its places by a 1x1 convolution).");
DEFINE_string(for, "",
              "here, onnxruntime or openvino: times --round=1, 4, 8 and 16, each kind of --streams, for each "
              "size of maps in this engine, takes the fastest, and says how fast it is there. With --mode=coupled: "
              "groups of channels rounded to these multiples.");
DEFINE_int64(batch_size, 1, "With --for: how many images at once.");
DEFINE_double(
    seconds, 6,
    "With --for: for each comparison of layouts, of which there is one for each size of maps. With --target's "
    "latency: for each measurement.");
DEFINE_string(python, "python3", "With --for=onnxruntime or openvino: a Python that has the engine, and numpy.");
DEFINE_bool(fold_batch_norm, false, "Folds BN into the convolutions before it; for inference only.");
DEFINE_int64(seed, 1, "For random images and for strategies that draw random numbers.");
DEFINE_bool(latency, true, "Measure latencies.");

namespace prunelab {
namespace {

constexpr int64_t kRuns = 50;
const auto& kStreams = *new std::map<std::string, Streams>{
    {"scattered", Streams::kScattered}, {"full", Streams::kFull}, {"convolved", Streams::kConvolved}};

std::string FileSize(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 ? absl::StrCat(info.st_size) : "-";
}

std::string Milliseconds(const Latency& latency) {
  return absl::StrFormat("%.3f +- %.3f", 1e3 * latency.median, 1e3 * latency.spread());
}

bool IsSet(const char* flag) { return !gflags::GetCommandLineFlagInfoOrDie(flag).is_default; }

// --groups.
absl::StatusOr<GroupRanking> Groups() {
  GroupRanking ranking;
  if (FLAGS_groups.empty()) return ranking;
  PRUNELAB_RETURN_IF_ERROR(TextProtoSource::Parse("--groups", FLAGS_groups, &ranking).status());
  const absl::Status valid = ValidateGroupRanking(ranking);
  if (!valid.ok()) return WithPrefix("--groups", valid);
  if (LooksAtImages(ranking) && FLAGS_dataset.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--groups=", FLAGS_groups, ": looks at training images; give --dataset"));
  }
  return ranking;
}

// What --target needs, and what does not go with it.
absl::Status CheckTargetFlags(const std::optional<PruningGoal>& target) {
  const auto refuse = [](auto... text) { return absl::InvalidArgumentError(absl::StrCat(text...)); };
  if (!target) {
    return IsSet("dry_run") ? refuse("--dry_run goes with --target, and says what could be reached") : absl::OkStatus();
  }
  if (FLAGS_mode == "coupled") {
    if (IsSet("rate")) return refuse("--rate does not go with --target, which finds it");
    if (!FLAGS_pruning.empty())
      return refuse("--pruning does not go with --target and --mode=coupled: one rate is found");
  } else if (FLAGS_pruning.empty()) {
    return refuse("--target goes with --pruning, whose rate it finds, or with --mode=coupled");
  }
  if (IsMeasured(*target) && IsSet("batch_size")) {
    return refuse("--batch_size does not go with a latency as --target, which says its own batch");
  }
  for (const char* flag : {"output", "onnx", "compared_images"}) {
    if (FLAGS_dry_run && IsSet(flag)) return refuse("--", flag, " does not go with --dry_run, which writes nothing");
  }
  return absl::OkStatus();
}

absl::Status CheckFlags() {
  const auto refuse = [](auto... text) { return absl::InvalidArgumentError(absl::StrCat(text...)); };
  if (FLAGS_checkpoint.empty()) return refuse("--checkpoint is missing: a .safetensors file");
  PRUNELAB_ASSIGN_OR_RETURN(const std::optional<PruningGoal> target, ParseTarget(FLAGS_target));
  if (FLAGS_output.empty() && FLAGS_onnx.empty() && !FLAGS_dry_run) {
    return refuse("give --output=F.safetensors or --onnx=F.onnx, or both");
  }
  PRUNELAB_ASSIGN_OR_RETURN(const std::string data, PathOfDataset(FLAGS_dataset));
  PRUNELAB_RETURN_IF_ERROR(CheckOutputs({{"--checkpoint", FLAGS_checkpoint}, {"--dataset's path", data}},
                                        {{"--output", FLAGS_output}, {"--onnx", FLAGS_onnx}}));
  if (FLAGS_mode != "exact" && FLAGS_mode != "coupled") {
    return refuse("--mode=", FLAGS_mode, ": must be exact or coupled");
  }
  PRUNELAB_RETURN_IF_ERROR(CheckTargetFlags(target));
  if (!FLAGS_groups.empty()) {
    if (FLAGS_mode != "coupled" || (!target && !IsSet("rate"))) {
      return refuse("--groups goes with --mode=coupled and --rate or --target");
    }
    PRUNELAB_RETURN_IF_ERROR(Groups().status());
  }
  if (IsSet("rate")) {
    if (FLAGS_mode != "coupled") return refuse("--rate goes with --mode=coupled; in exact mode only masks decide");
    if (!(FLAGS_rate >= 0 && FLAGS_rate < 1)) return refuse("--rate=", FLAGS_rate, ": must be at least 0 and below 1");
  }
  if (FLAGS_mode == "coupled" && !FLAGS_for.empty() && !target && !IsSet("rate")) {
    return refuse("--for goes with --rate or --target where --mode=coupled: what is dead leaves no choice");
  }
  for (const char* flag : {"round", "streams", "for"}) {
    if (FLAGS_mode == "coupled" && flag != std::string("for") && IsSet(flag)) {
      return refuse("--", flag, " goes with --mode=exact");
    }
    if (!FLAGS_for.empty() && flag != std::string("for") && IsSet(flag)) {
      return refuse("--", flag, " does not go with --for, which chooses it");
    }
  }
  if (kStreams.count(FLAGS_streams) == 0) {
    return refuse("--streams=", FLAGS_streams, ": must be scattered, full or convolved");
  }
  if (FLAGS_round < 1) return refuse("--round=", FLAGS_round, ": must be at least 1; --for=here finds the fastest");
  if (!FLAGS_for.empty() && FLAGS_for != "here" && FLAGS_for != "onnxruntime" && FLAGS_for != "openvino") {
    return refuse("--for=", FLAGS_for, ": must be here, onnxruntime or openvino");
  }
  const bool measured = target && IsMeasured(*target);
  if (IsSet("batch_size") && FLAGS_for.empty()) return refuse("--batch_size goes with --for");
  if (IsSet("seconds") && FLAGS_for.empty() && !measured) {
    return refuse("--seconds goes with --for, or with a latency as --target");
  }
  if (!(FLAGS_seconds > 0)) return refuse("--seconds=", FLAGS_seconds, ": must be above 0");
  if (IsSet("python") && (FLAGS_for.empty() || FLAGS_for == "here")) {
    return refuse("--python goes with --for=onnxruntime or openvino");
  }
  if (FLAGS_batch_size < 1) return refuse("--batch_size=", FLAGS_batch_size, ": must be at least 1");
  if (!FLAGS_for.empty() && !FLAGS_latency) return refuse("--latency=false does not go with --for, which measures");
  if (FLAGS_calibration_images < 1) {
    return refuse("--calibration_images=", FLAGS_calibration_images, ": must be at least 1");
  }
  if (IsSet("calibration_images") && (FLAGS_pruning.empty() || FLAGS_dataset.empty())) {
    return refuse("--calibration_images goes with --pruning and --dataset: a strategy reads them");
  }
  PRUNELAB_ASSIGN_OR_RETURN(const GroupRanking groups, Groups());
  if (IsSet("seed") && FLAGS_pruning.empty() && groups.importance() != GroupRanking::RANDOM && !LooksAtImages(groups) &&
      !FLAGS_dataset.empty()) {
    return refuse(
        "--seed goes with --pruning, with --groups that draw (importance: RANDOM) or look at training images, "
        "or without --dataset: here nothing is drawn");
  }
  if (FLAGS_compared_images < 1) return refuse("--compared_images=", FLAGS_compared_images, ": must be at least 1");
  return absl::OkStatus();
}

at::Tensor RandomImages(const NodeShape& shape, int64_t count) {
  RandomStream stream(static_cast<uint64_t>(FLAGS_seed), "images");
  at::Tensor images = at::empty({count, shape.channels, shape.height, shape.width});
  float* data = images.data_ptr<float>();
  for (int64_t i = 0; i < images.numel(); ++i) data[i] = static_cast<float>(stream.Normal());
  return images.contiguous(at::MemoryFormat::ChannelsLast);
}

// The network in float64.
WeightedNetwork Widened(WeightedNetwork network) {
  for (auto& [name, tensor] : network.tensors) {
    if (tensor.is_floating_point()) tensor = tensor.to(at::kDouble);
  }
  return network;
}

// How far apart the logits of two networks are on the images that the flags select.
absl::StatusOr<Agreement> Compared(const WeightedNetwork& before, const WeightedNetwork& after,
                                   const Dataset* dataset) {
  constexpr int64_t kBatch = 64;
  Model a = ToModel(before, at::kCPU), b = ToModel(after, at::kCPU);
  ReferencePlan plan;
  if (dataset != nullptr) {
    return CompareOnData(a, b, plan, dataset->test, dataset->normalization, kBatch, FLAGS_compared_images,
                         kRemovalTolerance);
  }
  const at::Tensor images = RandomImages(a.info().input_shape(), FLAGS_compared_images).to(a.dtype());
  return CompareOnImages(a, b, plan, images, kRemovalTolerance);
}

std::string Text(const Agreement& agreement) {
  if (agreement.not_finite > 0) {
    return absl::StrCat("the logits of ", agreement.not_finite, " of ", agreement.images, " images are not finite");
  }
  return absl::StrFormat(
      "largest difference of a logit / largest logit: %.2e, on %d %s images; predictions that differ: %d",
      agreement.largest_difference, agreement.images, FLAGS_dataset.empty() ? "random" : "test",
      agreement.differing_predictions);
}

// Whether rounding explains the difference. (It does not explain NaN.)
bool IsExact(const Agreement& agreement) {
  return agreement.largest_difference <= kRemovalTolerance && agreement.unexplained_predictions == 0;
}

// Refuses a result that exact removal must not produce. In float32, sums of large terms of both signs may round further
// apart than the bound; then float64 decides, where nothing is rounded except the values that removal stored.
absl::Status CheckExact(const WeightedNetwork& before, const WeightedNetwork& after, const Agreement& agreement,
                        const Dataset* dataset) {
  if (IsExact(agreement)) return absl::OkStatus();
  PRUNELAB_ASSIGN_OR_RETURN(const Agreement in_float64, Compared(Widened(before), Widened(after), dataset));
  if (IsExact(in_float64)) {
    std::cout << "in float64: " << Text(in_float64) << "\n";
    return absl::OkStatus();
  }
  return absl::InternalError(absl::StrCat(
      "exact removal has changed the logits, so nothing is written: ", Text(agreement),
      "; in float64: ", Text(in_float64), absl::StrFormat(". At most %.0e is allowed. ", kRemovalTolerance),
      FLAGS_fold_batch_norm ? "Try without --fold_batch_norm; where" : "Where",
      " no value of the checkpoint is extreme, this is a fault of this program: please report it with the checkpoint"));
}

// Logits that are not finite do not tell whether two networks agree, and a network that has them is useless.
absl::Status CheckFiniteLogits(const Agreement& agreement) {
  if (agreement.not_finite == 0) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      UserPath(FLAGS_checkpoint), ": the logits of ", agreement.not_finite, " of ", agreement.images,
      FLAGS_dataset.empty() ? " random" : " test",
      " images are not finite, so nothing is written; its weights are finite, but what is computed with them overflows "
      "float32: look for layers with weights or statistics far larger than the others'"));
}

// What exact removal leaves.
struct RemovedExactly {
  WeightedNetwork network;
  std::vector<PassSaving> savings;
  std::string said;  // of a layout that was not taken; may be empty
};

// Exact removal as `options` say; their layout is ignored if it would make the file larger than the checkpoint's.
RemovedExactly RemoveExactly(const WeightedNetwork& pruned, CompressionOptions options) {
  RemovedExactly removed = {pruned, {}, ""};
  ChannelLayout used;
  removed.savings = Compress(removed.network, options, &used);
  if (!(used == options.layout)) {
    removed.said = absl::StrCat("the layout is: ", used.Text(), ", because with ", options.layout.Text(),
                                " the network would be larger than it was\n\n");
  }
  struct stat info = {};
  // What --for has found to be the fastest is taken, and the weights of an ONNX file may be in other files.
  if (!FLAGS_for.empty() || !absl::EndsWith(FLAGS_checkpoint, ".safetensors")) return removed;
  if (used.IsPlain() || stat(UserPath(FLAGS_checkpoint).c_str(), &info) != 0) return removed;
  const int64_t rounded_bytes = FileBytes(removed.network);
  if (rounded_bytes <= info.st_size) return removed;
  RemovedExactly plain = {pruned, {}, removed.said};
  options.layout = {};
  plain.savings = Compress(plain.network, options);
  const int64_t plain_bytes = FileBytes(plain.network);
  if (plain_bytes >= rounded_bytes) return removed;
  absl::StrAppend(&plain.said, "only live channels are kept: with more of them the file would have ", rounded_bytes,
                  " bytes, more than the ", info.st_size, " of the checkpoint; without it has ", plain_bytes, "\n\n");
  return plain;
}

// The checkpoint's network after --pruning, whose rate is `rate` if that has a value.
absl::StatusOr<WeightedNetwork> PrunedAt(const Model& opened, const Dataset* data, std::optional<double> rate) {
  if (FLAGS_pruning.empty()) return ToWeightedNetwork(opened);
  PRUNELAB_ASSIGN_OR_RETURN(google::protobuf::Any plugin, ParsePlugin("--pruning", FLAGS_pruning));
  if (rate) {
    const absl::StatusOr<google::protobuf::Any> with_rate = WithRate(plugin, *rate);
    if (!with_rate.ok()) return WithPrefix("--pruning", with_rate.status());
    plugin = *with_rate;
  }
  // Of a network that comes in masked, a low rate may mask nothing more, and a search goes on to higher ones. A
  // strategy that masks nothing at the highest is one that never does.
  bool masks_nothing = false;
  const bool search = rate && *rate < kHighestRate;
  const absl::StatusOr<Model> pruned = PrunedOnce(opened, plugin, static_cast<uint64_t>(FLAGS_seed), data,
                                                  FLAGS_calibration_images, search ? &masks_nothing : nullptr);
  if (!pruned.ok()) return WithPrefix("--pruning", pruned.status());
  return ToWeightedNetwork(*pruned);
}

// The groups of channels of `network`, in the order of --groups, with which `ranking` begins.
absl::StatusOr<RankedGroups> Ranked(const WeightedNetwork& network, const GroupRanking& ranking, const Dataset* data) {
  const auto seed = static_cast<uint64_t>(FLAGS_seed);
  std::optional<ProbeBatch> images;
  if (LooksAtImages(ranking)) {
    const Model model = ToModel(network, at::kCPU);
    PRUNELAB_ASSIGN_OR_RETURN(
        images, ModelProbe(model, &data->train, &data->normalization, seed).TrainingImages(0, ranking.images()));
  }
  absl::StatusOr<RankedGroups> ranked = RankedGroups::Create(network, ranking, seed, images);
  return ranked.ok() || FLAGS_groups.empty() ? std::move(ranked) : WithPrefix("--groups", ranked.status());
}

// The network without groups at `rate`.
absl::StatusOr<WeightedNetwork> WithoutRanked(const RankedGroups& ranked, double rate, CoupledRemoval* removal) {
  PRUNELAB_ASSIGN_OR_RETURN(WeightedNetwork network, ranked.Without(rate, removal));
  if (FLAGS_fold_batch_norm) FoldBatchNorm(network);
  return network;
}

void SayGroups(const CoupledRemoval& removal) {
  std::cout << absl::StrFormat("coupled: %d of %d groups of channels removed", removal.removed, removal.groups);
  if (removal.kept > 0) std::cout << "; " << removal.kept << " kept, as the last of their layers";
  std::cout << "\n\n";
}

// Times networks in the engine that --for says, which is this project's own without it.
NetworkTimer Timer(int64_t batch_size, int64_t threads) {
  TimerOptions options;
  options.batch_size = batch_size;
  options.seconds = FLAGS_seconds;
  if (FLAGS_for.empty() || FLAGS_for == "here") {
    return [timer = TimerHere(options), threads](const std::vector<const WeightedNetwork*>& networks) {
      const int others = at::get_num_threads();
      at::set_num_threads(static_cast<int>(threads));
      absl::StatusOr<std::vector<Latency>> latencies = timer(networks);
      at::set_num_threads(others);
      return latencies;
    };
  }
  // A name without a folder is looked up on the PATH.
  const std::string python = absl::StrContains(FLAGS_python, "/") ? UserPath(FLAGS_python) : FLAGS_python;
  return EngineTimer({FLAGS_for, python, threads}, options);
}

// That of --round and --streams.
ChannelLayout LayoutOfFlags() { return {{FLAGS_round, kStreams.at(FLAGS_streams)}, {}}; }

// The one that --for finds to be the fastest at this batch size, which is said.
absl::StatusOr<ChannelLayout> Fastest(const WeightedNetwork& network, const CompressionOptions& options,
                                      int64_t batch_size, int64_t threads) {
  PRUNELAB_ASSIGN_OR_RETURN(const FastestLayout fastest,
                            FindFastestLayout(network, options, Timer(batch_size, threads)));
  std::vector<std::vector<std::string>> rows = {
      {"layout", "parameters", "MACs of one image", absl::StrCat("ms at batch ", batch_size)}};
  const std::string taken = fastest.layout.Text();
  for (const TriedLayout& tried : fastest.tried) {
    const std::string text = tried.layout.Text();
    rows.push_back({absl::StrCat(text, text == taken ? " (taken)" : ""), absl::StrCat(tried.parameters),
                    absl::StrCat(tried.macs), Milliseconds(tried.latency)});
  }
  std::cout << Aligned(rows) << "\n";
  return fastest.layout;
}

void SaySavings(const std::vector<PassSaving>& savings) {
  if (savings.empty()) return;
  std::vector<std::vector<std::string>> rows = {{"pass", "round", "nodes", "parameters", "MACs"}};
  for (const PassSaving& saving : savings) {
    rows.push_back({saving.pass, absl::StrCat(saving.round), absl::StrCat(-saving.nodes),
                    absl::StrCat(-saving.parameters), absl::StrCat(-saving.macs)});
  }
  std::cout << Aligned(rows) << "\n";
}

// The rates that --target looks at, on the way to its own.
class TargetSearch {
 public:
  // `given`: the checkpoint's network. `ranked`: its groups, with --mode=coupled.
  TargetSearch(const PruningGoal& goal, const Model& opened, const WeightedNetwork& given,
               std::optional<RankedGroups> ranked, const Dataset* data)
      : goal_(goal),
        opened_(opened),
        given_(given),
        ranked_(std::move(ranked)),
        data_(data),
        timer_(Timer(goal.batch(), goal.threads())) {}

  // The network after --pruning.
  absl::StatusOr<WeightedNetwork> Pruned(const Rates& rates) {
    PRUNELAB_ASSIGN_OR_RETURN(WeightedNetwork pruned, AtRate(rates.rate));
    if (rates.layers_at_higher == 0) return pruned;
    PRUNELAB_ASSIGN_OR_RETURN(const WeightedNetwork higher, AtRate(rates.higher_rate));
    return WithLayersOf(higher, rates.layers_at_higher, std::move(pruned));
  }

  absl::StatusOr<WeightedNetwork> Removed(const Rates& rates, const CompressionOptions& options) {
    if (ranked_) return WithoutRanked(*ranked_, rates.rate, nullptr);
    PRUNELAB_ASSIGN_OR_RETURN(const WeightedNetwork pruned, Pruned(rates));
    return RemoveExactly(pruned, options).network;
  }

  absl::StatusOr<MetGoal> Run(const CompressionOptions& options) {
    // Groups of channels go one by one.
    const auto layers = static_cast<int64_t>(FLAGS_mode == "coupled" ? 0 : opened_.info().convs().size());
    const absl::StatusOr<MetGoal> met = MeetGoal(
        goal_, given_, layers, [&](const Rates& rates) { return Removed(rates, options); }, timer_,
        [this](const TriedRates& tried) {
          std::cerr << absl::StrFormat("%s: %.4f of the %s\n", Text(tried.rates), tried.share, GoalName(goal_));
        });
    // What can't be reached is said of the flag; other errors name their own.
    return met.ok() || !absl::IsOutOfRange(met.status()) ? met : WithPrefix("--target", met.status());
  }

  // What each of some rates leaves, of each kind of goal that costs no measurement, and of the one asked for.
  absl::Status SayReachable(const CompressionOptions& options) {
    std::vector<PruningGoal> goals(3);
    goals[0].set_macs(1);
    goals[1].set_parameters(1);
    goals[2].set_file_bytes(1);
    if (IsMeasured(goal_)) goals.push_back(goal_);
    std::vector<std::vector<std::string>> rows = {{"rate"}};
    for (const PruningGoal& goal : goals) rows[0].push_back(absl::StrCat("of the ", GoalName(goal)));
    for (const double rate : {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99}) {
      PRUNELAB_ASSIGN_OR_RETURN(const WeightedNetwork removed, Removed({rate, 0, 0}, options));
      rows.push_back({absl::StrCat(rate)});
      for (const PruningGoal& goal : goals) {
        PRUNELAB_ASSIGN_OR_RETURN(const double share, ShareOf(goal, given_, removed, timer_));
        rows.back().push_back(absl::StrFormat("%.4f", share));
      }
    }
    std::cout << Aligned(rows) << "\n";
    return absl::OkStatus();
  }

 private:
  // A pruning may take long, and the same two rates come again where layers of both are put together, and at the end.
  absl::StatusOr<WeightedNetwork> AtRate(double rate) {
    constexpr size_t kKept = 4;
    for (const auto& [kept_rate, network] : kept_) {
      if (kept_rate == rate) return network;
    }
    PRUNELAB_ASSIGN_OR_RETURN(WeightedNetwork pruned, PrunedAt(opened_, data_, rate));
    if (kept_.size() == kKept) kept_.erase(kept_.begin());
    kept_.emplace_back(rate, pruned);
    return pruned;
  }

  const PruningGoal& goal_;
  const Model& opened_;
  const WeightedNetwork& given_;
  const std::optional<RankedGroups> ranked_;
  const Dataset* const data_;
  const NetworkTimer timer_;
  std::vector<std::pair<double, WeightedNetwork>> kept_;
};

void SayMet(const PruningGoal& goal, const MetGoal& met) {
  std::cout << absl::StrFormat("target: %.4f of the dense network's %s, where %.4g is asked for, by %s%s\n\n",
                               met.share, GoalName(goal), GoalShare(goal),
                               FLAGS_mode == "coupled" ? "--" : "--pruning's ", Text(met.rates));
}

// What coupled removal leaves.
struct RemovedCoupled {
  WeightedNetwork network;
  CoupledRemoval removal;
  std::optional<MetGoal> met;  // with --target
};

// With --mode=coupled: what is left at --rate, or meets --target; no value after a dry run. `pruned`: the network after
// --pruning.
absl::StatusOr<std::optional<RemovedCoupled>> RemoveRanked(const std::optional<PruningGoal>& target,
                                                           const Model& opened, const WeightedNetwork& pruned,
                                                           const GroupRanking& ranking, const Dataset* data) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::optional<RankedGroups> ranked, Ranked(pruned, ranking, data));
  RemovedCoupled removed;
  double rate = FLAGS_rate;
  if (target) {
    TargetSearch search(*target, opened, pruned, ranked, data);
    if (FLAGS_dry_run) PRUNELAB_RETURN_IF_ERROR(search.SayReachable({}));
    PRUNELAB_ASSIGN_OR_RETURN(removed.met, search.Run({}));
    if (FLAGS_dry_run) {
      SayMet(*target, *removed.met);
      return std::nullopt;
    }
    rate = removed.met->rates.rate;
  }
  PRUNELAB_ASSIGN_OR_RETURN(removed.network, WithoutRanked(*ranked, rate, &removed.removal));
  return removed;
}

// The same for the engine of --for, which likes some widths: by groups rounded to multiples of 1, 4, 8 and 16, unless
// --groups says one. Of the networks that meet a latency the one with the most parameters; else the fastest, and the
// one with the most parameters of those within 2 % of it, because what was removed was not nothing.
absl::StatusOr<std::optional<RemovedCoupled>> RemoveRankedForEngine(const std::optional<PruningGoal>& target,
                                                                    const Model& opened, const WeightedNetwork& pruned,
                                                                    const GroupRanking& groups, const Dataset* data) {
  GroupRanking ranking = groups;
  const bool measured = target && IsMeasured(*target);
  std::vector<int64_t> multiples = {1, 4, 8, 16};
  if (ranking.has_round()) multiples = {ranking.round()};
  std::vector<RemovedCoupled> all;
  std::vector<std::vector<std::string>> rows;
  std::vector<std::pair<int64_t, absl::Status>> out_of_reach;  // by multiple
  for (const int64_t multiple : multiples) {
    ranking.set_round(multiple);
    if (target) (FLAGS_dry_run ? std::cout : std::cerr) << "groups of channels by multiples of " << multiple << ":\n";
    absl::StatusOr<std::optional<RemovedCoupled>> removed = RemoveRanked(target, opened, pruned, ranking, data);
    if (absl::IsOutOfRange(removed.status())) {  // the others may be within reach
      out_of_reach.emplace_back(multiple, removed.status());
      continue;
    }
    PRUNELAB_RETURN_IF_ERROR(removed.status());
    if (FLAGS_dry_run) continue;
    const NetworkInfo info = (*removed)->network.Info();
    rows.push_back({absl::StrCat(multiple), absl::StrCat(info.ParameterCount()), absl::StrCat(info.MacCount())});
    all.push_back(**std::move(removed));
  }
  // Of all the finest multiple says best what can be reached.
  if (out_of_reach.size() == multiples.size()) return out_of_reach[0].second;
  for (const auto& [multiple, why] : out_of_reach) {
    std::cerr << "not by multiples of " << multiple << ": " << why.message() << "\n";
  }
  if (FLAGS_dry_run) return std::nullopt;
  const int64_t batch = measured ? target->batch() : FLAGS_batch_size;
  const NetworkTimer timer = Timer(batch, measured ? target->threads() : at::get_num_threads());
  std::vector<const WeightedNetwork*> networks = {&pruned};
  for (const RemovedCoupled& removed : all) networks.push_back(&removed.network);
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<Latency> latencies, timer(networks));
  double fastest = latencies[1].median;
  for (size_t i = 1; i < latencies.size(); ++i) fastest = std::min(fastest, latencies[i].median);
  std::optional<size_t> taken;
  for (size_t i = 0; i < all.size(); ++i) {
    if (!measured && latencies[i + 1].median > 1.02 * fastest) continue;
    const auto parameters = [&](size_t k) { return all[k].network.Info().ParameterCount(); };
    if (!taken || parameters(i) > parameters(*taken)) taken = i;
  }
  for (size_t i = 0; i < all.size(); ++i) {
    rows[i].push_back(Milliseconds(latencies[i + 1]));
    rows[i].push_back(absl::StrFormat("%.2f", latencies[0].median / latencies[i + 1].median));
    if (i == *taken) rows[i][0] += " (taken)";
  }
  rows.insert(rows.begin(), {"multiple", "parameters", "MACs of one image", absl::StrCat("ms at batch ", batch),
                             "times as fast as before"});
  std::cout << Aligned(rows) << "\n";
  return std::move(all[*taken]);
}

// `target`: the goal, if there is one.
absl::Status SaySizesAndLatencies(const WeightedNetwork& before, const WeightedNetwork& after,
                                  const std::optional<PruningGoal>& target) {
  std::vector<std::vector<std::string>> rows = {{"", "before", "after", "before / after"}};
  const auto ratio = [](double first, double second) {
    return second > 0 ? absl::StrFormat("%.2f", first / second) : std::string("-");
  };
  const auto sizes = [&](const char* what, int64_t first, int64_t second) {
    rows.push_back({what, absl::StrCat(first), absl::StrCat(second),
                    ratio(static_cast<double>(first), static_cast<double>(second))});
  };
  const auto parameters = [](const NetworkInfo& info) { return info.ParameterCount() + info.StoredConstantCount(); };
  const Model large = ToModel(before, at::kCPU), small = ToModel(after, at::kCPU);
  sizes("parameters, stored constants counted", parameters(large.info()), parameters(small.info()));
  sizes("MACs of one image", large.info().MacCount(), small.info().MacCount());
  // An ONNX file's weights may be in other files.
  if (!FLAGS_output.empty() && !absl::EndsWith(FLAGS_checkpoint, ".onnx")) {
    rows.push_back({"file, bytes", FileSize(UserPath(FLAGS_checkpoint)), FileSize(UserPath(FLAGS_output)), ""});
  }
  // As one would run them: BN folded, masks multiplied into the weights.
  const auto time = [&](const std::string& where, int64_t batch, const NetworkTimer& timer) {
    const absl::StatusOr<std::vector<Latency>> latencies = timer({&before, &after});
    if (!latencies.ok()) return latencies.status();
    rows.push_back({absl::StrCat("ms ", where, "at batch ", batch, ", median +- quartiles' distance"),
                    Milliseconds((*latencies)[0]), Milliseconds((*latencies)[1]),
                    ratio((*latencies)[0].median, (*latencies)[1].median)});
    return absl::OkStatus();
  };
  const std::string engine = FLAGS_for.empty() || FLAGS_for == "here" ? "" : absl::StrCat("in ", FLAGS_for, " ");
  if (FLAGS_latency && target && IsMeasured(*target)) {
    const std::string where =
        absl::StrCat(engine, "with ", target->threads(), target->threads() == 1 ? " thread " : " threads ");
    PRUNELAB_RETURN_IF_ERROR(time(where, target->batch(), Timer(target->batch(), target->threads())));
  } else if (FLAGS_latency && FLAGS_for.empty()) {
    for (const int64_t batch : {1, 64}) PRUNELAB_RETURN_IF_ERROR(time("", batch, TimerHere({batch, kRuns})));
  } else if (FLAGS_latency) {
    PRUNELAB_RETURN_IF_ERROR(time(engine, FLAGS_batch_size, Timer(FLAGS_batch_size, at::get_num_threads())));
  }
  std::cout << Aligned(rows);
  return absl::OkStatus();
}

absl::Status Main() {
  ProtectWhatIsRead();
  PRUNELAB_RETURN_IF_ERROR(CheckFlags());
  PRUNELAB_ASSIGN_OR_RETURN(const std::optional<Dataset> dataset, OpenDataFlag(FLAGS_dataset));
  const Dataset* const data = dataset ? &*dataset : nullptr;
  const ImageDefaults defaults = data != nullptr ? DefaultsOf(data->info) : ImageDefaults();
  PRUNELAB_ASSIGN_OR_RETURN(Model model, OpenCheckpoint(FLAGS_checkpoint, FLAGS_network, defaults, at::kCPU));
  if (data != nullptr) PRUNELAB_RETURN_IF_ERROR(CheckDataFit(model.info(), data->info));
  if (IsQuantized(model.info().network())) {
    return absl::InvalidArgumentError(
        absl::StrCat(UserPath(FLAGS_checkpoint),
                     ": is quantized, and removal moves values off their grids; compress first, then quantize"));
  }
  // Values that are not finite are refused before anything is computed with them.
  const absl::StatusOr<WeightedNetwork> given = ToWeightedNetwork(model);
  if (!given.ok()) return WithPrefix(UserPath(FLAGS_checkpoint), given.status());
  CompressionOptions options;
  options.fold_batch_norm = FLAGS_fold_batch_norm;
  options.layout = LayoutOfFlags();

  PRUNELAB_ASSIGN_OR_RETURN(const std::optional<PruningGoal> target, ParseTarget(FLAGS_target));
  const bool coupled = FLAGS_mode == "coupled";
  std::optional<WeightedNetwork> pruned_to_target;
  if (target && !coupled) {
    TargetSearch search(*target, model, *given, std::nullopt, data);
    const auto choose_layout = [&](const Rates& rates_now) -> absl::Status {
      PRUNELAB_ASSIGN_OR_RETURN(const WeightedNetwork at_rates, search.Pruned(rates_now));
      const bool measured = IsMeasured(*target);
      PRUNELAB_ASSIGN_OR_RETURN(options.layout,
                                Fastest(at_rates, options, measured ? target->batch() : FLAGS_batch_size,
                                        measured ? target->threads() : at::get_num_threads()));
      return absl::OkStatus();
    };
    // Which layout is fast depends on the rate, and what a rate costs on the layout.
    if (!FLAGS_for.empty()) PRUNELAB_RETURN_IF_ERROR(choose_layout({0.5, 0, 0}));
    if (FLAGS_dry_run) PRUNELAB_RETURN_IF_ERROR(search.SayReachable(options));
    PRUNELAB_ASSIGN_OR_RETURN(MetGoal met, search.Run(options));
    if (!FLAGS_for.empty()) {
      const ChannelLayout before = options.layout;
      PRUNELAB_RETURN_IF_ERROR(choose_layout(met.rates));
      if (!(options.layout == before)) {
        PRUNELAB_ASSIGN_OR_RETURN(met, search.Run(options));
      }
    }
    SayMet(*target, met);
    if (FLAGS_dry_run) return absl::OkStatus();
    PRUNELAB_ASSIGN_OR_RETURN(pruned_to_target, search.Pruned(met.rates));
  }

  if (!pruned_to_target) {
    PRUNELAB_ASSIGN_OR_RETURN(pruned_to_target, PrunedAt(model, data, std::nullopt));
  }
  const WeightedNetwork& pruned = *pruned_to_target;
  WeightedNetwork network = pruned;
  std::vector<PassSaving> savings;
  if (coupled && (target || IsSet("rate"))) {
    PRUNELAB_ASSIGN_OR_RETURN(const GroupRanking groups, Groups());
    const auto remove = FLAGS_for.empty() ? &RemoveRanked : &RemoveRankedForEngine;
    PRUNELAB_ASSIGN_OR_RETURN(std::optional<RemovedCoupled> removed, remove(target, model, pruned, groups, data));
    if (!removed) return absl::OkStatus();
    if (removed->met) SayMet(*target, *removed->met);
    SayGroups(removed->removal);
    network = std::move(removed->network);
  } else if (coupled) {
    PRUNELAB_ASSIGN_OR_RETURN(const CoupledRemoval removal, RemoveCoupled(network, {}));
    if (FLAGS_fold_batch_norm) FoldBatchNorm(network);
    SayGroups(removal);
  } else {
    if (!target && !FLAGS_for.empty()) {
      PRUNELAB_ASSIGN_OR_RETURN(options.layout, Fastest(pruned, options, FLAGS_batch_size, at::get_num_threads()));
    }
    const RemovedExactly removed = RemoveExactly(pruned, options);
    std::cout << removed.said;
    network = removed.network;
    savings = removed.savings;
    for (const std::string& sentence : DeadChannelsThatStay(network)) std::cout << "stays: " << sentence << "\n";
  }
  PRUNELAB_ASSIGN_OR_RETURN(const Agreement agreement, Compared(pruned, network, data));
  if (FLAGS_mode == "exact") PRUNELAB_RETURN_IF_ERROR(CheckExact(pruned, network, agreement, data));
  PRUNELAB_RETURN_IF_ERROR(CheckFiniteLogits(agreement));
  if (!FLAGS_output.empty()) {
    PRUNELAB_RETURN_IF_ERROR(WriteSafetensors(UserPath(FLAGS_output), ModelToSafetensors(ToModel(network, at::kCPU))));
  }
  if (!FLAGS_onnx.empty()) PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(UserPath(FLAGS_onnx), ToOnnx(network)));

  SaySavings(savings);
  PRUNELAB_RETURN_IF_ERROR(SaySizesAndLatencies(pruned, network, target));
  if (!FLAGS_pruning.empty()) {
    PRUNELAB_ASSIGN_OR_RETURN(const Agreement with_given, Compared(*given, network, data));
    std::cout << "compared with the network as it was given, before --pruning: " << Text(with_given) << "\n";
  }
  std::cout << Text(agreement) << "\n";
  if (!FLAGS_output.empty()) std::cout << "wrote " << UserPath(FLAGS_output) << "\n";
  if (!FLAGS_onnx.empty()) std::cout << "wrote " << UserPath(FLAGS_onnx) << "\n";
  return absl::OkStatus();
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  prunelab::KeepFreedMemory();
  return prunelab::RunMain("takes dead filters out of a checkpoint's network, and exports it; see docs/compression.md",
                           argc, argv, [] {
                             const absl::Status status = prunelab::Main();
                             const int exit_status = prunelab::ExitStatus(status);
                             // The result is wrong.
                             return absl::IsInternal(status) ? prunelab::kNotAllDone : exit_status;
                           });
}
