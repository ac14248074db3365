// Measures what the pruning of each layer by itself does to a trained network, on images set aside, and finds how much
// of each layer should go so that the network meets a goal.
#include <ATen/ATen.h>
#include <gflags/gflags.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "experiments/records/table.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/message.h"
#include "ml/base/digest.h"
#include "ml/base/files.h"
#include "ml/base/flags.h"
#include "ml/base/freed_memory.h"
#include "ml/base/output_guard.h"
#include "ml/base/parse_plugin.h"
#include "ml/base/plugin.h"
#include "ml/base/status_macros.h"
#include "ml/base/with_prefix.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/goal_config.h"
#include "ml/data/dataset.h"
#include "ml/data/validation_split.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/plan.h"
#include "ml/models/dataset_defaults.h"
#include "ml/network/layer_selection.pb.h"
#include "ml/network/masks.h"
#include "ml/pruning/layer_allocation.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/ranking.pb.h"
#include "ml/pruning/rate.h"
#include "ml/safetensors/safetensors.h"
#include "ml/training/evaluate.h"
#include "ml/training/one_shot.h"
#include "third_party/plotly/plotly.h"
#include "tools/command_line.h"
#include "tools/data_flag.h"
#include "tools/target_flag.h"

DEFINE_string(checkpoint, "", "The trained network: .safetensors, ONNX or .pdc.");
DEFINE_string(network, "", "The network that the weights belong to, if the file contains none.");
DEFINE_string(dataset, "", "The data, e.g. '[type.googleapis.com/prunelab.Digits] {}'.");
DEFINE_string(pruning, "[type.googleapis.com/prunelab.Static] {}",
              "The strategy, without its rate: which filters of a layer go first.");
DEFINE_double(validation_fraction, 0.1,
              "The share of the training images, of each class, on which loss and accuracy are measured; the "
              "training's, if it set some aside.");
DEFINE_int64(validation_seed, 0, "Which images these are; the training's, if it set some aside.");
DEFINE_string(rates, "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9", "The rates at which each layer is pruned.");
DEFINE_string(layers, "", "Only the convolutions that this glob matches; a comma means or.");
DEFINE_int64(calibration_images, 512, "The number of training images for a strategy that reads gradients.");
DEFINE_int64(seed, 1, "For strategies that draw random numbers.");
DEFINE_string(output, "", "The measurements as CSV. Those that it has already are not made again.");
DEFINE_string(page, "", "The same as curves, an .html file.");
DEFINE_string(target, "",
              "What the removed network may cost, as a share of that of the one given: 'macs: 0.5' or "
              "'parameters: 0.3'. Finds a rate for each layer, and prints them as a strategy's `ranking`.");
DEFINE_string(allocation, "integer_program",
              "With --target: integer_program, the least sum of the layers' losses, or equal_loss, the same highest "
              "loss for all layers.");

namespace prunelab {
namespace {

constexpr int64_t kBatch = 256;

// A layer by itself at a rate; of the network as it is, no layer.
struct Measured {
  std::string layer;
  std::string rate;  // as --rates has it
  int64_t filters = 0, masked = 0;
  double loss = 0, top1 = 0;
  int64_t macs = 0, parameters = 0;  // of the network that removal leaves
};

constexpr char kHeader[] = "layer,rate,filters,masked,loss,top1,macs,parameters";

std::string Line(const Measured& row) {
  return absl::StrFormat("%s,%s,%d,%d,%.17g,%.17g,%d,%d", row.layer, row.rate, row.filters, row.masked, row.loss,
                         row.top1, row.macs, row.parameters);
}

absl::StatusOr<Measured> ParseLine(const std::string& line) {
  const std::vector<std::string> cells = absl::StrSplit(line, ',');
  Measured row;
  if (cells.size() == 8 && absl::SimpleAtoi(cells[2], &row.filters) && absl::SimpleAtoi(cells[3], &row.masked) &&
      absl::SimpleAtod(cells[4], &row.loss) && absl::SimpleAtod(cells[5], &row.top1) &&
      absl::SimpleAtoi(cells[6], &row.macs) && absl::SimpleAtoi(cells[7], &row.parameters)) {
    row.layer = cells[0];
    row.rate = cells[1];
    return row;
  }
  return absl::DataLossError(absl::StrCat("\"", line, "\" is not a line of ", kHeader));
}

// The measurements, in a file that always has all that were made.
class Table {
 public:
  // `identity`: of everything that the numbers depend on but the layer and its rate.
  static absl::StatusOr<Table> Open(const std::string& path, const std::string& identity) {
    Table table(path, absl::StrCat("# sensitivity ", identity));
    if (path.empty() || !PathExists(path)) return table;
    PRUNELAB_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
    const std::vector<std::string> lines = absl::StrSplit(text, '\n', absl::SkipEmpty());
    if (lines.size() < 2 || lines[0] != table.first_line_ || lines[1] != kHeader) {
      return absl::FailedPreconditionError(
          absl::StrCat(path,
                       ": has measurements of another network, strategy or data, or none; move it away, or give "
                       "another --output"));
    }
    for (size_t i = 2; i < lines.size(); ++i) {
      const absl::StatusOr<Measured> row = ParseLine(lines[i]);
      if (!row.ok()) return WithPrefix(absl::StrCat(path, ":", i + 1), row.status());
      table.rows_.push_back(*row);
    }
    return table;
  }

  const Measured* Find(const std::string& layer, const std::string& rate) const {
    for (const Measured& row : rows_) {
      if (row.layer == layer && row.rate == rate) return &row;
    }
    return nullptr;
  }

  absl::Status Add(const Measured& row) {
    rows_.push_back(row);
    if (path_.empty()) return absl::OkStatus();
    std::vector<std::string> lines = {first_line_, kHeader};
    for (const Measured& each : rows_) lines.push_back(Line(each));
    return WriteFileAtomically(path_, absl::StrCat(absl::StrJoin(lines, "\n"), "\n"));
  }

 private:
  Table(std::string path, std::string first_line) : path_(std::move(path)), first_line_(std::move(first_line)) {}

  std::string path_, first_line_;
  std::vector<Measured> rows_;
};

absl::StatusOr<std::vector<std::string>> Rates() {
  std::vector<std::string> rates;
  double before = 0;
  for (const absl::string_view text : absl::StrSplit(FLAGS_rates, ',')) {
    double rate = 0;
    if (!absl::SimpleAtod(text, &rate) || !(rate > before && rate < 1)) {
      return absl::InvalidArgumentError(absl::StrCat("--rates: \"", absl::StripAsciiWhitespace(text),
                                                     "\" must be a number above ", before,
                                                     ", the one before it, and below 1"));
    }
    before = rate;
    rates.emplace_back(absl::StripAsciiWhitespace(text));
  }
  return rates;
}

absl::StatusOr<std::optional<PruningGoal>> Target() {
  PRUNELAB_ASSIGN_OR_RETURN(const std::optional<PruningGoal> goal, ParseTarget(FLAGS_target));
  if (goal && goal->goal_case() != PruningGoal::kMacs && goal->goal_case() != PruningGoal::kParameters) {
    return absl::InvalidArgumentError(
        absl::StrCat("--target=", FLAGS_target,
                     ": must be macs or parameters, which single layers can be measured in; "
                     "//tools:compress finds one rate for the other goals"));
  }
  return goal;
}

absl::Status CheckFlags() {
  const auto refuse = [](auto... text) { return absl::InvalidArgumentError(absl::StrCat(text...)); };
  if (FLAGS_checkpoint.empty() || FLAGS_dataset.empty()) {
    return refuse("--checkpoint and --dataset are needed; see --helpshort");
  }
  if (FLAGS_output.empty() && FLAGS_page.empty() && FLAGS_target.empty()) {
    return refuse("give --output=F.csv, --page=F.html or --target, or several of them");
  }
  if (!(FLAGS_validation_fraction > 0 && FLAGS_validation_fraction < 1)) {
    return refuse("--validation_fraction=", FLAGS_validation_fraction, ": must be above 0 and below 1");
  }
  if (FLAGS_calibration_images < 1) {
    return refuse("--calibration_images=", FLAGS_calibration_images, ": must be at least 1");
  }
  if (FLAGS_allocation != "integer_program" && FLAGS_allocation != "equal_loss") {
    return refuse("--allocation=", FLAGS_allocation, ": must be integer_program or equal_loss");
  }
  if (FLAGS_target.empty() && !gflags::GetCommandLineFlagInfoOrDie("allocation").is_default) {
    return refuse("--allocation goes with --target");
  }
  PRUNELAB_RETURN_IF_ERROR(Target().status());
  PRUNELAB_RETURN_IF_ERROR(Rates().status());
  PRUNELAB_ASSIGN_OR_RETURN(const std::string data, PathOfDataset(FLAGS_dataset));
  return CheckOutputs({{"--checkpoint", FLAGS_checkpoint}, {"--dataset's path", data}},
                      {{"--output", FLAGS_output}, {"--page", FLAGS_page}});
}

// The strategy's parameters as a message of their own, with a field of a message type set.
template <typename Field>
absl::StatusOr<google::protobuf::Any> With(const google::protobuf::Any& pruning, const char* name, const Field& value) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<google::protobuf::Message> parameters, UnpackAny(pruning));
  const google::protobuf::FieldDescriptor* field = parameters->GetDescriptor()->FindFieldByName(name);
  if (field == nullptr || field->message_type() != Field::descriptor() || field->is_repeated()) {
    return absl::InvalidArgumentError(absl::StrCat("--pruning: ", parameters->GetDescriptor()->full_name(),
                                                   " has no field ", name,
                                                   "; choose a strategy that has one, such as prunelab.Static"));
  }
  const google::protobuf::Reflection& reflection = *parameters->GetReflection();
  if (reflection.HasField(*parameters, field)) {
    return absl::InvalidArgumentError(absl::StrCat("--pruning: ", name, " is set here; leave it out"));
  }
  reflection.MutableMessage(parameters.get(), field)->CopyFrom(value);
  google::protobuf::Any any;
  any.PackFrom(*parameters);
  return any;
}

absl::StatusOr<bool> MasksFilters(const google::protobuf::Any& pruning, const NetworkInfo& network) {
  const absl::StatusOr<google::protobuf::Any> with_rate = WithRate(pruning, 0.5);
  if (!with_rate.ok()) return WithPrefix("--pruning", with_rate.status());
  PruningSetup setup;
  setup.network = &network;
  const absl::StatusOr<std::unique_ptr<PruningStrategy>> strategy = CreatePruningStrategy(*with_rate, setup);
  if (!strategy.ok()) return WithPrefix("--pruning", strategy.status());
  return (*strategy)->granularity() == Granularity::kFilter;
}

class Sensitivity {
 public:
  // `data`: with the training images that are not set aside. All outlive this object.
  Sensitivity(const Model& model, const Dataset& data, const LabelledImages& validation,
              const google::protobuf::Any& pruning)
      : model_(model), data_(data), validation_(validation), pruning_(pruning) {}

  // After the strategy, once: `layer` and `rate` stay empty.
  absl::StatusOr<Measured> Of(const google::protobuf::Any& pruning, const std::string& layer) const {
    absl::StatusOr<Model> pruned =
        PrunedOnce(model_, pruning, static_cast<uint64_t>(FLAGS_seed), &data_, FLAGS_calibration_images);
    if (!pruned.ok()) return WithPrefix("--pruning", pruned.status());
    Measured row;
    row.layer = layer;
    PRUNELAB_RETURN_IF_ERROR(Measure(*pruned, row));
    for (const ConvInfo& conv : model_.info().convs()) {
      if (conv.node == layer) row.filters = conv.filters;
    }
    if (!layer.empty()) row.masked = row.filters - LiveFilters(*pruned, layer, row.filters);
    return row;
  }

  absl::StatusOr<Measured> OfLayer(const std::string& layer, double rate) const {
    LayerSelection only;
    only.set_include(layer);
    PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any with_layers, With(pruning_, "layers", only));
    const absl::StatusOr<google::protobuf::Any> with_rate = WithRate(with_layers, rate);
    if (!with_rate.ok()) return WithPrefix("--pruning", with_rate.status());
    return Of(*with_rate, layer);
  }

  absl::StatusOr<Measured> Whole() const {
    Measured row;
    row.rate = "0";
    Model whole = model_;
    PRUNELAB_RETURN_IF_ERROR(Measure(whole, row));
    return row;
  }

 private:
  static int64_t LiveFilters(const Model& model, const std::string& layer, int64_t filters) {
    const auto mask = model.masks().find(layer);
    if (mask == model.masks().end()) return filters;
    return mask->second.flatten(1).amax(1).gt(0).sum().item<int64_t>();
  }

  absl::Status Measure(Model& model, Measured& row) const {
    ReferencePlan plan;
    PRUNELAB_ASSIGN_OR_RETURN(const Evaluation evaluation,
                              Evaluate(model, plan, validation_, data_.normalization, kBatch));
    const std::string fault = EvaluationFault(evaluation);
    if (!fault.empty()) return absl::DataLossError(absl::StrCat("--checkpoint: ", fault));
    row.loss = evaluation.loss;
    row.top1 = evaluation.top1;
    const RemovedSize size = SizeAfterRemoval(model);
    row.macs = size.macs;
    row.parameters = size.parameters;
    return absl::OkStatus();
  }

  const Model& model_;
  const Dataset& data_;
  const LabelledImages& validation_;
  const google::protobuf::Any& pruning_;
};

// All measurements: of the whole network first, then layer by layer at each rate.
absl::StatusOr<std::vector<Measured>> MeasureAll(const Sensitivity& sensitivity, const std::vector<std::string>& layers,
                                                 Table& table) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<std::string> rates, Rates());
  std::vector<Measured> all;
  const size_t count = layers.size() * rates.size();
  if (const Measured* known = table.Find("", "0")) {
    all.push_back(*known);
  } else {
    PRUNELAB_ASSIGN_OR_RETURN(all.emplace_back(), sensitivity.Whole());
    PRUNELAB_RETURN_IF_ERROR(table.Add(all.back()));
  }
  for (const std::string& layer : layers) {
    for (const std::string& rate : rates) {
      if (const Measured* known = table.Find(layer, rate)) {
        all.push_back(*known);
        continue;
      }
      double number = 0;
      if (!absl::SimpleAtod(rate, &number)) return absl::InternalError(rate);
      PRUNELAB_ASSIGN_OR_RETURN(Measured row, sensitivity.OfLayer(layer, number));
      row.rate = rate;
      PRUNELAB_RETURN_IF_ERROR(table.Add(row));
      all.push_back(row);
      std::cerr << absl::StrFormat("[%d/%d] %s at %s: accuracy %.2f %%\n", all.size() - 1, count, layer, rate,
                                   100 * row.top1);
    }
  }
  return all;
}

// Accuracies by layer and rate.
std::string AccuracyTable(const std::vector<Measured>& all, const std::vector<std::string>& rates) {
  std::vector<std::vector<std::string>> rows = {{"top-1, %"}};
  for (const std::string& rate : rates) rows[0].push_back(rate);
  for (size_t i = 1; i < all.size(); ++i) {
    if (all[i].rate == rates[0]) rows.push_back({all[i].layer});
    rows.back().push_back(absl::StrFormat("%.2f", 100 * all[i].top1));
  }
  return Aligned(rows);
}

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    // Nothing may end the string or the script.
    absl::StrAppend(&quoted, c == '"' || c == '\\' || c == '<' ? absl::StrFormat("\\x%02x", c) : std::string(1, c));
  }
  return quoted + "\"";
}

std::string Page(const std::vector<Measured>& all) {
  std::vector<std::string> traces;
  for (size_t i = 1; i < all.size();) {
    std::vector<std::string> x = {"0"}, y = {absl::StrCat(100 * all[0].top1)};
    const std::string& layer = all[i].layer;
    for (; i < all.size() && all[i].layer == layer; ++i) {
      x.push_back(absl::StrCat(static_cast<double>(all[i].masked) / static_cast<double>(all[i].filters)));
      y.push_back(absl::StrCat(100 * all[i].top1));
    }
    traces.push_back(absl::StrCat("{name: ", Quoted(layer), ", x: [", absl::StrJoin(x, ", "), "], y: [",
                                  absl::StrJoin(y, ", "), "]}"));
  }
  return absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Sensitivity</title>\n<script>",
      PlotlyScript(),
      "</script></head>\n<body><div id=\"plot\" style=\"height: 95vh\"></div>\n<script>Plotly.newPlot(\"plot\", [",
      absl::StrJoin(traces, ",\n"),
      "], {title: {text: \"Top-1 on validation images with one layer pruned\"}, xaxis: {title: {text: \"masked filters "
      "of "
      "the layer\"}}, yaxis: {title: {text: \"top-1, %\"}}});</script></body></html>\n");
}

// What was measured of each layer, at its numbers of masked filters.
std::vector<LayerChoices> ChoicesOf(const std::vector<Measured>& all, bool macs) {
  constexpr double kLittle = 1e-6;
  const auto cost = [&](const Measured& row) { return static_cast<double>(macs ? row.macs : row.parameters); };
  std::vector<LayerChoices> layers;
  for (size_t i = 1; i < all.size(); ++i) {
    const Measured& row = all[i];
    if (layers.empty() || layers.back().layer != row.layer) layers.push_back({row.layer, {0}, {0}, {0}});
    LayerChoices& layer = layers.back();
    // In the middle between two numbers of filters, so that rounding cannot change how many go: int(n r) + 1.
    const double rate = (static_cast<double>(row.masked) - 0.5) / static_cast<double>(row.filters);
    if (row.masked == 0 || rate == layer.rates.back()) continue;
    layer.rates.push_back(rate);
    const double saved = std::max(0.0, cost(all[0]) - cost(row));
    // Where less of a layer is better for the loss than more of it, that is noise, and not taken as a reason to prune.
    // Of choices that cost no loss those go first that save less.
    layer.losses.push_back(std::max(row.loss - all[0].loss, layer.losses.back()) + kLittle * saved / cost(all[0]));
    layer.savings.push_back(saved);
  }
  return layers;
}

struct Allocated {
  google::protobuf::Any pruning;
  Ranking ranking;
  double rate = 0;
  double expected_loss = 0;  // the sum of what the layers' losses rise by
  Measured measured;
};

// The strategy at these choices, in the whole network.
absl::StatusOr<Allocated> At(const Sensitivity& sensitivity, const google::protobuf::Any& pruning,
                             const std::string& include, const std::vector<LayerChoices>& layers,
                             const std::map<std::string, int64_t>& filters, const std::vector<size_t>& choices) {
  Allocated allocated;
  allocated.ranking.set_scope(Ranking::LAYER_RATES);
  double masked = 0, all = 0;
  for (size_t l = 0; l < layers.size(); ++l) {
    const auto n = static_cast<double>(filters.at(layers[l].layer));
    all += n;
    masked += n * layers[l].rates[choices[l]];
    if (choices[l] == 0) continue;
    LayerRate* rate = allocated.ranking.add_layer_rate();
    rate->set_layer(layers[l].layer);
    rate->set_rate(layers[l].rates[choices[l]]);
  }
  allocated.rate = masked / all;
  allocated.expected_loss = LostBy(layers, choices);
  google::protobuf::Any with = pruning;
  if (!include.empty()) {
    LayerSelection selection;
    selection.set_include(include);
    PRUNELAB_ASSIGN_OR_RETURN(with, With(with, "layers", selection));
  }
  PRUNELAB_ASSIGN_OR_RETURN(with, With(with, "ranking", allocated.ranking));
  const absl::StatusOr<google::protobuf::Any> with_rate = WithRate(with, allocated.rate);
  if (!with_rate.ok()) return WithPrefix("--pruning", with_rate.status());
  allocated.pruning = *with_rate;
  PRUNELAB_ASSIGN_OR_RETURN(allocated.measured, sensitivity.Of(allocated.pruning, ""));
  return allocated;
}

// Layers save together less than their sum, where one's outputs are another's inputs. So what the program is asked to
// save is found by bisection on what the removed network really costs.
absl::StatusOr<Allocated> Allocate(const Sensitivity& sensitivity, const google::protobuf::Any& pruning,
                                   const std::vector<Measured>& all, const PruningGoal& goal) {
  const bool macs = goal.goal_case() == PruningGoal::kMacs;
  const std::vector<LayerChoices> layers = ChoicesOf(all, macs);
  std::map<std::string, int64_t> filters;
  for (size_t i = 1; i < all.size(); ++i) filters[all[i].layer] = all[i].filters;
  const auto share = [&](const Measured& row) {
    return macs ? static_cast<double>(row.macs) / static_cast<double>(all[0].macs)
                : static_cast<double>(row.parameters) / static_cast<double>(all[0].parameters);
  };
  double most = 0;
  for (const LayerChoices& layer : layers) most += *std::max_element(layer.savings.begin(), layer.savings.end());
  std::optional<Allocated> best;
  const auto distance = [&](const Allocated& allocated) {
    return std::abs(share(allocated.measured) / GoalShare(goal) - 1);
  };
  double low = 0, high = most;
  std::set<std::vector<size_t>> tried;
  for (int step = 0; step < 40 && (!best || distance(*best) > 1e-3); ++step) {
    const double wanted = step == 0 ? most : (low + high) / 2;
    PRUNELAB_ASSIGN_OR_RETURN(const std::vector<size_t> choices,
                              FLAGS_allocation == "equal_loss" ? EqualLoss(layers, wanted) : LeastLoss(layers, wanted));
    const bool none = std::all_of(choices.begin(), choices.end(), [](size_t choice) { return choice == 0; });
    if (none) {
      low = wanted;
      continue;
    }
    PRUNELAB_ASSIGN_OR_RETURN(Allocated allocated, At(sensitivity, pruning, FLAGS_layers, layers, filters, choices));
    const double left = share(allocated.measured);
    if (tried.insert(choices).second) {
      std::cerr << absl::StrFormat("%.4f of the %s, expected to raise the loss by %.4f\n", left, GoalName(goal),
                                   allocated.expected_loss);
    }
    if (step == 0 && left > GoalShare(goal) * (1 + kCountedTolerance)) {
      return absl::OutOfRangeError(absl::StrFormat(
          "--target=%s: at the rates that were measured, %.4f of the dense network's %s is the least that can be left; "
          "measure higher --rates, or give a higher goal",
          FLAGS_target, left, GoalName(goal)));
    }
    (left > GoalShare(goal) ? low : high) = wanted;
    if (!best || distance(allocated) < distance(*best)) best = std::move(allocated);
    if (high - low < 1e-6 * most) break;
  }
  if (!best || distance(*best) > kCountedTolerance) {
    return absl::OutOfRangeError(
        absl::StrFormat("--target=%s: the nearest that the measured rates lead to is %.4f; measure more --rates",
                        FLAGS_target, best ? share(best->measured) : 1));
  }
  return *best;
}

void Say(const Allocated& allocated, const Measured& whole, const PruningGoal& goal) {
  std::vector<std::string> rates;
  for (const LayerRate& each : allocated.ranking.layer_rate()) {
    rates.push_back(absl::StrFormat("  layer_rate { layer: %s rate: %.9g }\n", Quoted(each.layer()), each.rate()));
  }
  const bool macs = goal.goal_case() == PruningGoal::kMacs;
  const Measured& now = allocated.measured;
  std::cout << absl::StrFormat(
      "%s, %s: %.4f of the %s are left. Accuracy %.2f %% -> %.2f %%, loss %.4f -> %.4f, %.4f as the sum of the layers; "
      "on validation images, before any fine-tuning. Of the strategy:\n\nrate: %.9g\nranking {\n  scope: "
      "LAYER_RATES\n%s}\n",
      FLAGS_allocation, FLAGS_target,
      macs ? static_cast<double>(now.macs) / static_cast<double>(whole.macs)
           : static_cast<double>(now.parameters) / static_cast<double>(whole.parameters),
      GoalName(goal), 100 * whole.top1, 100 * now.top1, whole.loss, now.loss, whole.loss + allocated.expected_loss,
      allocated.rate, absl::StrJoin(rates, ""));
}

absl::Status Main() {
  PRUNELAB_RETURN_IF_ERROR(CheckFlags());
  PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any pruning, ParsePlugin("--pruning", FLAGS_pruning));
  PRUNELAB_ASSIGN_OR_RETURN(std::optional<Dataset> data, OpenDataFlag(FLAGS_dataset));
  PRUNELAB_ASSIGN_OR_RETURN(const Model model,
                            OpenCheckpoint(FLAGS_checkpoint, FLAGS_network, DefaultsOf(data->info), at::kCPU));
  PRUNELAB_RETURN_IF_ERROR(CheckDataFit(model.info(), data->info));
  absl::StatusOr<ValidationSplit> split = SplitOffValidation(data->train, data->info.classes, FLAGS_validation_fraction,
                                                             static_cast<uint64_t>(FLAGS_validation_seed));
  if (!split.ok()) return WithPrefix("--validation_fraction", split.status());
  LayerSelection selection;
  if (!FLAGS_layers.empty()) selection.set_include(FLAGS_layers);
  const absl::StatusOr<std::vector<std::string>> layers = SelectLayers(selection, model.info());
  if (!layers.ok()) return WithPrefix("--layers", layers.status());
  // Filters are counted, and what costs less without them is measured.
  PRUNELAB_ASSIGN_OR_RETURN(const bool of_filters, MasksFilters(pruning, model.info()));
  if (!of_filters) {
    return absl::InvalidArgumentError(
        "--pruning: masks single weights, without which no layer becomes smaller; choose a strategy that masks "
        "filters, "
        "or granularity: FILTER");
  }
  const std::string identity =
      Sha256(absl::StrCat(Sha256(SerializeSafetensors(ModelToSafetensors(model))), "\n", data->fingerprint, "\n",
                          pruning.SerializeAsString(), "\n", FLAGS_validation_fraction, "\n", FLAGS_validation_seed,
                          "\n", FLAGS_calibration_images, "\n", FLAGS_seed));
  PRUNELAB_ASSIGN_OR_RETURN(Table table, Table::Open(FLAGS_output.empty() ? "" : UserPath(FLAGS_output), identity));
  const LabelledImages validation = split->validation;
  data->train = split->train;
  const Sensitivity sensitivity(model, *data, validation, pruning);
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<Measured> all, MeasureAll(sensitivity, *layers, table));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<std::string> rates, Rates());
  std::cout << absl::StrFormat("the network as it is: %.2f %% of %d validation images\n\n", 100 * all[0].top1,
                               validation.size())
            << AccuracyTable(all, rates) << "\n";
  if (!FLAGS_page.empty()) PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(UserPath(FLAGS_page), Page(all)));
  PRUNELAB_ASSIGN_OR_RETURN(const std::optional<PruningGoal> target, Target());
  if (target) {
    PRUNELAB_ASSIGN_OR_RETURN(const Allocated allocated, Allocate(sensitivity, pruning, all, *target));
    Say(allocated, all[0], *target);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  prunelab::KeepFreedMemory();
  return prunelab::RunMain(
      "measures how sensitive each layer is, and how much of each should go; see docs/compression.md", argc, argv,
      [] { return prunelab::ExitStatus(prunelab::Main()); });
}
