// What every regularizer must do, whatever it penalises. regularizer() in defs.bzl links it with each regularizer; the
// parameters come from the test's environment (REGULARIZER_CONFIGS, REGULARIZER_IGNORES_MASKS, REGULARIZER_REFUSED);
// every test runs on each of the configs.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "google/protobuf/text_format.h"
#include "ml/base/field_error.h"
#include "ml/base/random.h"
#include "ml/network/network_writer.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {
namespace {

using Layers = std::vector<RegularizedLayer>;

// Convolutions of several kernels, two of one shape ("wide" and "same"), one pointwise, one with a single row, batch
// normalisation and a linear layer. No kernel has two rows: there `paper_zero` has a value outside of autograd.
Network DrawnNetwork() {
  NetworkWriter net;
  net.Image(3, 14, 14);
  net.Conv("stem", "image", {6});
  net.BatchNorm("bn", "stem");
  net.Relu("relu", "bn");
  net.Conv("wide", "relu", {6, 5});
  net.Conv("same", "wide", {6, 5});
  net.Conv("point", "same", {7, 1});
  net.Conv("row", "point", {5, 1, 1, 0, false, 1, 1, 3});
  net.Conv("out", "row", {4, 3, 1, 1});
  net.GlobalAveragePool("pool", "out");
  net.Flatten("flat", "pool");
  net.Linear("fc", "flat", 3);
  return net.Take();
}

enum class Masks { kNone, kFilters, kWeights };
constexpr Masks kAllMasks[] = {Masks::kNone, Masks::kFilters, Masks::kWeights};

const NetworkInfo& TestNetwork() {
  static const NetworkInfo* info = [] { return new NetworkInfo(*NetworkInfo::Create(DrawnNetwork())); }();
  return *info;
}

std::string Environment(const char* name) {
  const char* text = std::getenv(name);
  EXPECT_NE(text, nullptr) << name << " is set by regularizer() in defs.bzl";
  return text == nullptr ? "" : text;
}

absl::StatusOr<std::unique_ptr<Regularizer>> Create(const std::string& config) {
  const auto& linked = Regularizers().linked();
  EXPECT_EQ(linked.size(), 1u) << "a conformance test links one registration";
  const google::protobuf::Descriptor* descriptor = linked.begin()->second.parameters;
  std::unique_ptr<google::protobuf::Message> parameters(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(config, parameters.get())) << config;
  google::protobuf::Any any;
  any.PackFrom(*parameters);
  return CreateRegularizer(any, TestNetwork());
}

at::Tensor RandomLike(const at::Tensor& tensor, const std::string& purpose) {
  RandomStream stream(7, purpose);
  at::Tensor random = at::empty(tensor.sizes(), at::kDouble);
  double* entry = random.mutable_data_ptr<double>();
  for (int64_t i = 0; i < random.numel(); ++i) entry[i] = stream.Normal();
  return random;
}

// Filters that the masks below turn off: never all, and more than one stays.
bool IsDead(int64_t filter) { return filter % 3 == 1; }

Layers MakeLayers(Masks masks, at::ScalarType dtype = at::kDouble) {
  Layers layers;
  for (const ParameterSpec& parameter : TestNetwork().parameters()) {
    if (parameter.is_buffer || parameter.shape.empty() || parameter.name != parameter.node + ".weight") continue;
    RegularizedLayer layer;
    layer.node = parameter.node;
    const Node& node = TestNetwork().node(TestNetwork().Index(parameter.node));
    layer.kind = node.has_conv2d()   ? RegularizedLayer::Kind::kConv
                 : node.has_linear() ? RegularizedLayer::Kind::kLinear
                                     : RegularizedLayer::Kind::kBatchNorm;
    layer.weight = (RandomLike(at::empty(parameter.shape), parameter.name) * 0.3).to(dtype);
    if (node.has_conv2d() && masks != Masks::kNone) {
      const int64_t out = layer.weight.size(0);
      at::Tensor filters = at::ones({out, 1, 1, 1}, dtype);
      for (int64_t f = 0; f < out; ++f) {
        if (IsDead(f)) filters[f].zero_();
      }
      layer.mask = masks == Masks::kFilters
                       ? filters
                       : filters * RandomLike(layer.weight, parameter.name + ".mask").gt(-0.4).to(dtype);
    }
    layers.push_back(layer);
  }
  return layers;
}

bool IsConv(const RegularizedLayer& layer) { return layer.kind == RegularizedLayer::Kind::kConv; }

double ValueOf(const Regularizer& regularizer, const Layers& layers) {
  const at::NoGradGuard no_gradients;
  const at::Tensor value = regularizer.Value(layers);
  return value.defined() ? value.item<double>() : 0;
}

// Undefined means zero.
std::vector<at::Tensor> Gradients(const Penalty& penalty, const Layers& layers) {
  EXPECT_EQ(penalty.gradients.size(), layers.size());
  std::vector<at::Tensor> gradients = penalty.gradients;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (!gradients[i].defined()) gradients[i] = at::zeros_like(layers[i].weight);
  }
  return gradients;
}

Layers Moved(const Layers& layers, const std::vector<at::Tensor>& direction, double step) {
  Layers moved = layers;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (direction[i].defined()) moved[i].weight = layers[i].weight + direction[i] * step;
  }
  return moved;
}

// The value's derivative along `direction` by central differences.
double CentralDifference(const Regularizer& regularizer, const Layers& layers,
                         const std::vector<at::Tensor>& direction) {
  constexpr double kStep = 1e-6;
  return (ValueOf(regularizer, Moved(layers, direction, kStep)) -
          ValueOf(regularizer, Moved(layers, direction, -kStep))) /
         (2 * kStep);
}

// Central differences at weights of about 0.3 and a step of 1e-6 are good to about 1e-9 of the value for rounding, and
// 1e-7 of the gradient for the third derivative at delta = 0.02.
double Tolerance(double value, double gradient_norm) { return 1e-8 * std::abs(value) + 2e-6 * gradient_norm; }

class RegularizerConformance : public ::testing::TestWithParam<std::string> {
 protected:
  static std::unique_ptr<Regularizer> Make() {
    auto regularizer = Create(GetParam());
    EXPECT_TRUE(regularizer.ok()) << GetParam() << ": " << regularizer.status();
    return *std::move(regularizer);
  }
  const std::unique_ptr<Regularizer> regularizer_ = Make();
};

INSTANTIATE_TEST_SUITE_P(Configs, RegularizerConformance, ::testing::ValuesIn([] {
                           const std::vector<std::string> configs =
                               absl::StrSplit(Environment("REGULARIZER_CONFIGS"), ";;");
                           return configs;
                         }()));

TEST_P(RegularizerConformance, DefaultsAreAccepted) {
  const auto regularizer = Create("");
  EXPECT_TRUE(regularizer.ok()) << regularizer.status();
}

TEST_P(RegularizerConformance, BadParametersAreRefusedByFieldWithARemedy) {
  for (const absl::string_view line :
       absl::StrSplit(Environment("REGULARIZER_REFUSED"), ";;", absl::SkipWhitespace())) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(line, absl::MaxSplits(" => ", 1));
    const auto refused = Create(pair.first);
    ASSERT_FALSE(refused.ok()) << pair.first;
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ErrorField(refused.status()), pair.second) << refused.status();
    EXPECT_NE(refused.status().message().find("; "), absl::string_view::npos) << "no remedy: " << refused.status();
  }
}

TEST_P(RegularizerConformance, GradientEqualsFiniteDifferencesAlongRandomDirections) {
  for (const Masks masks : kAllMasks) {
    const Layers layers = MakeLayers(masks);
    const Penalty penalty = regularizer_->ValueAndGradients(layers);
    const std::vector<at::Tensor> gradients = Gradients(penalty, layers);
    for (int trial = 0; trial < 8; ++trial) {
      std::vector<at::Tensor> direction;
      double slope = 0, gradient_square = 0, direction_square = 0;
      for (size_t i = 0; i < layers.size(); ++i) {
        direction.push_back(RandomLike(layers[i].weight, "direction" + std::to_string(trial * 100 + i)));
        slope += (gradients[i] * direction[i]).sum().item<double>();
        gradient_square += gradients[i].square().sum().item<double>();
        direction_square += direction[i].square().sum().item<double>();
      }
      EXPECT_NEAR(CentralDifference(*regularizer_, layers, direction), slope,
                  Tolerance(ValueOf(*regularizer_, layers), std::sqrt(gradient_square * direction_square)));
    }
  }
}

TEST_P(RegularizerConformance, GradientEqualsFiniteDifferencesInSingleEntries) {
  for (const Masks masks : kAllMasks) {
    const Layers layers = MakeLayers(masks);
    const std::vector<at::Tensor> gradients = Gradients(regularizer_->ValueAndGradients(layers), layers);
    const double value = ValueOf(*regularizer_, layers);
    for (size_t i = 0; i < layers.size(); ++i) {
      const double norm = gradients[i].norm().item<double>();
      RandomStream stream(11, layers[i].node);
      for (int trial = 0; trial < 12; ++trial) {
        const int64_t entry = static_cast<int64_t>(stream.Below(layers[i].weight.numel()));
        std::vector<at::Tensor> direction(layers.size());
        direction[i] = at::zeros_like(layers[i].weight);
        direction[i].view({-1})[entry] = 1;
        EXPECT_NEAR(CentralDifference(*regularizer_, layers, direction),
                    gradients[i].reshape({-1})[entry].item<double>(), Tolerance(value, norm))
            << layers[i].node << " entry " << entry;
      }
    }
  }
}

TEST_P(RegularizerConformance, ValueAndGradientsReturnsTheValue) {
  for (const Masks masks : kAllMasks) {
    const Layers layers = MakeLayers(masks);
    const Penalty penalty = regularizer_->ValueAndGradients(layers);
    const double value = ValueOf(*regularizer_, layers);
    EXPECT_NEAR(penalty.value.defined() ? penalty.value.item<double>() : 0, value, 1e-12 * std::abs(value));
  }
}

TEST_P(RegularizerConformance, DeadFiltersGetNoGradientAndDoNotMatter) {
  const std::vector<std::string> ignore_masks =
      absl::StrSplit(Environment("REGULARIZER_IGNORES_MASKS"), ";;", absl::SkipEmpty());
  // Declared to be defined on dense weights: then what is masked must matter.
  const bool dense = std::count(ignore_masks.begin(), ignore_masks.end(), GetParam()) > 0;
  for (const Masks masks : {Masks::kFilters, Masks::kWeights}) {
    const Layers layers = MakeLayers(masks);
    Layers changed = layers;
    for (RegularizedLayer& layer : changed) {
      if (!layer.mask.defined()) continue;
      const at::Tensor other = RandomLike(layer.weight, "other" + layer.node);
      layer.weight = at::where(layer.mask.ne(0), layer.weight, other);
    }
    if (dense) {
      EXPECT_NE(ValueOf(*regularizer_, layers), ValueOf(*regularizer_, changed));
      continue;
    }
    const Penalty penalty = regularizer_->ValueAndGradients(layers);
    const Penalty after = regularizer_->ValueAndGradients(changed);
    const std::vector<at::Tensor> gradients = Gradients(penalty, layers), gradients_after = Gradients(after, changed);
    EXPECT_EQ(ValueOf(*regularizer_, layers), ValueOf(*regularizer_, changed));
    for (size_t i = 0; i < layers.size(); ++i) {
      if (!layers[i].mask.defined()) continue;
      const at::Tensor off = layers[i].mask.eq(0).to(at::kDouble);
      EXPECT_EQ((gradients[i] * off).abs().max().item<double>(), 0) << layers[i].node;
      EXPECT_TRUE(at::equal(gradients[i], gradients_after[i])) << layers[i].node;
    }
  }
}

TEST_P(RegularizerConformance, FiniteOnDegenerateWeights) {
  struct Case {
    const char* name;
    std::function<void(RegularizedLayer&)> make;
  };
  const auto keep_filters = [](RegularizedLayer& layer, int64_t count) {
    if (!IsConv(layer)) return;
    layer.mask = at::zeros({layer.weight.size(0), 1, 1, 1}, layer.weight.options());
    layer.mask.narrow(0, 0, count).fill_(1);
  };
  const Case cases[] = {
      {"zero", [](RegularizedLayer& layer) { layer.weight.zero_(); }},
      {"constant filters", [](RegularizedLayer& layer) { layer.weight.fill_(0.1); }},
      {"one constant filter", [](RegularizedLayer& layer) { layer.weight[0].fill_(-0.7); }},
      {"equal filters",
       [](RegularizedLayer& layer) { layer.weight.copy_(layer.weight[0].clone().expand_as(layer.weight)); }},
      {"opposite filters", [](RegularizedLayer& layer) { layer.weight[1].copy_(-layer.weight[0]); }},
      {"one live filter", [&](RegularizedLayer& layer) { keep_filters(layer, 1); }},
      {"no live filter", [&](RegularizedLayer& layer) { keep_filters(layer, 0); }},
      {"no live weight",
       [](RegularizedLayer& layer) {
         if (IsConv(layer)) layer.mask = at::zeros_like(layer.weight);
       }},
      {"one live weight",
       [](RegularizedLayer& layer) {
         if (!IsConv(layer)) return;
         layer.mask = at::zeros_like(layer.weight);
         layer.mask.view({-1})[0] = 1;
       }},
      {"tiny", [](RegularizedLayer& layer) { layer.weight.mul_(1e-20); }},
      {"huge", [](RegularizedLayer& layer) { layer.weight.mul_(1e6); }},
  };
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    for (const Case& degenerate : cases) {
      SCOPED_TRACE(degenerate.name);
      Layers layers = MakeLayers(Masks::kNone, dtype);
      for (RegularizedLayer& layer : layers) degenerate.make(layer);
      EXPECT_TRUE(std::isfinite(ValueOf(*regularizer_, layers)));
      const Penalty own = regularizer_->ValueAndGradients(layers);
      const Penalty by_autograd = regularizer_->Regularizer::ValueAndGradients(layers);
      for (const Penalty& penalty : {own, by_autograd}) {
        EXPECT_TRUE(!penalty.value.defined() || std::isfinite(penalty.value.item<double>()));
        for (const at::Tensor& gradient : Gradients(penalty, layers))
          EXPECT_TRUE(gradient.isfinite().all().item<bool>());
      }
    }
  }
}

TEST_P(RegularizerConformance, Deterministic) {
  for (const Masks masks : kAllMasks) {
    const Layers layers = MakeLayers(masks, at::kFloat);
    const Penalty first = regularizer_->ValueAndGradients(layers);
    const Penalty second = Make()->ValueAndGradients(layers);
    ASSERT_EQ(first.value.defined(), second.value.defined());
    EXPECT_TRUE(!first.value.defined() || at::equal(first.value, second.value));
    for (size_t i = 0; i < layers.size(); ++i) {
      ASSERT_EQ(first.gradients[i].defined(), second.gradients[i].defined());
      EXPECT_TRUE(!first.gradients[i].defined() || at::equal(first.gradients[i], second.gradients[i]));
    }
  }
}

TEST_P(RegularizerConformance, ChangesNothing) {
  for (const Masks masks : kAllMasks) {
    const Layers layers = MakeLayers(masks);
    Layers before = layers;
    for (size_t i = 0; i < layers.size(); ++i) {
      before[i].weight = layers[i].weight.clone();
      if (layers[i].mask.defined()) before[i].mask = layers[i].mask.clone();
      layers[i].weight.requires_grad_();
    }
    const Penalty penalty = regularizer_->ValueAndGradients(layers);
    for (size_t i = 0; i < layers.size(); ++i) {
      EXPECT_TRUE(at::equal(layers[i].weight, before[i].weight)) << layers[i].node;
      EXPECT_TRUE(!layers[i].mask.defined() || at::equal(layers[i].mask, before[i].mask)) << layers[i].node;
      EXPECT_FALSE(layers[i].weight.grad().defined()) << layers[i].node;
      EXPECT_TRUE(layers[i].weight.is_leaf());
      EXPECT_FALSE(penalty.gradients[i].defined() && penalty.gradients[i].requires_grad());
    }
    EXPECT_FALSE(penalty.value.defined() && penalty.value.requires_grad());
  }
}

TEST_P(RegularizerConformance, WorksWhereGradientsAreOff) {
  const Layers layers = MakeLayers(Masks::kFilters);
  const std::vector<at::Tensor> expected = Gradients(regularizer_->ValueAndGradients(layers), layers);
  const at::NoGradGuard no_gradients;
  const std::vector<at::Tensor> gradients = Gradients(regularizer_->ValueAndGradients(layers), layers);
  for (size_t i = 0; i < layers.size(); ++i) EXPECT_TRUE(at::equal(gradients[i], expected[i]));
}

TEST_P(RegularizerConformance, GradientsHaveTheWeightsShapeAndTypeInAnyMemoryFormat) {
  for (const Masks masks : kAllMasks) {
    const Layers exact = MakeLayers(masks);
    const std::vector<at::Tensor> expected = Gradients(regularizer_->ValueAndGradients(exact), exact);
    double largest = 0;
    for (const at::Tensor& gradient : expected) largest = std::max(largest, gradient.abs().max().item<double>());
    for (const at::MemoryFormat format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
      Layers layers = MakeLayers(masks, at::kFloat);
      for (RegularizedLayer& layer : layers) {
        if (IsConv(layer)) layer.weight = layer.weight.contiguous(format);
      }
      const Penalty penalty = regularizer_->ValueAndGradients(layers);
      if (penalty.value.defined()) {
        EXPECT_EQ(penalty.value.scalar_type(), at::kFloat);
        EXPECT_EQ(penalty.value.dim(), 0);
        const double value = ValueOf(*regularizer_, exact);
        EXPECT_NEAR(penalty.value.item<double>(), value, 1e-5 * std::abs(value));
      }
      for (size_t i = 0; i < layers.size(); ++i) {
        if (!penalty.gradients[i].defined()) continue;
        EXPECT_EQ(penalty.gradients[i].sizes(), layers[i].weight.sizes());
        EXPECT_EQ(penalty.gradients[i].scalar_type(), at::kFloat);
        EXPECT_LE((penalty.gradients[i] - expected[i]).abs().max().item<double>(), 1e-4 * largest) << layers[i].node;
      }
    }
  }
}

TEST_P(RegularizerConformance, OnlySomeLayersGiven) {
  const Penalty none = regularizer_->ValueAndGradients({});
  EXPECT_TRUE(none.gradients.empty());
  EXPECT_EQ(none.value.defined() ? none.value.item<double>() : 0, 0);
}

using Activations = std::map<std::string, at::Tensor>;

// What the regularizer's nodes might give for a batch, in double.
Activations MakeActivations(const Regularizer& regularizer, int64_t images) {
  Activations activations;
  for (const std::string& node : regularizer.activation_nodes()) {
    EXPECT_GE(TestNetwork().Index(node), 0) << node;
    const NodeShape& shape = TestNetwork().shape(node);
    const std::vector<int64_t> flat = {images, shape.channels},
                               map = {images, shape.channels, shape.height, shape.width};
    activations[node] = RandomLike(at::empty(shape.flat ? flat : map), "activation of " + node);
  }
  return activations;
}

// Value and gradients with respect to the activations, in their order; zeros if there are none.
std::pair<double, std::vector<at::Tensor>> Differentiate(const Regularizer& regularizer, Activations activations) {
  std::vector<at::Tensor> leaves;
  for (auto& [node, activation] : activations) {
    leaves.push_back(activation.detach().requires_grad_());
    activation = leaves.back();
  }
  const at::Tensor value = regularizer.ActivationValue(activations);
  std::vector<at::Tensor> gradients(leaves.size());
  if (value.defined() && value.requires_grad())
    gradients = torch::autograd::grad({value}, leaves, {}, {}, false, /*allow_unused=*/true);
  for (size_t i = 0; i < leaves.size(); ++i) {
    if (!gradients[i].defined()) gradients[i] = at::zeros_like(leaves[i]);
  }
  if (!value.defined()) return {0, gradients};
  EXPECT_EQ(value.dim(), 0);
  return {value.item<double>(), gradients};
}

TEST_P(RegularizerConformance, GradientInActivationsEqualsFiniteDifferences) {
  const Activations activations = MakeActivations(*regularizer_, 5);
  if (activations.empty()) return;  // a penalty on weights alone
  const auto [value, gradients] = Differentiate(*regularizer_, activations);
  const auto again = Differentiate(*Make(), activations);
  EXPECT_EQ(value, again.first);
  for (size_t i = 0; i < gradients.size(); ++i) EXPECT_TRUE(at::equal(gradients[i], again.second[i]));
  constexpr double kStep = 1e-6;
  for (int trial = 0; trial < 8; ++trial) {
    double slope = 0, gradient_square = 0, direction_square = 0, ends[2];
    for (const int side : {0, 1}) {
      Activations moved = activations;
      size_t i = 0;
      for (auto& [node, activation] : moved) {
        const at::Tensor direction = RandomLike(activation, node + std::to_string(trial));
        activation = activation + direction * (side == 0 ? -kStep : kStep);
        if (side == 0) {
          slope += (gradients[i] * direction).sum().item<double>();
          gradient_square += gradients[i].square().sum().item<double>();
          direction_square += direction.square().sum().item<double>();
        }
        ++i;
      }
      ends[side] = Differentiate(*regularizer_, moved).first;
    }
    EXPECT_NEAR((ends[1] - ends[0]) / (2 * kStep), slope,
                Tolerance(value, std::sqrt(gradient_square * direction_square)));
  }
}

TEST_P(RegularizerConformance, FiniteOnDegenerateActivations) {
  for (const int64_t images : {1, 2}) {
    for (const double factor : {0.0, 1.0, 1e-20, 1e6}) {
      for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
        Activations activations = MakeActivations(*regularizer_, images);
        if (activations.empty()) return;
        for (auto& [node, activation] : activations) activation = (activation * factor).to(dtype);
        const auto [value, gradients] = Differentiate(*regularizer_, activations);
        EXPECT_TRUE(std::isfinite(value));
        for (const at::Tensor& gradient : gradients) {
          EXPECT_EQ(gradient.scalar_type(), dtype);
          EXPECT_TRUE(gradient.isfinite().all().item<bool>());
        }
      }
    }
  }
}

}  // namespace
}  // namespace prunelab
