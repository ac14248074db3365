// From an ablation's text to its arms and their identities.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "experiments/config/config_test.pb.h"
#include "experiments/config/identity.h"
#include "experiments/config/load.h"
#include "experiments/config/phases.h"
#include "experiments/config/run_network.h"
#include "experiments/config/selection.h"
#include "google/protobuf/text_format.h"
#include "ml/base/digest.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/plugin.h"
#include "ml/base/textproto.h"
#include "ml/models/model_builder.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/regularizers/regularizer.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// ---------------------------------------------------------------------------------------------------------------------
// Tiny plugins

absl::StatusOr<Network> CreateTestNetwork(const TestNetwork& parameters, const ImageDefaults& defaults) {
  if (parameters.width() < 1)
    return FieldError("width", absl::StrCat("is ", parameters.width(), "; must be at least 1"));
  const auto or_default = [](bool has, int64_t value, const std::optional<int64_t>& from_data, int64_t otherwise) {
    return has ? value : from_data.value_or(otherwise);
  };
  Network network;
  Node* node = network.add_node();
  node->set_name("image");
  node->mutable_image()->set_channels(
      or_default(parameters.has_channels(), parameters.channels(), defaults.channels, 3));
  node->mutable_image()->set_height(or_default(parameters.has_size(), parameters.size(), defaults.height, 32));
  node->mutable_image()->set_width(or_default(parameters.has_size(), parameters.size(), defaults.width, 32));
  const auto add = [&](const char* name, const char* input) {
    node = network.add_node();
    node->set_name(name);
    node->add_input(input);
    return node;
  };
  Conv2d* conv = add("conv", "image")->mutable_conv2d();
  conv->set_out_channels(parameters.width());
  conv->set_padding(1);
  add("pool", "conv")->mutable_global_average_pool();
  add("norm", "pool")->mutable_batch_norm2d();  // of maps of one pixel
  add("flat", "norm")->mutable_flatten();
  add("fc", "flat")
      ->mutable_linear()
      ->set_out_features(or_default(parameters.has_classes(), parameters.classes(), defaults.classes, 10));
  return network;
}

TypedDatasetFactory<TestData> CreateTestData() {
  return {
      [](const TestData& parameters) -> absl::StatusOr<DatasetInfo> {
        if (parameters.train_images() < 1) return FieldError("train_images", "is 0; must be at least 1");
        if (parameters.missing()) return absl::NotFoundError("no such folder");
        DatasetInfo info;
        info.classes = 4;
        info.channels = 1;
        info.height = info.width = 8;
        info.train_images = parameters.train_images();
        info.test_images = 10;
        return info;
      },
      [](const TestData&) -> absl::StatusOr<Dataset> { return absl::UnimplementedError("not read in these tests"); }};
}

class NothingPruned : public PruningStrategy {
 public:
  Granularity granularity() const override { return Granularity::kFilter; }
  GradientPolicy gradient_policy() const override { return GradientPolicy::kMasked; }
  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition&, const std::vector<PrunableLayer>&) override {
    return std::nullopt;
  }
};

absl::Status CheckRate(double rate) {
  return rate >= 0 && rate < 1 ? absl::OkStatus()
                               : FieldError("rate", absl::StrCat("is ", rate, "; must be in [0, 1)"));
}

// It cannot rank fresh weights at a period of 1.
absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateTestPruning(const TestPruning& parameters,
                                                                   const PruningSetup& setup) {
  if (setup.fresh_weights && parameters.period() == 1) return FieldError("period", "is 1, where the weights are fresh");
  const absl::Status rate = CheckRate(parameters.rate());
  if (!rate.ok()) return rate;
  if (parameters.period() < 1)
    return FieldError("period", absl::StrCat("is ", parameters.period(), "; must be at least 1"));
  return std::make_unique<NothingPruned>();
}

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateTestOtherPruning(const TestOtherPruning& parameters,
                                                                        const PruningSetup&) {
  const absl::Status rate = CheckRate(parameters.rate());
  if (!rate.ok()) return rate;
  return std::make_unique<NothingPruned>();
}

class NoPenalty : public Regularizer {
 public:
  at::Tensor Value(const std::vector<RegularizedLayer>&) const override { return {}; }
};

absl::StatusOr<std::unique_ptr<Regularizer>> CreateTestPenalty(const TestPenalty& parameters, const NetworkInfo&) {
  if (!(parameters.delta() > 0))
    return FieldError("delta", absl::StrCat("is ", parameters.delta(), "; must be above 0"));
  return std::make_unique<NoPenalty>();
}

const bool registered = RegisterNetworkFamily(&CreateTestNetwork) && RegisterDataset(&CreateTestData) &&
                        RegisterPruningStrategy(&CreateTestPruning) &&
                        RegisterPruningStrategy(&CreateTestOtherPruning) && RegisterRegularizer(&CreateTestPenalty);

// ---------------------------------------------------------------------------------------------------------------------

// "@X" stands for "type.googleapis.com/prunelab.X".
std::string Expand(const std::string& text) {
  return absl::StrReplaceAll(text, {{"@", "type.googleapis.com/prunelab."}});
}

absl::StatusOr<LoadedAblation> Load(const std::string& text, const std::string& override_text = "") {
  const std::string path = ::testing::TempDir() + "/a.textproto";
  EXPECT_TRUE(WriteFileAtomically(path, Expand(text)).ok());
  return LoadAblation(path, Expand(override_text));
}

// The errors, with the file's name cut to "f".
std::vector<std::string> Errors(const std::string& text, const std::string& override_text = "") {
  const absl::StatusOr<LoadedAblation> loaded = Load(text, override_text);
  if (loaded.ok()) return {};
  return absl::StrSplit(absl::StrReplaceAll(loaded.status().message(), {{::testing::TempDir() + "/a.textproto", "f"}}),
                        '\n');
}

// A valid ablation, one piece per line, so that a test can change one.
struct Pieces {
  std::string name = "name: \"t\"";
  std::string network = "network { [@TestNetwork] {} }";
  std::string dataset = "dataset { [@TestData] {} }";
  std::string training = "training { epochs: 2 batch_size: 10 }";
  std::string more_base;
  std::string pruning = R"(factor { name: "pruning" level { name: "none" } level { name: "half" patch {)";
  std::string half = "  pruning { [@TestPruning] { rate: 0.5 } } } } }";
  std::string penalty = R"(factor { name: "regularizer" level { name: "none" } level { name: "test" patch {)";
  std::string test = "  regularization { weight: 0.7 regularizer { [@TestPenalty] {} } } } } }";
  std::string exclude;
  std::string seeds = "seeds { count: 3 }";
  std::string comparison = R"(comparison { treatment: "half/test" control: "half/none" margin: 0.01 })";
  std::string contrast;

  std::string Text() const {
    return absl::StrJoin({name, std::string("base {"), network, dataset, training, more_base, std::string("}"), pruning,
                          half, penalty, test, exclude, seeds, comparison, contrast},
                         "\n");
  }
};
// The lines of the pieces, for the expected places below.
constexpr char kName[] = "f:1:", kBase[] = "f:2:", kNetwork[] = "f:3:", kDataset[] = "f:4:", kTraining[] = "f:5:",
               kMoreBase[] = "f:6:", kPruning[] = "f:8:", kHalf[] = "f:9:", kTest[] = "f:11:", kExclude[] = "f:12:",
               kSeeds[] = "f:13:", kComparison[] = "f:14:", kContrast[] = "f:15:";

std::vector<std::string> ErrorsWith(const std::function<void(Pieces*)>& change, const std::string& override_text = "") {
  Pieces pieces;
  change(&pieces);
  return Errors(pieces.Text(), override_text);
}

LoadedAblation Good(const std::string& text, const std::string& override_text = "") {
  absl::StatusOr<LoadedAblation> loaded = Load(text, override_text);
  EXPECT_TRUE(loaded.ok()) << loaded.status().message();
  return loaded.ok() ? *std::move(loaded) : LoadedAblation();
}

std::vector<std::string> ArmNames(const std::vector<Arm>& arms) {
  std::vector<std::string> names;
  for (const Arm& arm : arms) names.push_back(arm.name);
  return names;
}

std::string Canonical(const Arm& arm) { return *CanonicalText(arm.config); }

// ---------------------------------------------------------------------------------------------------------------------
// Arms

TEST(LoadAblationTest, ArmsAreTheCrossProductInOrder) {
  const LoadedAblation loaded = Good(Pieces().Text());
  EXPECT_THAT(ArmNames(loaded.arms), ElementsAre("none/none", "none/test", "half/none", "half/test"));
  EXPECT_THAT(loaded.arms[2].levels, ElementsAre("half", "none"));
  EXPECT_EQ(loaded.ablation.seeds().first(), 1);
  EXPECT_EQ(
      Canonical(loaded.arms[0]),
      "network: [prunelab.TestNetwork]\ndataset: [prunelab.TestData]\ntraining.epochs: 2\ntraining.batch_size: 10\n"
      "training.sgd: {}\ntraining.schedule.constant: {}\npruning: [prunelab.NoPruning]\n"
      "regularization.weight: 0\nregularization.regularizer: [prunelab.NoRegularizer]\n");
  EXPECT_EQ(
      Canonical(loaded.arms[3]),
      "network: [prunelab.TestNetwork]\ndataset: [prunelab.TestData]\ntraining.epochs: 2\ntraining.batch_size: 10\n"
      "training.sgd: {}\ntraining.schedule.constant: {}\npruning: [prunelab.TestPruning]\n"
      "regularization.weight: 0.7\nregularization.regularizer: [prunelab.TestPenalty]\n");
}

TEST(LoadAblationTest, WithoutFactorsThereIsOneArm) {
  Pieces p;
  p.pruning = p.half = p.penalty = p.test = p.comparison = "";
  const LoadedAblation loaded = Good(p.Text());
  EXPECT_THAT(ArmNames(loaded.arms), ElementsAre("base"));
  EXPECT_TRUE(loaded.arms[0].levels.empty());
}

TEST(LoadAblationTest, ExcludedArmsAreLeftOut) {
  Pieces p;
  p.exclude = "exclude: \"none/*, half/none\"";
  p.comparison = "";
  EXPECT_THAT(ArmNames(Good(p.Text()).arms), ElementsAre("half/test"));
}

TEST(LoadAblationTest, OnlyIncludedArmsAreRunLessTheExcluded) {
  Pieces pieces;
  pieces.exclude = "include: \"*/none, half/*\" exclude: \"none/none\"";
  EXPECT_THAT(ArmNames(Good(pieces.Text()).arms), ElementsAre("half/none", "half/test"));
  EXPECT_THAT(ErrorsWith([](Pieces* p) {
                p->exclude = "include: \"*/none,hlaf/test\"";
                p->comparison = "";
              }),
              ElementsAre(HasSubstr("include[0]: \"hlaf/test\" matches no arm; did you mean \"half/test\"?")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->exclude = "include: \"half/none\""; }),
              ElementsAre(HasSubstr("comparison[0].treatment: \"half/test\" is excluded")));
}

TEST(LoadAblationTest, ALevelMayUndoTheBasesChoice) {
  Pieces p;
  p.more_base =
      "pruning { [@TestPruning] { rate: 0.9 period: 2 } } regularization { weight: 3 regularizer { [@TestPenalty] {} } "
      "}";
  p.pruning =
      R"(factor { name: "pruning" level { name: "none" patch { pruning { [@NoPruning] {} } } } level { name: "half" patch {)";
  p.penalty =
      R"(factor { name: "r" level { name: "none" patch { regularization { regularizer { [@NoRegularizer] {} } } } }
                 level { name: "test" patch {)";
  const LoadedAblation loaded = Good(p.Text());
  EXPECT_THAT(Canonical(loaded.arms[0]), HasSubstr("pruning: [prunelab.NoPruning]\nregularization.weight: 0\n"));
  EXPECT_THAT(Canonical(loaded.arms[3]), HasSubstr("pruning.period: 2\n"));  // of the base, merged inside
  EXPECT_THAT(Canonical(loaded.arms[3]), Not(HasSubstr("pruning.rate")));    // the level's 0.5 is the default
}

TEST(LoadAblationTest, DataThatAreNotThereAreNoError) {
  const LoadedAblation loaded = Good(Pieces().Text(), "base { dataset { [@TestData] { missing: true } } }");
  ASSERT_EQ(loaded.arms.size(), 4u);
  const auto info = DescribeRunDataset(loaded.arms[0].config);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_FALSE(info->has_value());
  const auto network = BuildRunNetwork(loaded.arms[0].config, *info);
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_EQ(network->classes(), 10);  // the family's own default
}

TEST(LoadAblationTest, SizesComeFromTheData) {
  const LoadedAblation loaded = Good(Pieces().Text());
  const auto info = DescribeRunDataset(loaded.arms[0].config);
  ASSERT_TRUE(info.ok() && info->has_value());
  const auto network = BuildRunNetwork(loaded.arms[0].config, *info);
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_EQ(network->classes(), 4);
  EXPECT_EQ(network->input_shape().height, 8);
}

TEST(LoadAblationTest, OverridesAreMergedOverTheFile) {
  const LoadedAblation loaded =
      Good(Pieces().Text(),
           "base { training { epochs: 1 } dataset { [@TestData] { train_images: 20 } } } seeds { count: 1 }");
  EXPECT_EQ(loaded.ablation.seeds().count(), 1);
  EXPECT_EQ(loaded.arms[0].config.training().epochs(), 1);
  EXPECT_EQ(loaded.arms[0].config.training().batch_size(), 10);
  EXPECT_THAT(Canonical(loaded.arms[0]), HasSubstr("dataset.train_images: 20\n"));
}

TEST(LoadAblationTest, PathsAreTakenFromWhereTheCommandWasTyped) {
  ASSERT_TRUE(WriteFileAtomically(::testing::TempDir() + "/typed.textproto", Expand(Pieces().Text())).ok());
  setenv("BUILD_WORKING_DIRECTORY", ::testing::TempDir().c_str(), 1);
  const auto loaded = LoadAblation("typed.textproto", "");
  unsetenv("BUILD_WORKING_DIRECTORY");
  EXPECT_TRUE(loaded.ok()) << loaded.status();
}

// ---------------------------------------------------------------------------------------------------------------------
// Bad input

TEST(BadConfigTest, FilesThatAreNoText) {
  const std::string folder = ::testing::TempDir();
  EXPECT_EQ(LoadAblation(folder + "/absent", "").status().message(),
            folder + "/absent: cannot read: No such file or directory; check the path");
  EXPECT_THAT(Errors(""), ElementsAre("f: is empty; it must hold a prunelab.Ablation in protobuf's text format"));
  EXPECT_THAT(Errors("name: \"t\"\nbase {"), ElementsAre("f:2:7: the text ends inside a message; close it with \"}\""));
  EXPECT_THAT(
      Errors("nmae: \"t\""),
      ElementsAre("f:1:1: prunelab.Ablation has no field \"nmae\"; did you mean \"name\"? fields "
                  "there: name, description, base, factor, exclude, include, seeds, comparison, contrast, search"));
}

TEST(BadConfigTest, AnEmptyAblationSaysAllThatIsMissing) {
  EXPECT_THAT(
      Errors("# nothing\n"),
      ElementsAre("f: name: is not set; say what the ablation is called, e.g. name: \"digits\"",
                  "f: seeds: has no count; say which seeds to run, e.g. seeds { first: 1 count: 3 }",
                  HasSubstr("f: dataset: names no data set; write e.g. [type.googleapis.com/prunelab.TestData] {}"),
                  "f: training.epochs: is not set; say how many passes over the training data to make, e.g. epochs: 20",
                  HasSubstr("f: network: names no network family; write e.g.")));
}

TEST(BadConfigTest, OverridesHavePlacesOfTheirOwn) {
  const std::string good = Pieces().Text();
  EXPECT_THAT(Errors(good, "base {\n  trainig { } }"),
              ElementsAre(HasSubstr("--override:2:3: prunelab.RunConfig has no field \"trainig\"")));
  EXPECT_THAT(Errors(good, "base { training {\n epochs: 0 } }"),
              ElementsAre("--override:2:2: training.epochs: is 0; must be at least 1"));
  EXPECT_THAT(Errors(good, "seeds { count: 0 }"),
              ElementsAre("--override:1:9: seeds.count: is 0; must be from 1 to 1000000"));
  EXPECT_THAT(Errors(good, "comparison { treatment: \"x\" control: \"none/none\" }"),
              ElementsAre(HasSubstr("--override:1:14: comparison[0].treatment: no arm is called \"x\"")));
  EXPECT_THAT(Errors("nmae: 1", "nmae: 2"), ElementsAre(HasSubstr("f:1:1: "), HasSubstr("--override:1:1: ")));
}

TEST(BadConfigTest, AnErrorStandsWhereTheFieldWasSetLast) {
  // In the base, although only arms whose level leaves it unset show it.
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->more_base = "pruning { [@TestPruning] { rate: 1 } }"; }),
              ElementsAre(absl::StrCat(kMoreBase, "56: pruning.rate: is 1; must be in [0, 1)")));
  // In the level, and only once although two arms have it.
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->half = "  pruning { [@TestPruning] { rate: 1.5 } } } } }"; }),
              ElementsAre(absl::StrCat(kHalf, "58: pruning.rate: is 1.5; must be in [0, 1)")));
  // The level chooses the type and sets nothing, so its field is the base's.
  EXPECT_THAT(
      ErrorsWith([](Pieces* p) {
        p->more_base = "pruning { [@TestPruning] { period: 0 } }";
        p->pruning =
            R"(factor { name: "pruning" level { name: "none" patch { pruning { [@NoPruning] {} } } } level { name: "half" patch {)";
      }),
      ElementsAre(absl::StrCat(kMoreBase, "56: pruning.period: is 0; must be at least 1")));
  // A choice of another type hides the base's field of the same name.
  EXPECT_THAT(ErrorsWith([](Pieces* p) {
                p->more_base = "pruning { [@TestPruning] { rate: 0.1 } }";
                p->half = "  pruning { [@TestOtherPruning] { rate: -1 } } } } }";
              }),
              ElementsAre(absl::StrCat(kHalf, "63: pruning.rate: is -1; must be in [0, 1)")));
  // The level's patch is merged after the override of the base.
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->half = "  training { batch_size: 0 } } } }"; },
                         "base { training { batch_size: 5 } }"),
              ElementsAre(absl::StrCat(kHalf, "14: training.batch_size: is 0; must be at least 1")));
}

TEST(BadConfigTest, Plugins) {
  EXPECT_THAT(
      ErrorsWith([](Pieces* p) { p->half = "  pruning { [@SoftFilter] {} } } } }"; }),
      ElementsAre(AllOf(HasSubstr(absl::StrCat(kHalf, "13: [prunelab.SoftFilter] is not linked into this program; ")),
                        HasSubstr("prunelab.TestPruning"), HasSubstr(":soft_filter by its name"))));
  EXPECT_THAT(
      ErrorsWith([](Pieces* p) { p->half = "  pruning { [@TestPenalty] {} } } } }"; }),
      ElementsAre(absl::StrCat(kHalf,
                               "3: pruning: [prunelab.TestPenalty] is a regularizer, not a pruning strategy; linked "
                               "pruning strategies: prunelab.NoPruning, prunelab.TestOtherPruning, "
                               "prunelab.TestPruning")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->test = "  regularization { regularizer { [@TestPruning] {} } } } } }"; }),
              ElementsAre(HasSubstr(absl::StrCat(kTest,
                                                 "20: regularization.regularizer: [prunelab.TestPruning] is a pruning "
                                                 "strategy, not a regularizer"))));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->network = "network { [@TestData] {} }"; }),
              ElementsAre(HasSubstr(
                  absl::StrCat(kNetwork, "1: network: [prunelab.TestData] is a data set, not a network family"))));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->dataset = "dataset { [@TestNoPlugin] {} }"; }),
              ElementsAre(HasSubstr(absl::StrCat(kDataset, "1: dataset: [prunelab.TestNoPlugin] is not linked"))));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->dataset = ""; }),
              ElementsAre(HasSubstr(absl::StrCat(kBase, "1: dataset: names no data set"))));
  EXPECT_THAT(ErrorsWith([](Pieces* p) {
                p->more_base = "pruning {}";
                p->exclude = "exclude: \"half/*\"";
                p->comparison = "";
              }),
              ElementsAre(HasSubstr(absl::StrCat(kMoreBase, "1: pruning: names no pruning strategy"))));
}

TEST(BadConfigTest, PluginsParameters) {
  for (const char* rate : {"1", "-0.1", "nan", "inf"}) {
    EXPECT_THAT(
        ErrorsWith([&](Pieces* p) { p->half = absl::StrCat("pruning { [@TestPruning] { rate: ", rate, " } } } } }"); }),
        ElementsAre(absl::StrCat(kHalf, "56: pruning.rate: is ", rate, "; must be in [0, 1)")));
  }
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->half = "pruning { [@TestPruning] { period: 0 } } } } }"; }),
              ElementsAre(absl::StrCat(kHalf, "56: pruning.period: is 0; must be at least 1")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->network = "network { [@TestNetwork] { width: 0 } }"; }),
              ElementsAre(absl::StrCat(kNetwork, "56: network.width: is 0; must be at least 1")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->dataset = "dataset { [@TestData] { train_images: 0 } }"; }),
              ElementsAre(absl::StrCat(kDataset, "53: dataset.train_images: is 0; must be at least 1")));
  EXPECT_THAT(
      ErrorsWith([](Pieces* p) { p->test = "regularization { regularizer { [@TestPenalty] { delta: 0 } } } } } }"; }),
      ElementsAre(absl::StrCat(kTest, "77: regularization.regularizer.delta: is 0; must be above 0")));
}

TEST(BadConfigTest, NetworkAgainstData) {
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->network = "network { [@TestNetwork] { size: 16 } }"; }),
              ElementsAre(absl::StrCat(kNetwork,
                                       "1: network: takes images of 1x16x16, but the data set's are 1x8x8 (channels, "
                                       "height, width); leave the network's sizes unset to take the data's")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->network = "network { [@TestNetwork] { channels: 3 } }"; }),
              ElementsAre(HasSubstr("takes images of 3x8x8")));
  EXPECT_THAT(
      ErrorsWith([](Pieces* p) { p->network = "network { [@TestNetwork] { classes: 10 } }"; }),
      ElementsAre(absl::StrCat(kNetwork,
                               "1: network: has 10 classes, but the data set has 4; leave the network's classes "
                               "unset to take the data's")));
}

TEST(BadConfigTest, Training) {
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->training = "training { batch_size: 10 }"; }),
              ElementsAre(HasSubstr(absl::StrCat(kTraining, "1: training.epochs: is not set"))));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->training = "training { epochs: 1 batch_size: 0 }"; }),
              ElementsAre(absl::StrCat(kTraining, "22: training.batch_size: is 0; must be at least 1")));
  EXPECT_THAT(
      ErrorsWith([](Pieces* p) { p->training = "training { epochs: 1 batch_size: 101 }"; }),
      ElementsAre(absl::StrCat(kTraining,
                               "22: training.batch_size: is 101, but the data set has 100 training images; must "
                               "be at most as many")));
  EXPECT_THAT(
      ErrorsWith([](Pieces* p) { p->training = "training { epochs: 1 batch_size: 10 random_crop_padding: 9 }"; }),
      ElementsAre(absl::StrCat(kTraining,
                               "37: training.random_crop_padding: is 9, but the images are 8x8; must be at most 8")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) {
                p->training =
                    "training { epochs: 1 batch_size: 10 schedule { multi_step { milestone: 3 milestone: 2 } } }";
              }),
              ElementsAre(absl::StrCat(kTraining,
                                       "74: training.schedule.multi_step.milestone[1]: is 2; milestones must increase, "
                                       "from 1 on")));
}

TEST(BadConfigTest, ALastBatchOfOneImageBeforeABatchNormOfOnePixel) {
  EXPECT_THAT(
      ErrorsWith([](Pieces* p) { p->training = "training { epochs: 1 batch_size: 33 }"; }),
      ElementsAre(absl::StrCat(
          kTraining,
          "22: training.batch_size: is 33, which leaves a single one of 100 training images for an epoch's last "
          "batch; the batch norm \"norm\" has maps of 1x1 pixel and needs more than one value a channel; use a "
          "batch_size of 32 or 34, or larger images")));
  // In a level's patch, and by an override of the data.
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->half = "  training { batch_size: 11 } } } }"; }),
              ElementsAre(HasSubstr(absl::StrCat(kHalf, "14: training.batch_size: is 11, which leaves a single one"))));
  EXPECT_THAT(ErrorsWith([](Pieces*) {}, "base { dataset { [@TestData] { train_images: 101 } } }"),
              ElementsAre(HasSubstr(absl::StrCat(kTraining, "22: training.batch_size: is 10, which leaves a single"))));
  // Only the data tell how many images validation sets aside and, if they do not exist, how many there are.
  EXPECT_THAT(
      ErrorsWith([](Pieces* p) { p->training = "training { epochs: 1 batch_size: 33 validation_fraction: 0.1 }"; }),
      ElementsAre());
  EXPECT_THAT(ErrorsWith([](Pieces* p) {
                p->training = "training { epochs: 1 batch_size: 33 }";
                p->dataset = "dataset { [@TestData] { missing: true } }";
              }),
              ElementsAre());
}

TEST(CheckTrainingOnDataTest, CountsWhatIsLeftOfTheClasses) {
  const LoadedAblation loaded = Good(Pieces().Text());
  const NetworkInfo network = *BuildRunNetwork(loaded.arms[0].config, *DescribeRunDataset(loaded.arms[0].config));
  Dataset dataset;
  dataset.train.labels = at::arange(9) % 4;  // 3, 2, 2, 2
  dataset.train.images = at::zeros({9, 1, 8, 8}, at::kByte);
  dataset.info = InfoOf(4, dataset.train, dataset.train);
  Training training;
  training.set_batch_size(5);
  EXPECT_EQ(*CheckTrainingOnData(training, network, dataset), 9);
  training.set_validation_fraction(0.1);
  EXPECT_EQ(*CheckTrainingOnData(training, network, dataset), 5);  // one of each class
  training.set_batch_size(6);
  absl::Status status = CheckTrainingOnData(training, network, dataset).status();
  EXPECT_EQ(ErrorText(status),
            "is 6, but the data set has 5 training images beside the validation data; must be at most as many");
  training.set_batch_size(4);
  status = CheckTrainingOnData(training, network, dataset).status();
  EXPECT_EQ(ErrorField(status), "batch_size");
  EXPECT_THAT(ErrorText(status), HasSubstr("a single one of 5 training images beside the validation data"));
  training.set_batch_size(3);
  EXPECT_EQ(*CheckTrainingOnData(training, network, dataset), 5);
  dataset.train.labels[7].fill_(0);  // class 3 has none left but image 3
  status = CheckTrainingOnData(training, network, dataset).status();
  EXPECT_EQ(ErrorField(status), "validation_fraction");
  EXPECT_THAT(ErrorText(status), HasSubstr("1 of class 3's 1 training image aside"));
}

// A strategy that cannot rank anything at the run's first step is refused there, but not if the weights are trained
// ones.
TEST(BadConfigTest, StrategiesThatCannotRankFreshWeights) {
  const std::string one = "[@TestPruning] { period: 1 }", other = "[@TestOtherPruning] {}";
  EXPECT_THAT(ErrorsWith([&](Pieces* p) { p->half = "  pruning { " + one + " } } } }"; }),
              ElementsAre(absl::StrCat(kHalf, "58: pruning.period: is 1, where the weights are fresh")));
  const auto phases = [&](const std::string& run, const std::string& first, const std::string& second) {
    return ErrorsWith([&](Pieces* p) {
      p->training = "training { batch_size: 10 }";
      p->more_base = absl::StrCat(run, " phase { name: \"a\" epochs: 1 ", first, " } phase { name: \"b\" epochs: 1 ",
                                  second, " }");
      p->half = "} } }";
    });
  };
  const std::string pruning_one = "pruning { " + one + " }", pruning_other = "pruning { " + other + " }";
  EXPECT_THAT(phases("", pruning_one, ""), ElementsAre(HasSubstr("phase[0].pruning.period: is 1, where")));
  EXPECT_THAT(phases("", "", pruning_one), ElementsAre());
  EXPECT_THAT(phases(pruning_one, "", ""), ElementsAre(HasSubstr(": pruning.period: is 1, where the weights are")));
  EXPECT_THAT(phases(pruning_one, pruning_other, ""), ElementsAre());
  EXPECT_THAT(phases(pruning_one, pruning_other, pruning_one), ElementsAre());
}

TEST(BadConfigTest, PenaltyWeight) {
  for (const char* weight : {"-1", "nan", "inf"}) {
    EXPECT_THAT(ErrorsWith([&](Pieces* p) {
                  p->test =
                      absl::StrCat("regularization { weight: ", weight, " regularizer { [@TestPenalty] {} } } } } }");
                }),
                ElementsAre(absl::StrCat(kTest, "18: regularization.weight: is ", weight,
                                         "; must be a finite number, at least 0")));
  }
}

TEST(BadConfigTest, PenaltyWeightWithoutAPenalty) {
  const auto growth = [](const std::string& text) {
    return [text](Pieces* p) {
      p->test =
          absl::StrCat("regularization { weight: 0.5 growth { ", text, " } regularizer { [@TestPenalty] {} } } } } }");
    };
  };
  EXPECT_THAT(ErrorsWith(growth("period: 5 until: 2")), ElementsAre());
  EXPECT_THAT(ErrorsWith(growth("")), ElementsAre(HasSubstr("regularization.growth.until: is not set")));
  EXPECT_THAT(ErrorsWith(growth("until: 0.1")),
              ElementsAre(HasSubstr("regularization.growth.until: is 0.1; must be at least the weight, which is 0.5")));
  EXPECT_THAT(ErrorsWith(growth("period: 0 until: 1")),
              ElementsAre(HasSubstr("regularization.growth.period: is 0; must be at least 1")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->test = "regularization { growth { until: 1 } } } } }"; }),
              ElementsAre(HasSubstr("regularization.growth: is set, but no arm has a regularizer")));
  const auto forget = [](Pieces* p) { p->test = "  regularization { weight: 0.7 } } } }"; };
  EXPECT_THAT(ErrorsWith(forget),
              ElementsAre(HasSubstr(
                  absl::StrCat(kTest, "20: regularization.weight: is set, but no arm has a regularizer; name one"))));
  // One in the base, for all arms, is used by some of them.
  EXPECT_TRUE(ErrorsWith([](Pieces* p) {
                p->more_base = "regularization { weight: 2 }";
                p->test = "  regularization { regularizer { [@TestPenalty] {} } } } } }";
              }).empty());
}

TEST(BadConfigTest, Names) {
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->name = ""; }), ElementsAre(HasSubstr("f: name: is not set")));
  EXPECT_THAT(
      ErrorsWith([](Pieces* p) { p->name = "name: \"\""; }),
      ElementsAre(absl::StrCat(kName,
                               "1: name: is empty; names become folders: write letters, digits, \"_\" or \"-\", e.g. "
                               "\"dynamic_l1\"")));
  for (const auto& [name, fault] : std::initializer_list<std::pair<const char*, const char*>>{
           {"a/b", "has a \"/\""},
           {"a\\\\b", "has a \"\\\""},
           {"a*", "has a \"*\""},
           {"a,b", "has a \",\""},
           {"a..b", "has \"..\""},
           {"..", "has \"..\""},
           {".a", "begins with \".\""},
           {"-a", "begins with \"-\""},
           {"a\\n", "has a control character"},
           {"a\\000b", "has a control character"},
           {" a", "begins or ends with a space"},
       }) {
    EXPECT_THAT(ErrorsWith([&](Pieces* p) { p->name = absl::StrCat("name: \"", name, "\""); }),
                ElementsAre(AllOf(HasSubstr(absl::StrCat(kName, "1: name: is \"")),
                                  HasSubstr(absl::StrCat(", which ", fault, "; names become")))))
        << name;
    EXPECT_THAT(ErrorsWith([&](Pieces* p) {
                  p->pruning = absl::StrCat("factor { name: \"p\" level { name: \"", name,
                                            "\" } level { name: \"half\" patch {");
                }),
                ElementsAre(HasSubstr(absl::StrCat(kPruning, "28: factor[0].level[0].name: is \""))))
        << name;
  }
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->name = absl::StrCat("name: \"", std::string(201, 'a'), "\""); }),
              ElementsAre(HasSubstr("name: has 201 bytes; must be at most 200")));
}

TEST(BadConfigTest, FactorsAndLevels) {
  EXPECT_THAT(ErrorsWith([](Pieces* p) {
                p->pruning = "factor { name: \"pruning\" level { name: \"half\" } level { name: \"half\" patch {";
              }),
              ElementsAre(absl::StrCat(kPruning, "57: factor[0].level[1].name: is \"half\", as is that at ", kPruning,
                                       "34; give each a name of its own")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) {
                p->pruning = "factor { name: \"regularizer\" level { name: \"none\" } level { name: \"half\" patch {";
              }),
              ElementsAre(absl::StrCat("f:10:10: factor[1].name: is \"regularizer\", as is that at ", kPruning,
                                       "10; give each a name of its own")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->exclude = "factor { name: \"empty\" }"; }),
              ElementsAre(absl::StrCat(
                  kExclude, "1: factor[2]: has no level; give it at least one, e.g. level { name: \"none\" }")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->exclude = "factor { level { } }"; }),
              ElementsAre(HasSubstr(absl::StrCat(kExclude, "1: factor[2].name: is not set")),
                          HasSubstr(absl::StrCat(kExclude, "10: factor[2].level[0].name: is not set"))));
  std::string many;
  for (int f = 0; f < 14; ++f)
    absl::StrAppend(&many, "factor { name: \"f", f, "\" level { name: \"a\" } level { name: \"b\" } } ");
  EXPECT_THAT(ErrorsWith([&](Pieces* p) { p->exclude = many; }),
              ElementsAre(HasSubstr("makes more than 10000 arms with the factors before it; give fewer levels")));
}

TEST(BadConfigTest, Excludes) {
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->exclude = "exclude: \"none/*, hlaf/none\""; }),
              ElementsAre(absl::StrCat(kExclude,
                                       "1: exclude[0]: \"hlaf/none\" matches no arm; did you mean \"half/none\"? arms: "
                                       "none/none, none/test, half/none, half/test")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->exclude = "exclude: \"\""; }),
              ElementsAre(HasSubstr("exclude[0]: \"\" matches no arm")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) {
                p->exclude = "exclude: \"*\"";
                p->comparison = "";
              }),
              ElementsAre(absl::StrCat(kExclude, "1: exclude: leaves no arm to run; of 4 arms keep at least one")));
}

TEST(BadConfigTest, Compression) {
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->more_base = "compression { fine_tune_epochs: -1 }"; }),
              ElementsAre(AllOf(HasSubstr(kMoreBase), HasSubstr("compression.fine_tune_epochs: is -1"))));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->more_base = "compression { rate: 0.5 }"; }),
              ElementsAre(HasSubstr("goes with mode: COUPLED")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->more_base = "compression { mode: COUPLED rate: nan }"; }),
              ElementsAre(HasSubstr("at least 0 and below 1")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->more_base = "compression { mode: COUPLED rate: 0.5 }"; }), ElementsAre());
  const auto coupled_to = [](const std::string& more) {
    return ErrorsWith([&](Pieces* p) { p->more_base = absl::StrCat("compression { mode: COUPLED ", more, " }"); });
  };
  EXPECT_THAT(coupled_to("target { macs: 0.5 }"), ElementsAre());
  EXPECT_THAT(coupled_to("target { macs: 0.5 } rate: 0.5"),
              ElementsAre(HasSubstr("compression.rate: does not go with")));
  EXPECT_THAT(coupled_to("target { parameters: 1 }"),
              ElementsAre(HasSubstr("compression.target.parameters: is 1; must be above 0 and below 1")));
  EXPECT_THAT(coupled_to("rate: 0.5 groups { importance: GROUP_NORM normalize: MEAN }"), ElementsAre());
  EXPECT_THAT(coupled_to("groups { round: 8 }"),
              ElementsAre(HasSubstr("compression.groups: goes with rate or target")));
  EXPECT_THAT(coupled_to("rate: 0.5 groups { round: 0 }"),
              ElementsAre(HasSubstr("compression.groups.round: is 0; must be at least 1")));
  EXPECT_THAT(coupled_to("target {}"), ElementsAre(HasSubstr("compression.target: has no goal; set one of macs")));
  EXPECT_THAT(coupled_to("target { latency: 0.5 }"),
              ElementsAre(HasSubstr("compression.target.latency: is measured, and a run computes the same")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->more_base = "compression { target { macs: 0.5 } }"; }),
              ElementsAre(HasSubstr("compression.target: goes with mode: COUPLED")));
}

TEST(BadConfigTest, Phases) {
  const auto with = [](const std::string& phases) {
    return ErrorsWith([&](Pieces* p) {
      p->training = "training { batch_size: 10 }";
      p->more_base = phases;
    });
  };
  EXPECT_THAT(
      with("phase { name: 'a' epochs: 2 } phase { name: 'b' epochs: 1 rewind_to_epoch: 2 sgd { momentum: 0.5 } }"),
      ElementsAre());
  EXPECT_THAT(with("phase { epochs: 2 }"),
              ElementsAre(AllOf(HasSubstr(kMoreBase), HasSubstr("phase[0].name: is not set"))));
  EXPECT_THAT(with("phase { name: 'a' epochs: 2 } phase { name: 'a' epochs: 0 }"),
              ElementsAre(absl::StrCat(kMoreBase,
                                       "39: phase[1].name: is \"a\", as is that of phase[0]; give each a "
                                       "name of its own"),
                          absl::StrCat(kMoreBase, "49: phase[1].epochs: is 0; must be at least 1")));
  EXPECT_THAT(with("phase { name: 'a' epochs: 2 rewind_to_epoch: 1 }"),
              ElementsAre(HasSubstr("phase[0].rewind_to_epoch: is 1; must be from 0 to 0, the epochs of the phases "
                                    "before")));
  EXPECT_THAT(with("phase { name: 'a' epochs: 2 adamw { beta1: 0.5 } }"), ElementsAre());
  EXPECT_THAT(with("phase { name: 'a' epochs: 2 adamw { beta1: 2 } }"),
              ElementsAre(HasSubstr("phase[0].adamw.beta1: is 2; must be in [0, 1)")));
  EXPECT_THAT(with("phase { name: 'a' epochs: 2 sgd {} adamw {} }"),
              ElementsAre(HasSubstr("phase[0].adamw: is set beside sgd, but a phase has one optimizer; leave one of "
                                    "them out")));
  EXPECT_THAT(with("phase { name: 'a' epochs: 2 sgd { learning_rate: -1 } schedule { step { period: 0 } } }"),
              ElementsAre(HasSubstr("phase[0].sgd.learning_rate: is -1")));
  EXPECT_THAT(with("phase { name: 'a' epochs: 2 pruning { [@TestPruning] { rate: 7 } } "
                   "regularization { weight: -1 regularizer { [@TestPenalty] { delta: -2 } } } }"),
              ElementsAre(HasSubstr("phase[0].regularization.weight: is -1"), HasSubstr("phase[0].pruning.rate: is 7"),
                          HasSubstr("phase[0].regularization.regularizer.delta: is -2")));
  EXPECT_THAT(with("phase { name: 'a' epochs: 2 regularization { weight: 0.1 } }"),
              ElementsAre(AllOf(HasSubstr(kMoreBase), HasSubstr("phase[0].regularization.weight: is 0.1, but"))));
  // Also the run's own schedule must fit each phase.
  EXPECT_THAT(ErrorsWith([](Pieces* p) {
                p->training = "training { batch_size: 10 schedule { warmup_epochs: 2 } }";
                p->more_base = "phase { name: 'a' epochs: 3 } phase { name: 'b' epochs: 1 }";
              }),
              ElementsAre(HasSubstr("phase[1].schedule.warmup_epochs: is 2; must be from 0 to epochs (1)")));
  EXPECT_THAT(
      ErrorsWith([](Pieces* p) { p->more_base = "phase { name: 'a' epochs: 5 }"; }),
      ElementsAre(absl::StrCat(
          kTraining, "12: training.epochs: is 2, but the phases have 5 in all; leave it unset, or make them equal")));
}

TEST(LoadAblationTest, PhasesMakeTheRunsEpochsAndTakeOverWhatTheyLeaveUnset) {
  Pieces pieces;
  pieces.training = "training { batch_size: 10 sgd { learning_rate: 0.5 momentum: 0.9 } }";
  pieces.more_base = R"(phase { name: "a" epochs: 2 }
    phase { name: "b" epochs: 3 sgd { learning_rate: 0.1 } pruning { [@TestPruning] { rate: 0.25 } } })";
  const LoadedAblation loaded = Good(pieces.Text());
  const RunConfig& config = loaded.arms[3].config;  // half/test
  EXPECT_EQ(config.training().epochs(), 5);
  const std::vector<RunPhase> phases = PhasesOf(config);
  ASSERT_EQ(phases.size(), 2u);
  EXPECT_EQ(phases[1].first_epoch, 2);
  EXPECT_EQ(phases[1].training.epochs(), 3);
  EXPECT_EQ(phases[0].training.sgd().learning_rate(), 0.5);
  EXPECT_EQ(phases[1].training.sgd().learning_rate(), 0.1);
  EXPECT_EQ(phases[1].training.sgd().momentum(), 0.9);
  EXPECT_EQ(phases[0].pruning.SerializeAsString(), config.pruning().SerializeAsString());
  EXPECT_NE(phases[1].pruning.SerializeAsString(), config.pruning().SerializeAsString());
  EXPECT_EQ(phases[1].regularization.weight(), 0.7);
  // They are part of the run's identity.
  pieces.more_base = "";
  pieces.training = "training { epochs: 5 batch_size: 10 sgd { learning_rate: 0.5 momentum: 0.9 } }";
  EXPECT_NE(RunId(Good(pieces.Text()).arms[3].config, 1, "data"), RunId(config, 1, "data"));
}

TEST(BadConfigTest, FromScratch) {
  const auto with = [](const std::string& arm) {
    return ErrorsWith([&](Pieces* p) {
      p->test = absl::StrCat("  from_scratch { arm: \"", arm, "\" } } } }");
      p->comparison = "";
    });
  };
  EXPECT_THAT(with("half/none"), ElementsAre());
  EXPECT_THAT(
      with("hlaf/none"),
      ElementsAre(AllOf(HasSubstr(kTest), HasSubstr("no arm that is run is called \"hlaf/none\"; did you mean"))));
  EXPECT_THAT(with("half/test"), ElementsAre(HasSubstr("takes its shape from another arm itself")));
}

TEST(BadConfigTest, StartFrom) {
  const auto with = [](const std::string& fields, const std::string& beside = "") {
    return ErrorsWith([&](Pieces* p) {
      p->test = absl::StrCat("  start_from { ", fields, " } ", beside, " } } }");
      p->comparison = "";
    });
  };
  const std::string half = "arm: \"half/none\"";
  EXPECT_THAT(with(half), ElementsAre());
  EXPECT_THAT(with(half + " removal { mode: COUPLED target { macs: 0.5 } groups { importance: GROUP_NORM } }"),
              ElementsAre());
  EXPECT_THAT(with("arm: \"half/test\""), ElementsAre(HasSubstr("starts from another arm itself; name one that does")));
  EXPECT_THAT(with("arm: \"hlaf/none\""), ElementsAre(HasSubstr("start_from.arm: no arm that is run is called")));
  EXPECT_THAT(with(half + " removal { mode: COUPLED rate: 1 }"),
              ElementsAre(HasSubstr("start_from.removal.rate: is 1; must be at least 0 and below 1")));
  EXPECT_THAT(with(half + " removal { fine_tune_epochs: 2 }"),
              ElementsAre(HasSubstr("start_from.removal.fine_tune_epochs: is the run's own training here")));
  EXPECT_THAT(with(half, "network { [type.googleapis.com/prunelab.TestNetwork] { width: 3 } }"),
              ElementsAre(HasSubstr("its network is not that of \"half/none\", with which it starts")));
  EXPECT_THAT(with(half, "from_scratch { arm: \"half/none\" }"),
              ElementsAre(HasSubstr("does not go with from_scratch")));
}

// What is removed before the first step makes another run, also with all its defaults, and so does the other run.
TEST(LoadAblationTest, TheStartIsPartOfARunsIdentity) {
  RunConfig config;
  config.mutable_training()->set_epochs(3);
  std::set<std::string> ids;
  const auto add = [&](const std::string& source) {
    return ids.insert(FullRunId(config, 1, {"data", "", "", source})).second;
  };
  EXPECT_TRUE(add(""));
  config.mutable_start_from()->set_arm("dense");
  EXPECT_TRUE(add("a"));
  EXPECT_TRUE(add("b"));
  config.mutable_start_from()->mutable_removal();
  EXPECT_TRUE(add("a"));
  config.mutable_start_from()->mutable_removal()->set_mode(Compression::COUPLED);
  EXPECT_TRUE(add("a"));
  config.clear_start_from();
  config.mutable_from_scratch()->set_arm("dense");
  EXPECT_TRUE(add("a"));
}

TEST(LoadAblationTest, RemovalIsPartOfARunsIdentity) {
  Pieces pieces;
  const RunConfig plain = Good(pieces.Text()).arms[0].config;
  pieces.more_base = "compression {}";
  const RunConfig removed = Good(pieces.Text()).arms[0].config;
  pieces.more_base = "compression { mode: EXACT fine_tune_epochs: 0 }";
  const RunConfig by_defaults = Good(pieces.Text()).arms[0].config;
  EXPECT_NE(RunId(plain, 1, "data"), RunId(removed, 1, "data"));
  EXPECT_EQ(RunId(by_defaults, 1, "data"), RunId(removed, 1, "data"));
  EXPECT_EQ(ArmDifference(plain, removed), "+ compression: {}\n");
}

// What is switched on by being there makes another run, also with all its defaults.
TEST(LoadAblationTest, WhatIsSwitchedOnByBeingThereIsPartOfARunsIdentity) {
  const auto id_of = [](const std::string& training) {
    RunConfig config;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(training, config.mutable_training())) << training;
    return RunId(config, 1, "data");
  };
  std::set<std::string> ids = {id_of("epochs: 3")};
  for (const char* on : {"quantization {}", "random_resized_crop {}", "weight_average {}", "teacher {}", "adamw {}"}) {
    EXPECT_TRUE(ids.insert(id_of(absl::StrCat("epochs: 3 ", on))).second) << on;
  }
  EXPECT_EQ(id_of("epochs: 3 quantization { weight_bits: 8 }"), id_of("epochs: 3 quantization {}"));
  EXPECT_EQ(id_of("epochs: 3 color_jitter {}"), id_of("epochs: 3")) << "it changes no colour";
  RunConfig with_compactors;
  const std::string without = RunId(with_compactors, 1, "data");
  with_compactors.mutable_compactors();
  EXPECT_NE(RunId(with_compactors, 1, "data"), without);
}

TEST(LoadAblationTest, AFileOfWeightsBringsItsNetwork) {
  const std::string weights = ::testing::TempDir() + "/weights.safetensors";
  Safetensors file;
  file.metadata["network"] =
      "node { name: 'x' image { channels: 3 height: 8 width: 8 } } node { name: 'own' input: 'x' conv2d { "
      "out_channels: "
      "2 } } node { name: 'p' input: 'own' global_average_pool {} } node { name: 'f' input: 'p' flatten {} } node { "
      "name: "
      "'fc' input: 'f' linear { out_features: 4 } }";
  ASSERT_TRUE(WriteSafetensors(weights, file).ok());
  RunConfig config;
  config.set_initial_weights(weights);
  const absl::StatusOr<NetworkInfo> info = BuildRunNetwork(config, std::nullopt);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_GE(info->Index("own"), 0);
  file.metadata.clear();
  ASSERT_TRUE(WriteSafetensors(weights, file).ok());
  EXPECT_THAT(std::string(BuildRunNetwork(config, std::nullopt).status().message()),
              HasSubstr("carries no network; say with `network` which one"));
}

TEST(BadConfigTest, Seeds) {
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->seeds = ""; }), ElementsAre(HasSubstr("f: seeds: has no count")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->seeds = "seeds { first: 3 }"; }),
              ElementsAre(HasSubstr(absl::StrCat(kSeeds, "1: seeds: has no count"))));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->seeds = "seeds { count: 0 }"; }),
              ElementsAre(absl::StrCat(kSeeds, "9: seeds.count: is 0; must be from 1 to 1000000")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->seeds = "seeds { first: -1 count: 2 }"; }),
              ElementsAre(HasSubstr(absl::StrCat(kSeeds, "9: seeds.first: is -1; must be from 0"))));
}

TEST(BadConfigTest, Comparisons) {
  EXPECT_THAT(
      ErrorsWith([](Pieces* p) { p->comparison = "comparison { treatment: \"half/tset\" control: \"half/none\" }"; }),
      ElementsAre(absl::StrCat(kComparison,
                               "14: comparison[0].treatment: no arm is called \"half/tset\"; did you mean "
                               "\"half/test\"? arms: none/none, none/test, half/none, half/test")));
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->comparison = "comparison { treatment: \"half/test\" }"; }),
              ElementsAre(HasSubstr(
                  absl::StrCat(kComparison, "1: comparison[0].control: is not set; name an arm: none/none"))));
  EXPECT_THAT(
      ErrorsWith([](Pieces* p) { p->exclude = "exclude: \"half/none\""; }),
      ElementsAre(absl::StrCat(kComparison,
                               "37: comparison[0].control: \"half/none\" is excluded; name one of the arms that "
                               "are run: none/none, none/test, half/test")));
  EXPECT_THAT(
      ErrorsWith([](Pieces* p) { p->comparison = "comparison { treatment: \"half/none\" control: \"half/none\" }"; }),
      ElementsAre(absl::StrCat(kComparison,
                               "37: comparison[0].control: is \"half/none\", as the treatment; compare two "
                               "different arms")));
  for (const char* margin : {"-0.1", "nan"}) {
    EXPECT_THAT(ErrorsWith([&](Pieces* p) {
                  p->comparison = absl::StrCat(
                      "comparison { treatment: \"half/test\" control: \"half/none\" margin: ", margin, " }");
                }),
                ElementsAre(absl::StrCat(kComparison, "58: comparison[0].margin: is ", margin,
                                         "; must be a finite number, at least 0")));
  }
  EXPECT_THAT(ErrorsWith([](Pieces* p) { p->contrast = p->comparison; }),
              ElementsAre(absl::StrCat(kContrast, "1: comparison[1]: compares what that at ", kComparison,
                                       "1 compares; keep one")));
}

TEST(BadConfigTest, PlansOfComparisons) {
  const auto errors = [](const std::string& fields) {
    return ErrorsWith([&](Pieces* p) {
      p->comparison = absl::StrCat("comparison { treatment: \"half/test\" control: \"half/none\" ", fields, " }");
    });
  };
  EXPECT_THAT(errors("primary: 1 claim: 0.0147 manipulation { metric: MEAN_ABS_RHO at_most: 0.5 }"), ElementsAre());
  EXPECT_THAT(errors("primary: 2"), ElementsAre(HasSubstr("comparison[0].primary: is 2; the primary comparisons and "
                                                          "contrasts have the numbers 1 to 1, each once")));
  EXPECT_THAT(errors("claim: 0"), ElementsAre(HasSubstr("comparison[0].claim: is 0; must be a finite number above 0")));
  EXPECT_THAT(errors("manipulation { at_most: 0.5 }"),
              ElementsAre(HasSubstr("comparison[0].manipulation[0].metric: is not set; name a metric")));
  EXPECT_THAT(errors("manipulation { metric: TEST_LOSS }"), ElementsAre(HasSubstr("has none of at_most and at_least")));
  EXPECT_THAT(errors("manipulation { metric: TEST_LOSS at_most: 2 at_least: 1 }"),
              ElementsAre(HasSubstr("has both of at_most and at_least")));
  EXPECT_THAT(errors("manipulation { metric: TEST_LOSS at_most: -1 }"), ElementsAre(HasSubstr("has the ratio -1")));
  EXPECT_THAT(errors("manipulation { metric: TEST_LOSS at_most: 1 treatment: 'x' }"),
              ElementsAre(HasSubstr("comparison[0].manipulation[0].treatment: no arm is called \"x\"")));
  EXPECT_THAT(errors("manipulation { metric: TEST_LOSS at_most: 1 treatment: 'half/none' }"),
              ElementsAre(HasSubstr("comparison[0].manipulation[0]: compares \"half/none\" with itself")));
  EXPECT_THAT(errors("manipulation { metric: LIVE_FILTER_NORM at_most: 1 }"),
              ElementsAre(HasSubstr("the arm \"half/test\" does not measure"), HasSubstr("\"half/none\"")));
  EXPECT_THAT(
      errors("metric: MASK_AGE"),
      ElementsAre(HasSubstr("is MASK_AGE, which the arm \"half/test\" does not measure; set filter_measures: true"),
                  HasSubstr("\"half/none\"")));
  // A contrast has no arms to leave them to.
  EXPECT_THAT(ErrorsWith([](Pieces* p) {
                p->contrast =
                    "contrast { name: \"c\" term { arm: \"half/test\" weight: 1 } term { arm: \"half/none\" "
                    "weight: -1 } manipulation { metric: TEST_LOSS at_most: 1 } }";
              }),
              ElementsAre(HasSubstr("contrast[0].manipulation[0].treatment: is not set"),
                          HasSubstr("contrast[0].manipulation[0].control: is not set")));
}

TEST(BadConfigTest, ValidationThatIsNotMeasured) {
  const std::string validated = "training { epochs: 2 batch_size: 10 validation_fraction: 0.1 }";
  const std::string comparison =
      "comparison { treatment: \"half/test\" control: \"half/none\" metric: VALIDATION_TOP1 }";
  EXPECT_THAT(
      ErrorsWith([&](Pieces* p) { p->comparison = comparison; }),
      ElementsAre(absl::StrCat(kComparison,
                               "58: comparison[0].metric: is VALIDATION_TOP1, but the arm \"half/test\" sets no "
                               "images aside for validation; give its training a validation_fraction, e.g. 0.1, "
                               "or compare another metric"),
                  HasSubstr("the arm \"half/none\" sets no")));
  EXPECT_THAT(ErrorsWith([&](Pieces* p) {
                p->training = validated;
                p->comparison = comparison;
              }),
              ElementsAre());
  // Only one of the arms measures it.
  EXPECT_THAT(ErrorsWith([&](Pieces* p) {
                p->test =
                    "  regularization { weight: 0.7 regularizer { [@TestPenalty] {} } } "
                    "training { validation_fraction: 0.1 } } } }";
                p->contrast =
                    "contrast { name: \"i\" metric: VALIDATION_TOP1 term { arm: \"half/test\" weight: 1 } "
                    "term { arm: \"none/none\" weight: -1 } }";
              }),
              ElementsAre(HasSubstr("contrast[0].metric: is VALIDATION_TOP1, but the arm \"none/none\" sets no")));
}

TEST(BadConfigTest, Contrasts) {
  const auto contrast = [](const std::string& text) {
    return ErrorsWith([&](Pieces* p) { p->contrast = "contrast { " + text + " }"; });
  };
  EXPECT_TRUE(contrast("name: \"i\" term { arm: \"half/test\" weight: 1 } term { arm: \"half/none\" weight: -1 } "
                       "term { arm: \"none/test\" weight: -0.3 } term { arm: \"none/none\" weight: 0.3 }")
                  .empty());
  EXPECT_THAT(contrast("term { arm: \"half/test\" weight: 1 } term { arm: \"half/none\" weight: -1 }"),
              ElementsAre(HasSubstr(absl::StrCat(kContrast, "1: contrast[0].name: is not set"))));
  EXPECT_THAT(
      contrast("name: \"i\" term { arm: \"half/test\" weight: 1 } term { arm: \"half/none\" weight: -0.5 }"),
      ElementsAre(absl::StrCat(kContrast,
                               "1: contrast[0]: has weights that sum to 0.5; they must sum to 0, as 1, -1 or 1, "
                               "-1, -1, 1 do")));
  EXPECT_THAT(
      contrast("name: \"i\" term { arm: \"half/test\" weight: 0 } term { arm: \"half/none\" }"),
      ElementsAre(absl::StrCat(kContrast, "46: contrast[0].term[0].weight: is 0; must be a finite number other than 0"),
                  HasSubstr("contrast[0].term[1].weight: is 0")));
  EXPECT_THAT(contrast("name: \"i\" term { arm: \"half/test\" weight: nan } term { arm: \"half/none\" weight: 1 }"),
              ElementsAre(HasSubstr("contrast[0].term[0].weight: is nan")));
  EXPECT_THAT(contrast("name: \"i\" term { arm: \"half/test\" weight: 1 }"),
              ElementsAre(HasSubstr(absl::StrCat(kContrast, "1: contrast[0]: has 1 term; must have at least two"))));
  EXPECT_THAT(contrast("name: \"i\" term { arm: \"half/test\" weight: 1 } term { arm: \"half/test\" weight: -1 }"),
              ElementsAre(HasSubstr("contrast[0].term[1].arm: is \"half/test\" a second time")));
  EXPECT_THAT(contrast("name: \"i\" margin: -1 term { arm: \"x\" weight: 1 } term { arm: \"half/test\" weight: -1 }"),
              ElementsAre(HasSubstr("contrast[0].margin: is -1"),
                          HasSubstr("contrast[0].term[0].arm: no arm is called \"x\"")));
}

TEST(BadConfigTest, AllErrorsComeAtOnce) {
  EXPECT_EQ(ErrorsWith([](Pieces* p) {
              p->seeds = "seeds { count: 0 }";
              p->training = "training { epochs: 0 }";
              p->half = "  pruning { [@TestPruning] { rate: 2 } } } } }";
              p->comparison = "comparison { treatment: \"a\" control: \"b\" }";
            }).size(),
            5u);
}

// ---------------------------------------------------------------------------------------------------------------------
// The rest

TEST(SelectArmsTest, ByGlob) {
  const LoadedAblation loaded = Good(Pieces().Text());
  EXPECT_THAT(ArmNames(*SelectArms(loaded.arms, "*/none")), ElementsAre("none/none", "half/none"));
  EXPECT_THAT(ArmNames(*SelectArms(loaded.arms, "half/test, none/none")), ElementsAre("none/none", "half/test"));
  EXPECT_EQ(
      SelectArms(loaded.arms, "half/*,nnoe/none").status().message(),
      "\"nnoe/none\" matches no arm; did you mean \"none/none\"? arms: none/none, none/test, half/none, half/test");
  EXPECT_FALSE(SelectArms(loaded.arms, "").ok());
}

TEST(ParseSeedsTest, Ranges) {
  for (const auto& [text, first, count] : std::initializer_list<std::tuple<const char*, int64_t, int64_t>>{
           {"3-12", 3, 10}, {"5", 5, 1}, {" 0-0 ", 0, 1}}) {
    const absl::StatusOr<Seeds> seeds = ParseSeeds(text);
    ASSERT_TRUE(seeds.ok()) << seeds.status();
    EXPECT_EQ(seeds->first(), first) << text;
    EXPECT_EQ(seeds->count(), count) << text;
  }
  for (const char* text : {"", "a", "1-", "-1", "1-2-3", "1,2", "1.5"}) {
    EXPECT_THAT(std::string(ParseSeeds(text).status().message()),
                HasSubstr("names no seeds; write first-last, e.g. 1-10, or one"))
        << text;
  }
  EXPECT_EQ(ParseSeeds("9-3").status().message(), "\"9-3\" ends before it begins; write 3-9 for those seeds");
  for (const char* text :
       {"1-9000000", "9223372036854775807", "9223372036854775808", "99999999999999999999", "1-18446744073709551616"}) {
    EXPECT_THAT(std::string(ParseSeeds(text).status().message()), HasSubstr("out of range")) << text;
  }
}

TEST(RunIdTest, FollowsWhatARunComputes) {
  const LoadedAblation loaded = Good(Pieces().Text());
  const RunConfig& config = loaded.arms[3].config;
  const std::string id = RunId(config, 1, "data");
  EXPECT_EQ(id, Sha256(Canonical(loaded.arms[3]) + "seed: 1\ndata: data\n"));
  EXPECT_NE(id, RunId(config, 2, "data"));
  EXPECT_NE(id, RunId(config, 1, "other"));
  EXPECT_NE(id, RunId(loaded.arms[2].config, 1, "data"));
  const auto with = [](const std::string& override_text) {
    return RunId(Good(Pieces().Text(), override_text).arms[3].config, 1, "data");
  };
  // Defaults that are written out, and fields that only say how to run.
  EXPECT_EQ(id, with("base { training { evaluate_every: 1 sgd {} schedule { warmup_epochs: 0 } } }"));
  // Of a oneof, the choice itself.
  EXPECT_NE(id, with("base { training { adamw {} } }"));
  EXPECT_EQ(id, with("base { training { checkpoint_every: 7 } dataset { [@TestData] { path: \"/elsewhere\" } } }"));
  EXPECT_EQ(id, with("name: \"other\" seeds { count: 9 } description: \"x\""));
  EXPECT_NE(id, with("base { training { evaluate_every: 2 } }"));
  // A run's precision changes its numbers, but runs from before there was a choice keep their identities.
  EXPECT_EQ(id, with("base { training { precision: FLOAT32 } }"));
  EXPECT_NE(id, with("base { training { precision: BFLOAT16 } }"));
  EXPECT_NE(id, with("base { training { precision: TF32 } }"));
}

TEST(ArmDifferenceTest, ShowsTheFields) {
  const Arm old_arm = Good(Pieces().Text()).arms[3];
  EXPECT_EQ(ArmDifference(old_arm.config, old_arm.config), "");
  const Arm new_arm =
      Good(Pieces().Text(), "base { training { batch_size: 20 checkpoint_every: 5 sgd { momentum: 0.9 } } }").arms[2];
  EXPECT_EQ(ArmDifference(old_arm.config, new_arm.config),
            "- training.batch_size: 10\n+ training.batch_size: 20\n- training.sgd: {}\n- regularization.weight: 0.7\n"
            "+ regularization.weight: 0\n- regularization.regularizer: [prunelab.TestPenalty]\n"
            "+ regularization.regularizer: [prunelab.NoRegularizer]\n+ training.sgd.momentum: 0.9\n");
}

TEST(ResolvedTextTest, ReadsBackEqual) {
  const RunConfig config = Good(Pieces().Text()).arms[3].config;
  const std::string text = ResolvedText(config);
  EXPECT_THAT(text, HasSubstr("# proto-message: prunelab.RunConfig\n"));
  RunConfig back;
  ASSERT_TRUE(TextProtoSource::Parse("resolved", text, &back).ok());
  EXPECT_EQ(ArmDifference(config, back), "");
  EXPECT_EQ(back.SerializeAsString(), config.SerializeAsString());
}

}  // namespace
}  // namespace prunelab
