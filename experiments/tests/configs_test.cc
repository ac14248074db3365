// The configs in this repository load, with every plugin that they name.
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "experiments/config/identity.h"
#include "experiments/config/load.h"
#include "experiments/config/run_network.h"
#include "experiments/reporting/written_configs.h"
#include "ml/base/plugin.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {
namespace {

LoadedAblation Load(const std::string& name) {
  absl::StatusOr<LoadedAblation> loaded = LoadAblation(absl::StrCat("experiments/configs/", name, ".textproto"), "");
  EXPECT_TRUE(loaded.ok()) << loaded.status().message();
  if (!loaded.ok()) return {};
  EXPECT_EQ(loaded->ablation.name(), name);
  return *std::move(loaded);
}

const Arm& FindArm(const LoadedAblation& loaded, absl::string_view name) {
  const auto arm = std::find_if(loaded.arms.begin(), loaded.arms.end(), [&](const Arm& a) { return a.name == name; });
  EXPECT_TRUE(arm != loaded.arms.end()) << name;
  return *arm;
}

TEST(ConfigsTest, Digits) {
  const LoadedAblation loaded = Load("digits");
  EXPECT_EQ(loaded.arms.size(), 8u);
  EXPECT_EQ(loaded.ablation.seeds().count(), 3);
  const auto dataset = DescribeRunDataset(loaded.arms[0].config);
  ASSERT_TRUE(dataset.ok() && dataset->has_value());
  const auto network = BuildRunNetwork(loaded.arms[0].config, *dataset);
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_EQ(network->input_shape().channels, 1);
  EXPECT_EQ(network->input_shape().height, 8);
}

TEST(ConfigsTest, SearchDigits) {
  const LoadedAblation loaded = Load("search_digits");
  EXPECT_EQ(loaded.arms.size(), 30u);
  EXPECT_EQ(loaded.ablation.search().trials(), 30);
  for (const Arm& arm : loaded.arms) EXPECT_FALSE(arm.config.training().test_data());
}

TEST(ConfigsTest, PaperIsThePapers) {
  const LoadedAblation loaded = Load("paper");
  EXPECT_EQ(loaded.arms.size(), 28u);
  EXPECT_EQ(loaded.ablation.seeds().count(), 10);
  const Arm& arm = FindArm(loaded, "dynamic_l1/paper_zero");
  const Training& training = arm.config.training();
  EXPECT_EQ(training.epochs(), 300);
  EXPECT_EQ(training.batch_size(), 256);
  EXPECT_EQ(training.sgd().learning_rate(), 0.2);
  EXPECT_EQ(training.sgd().momentum(), 0.9);
  EXPECT_EQ(training.sgd().weight_decay(), 1e-4);
  EXPECT_EQ(training.random_crop_padding(), 4);
  EXPECT_FALSE(training.horizontal_flip());
  EXPECT_TRUE(training.schedule().has_constant());
  EXPECT_EQ(arm.config.regularization().weight(), 0.7);
  const auto dataset = DescribeRunDataset(arm.config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const auto network = BuildRunNetwork(arm.config, *dataset);
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_EQ(network->ParameterCount(), 855770);
  EXPECT_EQ(network->FilterCount(), 2128);
}

TEST(ConfigsTest, PaperSmall) {
  const LoadedAblation loaded = Load("paper_small");
  EXPECT_EQ(loaded.arms.size(), 13u);
  EXPECT_EQ(loaded.ablation.seeds().count(), 10);
  const Arm& arm = FindArm(loaded, "dynamic_l1_scaled/cov");
  const auto dataset = DescribeRunDataset(arm.config);
  ASSERT_TRUE(dataset.ok() && dataset->has_value());
  EXPECT_EQ((*dataset)->train_images, 10000);
  EXPECT_EQ((*dataset)->test_images, 10000);
  EXPECT_EQ((*dataset)->height, 16);
}

// The tuning of its weights is the same training except for the images set aside, and shares no seed with it.
TEST(ConfigsTest, PaperSmallTuning) {
  const LoadedAblation small = Load("paper_small");
  const LoadedAblation tuning = Load("paper_small_tuning");
  EXPECT_EQ(tuning.arms.size(), 7u);
  EXPECT_GE(tuning.ablation.seeds().first(), small.ablation.seeds().first() + small.ablation.seeds().count());
  for (const Arm& arm : tuning.arms) {
    // "cov_0.7" is "cov" with another weight.
    const size_t weight = arm.name.find_first_of("0123456789");
    const std::string regularizer = weight == std::string::npos ? arm.name : arm.name.substr(0, weight - 1);
    RunConfig tuned = arm.config, final = FindArm(small, absl::StrCat("dynamic_l1/", regularizer)).config;
    EXPECT_EQ(tuned.training().validation_fraction(), 0.2) << arm.name;
    tuned.mutable_training()->clear_validation_fraction();
    tuned.mutable_training()->clear_evaluate_every();
    final.mutable_training()->clear_evaluate_every();
    tuned.mutable_regularization()->clear_weight();
    final.mutable_regularization()->clear_weight();
    EXPECT_EQ(ArmDifference(tuned, final), "") << arm.name;
  }
}

// The two networks in which Deep Compression's authors prune first, at the digits' size; all their layers can be
// pruned.
TEST(ConfigsTest, DeepCompressionDigits) {
  const LoadedAblation loaded = Load("deep_compression_digits");
  EXPECT_EQ(loaded.arms.size(), 4u);
  for (const auto& [arm, weights] : {std::pair("lenet_300_100/pruned", 50200), std::pair("lenet_5/pruned", 130500)}) {
    const RunConfig& config = FindArm(loaded, arm).config;
    EXPECT_EQ(AnyTypeName(config.pruning()), "prunelab.Unstructured");
    const auto dataset = DescribeRunDataset(config);
    ASSERT_TRUE(dataset.ok()) << dataset.status();
    const auto network = BuildRunNetwork(config, *dataset);
    ASSERT_TRUE(network.ok()) << network.status();
    EXPECT_EQ(network->ConvWeightCount(), weights) << arm;
  }
}

std::string Name(const std::string& message) { return message.substr(message.rfind('.') + 1); }

// Every linked strategy with and without cov, and dynamic_l1 with every penalty; a level has its target's name.
TEST(ConfigsTest, ZooDigitsHasEveryPlugin) {
  const LoadedAblation loaded = Load("zoo_digits");
  for (const auto& [message, strategy] : PruningStrategies().linked()) {
    if (message == "prunelab.NoPruning") continue;
    for (const char* regularizer : {"none", "cov"}) {
      const Arm& arm = FindArm(loaded, absl::StrCat(TargetName(Name(message)), "/", regularizer));
      EXPECT_EQ(AnyTypeName(arm.config.pruning()), message) << arm.name;
    }
  }
  for (const auto& [message, regularizer] : Regularizers().linked()) {
    if (message == "prunelab.NoRegularizer") continue;
    const Arm& arm = FindArm(loaded, absl::StrCat("dynamic_l1/", TargetName(Name(message))));
    EXPECT_EQ(AnyTypeName(arm.config.regularization().regularizer()), message) << arm.name;
  }
  EXPECT_EQ(loaded.arms.size(), 2 * (PruningStrategies().linked().size() + 2) + Regularizers().linked().size() - 2)
      << "random weights and random filters of 3x3 are controls besides";
}

TEST(ConfigsTest, ZooCifar10) {
  const LoadedAblation loaded = Load("zoo_cifar10");
  EXPECT_EQ(loaded.arms.size(), 2 * (1 + 5 * PruningStrategies().linked().size() + 1))
      << "random filters of 3x3 are a control besides";
  EXPECT_EQ(AnyTypeName(FindArm(loaded, "vgg16/snip_0.95").config.network()), "prunelab.Vgg");
}

// Six rankings at three costs, all from the same dense weights; at each cost every ranking beside random groups.
TEST(ConfigsTest, PeersCifar10Tuning) {
  const LoadedAblation loaded = Load("peers_cifar10_tuning");
  EXPECT_EQ(loaded.arms.size(), 1u + 3 * (13 + 7));
  for (const Arm& arm : loaded.arms) {
    EXPECT_FALSE(arm.config.training().test_data()) << arm.name;
    if (arm.name == "dense") continue;
    EXPECT_EQ(arm.config.training().epochs(), 15) << arm.name;
    EXPECT_NE(arm.config.has_start_from(), arm.config.has_initial_weights()) << arm.name;
    EXPECT_EQ(arm.config.has_initial_weights(), absl::StartsWith(arm.name, "tp_")) << arm.name;
  }
}

TEST(ConfigsTest, PaperScale) {
  const LoadedAblation loaded = Load("paper_scale");
  EXPECT_EQ(loaded.arms.size(), 1u + 3 * 3);
  for (const Arm& arm : loaded.arms) {
    EXPECT_EQ(arm.config.training().epochs(), arm.name == "dense" ? 200 : 100) << arm.name;
    EXPECT_EQ(arm.config.has_start_from(), arm.name != "dense") << arm.name;
  }
  // 2.1, 2.6 and 4 times fewer.
  for (const auto& [arm, times] : {std::pair("fisher_loss_2.1x", 2.1), {"fisher_loss_2.6x", 2.6}, {"random_4x", 4.0}}) {
    EXPECT_NEAR(1 / FindArm(loaded, arm).config.start_from().removal().target().macs(), times, 0.01) << arm;
  }
}

// What peers_cifar10 ended with in front, with seeds that it did not use.
TEST(ConfigsTest, PeersCifar10Again) {
  const LoadedAblation loaded = Load("peers_cifar10_again"), before = Load("peers_cifar10");
  EXPECT_EQ(loaded.arms.size(), 1u + 3 * 3);
  EXPECT_EQ(loaded.ablation.seeds().first(), before.ablation.seeds().first() + before.ablation.seeds().count());
  for (const Arm& arm : loaded.arms) {
    RunConfig config = FindArm(before, arm.name).config;
    config.set_initial_weights(absl::StrReplaceAll(config.initial_weights(), {{"cifar10_", "cifar10_again_"}}));
    if (config.initial_weights().empty()) config.clear_initial_weights();
    EXPECT_EQ(arm.config.SerializeAsString(), config.SerializeAsString()) << arm.name;
  }
  ASSERT_EQ(loaded.ablation.comparison_size(), 3 * (1 + 2));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(loaded.ablation.comparison(i).primary(), i + 1);
    EXPECT_TRUE(absl::StartsWith(loaded.ablation.comparison(i).treatment(), "group_norm_loss"));
  }
}

// Each budget has chance, three rankings of this project, and three methods of Torch-Pruning; what differs is where
// they start, and the first three comparisons ask which side's best is better.
TEST(ConfigsTest, PeersCifar10) {
  const LoadedAblation loaded = Load("peers_cifar10"), tuning = Load("peers_cifar10_tuning");
  EXPECT_EQ(loaded.arms.size(), 1u + 3 * (1 + 3 + 3));
  for (const Arm& arm : loaded.arms) {
    EXPECT_TRUE(arm.config.training().test_data()) << arm.name;
    if (arm.name == "dense") continue;
    const bool theirs = absl::StartsWith(arm.name, "tp_");
    EXPECT_EQ(arm.config.training().epochs(), 15) << arm.name;
    EXPECT_EQ(arm.config.has_start_from(), !theirs) << arm.name;
    EXPECT_EQ(arm.config.has_initial_weights(), theirs) << arm.name;
    // As it was tuned.
    const RunConfig& tuned = FindArm(tuning, arm.name).config;
    EXPECT_EQ(arm.config.start_from().SerializeAsString(), tuned.start_from().SerializeAsString()) << arm.name;
    EXPECT_EQ(absl::StrReplaceAll(tuned.initial_weights(), {{"_tuning", ""}}), arm.config.initial_weights())
        << arm.name;
  }
  ASSERT_EQ(loaded.ablation.comparison_size(), 3 * (1 + 2 + 2 + 2));
  int32_t primary = 0;
  for (const char* budget : {"_4x", "_2.5x", "_2x"}) {
    const Comparison& comparison = loaded.ablation.comparison(primary);
    EXPECT_EQ(comparison.primary(), ++primary);
    EXPECT_TRUE(absl::EndsWith(comparison.treatment(), budget) && absl::EndsWith(comparison.control(), budget));
    EXPECT_TRUE(absl::StartsWith(comparison.control(), "tp_")) << comparison.control();
  }
}

// A run that ended with so many live filters in two convolutions of four filters, each filter of 36 weights.
RunRecords Ended(int32_t live_first, int32_t live_second, double weight_sparsity) {
  RunRecords run;
  run.result.status = "done";
  run.result.measures.set_weight_sparsity(weight_sparsity);
  run.epochs.values.resize(EpochColumns().size());
  run.epochs.layers = {"layer1.0.conv1", "layer1.0.conv2"};
  run.epochs.live_filters = {live_first, live_second};
  return run;
}

// What a report says of the masks of an arm, with what is added to the base of a ResNet-8 of width 4.
MaskKind MasksOf(const std::string& text, const RunRecords* example) {
  ArmFacts facts;
  std::vector<const RunRecords*> runs;
  if (example != nullptr) runs.push_back(example);
  DescribeArm(absl::StrCat("network { [type.googleapis.com/prunelab.ResNetCifar] { depth: 8 width: 4 } } dataset { "
                           "[type.googleapis.com/prunelab.Digits] {} } training { epochs: 1 } ",
                           text),
              runs, &facts);
  EXPECT_EQ(facts.classes, 10);
  EXPECT_EQ(facts.filters.at("layer3.0.conv2"), 16);
  return facts.masks;
}

std::string Pruning(const std::string& strategy) {
  return absl::StrCat("pruning { [type.googleapis.com/prunelab.", strategy, " } ");
}

// Chance must not depend on where a report is made: without the data the family's own default is no number of classes.
TEST(DescribeArmTest, ClassesThatOnlyTheDataKnow) {
  const auto facts_of = [](const std::string& network, const std::vector<const RunRecords*>& runs) {
    ArmFacts facts;
    DescribeArm(absl::StrCat("network { [type.googleapis.com/prunelab.ResNetCifar] { depth: 8 width: 4 ", network,
                             " } } dataset { [type.googleapis.com/prunelab.ImageFolder] { path: '/no/such/folder' } } "
                             "training { epochs: 1 } pruning { [type.googleapis.com/prunelab.Static] { rate: 0.5 } } "
                             "initial_weights: 'x.safetensors' "),
                runs, &facts);
    return facts;
  };
  EXPECT_EQ(facts_of("", {}).classes, std::nullopt);
  EXPECT_EQ(facts_of("classes: 5", {}).classes, 5);
  RunRecords recorded = Ended(2, 4, 0.5), another = Ended(2, 4, 0.5);
  recorded.provenance["classes"] = "2";
  another.provenance["classes"] = "3";
  EXPECT_EQ(facts_of("", {&recorded}).classes, 2);
  EXPECT_EQ(facts_of("", {&recorded, &another}).classes, std::nullopt);
  // Nor are masks told from a network of other sizes than the run's.
  EXPECT_EQ(facts_of("", {&recorded}).masks, MaskKind::kUnknown);
  EXPECT_EQ(facts_of("input_channels: 3", {&recorded}).masks, MaskKind::kBoth);
}

TEST(DescribeArmTest, WhatIsMaskedByStrategiesAndWithTheWeights) {
  const std::string none = Pruning("NoPruning] {}"), started = "initial_weights: 'x.safetensors' ";
  EXPECT_EQ(MasksOf(none, nullptr), MaskKind::kNone);
  EXPECT_EQ(MasksOf(Pruning("Static] { rate: 0.5 }"), nullptr), MaskKind::kFilters);
  EXPECT_EQ(MasksOf(Pruning("Unstructured] { rate: 0.5 }"), nullptr), MaskKind::kWeights);
  EXPECT_EQ(MasksOf(Pruning("Static] { rate: 0 }"), nullptr), MaskKind::kNone);
  // The weights of the convolutions of a ResNet-8 of width 4 on one channel.
  const double weights = 4 * 9 + 2 * 4 * 4 * 9 + 8 * 4 * 9 + 8 * 8 * 9 + 16 * 8 * 9 + 16 * 16 * 9 + 8 * 4 + 16 * 8;
  const RunRecords dense = Ended(4, 4, 0);
  const RunRecords filters = Ended(2, 3, 3 * 36 / weights);
  const RunRecords single = Ended(4, 4, 0.5), both = Ended(2, 3, 0.5);
  EXPECT_EQ(MasksOf(none + started, &dense), MaskKind::kNone);
  EXPECT_EQ(MasksOf(none + started, &filters), MaskKind::kFilters);
  EXPECT_EQ(MasksOf(none + started, &single), MaskKind::kWeights);
  EXPECT_EQ(MasksOf(none + started, &both), MaskKind::kWeights);  // some filters have no live weight
  EXPECT_EQ(MasksOf(Pruning("Static] { rate: 0.5 }") + started, &filters), MaskKind::kFilters);
  EXPECT_EQ(MasksOf(Pruning("Static] { rate: 0.5 }") + started, &both), MaskKind::kBoth);
  EXPECT_EQ(MasksOf(none, &single), MaskKind::kNone);  // the config alone decides where nothing can have come in
}

}  // namespace
}  // namespace prunelab
