#include "ml/compression/goal.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ml/base/status_macros.h"
#include "ml/compression/compress.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/coupled.h"
#include "ml/compression/testing/random_models.h"
#include "ml/models/resnet_cifar.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

PruningGoal Goal(PruningGoal::GoalCase which, double share) {
  PruningGoal goal;
  switch (which) {
    case PruningGoal::kMacs:
      goal.set_macs(share);
      break;
    case PruningGoal::kParameters:
      goal.set_parameters(share);
      break;
    case PruningGoal::kFileBytes:
      goal.set_file_bytes(share);
      break;
    default:
      goal.set_latency(share);
  }
  return goal;
}

constexpr PruningGoal::GoalCase kCounted[] = {PruningGoal::kMacs, PruningGoal::kParameters, PruningGoal::kFileBytes};

Model Dense() {
  ResNetCifar parameters;
  parameters.set_depth(20);
  parameters.set_image_size(16);
  return RandomModel(*NetworkInfo::Create(*CreateResNetCifar(parameters, {})), at::kFloat, 3);
}

// Without this share of each layer's filters, those of least |weight|: a step of the rate takes one from all layers of
// a width at once.
absl::StatusOr<WeightedNetwork> PrunedAt(const Model& dense, double rate) {
  Model masked = dense;
  std::map<std::string, at::Tensor> masks;
  for (const ConvInfo& conv : dense.info().convs()) {
    const at::Tensor norms = dense.Get(absl::StrCat(conv.node, ".weight")).detach().abs().flatten(1).mean(1);
    const auto off = static_cast<int64_t>(rate * static_cast<double>(norms.numel()));
    const at::Tensor mask = at::ones_like(norms);
    mask.index_fill_(0, norms.argsort().slice(0, 0, off), 0);
    masks[conv.node] = mask.view({-1, 1, 1, 1});
  }
  masked.SetMasks(masks);
  return ToWeightedNetwork(masked);
}

absl::StatusOr<WeightedNetwork> RemovedExactly(const Model& dense, const Rates& rates) {
  PRUNELAB_ASSIGN_OR_RETURN(WeightedNetwork network, PrunedAt(dense, rates.rate));
  PRUNELAB_ASSIGN_OR_RETURN(const WeightedNetwork higher, PrunedAt(dense, rates.higher_rate));
  PRUNELAB_ASSIGN_OR_RETURN(network, WithLayersOf(higher, rates.layers_at_higher, network));
  Compress(network, {});
  return network;
}

absl::StatusOr<WeightedNetwork> RemovedCoupled(const Model& dense, double rate) {
  PRUNELAB_ASSIGN_OR_RETURN(WeightedNetwork network, ToWeightedNetwork(dense));
  PRUNELAB_RETURN_IF_ERROR(RemoveCoupled(network, {rate}).status());
  return network;
}

// Counted from the shapes of the weights alone, at the sizes of maps that the dense network's layers have.
double MacsByHand(const Model& dense, const WeightedNetwork& network) {
  double macs = 0;
  for (const auto& [name, tensor] : network.tensors) {
    if (tensor.dim() != 4 && tensor.dim() != 2) continue;
    const std::string node = name.substr(0, name.rfind('.'));
    const NodeShape& shape = dense.info().shape(dense.info().Index(node));
    macs += static_cast<double>(tensor.numel() * (tensor.dim() == 4 ? shape.height * shape.width : 1));
  }
  return macs;
}

TEST(GoalTest, CountedGoalsAreMet) {
  const Model dense = Dense();
  const WeightedNetwork whole = *ToWeightedNetwork(dense);
  for (const bool coupled : {false, true}) {
    const RemovalAt removal = [&](const Rates& rates) {
      return coupled ? RemovedCoupled(dense, rates.rate) : RemovedExactly(dense, rates);
    };
    const auto layers = static_cast<int64_t>(coupled ? 0 : dense.info().convs().size());
    int64_t mixed = 0;
    for (const PruningGoal::GoalCase which : kCounted) {
      for (const double share : {0.985, 0.75, 0.5, 0.25}) {
        SCOPED_TRACE(absl::StrCat(coupled ? "coupled " : "exact ", which, " ", share));
        const PruningGoal goal = Goal(which, share);
        const absl::StatusOr<MetGoal> met = MeetGoal(goal, whole, layers, removal, nullptr);
        ASSERT_TRUE(met.ok()) << met.status();
        EXPECT_LE(std::abs(met->share / share - 1), 0.02);
        EXPECT_GT(met->rates.rate, 0);
        EXPECT_LT(met->tried.size(), 30u);
        // The share is that of the network given, and the network is the one at the rates given.
        EXPECT_EQ(*ShareOf(goal, whole, met->removed, nullptr), met->share);
        EXPECT_EQ(removal(met->rates)->network.SerializeAsString(), met->removed.network.SerializeAsString());
        if (which == PruningGoal::kMacs) {
          EXPECT_NEAR(MacsByHand(dense, met->removed) / MacsByHand(dense, whole), met->share, 1e-12);
        }
        if (which == PruningGoal::kFileBytes) {
          EXPECT_NEAR(static_cast<double>(FileBytes(met->removed)) / static_cast<double>(FileBytes(whole)), met->share,
                      1e-12);
        }
        // None that was tried is nearer.
        for (const TriedRates& tried : met->tried) {
          EXPECT_GE(std::abs(tried.share - share), std::abs(met->share - share)) << Text(tried.rates);
        }
        mixed += met->rates.layers_at_higher > 0;
      }
    }
    // A filter of every layer is more than 2 % of the MACs, so that some goals need layers at the next rate.
    EXPECT_EQ(mixed > 0, !coupled) << mixed;
  }
}

// Exact removal leaves the streams as they are: a small enough network cannot be had, and the error says what can.
TEST(GoalTest, WhatCannotBeReachedIsSaid) {
  const Model dense = Dense();
  const WeightedNetwork whole = *ToWeightedNetwork(dense);
  const RemovalAt half_at_most = [&](const Rates& rates) { return RemovedExactly(dense, {rates.rate / 2, 0, 0}); };
  const absl::StatusOr<MetGoal> met = MeetGoal(Goal(PruningGoal::kMacs, 0.01), whole, 0, half_at_most, nullptr);
  const double least = *ShareOf(Goal(PruningGoal::kMacs, 0.01), whole, *half_at_most({0.999, 0, 0}), nullptr);
  ASSERT_TRUE(absl::IsOutOfRange(met.status())) << met.status();
  EXPECT_THAT(std::string(met.status().message()),
              StartsWith(absl::StrCat("macs is 0.01, and the least share of the dense network's MACs that this removal "
                                      "leaves is ",
                                      absl::StrFormat("%.4g", least), " at rate 0.999")));
}

TEST(GoalTest, WhereLessIsLeftBeforeAnythingIsPrunedThatIsSaid) {
  const Model dense = Dense();
  const WeightedNetwork whole = *ToWeightedNetwork(dense);
  const RemovalAt from_half = [&](const Rates& rates) { return RemovedCoupled(dense, 0.5 + rates.rate / 2); };
  const PruningGoal goal = Goal(PruningGoal::kParameters, 0.9);
  const absl::StatusOr<MetGoal> met = MeetGoal(goal, whole, 0, from_half, nullptr);
  const double left = *ShareOf(goal, whole, *from_half({0, 0, 0}), nullptr);
  EXPECT_EQ(met.status(), absl::OutOfRangeError(absl::StrFormat(
                              "parameters is 0.9, and without pruning anything, removal leaves less of the dense "
                              "network's parameters: %.4g at rate 0; give a lower goal",
                              left)));
}

// Layers of two rates are put together only if the rates differ in nothing but which weights of these are zero.
TEST(GoalTest, WhatIsMoreThanMasksIsNotMixed) {
  const Model dense = Dense();
  const WeightedNetwork lower = *PrunedAt(dense, 0.2), higher = *PrunedAt(dense, 0.4);
  const absl::StatusOr<WeightedNetwork> mixed = WithLayersOf(higher, 3, lower);
  ASSERT_TRUE(mixed.ok()) << mixed.status();
  int64_t layer = 0;
  for (const ConvInfo& conv : dense.info().convs()) {
    const WeightedNetwork& from = layer++ < 3 ? higher : lower;
    EXPECT_TRUE(at::equal(mixed->Get(conv.node, "weight"), from.Get(conv.node, "weight"))) << conv.node;
  }
  WeightedNetwork made_up = higher;
  made_up.Set("layer1.0.bn1", "bias", higher.Get("layer1.0.bn1", "bias") + 1);
  EXPECT_TRUE(absl::IsUnimplemented(WithLayersOf(made_up, 3, lower).status()));
  made_up = higher;
  made_up.Set("layer3.0.conv2", "weight", higher.Get("layer3.0.conv2", "weight") * 1.5);
  EXPECT_TRUE(absl::IsUnimplemented(WithLayersOf(made_up, 3, lower).status()));
  // A removal that refuses to mix leaves the nearest single rate, or says that there is a jump.
  const RemovalAt no_mixtures = [&](const Rates& rates) -> absl::StatusOr<WeightedNetwork> {
    if (rates.layers_at_higher > 0) return absl::UnimplementedError("no");
    return RemovedExactly(dense, rates);
  };
  const WeightedNetwork whole = *ToWeightedNetwork(dense);
  EXPECT_TRUE(absl::IsOutOfRange(MeetGoal(Goal(PruningGoal::kMacs, 0.75), whole, 21, no_mixtures, nullptr).status()));
}

// Where half of a network goes at once, what is between cannot be met.
TEST(GoalTest, AJumpPastTheGoalIsSaid) {
  const Model dense = Dense();
  const WeightedNetwork whole = *ToWeightedNetwork(dense);
  const RemovalAt all_or_none = [&](const Rates& rates) { return RemovedCoupled(dense, rates.rate < 0.3 ? 0.1 : 0.8); };
  const absl::StatusOr<MetGoal> met = MeetGoal(Goal(PruningGoal::kParameters, 0.5), whole, 0, all_or_none, nullptr);
  ASSERT_TRUE(absl::IsOutOfRange(met.status())) << met.status();
  EXPECT_THAT(std::string(met.status().message()),
              AllOf(StartsWith("parameters is 0.5, and shares of the dense network's parameters jump past it: "),
                    HasSubstr(" at rate 0.29999"), HasSubstr(" at rate 0.3")));
}

// A machine on which a network takes as long as it has MACs, and half of the dense one's time in any case; every other
// time is a few percent longer or shorter, by turns.
NetworkTimer NoisyTimes(double noise, int& calls) {
  return [noise, &calls](const std::vector<const WeightedNetwork*>& networks) {
    ++calls;
    std::vector<Latency> latencies;
    for (const WeightedNetwork* network : networks) {
      const double off = network == networks.back() ? noise * std::sin(7.0 * calls) : 0;
      const double seconds = (1e6 + static_cast<double>(network->Info().MacCount())) * 1e-9 * (1 + off);
      latencies.push_back({seconds, seconds, seconds, 1});
    }
    return absl::StatusOr<std::vector<Latency>>(latencies);
  };
}

TEST(GoalTest, ALatencyIsMetAsMeasuredAgain) {
  const Model dense = Dense();
  const WeightedNetwork whole = *ToWeightedNetwork(dense);
  int unused = 0;
  for (const double noise : {0.0, 0.01, 0.02}) {
    for (const double share : {0.6, 0.3}) {
      SCOPED_TRACE(absl::StrCat(noise, " ", share));
      int calls = 0;
      const PruningGoal goal = Goal(PruningGoal::kLatency, share);
      const absl::StatusOr<MetGoal> met = MeetGoal(
          goal, whole, 0, [&](const Rates& rates) { return RemovedCoupled(dense, rates.rate); },
          NoisyTimes(noise, calls));
      ASSERT_TRUE(met.ok()) << met.status();
      // The last call was a measurement of the network found, after the search.
      EXPECT_EQ(calls, static_cast<int>(met->tried.size()) + 1);
      EXPECT_LE(std::abs(met->share / share - 1), 0.05);
      const double without_noise = *ShareOf(goal, whole, met->removed, NoisyTimes(0, unused));
      EXPECT_LE(std::abs(without_noise / share - 1), 0.05 + 1.5 * noise);
    }
  }
}

TEST(GoalTest, TimesThatDoNotRepeatAreSaid) {
  const Model dense = Dense();
  const WeightedNetwork whole = *ToWeightedNetwork(dense);
  int calls = 0;
  const absl::StatusOr<MetGoal> met = MeetGoal(
      Goal(PruningGoal::kLatency, 0.5), whole, 0, [&](const Rates& rates) { return RemovedCoupled(dense, rates.rate); },
      NoisyTimes(0.9, calls));
  ASSERT_TRUE(absl::IsOutOfRange(met.status())) << met.status();
  EXPECT_THAT(std::string(met.status().message()),
              AllOf(StartsWith("latency is 0.5, and "), HasSubstr("time at batch 1")));
}

TEST(GoalTest, ErrorsOfTheTimerAndOfRemovalComeThrough) {
  const WeightedNetwork whole = *ToWeightedNetwork(Dense());
  const RemovalAt nothing = [&](const Rates&) { return absl::StatusOr<WeightedNetwork>(whole); };
  const NetworkTimer no_engine = [](const auto&) {
    return absl::StatusOr<std::vector<Latency>>(absl::FailedPreconditionError("no engine"));
  };
  EXPECT_EQ(MeetGoal(Goal(PruningGoal::kLatency, 0.5), whole, 0, nothing, no_engine).status(),
            absl::FailedPreconditionError("no engine"));
  const RemovalAt refused = [](const Rates&) { return absl::StatusOr<WeightedNetwork>(absl::DataLossError("NaN")); };
  EXPECT_EQ(MeetGoal(Goal(PruningGoal::kMacs, 0.5), whole, 0, refused, nullptr).status(), absl::DataLossError("NaN"));
}

TEST(GoalTest, Validate) {
  const auto text = [](const PruningGoal& goal) { return std::string(ValidateGoal(goal).message()); };
  for (const PruningGoal::GoalCase which : kCounted) EXPECT_TRUE(ValidateGoal(Goal(which, 0.5)).ok());
  PruningGoal latency = Goal(PruningGoal::kLatency, 0.5);
  latency.set_batch(64);
  latency.set_threads(2);
  EXPECT_TRUE(ValidateGoal(latency).ok());
  EXPECT_EQ(text({}), "has no goal; set one of macs, parameters, file_bytes and latency");
  for (const double wrong : {0.0, 1.0, -0.5, 2.0, std::nan("")}) {
    EXPECT_THAT(text(Goal(PruningGoal::kFileBytes, wrong)),
                AllOf(StartsWith("file_bytes: is "), HasSubstr("must be above 0 and below 1")));
  }
  PruningGoal macs = Goal(PruningGoal::kMacs, 0.5);
  macs.set_threads(1);
  EXPECT_EQ(text(macs), "threads: goes with latency, not with macs");
  latency.set_batch(0);
  EXPECT_EQ(text(latency), "batch: is 0; must be from 1 to 65536");
}

}  // namespace
}  // namespace prunelab
