// The conformance suite of pruning strategies: what a training loop relies on, whatever the strategy is.
// pruning_strategy() in defs.bzl links it with each registration; PRUNING_STRATEGY_CONFIGS holds parameters as text
// protos, parted by ";;".
//
// Each test trains two small networks for 3 epochs of 9 steps with random gradients in place of a loss: the strategy is
// asked for masks before a step and after an epoch, and observes the gradients after a step, as in real training; one
// that looks at the network gets a probe of it with random images. Fields with the names that the strategies share
// (rate, *_rate, period, first_epoch, layers, ranking) are found by reflection and tried with bad values.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/message.h"
#include "google/protobuf/text_format.h"
#include "ml/base/check.h"
#include "ml/base/field_error.h"
#include "ml/base/glob.h"
#include "ml/base/random.h"
#include "ml/data/dataset.h"
#include "ml/execution/mask_updates.h"
#include "ml/execution/model.h"
#include "ml/execution/model_probe.h"
#include "ml/execution/start_masks.h"
#include "ml/network/layer_selection.pb.h"
#include "ml/network/network.h"
#include "ml/network/network_writer.h"
#include "ml/network/readers.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/mask_measures.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/ranking.pb.h"

namespace prunelab {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::TextFormat;

using Tensors = std::map<std::string, at::Tensor>;

constexpr int64_t kEpochs = 3;
constexpr int64_t kIterations = 9;
constexpr int64_t kSteps = kEpochs * kIterations;
constexpr uint64_t kSeed = 11;

// A residual block with a projection shortcut.
Network ResidualBlock() {
  NetworkWriter net;
  net.Image(3, 8, 8);
  net.Conv("stem", "image", {8, 3, 1, 1});
  net.BatchNorm("bn", "stem");
  net.Relu("relu", "bn");
  net.Conv("block.conv1", "relu", {16, 3, 2, 1});
  net.BatchNorm("block.bn1", "block.conv1");
  net.Relu("block.relu", "block.bn1");
  net.Conv("block.conv2", "block.relu", {16, 3, 1, 1});
  net.Conv("block.downsample", "relu", {16, 1, 2});
  net.Add("block.add", {"block.conv2", "block.downsample"});
  net.GlobalAveragePool("pool", "block.add");
  net.Flatten("flat", "pool");
  net.Linear("fc", "flat", 4);
  return net.Take();
}

Network Chain() {
  NetworkWriter net;
  net.Image(1, 9, 9);
  net.Conv("stem", "image", {10, 3, 1, 0, true, 1, 1, 5});
  net.Conv("block.conv1", "stem", {20, 3, 1, 0, false, 2});
  net.BatchNorm("block.bn1", "block.conv1");
  net.Relu("block.relu", "block.bn1");
  net.Conv("block.downsample", "block.relu", {3, 1});
  net.Conv("block.conv2", "block.downsample", {30});
  net.GlobalAveragePool("pool", "block.conv2");
  net.Flatten("flat", "pool");
  net.Linear("fc", "flat", 2);
  return net.Take();
}

constexpr Network (*kNetworks[])() = {ResidualBlock, Chain};

std::vector<std::string> Configs() {
  const char* configs = std::getenv("PRUNING_STRATEGY_CONFIGS");
  PRUNELAB_CHECK(configs != nullptr) << "PRUNING_STRATEGY_CONFIGS is not set; run the test by Bazel";
  return absl::StrSplit(configs, ";;");
}

// The layers of a network (an index of kNetworks) that the strategy can prune, as a glob.
std::string ActsOn(int network) {
  const char* globs = std::getenv("PRUNING_STRATEGY_ACTS_ON");
  PRUNELAB_CHECK(globs != nullptr) << "PRUNING_STRATEGY_ACTS_ON is not set; run the test by Bazel";
  const std::vector<std::string> of_networks = absl::StrSplit(globs, ";;");
  PRUNELAB_CHECK(of_networks.size() == std::size(kNetworks)) << globs;
  return of_networks[network];
}

at::Tensor NormalTensor(at::IntArrayRef shape, at::ScalarType dtype, RandomStream stream) {
  at::Tensor tensor = at::empty(shape, at::kDouble);
  double* values = tensor.mutable_data_ptr<double>();
  for (int64_t i = 0; i < tensor.numel(); ++i) values[i] = stream.Normal();
  return tensor.to(dtype);
}

Tensors Clones(const Tensors& tensors) {
  Tensors clones;
  for (const auto& [name, tensor] : tensors) clones[name] = tensor.clone();
  return clones;
}

bool SameTensor(const at::Tensor& a, const at::Tensor& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  return a.scalar_type() == b.scalar_type() && at::equal(a, b);
}

bool SameTensors(const Tensors& a, const Tensors& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [name, tensor] : a) {
    const auto found = b.find(name);
    if (found == b.end() || !SameTensor(tensor, found->second)) return false;
  }
  return true;
}

// ---------------------------------------------------------------------------------------------------------------------
// Training

// The state of a training loop, with random gradients instead of a loss's. Everything random is a function of the step,
// so that two simulations differ only by what their strategies do.
class Simulation {
 public:
  Simulation(const NetworkInfo& network, PruningStrategy& strategy, at::ScalarType dtype)
      : network_(network),
        needs_gradients_(strategy.needs_gradients()),
        needs_batch_norms_(strategy.needs_batch_norms()),
        dtype_(dtype),
        model_(Model::Create(network, dtype, at::kCPU)),
        images_(RandomImages(network)),
        normalization_{1, std::vector<double>(network.input_shape().channels, 0),
                       std::vector<double>(network.input_shape().channels, 1)},
        probe_(model_, &images_, &normalization_, kSeed) {
    for (const NamedTensor& parameter : model_.parameters()) {
      const at::Tensor tensor = parameter.tensor.detach();
      if (tensor.dim() != 4) {
        tensor.copy_(NormalTensor(tensor.sizes(), dtype, RandomStream(kSeed, absl::StrCat("start/", parameter.name))));
        continue;
      }
      Layer layer;
      layer.node = parameter.node;
      layer.weight = tensor;  // channels_last, as the loop keeps them
      layer.weight.copy_(
          NormalTensor(tensor.sizes(), dtype, RandomStream(kSeed, absl::StrCat("weight/", parameter.node))));
      layer.mask = strategy.granularity() == Granularity::kFilter
                       ? at::ones({tensor.size(0), 1, 1, 1}, layer.weight.options())
                       : at::ones_like(layer.weight);
      layers_.push_back(std::move(layer));
    }
    AttachTo(strategy);
  }
  Simulation(const Simulation&) = delete;

  void AttachTo(PruningStrategy& strategy) const {
    if (strategy.needs_probe()) strategy.Attach(probe_);
  }

  static StepPosition Position(int64_t step) {
    StepPosition position;
    position.epoch = step / kIterations;
    position.iteration = step % kIterations;
    position.iterations_per_epoch = kIterations;
    position.epochs = kEpochs;
    return position;
  }

  // What Update sees. Tensors are copies, so that a strategy which writes to them, or keeps them, is found out.
  std::vector<PrunableLayer> Views() const {
    std::vector<PrunableLayer> views;
    for (const Layer& layer : layers_) {
      PrunableLayer view;
      view.node = layer.node;
      view.weight = layer.weight.clone();
      view.mask = layer.mask.clone();
      if (needs_gradients_ && layer.gradient.defined()) view.gradient = layer.gradient.clone();
      views.push_back(std::move(view));
    }
    return views;
  }

  void Apply(const MaskUpdate& update) {
    ApplyMaskUpdate(update, StartMasks(), model_);
    for (Layer& layer : layers_) {
      const auto mask = update.masks.find(layer.node);
      if (mask != update.masks.end()) layer.mask = mask->second.clone();
    }
  }

  // Sets the gradients that the step's backward pass would leave.
  void Backward(int64_t step) {
    for (Layer& layer : layers_) {
      layer.gradient =
          NormalTensor(layer.weight.sizes(), dtype_, RandomStream(kSeed, absl::StrCat("gradient/", layer.node), step));
    }
  }

  std::vector<PrunableLayer> ObservedViews(int64_t step) const {
    std::vector<PrunableLayer> views = Views();
    for (size_t i = 0; i < views.size(); ++i) {
      views[i].gradient = layers_[i].gradient.clone();
      const std::string batch_norm = needs_batch_norms_ ? OwnBatchNorm(network_, views[i].node) : "";
      if (batch_norm.empty()) continue;
      const auto value = [&](const char* name) { return model_.Get(absl::StrCat(batch_norm, name)).detach().clone(); };
      const auto gradient = [&](const char* name) {
        return NormalTensor({views[i].weight.size(0)}, dtype_,
                            RandomStream(kSeed, absl::StrCat("gradient/", batch_norm, name), step));
      };
      views[i].batch_norm = {value(".weight"), value(".bias"), gradient(".weight"), gradient(".bias")};
    }
    return views;
  }

  void Step(int64_t step) {
    for (Layer& layer : layers_) layer.weight.sub_(layer.gradient, 0.3);
    for (const NamedTensor& parameter : model_.parameters()) {
      if (parameter.tensor.dim() == 4) continue;
      const RandomStream stream(kSeed, absl::StrCat("gradient/", parameter.name), step);
      parameter.tensor.detach().sub_(NormalTensor(parameter.tensor.sizes(), dtype_, stream), 0.3);
    }
  }

  Tensors Masks() const {
    Tensors masks;
    for (const Layer& layer : layers_) masks[layer.node] = layer.mask;
    return masks;
  }

  // Copies of the model's own, by name.
  Tensors Parameters() const {
    Tensors parameters;
    for (const NamedTensor& parameter : model_.parameters()) {
      parameters[parameter.name] = parameter.tensor.detach().clone();
    }
    return parameters;
  }

  const NetworkInfo& network() const { return network_; }

 private:
  struct Layer {
    std::string node;
    at::Tensor weight, mask, gradient;  // the weight is the model's own
  };

  static LabelledImages RandomImages(const NetworkInfo& network) {
    constexpr int64_t kImages = 24;
    const NodeShape& shape = network.input_shape();
    LabelledImages images;
    images.images =
        NormalTensor({kImages, shape.channels, shape.height, shape.width}, at::kFloat, RandomStream(kSeed, "images"));
    images.labels = at::arange(kImages, at::kLong).remainder(network.classes());
    return images;
  }

  const NetworkInfo& network_;
  const bool needs_gradients_, needs_batch_norms_;
  const at::ScalarType dtype_;
  Model model_;
  const LabelledImages images_;
  const Normalization normalization_;
  const ModelProbe probe_;
  std::vector<Layer> layers_;
};

// What Update or EndEpoch answered.
struct UpdateRecord {
  std::optional<MaskUpdate> update;  // as returned
  Tensors returned;                  // copies of the update's masks, made at once
  Tensors masks;                     // in force afterwards, of all layers
};

bool SameUpdate(const UpdateRecord& a, const UpdateRecord& b) {
  if (a.update.has_value() != b.update.has_value() || !SameTensors(a.masks, b.masks)) return false;
  return !a.update || (a.update->weights == b.update->weights && a.update->momentum == b.update->momentum &&
                       SameTensors(a.update->new_weights, b.update->new_weights));
}

struct StepRecord {
  UpdateRecord before;                // the step
  std::optional<UpdateRecord> after;  // the step, if it is an epoch's last
};

bool SameRecord(const StepRecord& a, const StepRecord& b) {
  if (!SameUpdate(a.before, b.before) || a.after.has_value() != b.after.has_value()) return false;
  return !a.after || SameUpdate(*a.after, *b.after);
}

// Both of a step's, in their order.
std::vector<const UpdateRecord*> UpdatesOf(const StepRecord& record) {
  std::vector<const UpdateRecord*> updates = {&record.before};
  if (record.after) updates.push_back(&*record.after);
  return updates;
}

// Applies the strategy's answer; an error fails the test and is not recorded.
std::optional<UpdateRecord> ApplyAndRecord(absl::StatusOr<std::optional<MaskUpdate>> update, const char* function,
                                           int64_t step, Simulation& simulation) {
  if (!update.ok()) {
    ADD_FAILURE() << function << " at step " << step << ": " << update.status();
    return std::nullopt;
  }
  UpdateRecord record;
  record.update = *std::move(update);
  if (record.update) {
    for (const auto& [node, mask] : record.update->masks) {
      if (!mask.defined()) {
        ADD_FAILURE() << node << ": the mask is undefined";
        return std::nullopt;
      }
    }
    record.returned = Clones(record.update->masks);
    simulation.Apply(*record.update);
  }
  record.masks = Clones(simulation.Masks());
  return record;
}

// One step, up to the moment after an epoch's last at which a checkpoint may be written.
std::optional<StepRecord> RunStep(int64_t step, PruningStrategy& strategy, Simulation& simulation) {
  const StepPosition position = Simulation::Position(step);
  std::optional<UpdateRecord> before =
      ApplyAndRecord(strategy.Update(position, simulation.Views()), "Update", step, simulation);
  if (!before) return std::nullopt;
  StepRecord record;
  record.before = *std::move(before);
  simulation.Backward(step);
  strategy.Observe(position, simulation.ObservedViews(step));
  simulation.Step(step);
  return record;
}

// What follows an epoch's last step; false after a failure.
bool EndEpoch(int64_t step, PruningStrategy& strategy, Simulation& simulation, StepRecord& record) {
  record.after =
      ApplyAndRecord(strategy.EndEpoch(Simulation::Position(step), simulation.Views()), "EndEpoch", step, simulation);
  return record.after.has_value();
}

bool IsLastOfEpoch(int64_t step) { return (step + 1) % kIterations == 0; }

// ---------------------------------------------------------------------------------------------------------------------
// Parameters

// The one linked strategy's.
const PluginInfo& Plugin() {
  const std::map<std::string, PluginInfo>& linked = PruningStrategies().linked();
  PRUNELAB_CHECK(linked.size() == 1) << linked.size() << " strategies are linked; a conformance test has one";
  return linked.begin()->second;
}

std::unique_ptr<Message> ParseParameters(const std::string& text) {
  std::unique_ptr<Message> parameters(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(Plugin().parameters)->New());
  PRUNELAB_CHECK(TextFormat::ParseFromString(text, parameters.get()))
      << "no " << Plugin().parameters->full_name() << ": " << text;
  return parameters;
}

std::unique_ptr<Message> Copy(const Message& message) {
  std::unique_ptr<Message> copy(message.New());
  copy->CopyFrom(message);
  return copy;
}

// A field of the given name and type in the message itself, or null.
const FieldDescriptor* FindField(const Message& message, const std::string& name, FieldDescriptor::CppType type) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
  return field != nullptr && !field->is_repeated() && field->cpp_type() == type ? field : nullptr;
}

const FieldDescriptor* RateField(const Message& message) {
  return FindField(message, "rate", FieldDescriptor::CPPTYPE_DOUBLE);
}

// The message's `layers` or `ranking`; its default if unset, null if there is no such field.
template <typename Field>
const Field* Submessage(const Message& message, const std::string& name) {
  const FieldDescriptor* field = FindField(message, name, FieldDescriptor::CPPTYPE_MESSAGE);
  if (field == nullptr || field->message_type() != Field::descriptor()) return nullptr;
  return static_cast<const Field*>(&message.GetReflection()->GetMessage(message, field));
}

template <typename Field>
Field* MutableSubmessage(Message& message, const std::string& name) {
  if (Submessage<Field>(message, name) == nullptr) return nullptr;
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
  return static_cast<Field*>(message.GetReflection()->MutableMessage(&message, field));
}

absl::StatusOr<std::unique_ptr<PruningStrategy>> Create(const Message& parameters, const NetworkInfo& network) {
  google::protobuf::Any any;
  any.PackFrom(parameters);
  PruningSetup setup;
  setup.network = &network;
  setup.seed = kSeed;
  return CreatePruningStrategy(any, setup);
}

void ExpectRefused(const Message& parameters, const NetworkInfo& network, const std::string& field) {
  const absl::Status status = Create(parameters, network).status();
  EXPECT_FALSE(status.ok()) << "not refused: " << parameters.ShortDebugString();
  EXPECT_EQ(ErrorField(status), field) << status << " for " << parameters.ShortDebugString();
  EXPECT_FALSE(ErrorText(status).empty());
}

// Tries bad values in each field whose name tells its range, in the message and the messages set in it.
void TryBadValues(const Message& whole, Message& part, const std::string& prefix, const NetworkInfo& network) {
  const google::protobuf::Reflection& reflection = *part.GetReflection();
  for (int i = 0; i < part.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = part.GetDescriptor()->field(i);
    if (field->is_repeated()) continue;
    const std::string path = prefix + field->name();
    const std::unique_ptr<Message> before = Copy(part);
    const bool is_rate = field->name() == "rate" || absl::EndsWith(field->name(), "_rate");
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE && is_rate) {
      std::vector<double> bad = {-0.1, 1.1, std::nan(""), std::numeric_limits<double>::infinity()};
      if (field->name() != "max_rate") bad.push_back(1);
      for (const double value : bad) {
        reflection.SetDouble(&part, field, value);
        ExpectRefused(whole, network, path);
      }
      part.CopyFrom(*before);
    }
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT64 &&
        (field->name() == "period" || field->name() == "period_epochs")) {
      for (const int64_t value : {0, -1}) {
        reflection.SetInt64(&part, field, value);
        ExpectRefused(whole, network, path);
      }
      part.CopyFrom(*before);
    }
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT64 &&
        (field->name() == "first_epoch" || field->name() == "begin_epoch" || field->name() == "epoch" ||
         field->name() == "min_live_filters")) {
      reflection.SetInt64(&part, field, -1);
      ExpectRefused(whole, network, path);
      part.CopyFrom(*before);
    }
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      const bool shared = field->message_type() == Ranking::descriptor();
      if (!shared && !reflection.HasField(part, field)) continue;
      TryBadValues(whole, *reflection.MutableMessage(&part, field), path + ".", network);
      part.CopyFrom(*before);
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Tests

class PruningStrategyConformanceTest : public ::testing::TestWithParam<std::tuple<int, int>> {
 protected:
  void SetUp() override {
    absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(kNetworks[std::get<0>(GetParam())]());
    ASSERT_TRUE(info.ok()) << info.status();
    network_ = std::make_unique<NetworkInfo>(*std::move(info));
    parameters_ = ParseParameters(Configs()[std::get<1>(GetParam())]);
    RecordProperty("parameters", parameters_->ShortDebugString());
  }

  const NetworkInfo& network() const { return *network_; }
  const Message& parameters() const { return *parameters_; }

  std::unique_ptr<PruningStrategy> CreateOrFail(const Message& parameters) const {
    absl::StatusOr<std::unique_ptr<PruningStrategy>> strategy = Create(parameters, network());
    if (!strategy.ok()) ADD_FAILURE() << strategy.status() << " for " << parameters.ShortDebugString();
    return strategy.ok() ? *std::move(strategy) : nullptr;
  }

  // All steps, or fewer after a failure. Before each step in `restarts` (and, where it is an epoch's first, before the
  // EndEpoch that precedes it, too), the strategy's state is saved and a fresh strategy with this state takes over.
  std::vector<StepRecord> Train(const Message& parameters, at::ScalarType dtype = at::kFloat,
                                const std::set<int64_t>& restarts = {}) const {
    std::vector<StepRecord> records;
    std::unique_ptr<PruningStrategy> strategy = CreateOrFail(parameters);
    if (strategy == nullptr) return records;
    Simulation simulation(network(), *strategy, dtype);
    const auto restart = [&] {
      StrategyState state = strategy->SaveState();
      state.tensors = Clones(state.tensors);
      strategy = CreateOrFail(parameters);
      simulation.AttachTo(*strategy);
      const absl::Status loaded = strategy->LoadState(state);
      EXPECT_TRUE(loaded.ok()) << loaded;
    };
    for (int64_t step = 0; step < kSteps; ++step) {
      if (restarts.count(step)) restart();
      std::optional<StepRecord> record = RunStep(step, *strategy, simulation);
      if (!record) break;
      if (IsLastOfEpoch(step)) {
        if (restarts.count(step + 1)) restart();
        if (!EndEpoch(step, *strategy, simulation, *record)) break;
      }
      records.push_back(*std::move(record));
    }
    return records;
  }

  // The nodes that the parameters choose, among those that the strategy can prune: all if there is no `layers`.
  std::set<std::string> SelectedNodes() const {
    const LayerSelection* selection = Submessage<LayerSelection>(parameters(), "layers");
    absl::StatusOr<std::vector<std::string>> nodes =
        SelectLayers(selection != nullptr ? *selection : LayerSelection(), network());
    EXPECT_TRUE(nodes.ok()) << nodes.status();
    std::set<std::string> selected;
    if (!nodes.ok()) return selected;
    for (const std::string& node : *nodes) {
      if (GlobMatches(ActsOn(std::get<0>(GetParam())), node)) selected.insert(node);
    }
    return selected;
  }

 private:
  std::unique_ptr<NetworkInfo> network_;
  std::unique_ptr<Message> parameters_;
};

TEST_P(PruningStrategyConformanceTest, MasksAreWellFormed) {
  const std::set<std::string> selected = SelectedNodes();
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const std::unique_ptr<PruningStrategy> strategy = CreateOrFail(parameters());
    ASSERT_NE(strategy, nullptr);
    std::map<std::string, std::vector<int64_t>> shapes;
    for (const ParameterSpec& parameter : network().parameters()) {
      if (parameter.shape.size() != 4) continue;
      shapes[parameter.node] = strategy->granularity() == Granularity::kWeight
                                   ? parameter.shape
                                   : std::vector<int64_t>{parameter.shape[0], 1, 1, 1};
    }
    for (const StepRecord& record : Train(parameters(), dtype)) {
      for (const UpdateRecord* update : UpdatesOf(record)) {
        if (!update->update) continue;
        for (const auto& [node, mask] : update->update->masks) {
          ASSERT_TRUE(shapes.count(node)) << node << " is no convolution";
          EXPECT_TRUE(selected.count(node)) << node << " is not among the layers chosen";
          EXPECT_TRUE(mask.sizes() == at::IntArrayRef(shapes[node])) << node << ": shape " << mask.sizes();
          EXPECT_EQ(mask.scalar_type(), dtype) << node;
          EXPECT_TRUE(mask.is_cpu()) << node << ": not on the weight's device";
          EXPECT_FALSE(mask.requires_grad()) << node;
          EXPECT_TRUE(at::logical_or(mask.eq(0), mask.eq(1)).all().item<bool>()) << node << ": values besides 0 and 1";
        }
        for (const auto& [name, weight] : update->update->new_weights) {
          EXPECT_EQ(weight.scalar_type(), dtype) << name;
          EXPECT_FALSE(weight.requires_grad()) << name;
        }
      }
    }
    if (HasFailure()) return;
  }
}

TEST_P(PruningStrategyConformanceTest, MeetsTheAskedRate) {
  const FieldDescriptor* field = RateField(parameters());
  if (field == nullptr) return;  // nothing is asked
  const std::set<std::string> selected = SelectedNodes();
  const double own_rate = parameters().GetReflection()->GetDouble(parameters(), field);
  for (const double rate : {own_rate, 0.9}) {
    const std::unique_ptr<Message> asked = Copy(parameters());
    asked->GetReflection()->SetDouble(asked.get(), field, rate);
    const std::vector<StepRecord> records = Train(*asked);
    if (HasFailure()) return;
    double entries = 0, masked = 0;
    bool each_layer_meets_it = true;
    for (const auto& [node, mask] : records.back().after->masks) {
      if (!selected.count(node)) continue;
      const double layer_masked = mask.eq(0).sum().item<int64_t>();
      each_layer_meets_it &= std::abs(layer_masked - rate * mask.numel()) <= 1;
      entries += mask.numel();
      masked += layer_masked;
    }
    const Ranking* ranking = Submessage<Ranking>(*asked, "ranking");
    if (ranking != nullptr && (ranking->min_live_filters() > 0 || ranking->max_rate() < 1)) {
      EXPECT_LE(masked, rate * entries + selected.size()) << "at rate " << rate;
      EXPECT_GT(masked, 0);
    } else if (ranking != nullptr && ranking->scope() == Ranking::PER_LAYER) {
      EXPECT_TRUE(each_layer_meets_it) << "at rate " << rate;
    } else {
      EXPECT_TRUE(each_layer_meets_it || std::abs(masked - rate * entries) <= 1)
          << masked << " of " << entries << " are masked after " << kEpochs << " epochs, at rate " << rate;
    }
  }
}

// Sets every rate in a message to 0, also where rates rise from and those that share in another; no limits.
void SetRatesToZero(Message& message) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    if (field->is_repeated()) continue;
    const bool is_rate = field->name() == "rate" || field->name() == "initial_rate" || field->name() == "norm_rate";
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE && is_rate) reflection.SetDouble(&message, field, 0);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && reflection.HasField(message, field)) {
      SetRatesToZero(*reflection.MutableMessage(&message, field));
    }
  }
}

// So that a dense control can be written as a level of the rate.
TEST_P(PruningStrategyConformanceTest, ARateOfZeroMasksNothingAndChangesNothing) {
  if (RateField(parameters()) == nullptr) return;  // nothing is asked
  const std::unique_ptr<Message> zero = Copy(parameters());
  SetRatesToZero(*zero);
  const std::unique_ptr<PruningStrategy> strategy = CreateOrFail(*zero);
  ASSERT_NE(strategy, nullptr);
  Simulation simulation(network(), *strategy, at::kFloat);
  const auto ask = [&](int64_t step, const char* function) {
    const Tensors before = simulation.Parameters();
    const StepPosition position = Simulation::Position(step);
    std::optional<UpdateRecord> record =
        ApplyAndRecord(function == std::string("Update") ? strategy->Update(position, simulation.Views())
                                                         : strategy->EndEpoch(position, simulation.Views()),
                       function, step, simulation);
    if (!record) return;
    for (const auto& [node, mask] : record->masks) {
      EXPECT_TRUE(mask.eq(1).all().item<bool>()) << node << " at step " << step << ", " << function;
    }
    EXPECT_TRUE(SameTensors(before, simulation.Parameters())) << "step " << step << ", " << function;
  };
  for (int64_t step = 0; step < kSteps; ++step) {
    ask(step, "Update");
    simulation.Backward(step);
    strategy->Observe(Simulation::Position(step), simulation.ObservedViews(step));
    simulation.Step(step);
    if (IsLastOfEpoch(step)) ask(step, "EndEpoch");
    if (HasFailure()) return;
  }
}

TEST_P(PruningStrategyConformanceTest, KeepsLimits) {
  const std::unique_ptr<Message> limited = Copy(parameters());
  Ranking* ranking = MutableSubmessage<Ranking>(*limited, "ranking");
  if (ranking == nullptr) return;
  if (const FieldDescriptor* field = RateField(*limited))
    limited->GetReflection()->SetDouble(limited.get(), field, 0.97);
  ranking->set_min_live_filters(2);
  ranking->set_max_rate(1);
  for (const StepRecord& record : Train(*limited)) {
    for (const UpdateRecord* update : UpdatesOf(record)) {
      for (const auto& [node, live] : MeasureMasks(network(), update->masks).live_filters) {
        EXPECT_GE(live, 2) << node;
      }
    }
  }
  ranking->set_min_live_filters(0);
  ranking->set_max_rate(0.5);
  for (const StepRecord& record : Train(*limited)) {
    for (const UpdateRecord* update : UpdatesOf(record)) {
      for (const auto& [node, mask] : update->masks) {
        EXPECT_LE(mask.eq(0).sum().item<int64_t>(), mask.numel() / 2) << node;
      }
    }
  }
}

TEST_P(PruningStrategyConformanceTest, IsDeterministic) {
  // Not even by the global generator may runs differ.
  at::manual_seed(1);
  const std::vector<StepRecord> first = Train(parameters());
  at::manual_seed(2);
  const std::vector<StepRecord> second = Train(parameters());
  if (HasFailure()) return;
  for (int64_t step = 0; step < kSteps; ++step) EXPECT_TRUE(SameRecord(first[step], second[step])) << "step " << step;
}

TEST_P(PruningStrategyConformanceTest, GoesOnFromItsSavedState) {
  const std::vector<StepRecord> whole = Train(parameters());
  if (HasFailure()) return;
  // The starts of epochs, where checkpoints are, and places within; once, and before every step.
  std::vector<std::set<int64_t>> cases = {
      {1}, {kIterations}, {kIterations + 5}, {2 * kIterations}, {2 * kIterations + 8}};
  std::set<int64_t> every;
  for (int64_t step = 0; step < kSteps; ++step) every.insert(step);
  cases.push_back(every);
  for (const std::set<int64_t>& restarts : cases) {
    const std::vector<StepRecord> restarted = Train(parameters(), at::kFloat, restarts);
    if (HasFailure()) return;
    for (int64_t step = 0; step < kSteps; ++step) {
      ASSERT_TRUE(SameRecord(whole[step], restarted[step]))
          << "other masks at step " << step << " after a restart at step " << *restarts.begin();
    }
  }
}

TEST_P(PruningStrategyConformanceTest, ChangesNothingItself) {
  const std::unique_ptr<PruningStrategy> strategy = CreateOrFail(parameters());
  ASSERT_NE(strategy, nullptr);
  Simulation simulation(network(), *strategy, at::kFloat);
  std::vector<UpdateRecord> records;
  const auto expect_untouched = [](const std::vector<PrunableLayer>& given, const std::vector<PrunableLayer>& before,
                                   const char* function) {
    for (size_t i = 0; i < given.size(); ++i) {
      EXPECT_TRUE(SameTensor(given[i].weight, before[i].weight)) << given[i].node << ": " << function << ", weight";
      EXPECT_TRUE(SameTensor(given[i].mask, before[i].mask)) << given[i].node << ": " << function << ", mask";
      EXPECT_TRUE(SameTensor(given[i].gradient, before[i].gradient))
          << given[i].node << ": " << function << ", gradient";
      if (!given[i].batch_norm) continue;
      const auto tensors = [](const PrunableBatchNorm& of) {
        return Tensors{{"scale", of.scale},
                       {"shift", of.shift},
                       {"scale_gradient", of.scale_gradient},
                       {"shift_gradient", of.shift_gradient}};
      };
      EXPECT_TRUE(SameTensors(tensors(*given[i].batch_norm), tensors(*before[i].batch_norm)))
          << given[i].node << ": " << function << ", batch norm";
    }
  };
  const auto ask = [&](int64_t step, const char* function) {
    const std::vector<PrunableLayer> before = simulation.Views();
    const std::vector<PrunableLayer> given = simulation.Views();
    const StepPosition position = Simulation::Position(step);
    std::optional<UpdateRecord> record = ApplyAndRecord(
        function == std::string("Update") ? strategy->Update(position, given) : strategy->EndEpoch(position, given),
        function, step, simulation);
    expect_untouched(given, before, function);
    if (!record || !record->update) return;
    for (const PrunableLayer& layer : given) {
      const auto mask = record->update->masks.find(layer.node);
      if (mask == record->update->masks.end()) continue;
      EXPECT_FALSE(mask->second.is_alias_of(layer.weight)) << layer.node << ": the mask is the weight's memory";
      EXPECT_FALSE(layer.gradient.defined() && mask->second.is_alias_of(layer.gradient)) << layer.node;
    }
    records.push_back(*std::move(record));
  };
  for (int64_t step = 0; step < kSteps; ++step) {
    ask(step, "Update");
    simulation.Backward(step);
    const std::vector<PrunableLayer> observed_before = simulation.ObservedViews(step);
    const std::vector<PrunableLayer> observed = simulation.ObservedViews(step);
    strategy->Observe(Simulation::Position(step), observed);
    expect_untouched(observed, observed_before, "Observe");
    simulation.Step(step);
    if (IsLastOfEpoch(step)) ask(step, "EndEpoch");
    if (HasFailure()) return;
  }
  // What it returned does not change.
  for (const UpdateRecord& record : records) {
    EXPECT_TRUE(SameTensors(record.update->masks, record.returned)) << "a returned mask was written to";
  }
}

// The loop, its plan and the checkpoints ask once and count on the answer.
TEST_P(PruningStrategyConformanceTest, KeepsItsGranularityAndGradientPolicy) {
  const std::unique_ptr<PruningStrategy> strategy = CreateOrFail(parameters());
  const std::unique_ptr<PruningStrategy> fresh = CreateOrFail(parameters());
  ASSERT_NE(strategy, nullptr);
  ASSERT_NE(fresh, nullptr);
  Simulation simulation(network(), *strategy, at::kFloat);
  for (int64_t step = 0; step < kSteps; ++step) {
    std::optional<StepRecord> record = RunStep(step, *strategy, simulation);
    if (!record || (IsLastOfEpoch(step) && !EndEpoch(step, *strategy, simulation, *record))) return;
    ASSERT_EQ(strategy->granularity(), fresh->granularity()) << "step " << step;
    ASSERT_EQ(strategy->gradient_policy(), fresh->gradient_policy()) << "step " << step;
    ASSERT_EQ(strategy->needs_gradients(), fresh->needs_gradients()) << "step " << step;
  }
}

TEST_P(PruningStrategyConformanceTest, RefusesBadParameters) {
  const std::unique_ptr<Message> tried = Copy(parameters());
  TryBadValues(*tried, *tried, "", network());
  if (LayerSelection* layers = MutableSubmessage<LayerSelection>(*tried, "layers")) {
    layers->set_include("no_such_layer");
    ExpectRefused(*tried, network(), "layers.include");
  }
}

INSTANTIATE_TEST_SUITE_P(All, PruningStrategyConformanceTest,
                         ::testing::Combine(::testing::Range(0, 2),
                                            ::testing::Range(0, static_cast<int>(Configs().size()))),
                         [](const ::testing::TestParamInfo<std::tuple<int, int>>& info) {
                           return absl::StrCat("Network", std::get<0>(info.param), "Config", std::get<1>(info.param));
                         });

}  // namespace
}  // namespace prunelab
