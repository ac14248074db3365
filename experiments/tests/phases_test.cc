// Runs of several phases, from their config to their results.
#include "experiments/config/phases.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "experiments/config/identity.h"
#include "experiments/records/records.h"
#include "experiments/tests/small_ablation.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/text_format.h"
#include "ml/base/digest.h"
#include "ml/base/files.h"
#include "ml/base/plugin.h"
#include "ml/base/random.h"
#include "ml/base/testing/fresh_folder.h"
#include "ml/base/textproto.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

// Prunes half of the weights, then three quarters, and rewinds each time to the network after one epoch.
constexpr char kRewinding[] = R"pb(
  base {
    phase {
      name: "dense"
      epochs: 2
      pruning {
        [type.googleapis.com/prunelab.NoPruning] {}
      }
    }
    phase { name: "half" epochs: 1 rewind_to_epoch: 1 }
    phase {
      name: "quarter"
      epochs: 2
      rewind_to_epoch: 1
      sgd { learning_rate: 0.05 }
      pruning {
        [type.googleapis.com/prunelab.Unstructured] { rate: 0.75 }
      }
      regularization {
        weight: 0.1
        regularizer {
          [type.googleapis.com/prunelab.Cov] {}
        }
      }
    }
  }
)pb";

// Filter masks, then weight masks, and the other way round; strategies that act at an epoch's end, read gradients, keep
// sums or look at the network; part of the images set aside.
constexpr char kMixed[] = R"pb(
  base {
    training { validation_fraction: 0.2 }
    phase {
      name: "soft"
      epochs: 2
      pruning {
        [type.googleapis.com/prunelab.SoftFilter] { rate: 0.2 }
      }
    }
    phase {
      name: "weights"
      epochs: 1
      pruning {
        [type.googleapis.com/prunelab.Lamp] { rate: 0.5 }
      }
    }
    phase {
      name: "filters"
      epochs: 1
      pruning {
        [type.googleapis.com/prunelab.Taylor] { rate: 0.4 period: 2 }
      }
    }
    phase {
      name: "looking"
      epochs: 1
      rewind_to_epoch: 2
      pruning {
        [type.googleapis.com/prunelab.Snip] { rate: 0.6 images: 64 }
      }
    }
    phase {
      name: "sparse"
      epochs: 1
      pruning {
        [type.googleapis.com/prunelab.Rigl] { rate: 0.6 period: 3 }
      }
      regularization {
        weight: 0.1
        regularizer {
          [type.googleapis.com/prunelab.Decov] {}
        }
      }
    }
  }
)pb";

std::string Folder(const std::string& name) { return JoinPath(FreshFolder("phases_test_" + name), "output"); }

LoadedAblation Load(const std::string& override_text) {
  return LoadText(SmallAblation("checkpoint_minutes: 1e-9",
                                "pruning { [type.googleapis.com/prunelab.Unstructured] { rate: 0.5 } }"),
                  override_text);
}

std::string Read(const std::string& folder, const char* name) {
  absl::StatusOr<std::string> text = ReadFile(JoinPath(folder, name));
  EXPECT_TRUE(text.ok()) << text.status();
  return text.ok() ? *text : "";
}

// One run's last network after `override_text`.
Safetensors LastNetwork(const std::string& name, const std::string& override_text) {
  const std::string output = Folder(name);
  const absl::StatusOr<AblationOutcome> outcome = RunAll(Load(override_text), output);
  EXPECT_TRUE(outcome.ok() && outcome->results[0].status == "done") << outcome.status();
  absl::StatusOr<Safetensors> file = ReadSafetensors(JoinPath(output, "base/1/last.safetensors"));
  EXPECT_TRUE(file.ok()) << file.status();
  return *std::move(file);
}

std::vector<EpochRecord> Records(const std::string& output) {
  std::vector<EpochRecord> records;
  for (const std::string& line : WholeLines(Read(JoinPath(output, "base/1"), "epochs.jsonl"))) {
    absl::StatusOr<EpochRecord> record = ParseEpochLine(line);
    EXPECT_TRUE(record.ok()) << record.status();
    records.push_back(*std::move(record));
  }
  return records;
}

TEST(PhasesTest, EachHasItsOwnSettingsAndTheRecordsGoOn) {
  const std::string output = Folder("records");
  const absl::StatusOr<AblationOutcome> outcome = RunAll(Load(kRewinding), output);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_EQ(outcome->results[0].status, "done");
  EXPECT_EQ(outcome->results[0].epochs, 5);
  const std::vector<EpochRecord> records = Records(output);
  ASSERT_EQ(records.size(), 5u);
  const std::vector<std::string> phases = {"dense", "dense", "half", "quarter", "quarter"};
  const std::vector<double> rates = {0.1, 0.1, 0.1, 0.05, 0.05}, sparsities = {0, 0, 0.5, 0.75, 0.75};
  for (int64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(records[i].epoch, i);
    EXPECT_EQ(records[i].phase, phases[i]);
    EXPECT_EQ(records[i].measures.learning_rate(), rates[i]);
    EXPECT_NEAR(records[i].measures.weight_sparsity(), sparsities[i], 1e-3);
    EXPECT_TRUE(records[i].measures.has_test_top1());
    EXPECT_EQ(records[i].measures.penalty() > 0, phases[i] == "quarter");
    EXPECT_EQ(records[i].measures.returned_filters(), 0) << "what a phase before turned off is zero, and ranks last";
  }
  EXPECT_TRUE(ReadSafetensors(JoinPath(output, "base/1/last.safetensors")).ok());
  EXPECT_FALSE(PathExists(JoinPath(output, "base/1/checkpoint.safetensors")));
}

TEST(PhasesTest, RewindingBringsBackTheWeightsOfThatEpochButNotItsMasks) {
  const Safetensors early = LastNetwork("early", R"pb(base {
                                                        training { epochs: 1 }
                                                        pruning {
                                                          [type.googleapis.com/prunelab.NoPruning] {}
                                                        }
                                                      })pb");
  // A last phase that changes nothing shows where it began.
  const std::string standing = R"pb(
    base {
      phase {
        name: "dense"
        epochs: 3
        pruning {
          [type.googleapis.com/prunelab.NoPruning] {}
        }
      }
      phase {
        name: "pruned"
        epochs: 1
        rewind_to_epoch: 1
        sgd { learning_rate: 1e-30 momentum: 0 weight_decay: 0 }
      }
    }
  )pb";
  const Safetensors rewound = LastNetwork("rewound", standing);
  const Safetensors kept =
      LastNetwork("kept", std::string(absl::StrContains(standing, "rewind_to_epoch: 1")
                                          ? std::string(standing).replace(standing.find("rewind_to_epoch: 1"), 18, "")
                                          : ""));
  int64_t masks = 0, differ = 0;
  for (const auto& [name, tensor] : early.tensors) {
    if (!absl::EndsWith(name, ".weight")) continue;
    EXPECT_TRUE(at::equal(tensor, rewound.tensors.at(name))) << name;
    differ += !at::equal(tensor, kept.tensors.at(name));
  }
  EXPECT_GT(differ, 0) << "two more epochs change weights";
  for (const auto& [name, mask] : kept.tensors) {
    if (!absl::EndsWith(name, ".mask")) continue;
    ++masks;
    EXPECT_TRUE(at::equal(mask, rewound.tensors.at(name))) << name << ": chosen by the trained weights";
  }
  EXPECT_GT(masks, 0);
}

// A strategy that sets weights before the first step: they are rewound, too.
TEST(PhasesTest, TheFirstPhaseMayRewindToTheInitialWeights) {
  const auto standing = [](const std::string& name, const std::string& more) {
    return LastNetwork(name,
                       absl::StrCat(R"pb(base { phase { name: "all" epochs: 1
                                                        sgd { learning_rate: 1e-30 momentum: 0 weight_decay: 0 })pb",
                                    more, " } }"));
  };
  const std::string thinet = "pruning { [type.googleapis.com/prunelab.Thinet] { rate: 0.3 images: 8 } }";
  const Safetensors initial = standing("initial", "pruning { [type.googleapis.com/prunelab.NoPruning] {} }");
  const Safetensors changed = standing("changed", thinet);
  const Safetensors rewound = standing("rewound_to_start", absl::StrCat(thinet, " rewind_to_epoch: 0"));
  int64_t differ = 0;
  for (const auto& [name, tensor] : initial.tensors) {
    if (!absl::EndsWith(name, ".weight")) continue;
    differ += !at::equal(tensor, changed.tensors.at(name));
    EXPECT_TRUE(at::equal(tensor, rewound.tensors.at(name))) << name;
  }
  EXPECT_GT(differ, 0);
}

TEST(PhasesTest, FineTuningKeepsTheMasksAndStartsFromZeroedWeights) {
  const std::string pruned = R"pb(phase { name: "prune" epochs: 2 })pb";
  const Safetensors before = LastNetwork("prune", absl::StrCat("base { ", pruned, " }"));
  const Safetensors after = LastNetwork("fine_tune", absl::StrCat("base { ", pruned, R"pb(
                                                                    phase {
                                                                      name: "fine_tune"
                                                                      epochs: 1
                                                                      schedule { cosine {} }
                                                                      pruning {
                                                                        [type.googleapis.com/prunelab.NoPruning] {}
                                                                      }
                                                                    })pb",
                                                                  " }"));
  int64_t masks = 0;
  for (const auto& [name, mask] : before.tensors) {
    if (!absl::EndsWith(name, ".mask")) continue;
    ++masks;
    EXPECT_TRUE(at::equal(mask, after.tensors.at(name))) << name;
    const std::string weight = absl::StrCat(name.substr(0, name.size() - 5), ".weight");
    EXPECT_FALSE(at::equal(before.tensors.at(weight), after.tensors.at(weight))) << weight;
    EXPECT_EQ((after.tensors.at(weight) * (1 - mask)).abs().max().item<double>(), 0) << weight;
  }
  EXPECT_GT(masks, 0);
}

TEST(PhasesTest, ARemovedNetworkIsFineTunedByTheLastPhase) {
  const auto removed = [](const std::string& name, const std::string& settings) {
    const std::string output = Folder(name);
    const absl::StatusOr<AblationOutcome> outcome =
        RunAll(Load(absl::StrCat("base { compression { fine_tune_epochs: 1 } ", settings, " }")), output);
    EXPECT_TRUE(outcome.ok() && outcome->results[0].status == "done") << outcome.status();
    return ReadSafetensors(JoinPath(output, "base/1/removed.safetensors"))->tensors;
  };
  const std::string penalty = "regularization { weight: 0.5 regularizer { [type.googleapis.com/prunelab.Cov] {} } }";
  const auto by_run = removed("by_run", absl::StrCat("training { epochs: 1 sgd { weight_decay: 0.05 } } ", penalty));
  const auto by_phase =
      removed("by_phase", absl::StrCat("phase { name: \"all\" epochs: 1 sgd { weight_decay: 0.05 } ", penalty, " }"));
  ASSERT_EQ(by_run.size(), by_phase.size());
  for (const auto& [name, tensor] : by_run) EXPECT_TRUE(at::equal(tensor, by_phase.at(name))) << name;
}

// The removed network of each run costs what the config asks for, and one that cannot be had is said.
TEST(PhasesTest, ARunIsRemovedToATarget) {
  const auto result = [](const std::string& name, const std::string& goal) {
    const absl::StatusOr<AblationOutcome> outcome =
        RunAll(Load(absl::StrCat("base { network { [type.googleapis.com/prunelab.ResNetCifar] { width: 16 } } ",
                                 "pruning { [type.googleapis.com/prunelab.NoPruning] {} } training { epochs: 1 } ",
                                 "compression { mode: COUPLED fine_tune_epochs: 1 target { ", goal, " } } }")),
               Folder(name));
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome->results[0];
  };
  const RunResult half = result("to_half", "macs: 0.5"), quarter = result("to_quarter", "macs: 0.25");
  const RunResult parameters =
      result("to_parameters", "parameters: 0.4 } groups { importance: GROUP_NORM normalize: MEAN");
  ASSERT_TRUE(half.status == "done" && quarter.status == "done" && parameters.status == "done")
      << half.message << quarter.message << parameters.message;
  // Nothing is masked, so that what is live is the dense network.
  EXPECT_NEAR(half.measures.physical_macs() / static_cast<double>(half.measures.live_macs()), 0.5, 0.01);
  EXPECT_NEAR(quarter.measures.physical_macs() / static_cast<double>(quarter.measures.live_macs()), 0.25, 0.005);
  EXPECT_NEAR(parameters.measures.physical_parameters() / static_cast<double>(parameters.measures.live_parameters()),
              0.4, 0.008);
  EXPECT_TRUE(half.measures.has_fine_tuned_test_top1());
  const RunResult nothing = result("to_nothing", "macs: 0.0001");
  EXPECT_EQ(nothing.status, "failed");
  EXPECT_THAT(nothing.message, HasSubstr("compression.target: macs is 0.0001, and the least share"));
}

void ExpectTheSameFilesStoppedAtAnyStep(const char* name, const char* phases) {
  ExpectTheSameFilesStoppedAtAnyStep(Load(phases), Folder(absl::StrCat(name, "_undisturbed")),
                                     Folder(absl::StrCat(name, "_stopped")),
                                     {"epochs.jsonl", "result.json", "last.safetensors"});
}

TEST(PhasesTest, StoppedAtAnyStepItEndsWithTheSameFiles) {
  ExpectTheSameFilesStoppedAtAnyStep("rewinding", kRewinding);
}

// Each optimizer in a phase of its own, after the other.
constexpr char kOptimizers[] = R"pb(
  base {
    training { adamw { learning_rate: 0.01 beta1: 0.8 } }
    phase {
      name: "dense"
      epochs: 1
      adamw { weight_decay: 0 }
      pruning {
        [type.googleapis.com/prunelab.NoPruning] {}
      }
    }
    phase { name: "prune" epochs: 2 }
    phase {
      name: "fine_tune"
      epochs: 1
      sgd { learning_rate: 0.01 momentum: 0.9 }
      pruning {
        [type.googleapis.com/prunelab.NoPruning] {}
      }
    }
  }
)pb";

TEST(PhasesTest, AnOptimizerOfAPhaseIsMergedOverTheRunsOrReplacesIt) {
  const std::vector<RunPhase> phases = PhasesOf(Load(kOptimizers).arms[0].config);
  ASSERT_EQ(phases.size(), 3u);
  EXPECT_EQ(phases[0].training.adamw().weight_decay(), 0);
  EXPECT_EQ(phases[0].training.adamw().beta1(), 0.8);
  EXPECT_EQ(phases[1].training.adamw().weight_decay(), 0.01);
  EXPECT_EQ(phases[1].training.adamw().learning_rate(), 0.01);
  EXPECT_FALSE(phases[2].training.has_adamw());
  EXPECT_EQ(phases[2].training.sgd().momentum(), 0.9);
  ExpectTheSameFilesStoppedAtAnyStep("optimizers", kOptimizers);
  const std::string output = JoinPath(testing::TempDir(), "phases_test_optimizers_stopped/output");
  const absl::StatusOr<Safetensors> network = ReadSafetensors(JoinPath(output, "base/1/last.safetensors"));
  ASSERT_TRUE(network.ok()) << network.status();
  double masked = 0;
  for (const auto& [name, mask] : network->tensors) {
    if (!absl::EndsWith(name, ".mask")) continue;
    const at::Tensor& weight = network->tensors.at(absl::StrCat(name.substr(0, name.size() - 5), ".weight"));
    EXPECT_EQ((weight * (1 - mask)).abs().max().item<double>(), 0) << name;
    masked += (1 - mask).sum().item<double>();
  }
  EXPECT_GT(masked, 0);
  EXPECT_GT(Records(output).back().measures.test_top1(), 0.3);
}

// The part of all convolution weights that filters have which are masked altogether. `network`: any of the run's.
double WeightsOfMaskedFilters(const EpochRecord& record, const Safetensors& network) {
  double masked = 0, all = 0;
  for (const auto& [node, live] : record.measures.live_filters()) {
    const at::Tensor& weight = network.tensors.at(absl::StrCat(node, ".weight"));
    masked += static_cast<double>((weight.size(0) - live) * (weight.numel() / weight.size(0)));
    all += static_cast<double>(weight.numel());
  }
  return masked / all;
}

TEST(PhasesTest, MasksOfBothKindsFollowEachOtherAlsoWhereStopped) {
  ExpectTheSameFilesStoppedAtAnyStep("mixed", kMixed);
  const std::string output = JoinPath(testing::TempDir(), "phases_test_mixed_stopped/output");
  const std::vector<EpochRecord> records = Records(output);
  ASSERT_EQ(records.size(), 6u);
  const absl::StatusOr<Safetensors> network = ReadSafetensors(JoinPath(output, "base/1/last.safetensors"));
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_EQ(records[1].measures.filter_sparsity(), 0.25);  // one of four in a layer
  EXPECT_NEAR(records[2].measures.weight_sparsity(), 0.5, 1e-3);
  EXPECT_NEAR(records[3].measures.filter_sparsity(), 0.4, 1.0 / 84);
  // The weights that the previous phase has masked stay masked: in filters that are live, too.
  EXPECT_GT(records[3].measures.weight_sparsity(), records[2].measures.weight_sparsity());
  EXPECT_GT(records[3].measures.weight_sparsity(), WeightsOfMaskedFilters(records[3], *network));
  EXPECT_GE(records[4].measures.weight_sparsity(), records[3].measures.weight_sparsity());
  EXPECT_NEAR(records[5].measures.weight_sparsity(), 0.6, 1e-3);
  EXPECT_LT(records[5].measures.filter_sparsity(), records[4].measures.filter_sparsity()) << "masks drawn anew";
  EXPECT_TRUE(records[5].measures.has_validation_top1());
  EXPECT_GT(records[5].measures.penalty(), 0);
}

std::string MaskOnly(const std::string& strategy) {
  return absl::StrCat("pruning { [type.googleapis.com/prunelab.", strategy, " }");
}

// How many entries that `before` masks are unmasked in `after`, and how many weights there are not zero.
std::pair<int64_t, int64_t> Returned(const Safetensors& before, const Safetensors& after) {
  int64_t on = 0, weights = 0;
  for (const auto& [name, mask] : before.tensors) {
    if (!absl::EndsWith(name, ".mask")) continue;
    const at::Tensor off = mask.eq(0);
    on += (off & after.tensors.at(name).ne(0)).sum().item<int64_t>();
    weights +=
        (off & after.tensors.at(absl::StrCat(name.substr(0, name.size() - 5), ".weight")).ne(0)).sum().item<int64_t>();
  }
  return {on, weights};
}

// Strategies of the other kind and of the same, in a phase after and on weights with masks from a file.
TEST(PhasesTest, WhatIsMaskedStaysMasked) {
  const std::string weights = MaskOnly("Unstructured] { rate: 0.8 }");
  const std::string filters = MaskOnly("Static] { rate: 0.6 }");
  const std::vector<std::string> strategies = {
      MaskOnly("Static] { rate: 0.1 ranking { scope: PER_LAYER } }"),
      MaskOnly("Unstructured] { rate: 0.1 ranking { scope: PER_LAYER min_live_filters: 4 } }"),
      MaskOnly("Pfec] { rate: 0.1 }"),
      MaskOnly("Snip] { rate: 0.1 images: 32 ranking { min_live_filters: 4 } }"),
      MaskOnly("Random] { rate: 0.1 gradient: STRAIGHT_THROUGH }"),
  };
  for (const std::string& first : {weights, filters}) {
    const std::string phase = absl::StrCat(R"(phase { name: "first" epochs: 1 )", first, " }");
    const Safetensors before = LastNetwork("masked", absl::StrCat("base { ", phase, " }"));
    const std::string file = JoinPath(testing::TempDir(), "masked.safetensors");
    ASSERT_TRUE(WriteSafetensors(file, before).ok());
    for (const std::string& then : strategies) {
      SCOPED_TRACE(absl::StrCat(first, ", then ", then));
      const Safetensors in_phase = LastNetwork(
          "in_phase", absl::StrCat("base { ", phase, R"( phase { name: "second" epochs: 1 )", then, " } }"));
      EXPECT_EQ(Returned(before, in_phase), std::make_pair(int64_t{0}, int64_t{0}));
      const Safetensors from_file = LastNetwork(
          "from_file", absl::StrCat("base { initial_weights: '", file, "' training { epochs: 1 } ", then, " }"));
      EXPECT_EQ(Returned(before, from_file), std::make_pair(int64_t{0}, int64_t{0}));
    }
    // A dynamic strategy lets filters return, but brings back no single weights.
    const Safetensors dynamic = LastNetwork(
        "dynamic",
        absl::StrCat("base { ", phase, R"( phase { name: "second" epochs: 1 )",
                     MaskOnly("DynamicL1] { rate: 0.3 period: 2 ranking { min_live_filters: 1 } }"), " } }"));
    EXPECT_EQ(Returned(before, dynamic).first > 0, first == filters);
  }
}

// A mask of weights that leaves nothing of a layer is the same within each filter, and yet no mask of filters.
TEST(PhasesTest, WeightsStayMaskedWhereAWholeLayerIs) {
  const std::string phase =
      absl::StrCat(R"(phase { name: "first" epochs: 1 )",
                   MaskOnly("Unstructured] { rate: 0.99999 layers { include: 'layer3.0.conv1' } }"), " }");
  const Safetensors before = LastNetwork("whole_layer", absl::StrCat("base { ", phase, " }"));
  EXPECT_EQ(before.tensors.at("layer3.0.conv1.mask").sum().item<float>(), 0);
  const std::string file = JoinPath(testing::TempDir(), "whole_layer.safetensors");
  ASSERT_TRUE(WriteSafetensors(file, before).ok());
  for (const char* strategy : {"Fpgm] { rate: 0.1 }", "SoftFilter] { rate: 0.1 }",
                               "DynamicL1] { rate: 0.3 period: 2 ranking { min_live_filters: 1 } }"}) {
    SCOPED_TRACE(strategy);
    const Safetensors in_phase = LastNetwork(
        "whole_layer_phase",
        absl::StrCat("base { ", phase, R"( phase { name: "second" epochs: 1 )", MaskOnly(strategy), " } }"));
    EXPECT_EQ(Returned(before, in_phase), std::make_pair(int64_t{0}, int64_t{0}));
    const Safetensors from_file = LastNetwork(
        "whole_layer_file",
        absl::StrCat("base { initial_weights: '", file, "' training { epochs: 1 } ", MaskOnly(strategy), " }"));
    EXPECT_EQ(Returned(before, from_file), std::make_pair(int64_t{0}, int64_t{0}));
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// What a run is follows from what is executed

// Every field of a message with its value, set or not, so that an equal text means an equal execution. Execution fields
// (how, not what) are skipped. Messages whose presence alone means something are named here, independently of the
// protos.
void Everything(const google::protobuf::Message& message, const std::string& path, std::string* text) {
  using google::protobuf::FieldDescriptor;
  if (const auto* any = dynamic_cast<const google::protobuf::Any*>(&message)) {
    absl::StrAppend(text, path, " [", any->type_url(), "]\n");
    if (any->type_url().empty()) return;
    const absl::StatusOr<std::unique_ptr<google::protobuf::Message>> inner = UnpackAny(*any);
    ASSERT_TRUE(inner.ok()) << inner.status();
    Everything(**inner, path, text);
    return;
  }
  static const std::set<std::string> kExecution = {"prunelab.Training.evaluation_batch_size",
                                                   "prunelab.Training.checkpoint_every",
                                                   "prunelab.Training.checkpoint_minutes",
                                                   "prunelab.Training.skipping",
                                                   "prunelab.Training.cuda_graphs",
                                                   "prunelab.Training.keep_state",
                                                   "prunelab.Teacher.checkpoint"};
  static const std::set<std::string> kPresence = {"prunelab.Decov.nodes",
                                                  "prunelab.Movement.ranking",
                                                  "prunelab.Training.quantization",
                                                  "prunelab.Training.random_resized_crop",
                                                  "prunelab.Training.weight_average",
                                                  "prunelab.Training.teacher"};
  const google::protobuf::Reflection* reflection = message.GetReflection();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    if (kExecution.count(field->full_name()) > 0) continue;
    const std::string own = absl::StrCat(path, ".", field->name());
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    const auto scalar = [&](int index) {
      std::string value;
      google::protobuf::TextFormat::PrintFieldValueToString(message, field, index, &value);
      absl::StrAppend(text, own, ": ", value, "\n");
    };
    if (field->is_repeated()) {
      for (int k = 0; k < reflection->FieldSize(message, field); ++k) {
        is_message ? Everything(reflection->GetRepeatedMessage(message, field, k), own, text) : scalar(k);
      }
      continue;
    }
    const bool counts_when_set = field->real_containing_oneof() != nullptr || kPresence.count(field->full_name()) > 0 ||
                                 (!is_message && !field->has_default_value());
    if (counts_when_set) {
      absl::StrAppend(text, own, reflection->HasField(message, field) ? " is set\n" : " is unset\n");
      if (!reflection->HasField(message, field)) continue;
    }
    is_message ? Everything(reflection->GetMessage(message, field), own, text) : scalar(-1);
  }
}

std::string Executed(const RunConfig& config) {
  std::string text;
  for (const RunPhase& phase : PhasesOf(config)) {
    absl::StrAppend(&text, "phase ", phase.name, " from ", phase.first_epoch, " rewinds ",
                    phase.rewind_to_epoch.value_or(-1), "\n");
    Everything(phase.training, "training", &text);
    Everything(phase.pruning, "pruning", &text);
    Everything(phase.regularization, "regularization", &text);
  }
  return text;
}

// A config made from named choices, each among a few ways to write a field.
using Choices = std::map<std::string, int>;
class ConfigWriter {
 public:
  ConfigWriter(Choices* choices, RandomStream* stream) : choices_(choices), stream_(stream) {}

  std::string Pick(const std::string& name, const std::vector<std::string>& ways) {
    const auto [choice, is_new] = choices_->emplace(name, 0);
    if (is_new) choice->second = static_cast<int>(stream_->Below(ways.size()));
    ways_[name] = static_cast<int>(ways.size());
    return " " + ways[static_cast<size_t>(choice->second)];
  }
  // `ways`: the optimizers that may be written, "" none.
  std::string OptimizerText(const std::string& at, const std::vector<std::string>& ways) {
    const std::string optimizer = Pick(at + "optimizer", ways);
    return optimizer == " sgd" ? SgdText(at) : optimizer == " adamw" ? AdamWText(at) : "";
  }
  std::string AdamWText(const std::string& at) {
    return absl::StrCat(" adamw {", Pick(at + "adamw rate", {"", "learning_rate: 1e-3", "learning_rate: 0.01"}),
                        Pick(at + "beta", {"", "beta1: 0.9", "beta1: 0.5"}),
                        Pick(at + "adamw decay", {"", "weight_decay: 0", "weight_decay: 0.01"}), " }");
  }
  std::string SgdText(const std::string& at) {
    return absl::StrCat(" sgd {", Pick(at + "rate", {"", "learning_rate: 0.1", "learning_rate: 0.05"}),
                        Pick(at + "momentum", {"", "momentum: 0", "momentum: 0.9"}),
                        Pick(at + "decay", {"", "weight_decay: 0", "weight_decay: 0.01"}),
                        Pick(at + "dampening", {"", "dampening: 0", "dampening: 0.5"}),
                        Pick(at + "nesterov", {"", "nesterov: false"}), " }");
  }
  std::string ScheduleText(const std::string& at) {
    return Pick(at + "schedule",
                {"", "schedule {}", "schedule { constant {} }", "schedule { step {} }",
                 "schedule { step { period: 30 } }", "schedule { step { period: 1 gamma: 0.1 } }",
                 "schedule { cosine {} }", "schedule { cosine { final_learning_rate: 0 } }",
                 "schedule { cosine {} warmup_epochs: 1 }", "schedule { constant {} warmup_epochs: 0 }",
                 "schedule { multi_step { milestone: 1 } }", "schedule { multi_step { milestone: 1 gamma: 0.5 } }"});
  }
  std::string PluginsText(const std::string& at) {
    const auto any = [](const std::string& name, const std::string& fields) {
      return absl::StrCat("[type.googleapis.com/prunelab.", name, "] { ", fields, " }");
    };
    const auto pruning = [&](const std::string& name, const std::string& fields) {
      return absl::StrCat("pruning { ", any(name, fields), " }");
    };
    const auto penalty = [&](const std::string& weight, const std::string& name, const std::string& fields) {
      return absl::StrCat("regularization { ", weight, " regularizer { ", any(name, fields), " } }");
    };
    return absl::StrCat(
        Pick(at + "pruning",
             {"", pruning("NoPruning", ""), pruning("Unstructured", ""), pruning("Unstructured", "rate: 0.6"),
              pruning("Unstructured", "one_shot {}"), pruning("Unstructured", "gradual { end_epoch: 1 }"),
              pruning("Unstructured", "gradual { end_epoch: 1 period: 7 }"), pruning("Movement", ""),
              pruning("Movement", "ranking {}"), pruning("Movement", "ranking { scope: GLOBAL }"),
              pruning("Movement", "ranking { scope: PER_LAYER min_live_filters: 1 }"), pruning("Static", "layers {}"),
              pruning("Static", "rate: 0.6")}),
        Pick(at + "penalty",
             {"", penalty("", "NoRegularizer", ""), penalty("weight: 1", "NoRegularizer", ""), penalty("", "Cov", ""),
              penalty("weight: 1", "Cov", ""), penalty("weight: 0.5", "Cov", ""), penalty("", "Decov", ""),
              penalty("", "Decov", "nodes {}"), penalty("", "Decov", "nodes { include: '*' }"),
              penalty("", "Decov", "spatial: PIXELS")}));
  }
  std::string Text() {
    std::string text = absl::StrCat(" training {", Pick("batch", {"", "batch_size: 128", "batch_size: 64"}),
                                    Pick("evaluate", {"", "evaluate_every: 1", "evaluate_every: 2"}),
                                    Pick("skipping", {"", "skipping: false"}),
                                    OptimizerText("run ", {"sgd", "sgd", "adamw"}), ScheduleText("run "));
    const std::string phases = Pick("phases", {"0", "1", "2", "2"});
    const int count = phases[1] - '0';
    absl::StrAppend(&text, count == 0 ? " epochs: 2 }" : " }", PluginsText("run "));
    for (int i = 0; i < count; ++i) {
      const std::string at = absl::StrCat("phase ", i, " ");
      absl::StrAppend(&text, " phase { name: \"", i, "\"", Pick(at + "epochs", {"epochs: 1", "epochs: 2"}),
                      OptimizerText(at, {"sgd", "sgd", "adamw", ""}), ScheduleText(at), PluginsText(at),
                      Pick(at + "rewind", {"", "", "rewind_to_epoch: 0"}), " }");
    }
    return text;
  }
  // The choices that the text was made from, with how many ways each has.
  const std::map<std::string, int>& ways() const { return ways_; }

 private:
  Choices* choices_;
  RandomStream* stream_;
  std::map<std::string, int> ways_;
};

// The run of such a config, or no value if it is refused, e.g. nesterov without momentum.
std::optional<RunConfig> ConfigOf(const std::string& text) {
  const std::string path = JoinPath(testing::TempDir(), "identity.textproto");
  EXPECT_TRUE(WriteFileAtomically(path, absl::StrCat("name: \"i\" seeds { count: 1 } base { network { "
                                                     "[type.googleapis.com/prunelab.ResNetCifar] { depth: 8 width: 2 } "
                                                     "} dataset { [type.googleapis.com/prunelab.Digits] {} }",
                                                     text, " }"))
                  .ok());
  const absl::StatusOr<LoadedAblation> loaded = LoadAblation(path, "");
  if (!loaded.ok()) return std::nullopt;
  return loaded->arms[0].config;
}

TEST(IdentityTest, WhateverChangesWhatIsExecutedChangesTheRunId) {
  RandomStream stream(1, "identity");
  int64_t another = 0, same = 0, defaults_in_phases = 0;
  for (int sample = 0; sample < 600; ++sample) {
    Choices choices;
    ConfigWriter writer(&choices, &stream);
    const std::optional<RunConfig> config = ConfigOf(writer.Text());
    if (!config) continue;
    auto changed = std::next(writer.ways().begin(), static_cast<int64_t>(stream.Below(writer.ways().size())));
    Choices other_choices = choices;
    int& choice = other_choices[changed->first];
    choice =
        (choice + 1 + static_cast<int>(stream.Below(static_cast<uint64_t>(changed->second) - 1))) % changed->second;
    ConfigWriter other_writer(&other_choices, &stream);
    const std::string other_text = other_writer.Text();
    const std::optional<RunConfig> other = ConfigOf(other_text);
    if (!other) continue;
    const bool is_same_run = RunId(*config, 1, "data") == RunId(*other, 1, "data");
    const std::string told = absl::StrCat(changed->first, "\n", ArmDifference(*config, *other), other_text);
    EXPECT_EQ(is_same_run, ArmDifference(*config, *other).empty()) << told;
    if (Executed(*config) != Executed(*other)) {
      ++another;
      defaults_in_phases += absl::StartsWith(changed->first, "phase ");
      EXPECT_FALSE(is_same_run) << told;
    } else if (config->phase().empty() && other->phase().empty()) {
      ++same;  // defaults written out
      EXPECT_TRUE(is_same_run) << told;
    }
  }
  EXPECT_GT(another, 80);
  EXPECT_GT(same, 15);
  EXPECT_GT(defaults_in_phases, 30);
}

// By hand: each field of a phase's sgd set to its default, over another value of the run's and over that default.
TEST(IdentityTest, ADefaultInAPhaseIsAnotherRunWhereTheRunsIsAnother) {
  const auto config = [](const std::string& run, const std::string& phase) {
    const std::optional<RunConfig> found =
        ConfigOf(absl::StrCat(" training { sgd { ", run,
                              " } } phase { name: 'a' epochs: 1 } phase { name: 'b' epochs: 1 sgd { ", phase, " } }"));
    EXPECT_TRUE(found.has_value()) << run << phase;
    return *found;
  };
  const auto id = [&](const std::string& run, const std::string& phase) {
    return RunId(config(run, phase), 1, "data");
  };
  for (const auto& [run, phase] : std::vector<std::pair<std::string, std::string>>{
           {"weight_decay: 0.05", "weight_decay: 0"},
           {"momentum: 0.9", "momentum: 0"},
           {"learning_rate: 0.3", "learning_rate: 0.1"},
           {"momentum: 0.9 nesterov: true", "nesterov: false"},
           {"momentum: 0.9 dampening: 0.5", "dampening: 0"},
       }) {
    EXPECT_NE(id(run, ""), id(run, phase)) << phase;
    EXPECT_EQ(ArmDifference(config(run, ""), config(run, phase)), absl::StrCat("+ phase[1].sgd.", phase, "\n"));
  }
  // AdamW in the same way, and each optimizer over the other.
  const auto id_of = [](const std::string& run, const std::string& phase) {
    const std::optional<RunConfig> found =
        ConfigOf(absl::StrCat(" training { ", run, " } phase { name: 'a' epochs: 1 ", phase, " }"));
    EXPECT_TRUE(found.has_value()) << run << phase;
    return RunId(*found, 1, "data");
  };
  EXPECT_NE(id_of("adamw { weight_decay: 0 }", "adamw { weight_decay: 0.01 }"), id_of("adamw { weight_decay: 0 }", ""));
  EXPECT_EQ(id_of("adamw {}", "adamw {}"), id_of("adamw {}", "")) << "it says what the run says";
  EXPECT_NE(id_of("sgd {}", "adamw {}"), id_of("sgd {}", ""));
  EXPECT_NE(id_of("adamw { beta1: 0.5 }", "adamw { beta1: 0.9 }"), id_of("adamw { beta1: 0.5 }", "adamw {}"));
  EXPECT_NE(id_of("sgd {}", ""), id_of("adamw {}", ""));
  EXPECT_NE(id_of("sgd {}", ""), id_of("sgd {}", "adamw {}"));
  EXPECT_NE(id_of("adamw {}", ""), id_of("adamw {}", "sgd {}"));
  EXPECT_EQ(id_of("adamw {}", "sgd {}"), id_of("adamw {}", "sgd { momentum: 0 }"));
  EXPECT_EQ(id_of("sgd {}", ""), id_of("sgd {}", "sgd {}"));
  // If the run has the default, too, it has no effect, and such runs keep their identity.
  EXPECT_EQ(id("momentum: 0.9", "weight_decay: 0 learning_rate: 0.1"), id("momentum: 0.9", ""));
  const RunConfig plain = config("momentum: 0.9", "weight_decay: 0 learning_rate: 0.05");
  EXPECT_EQ(RunId(plain, 1, "data"), Sha256(*CanonicalText(plain) + "seed: 1\ndata: data\n"));
}

TEST(PhasesTest, ARunWithoutPhasesIsOne) {
  RunConfig config;
  config.mutable_training()->set_epochs(7);
  const std::vector<RunPhase> phases = PhasesOf(config);
  ASSERT_EQ(phases.size(), 1u);
  EXPECT_EQ(phases[0].name, "");
  EXPECT_EQ(phases[0].training.epochs(), 7);
  EXPECT_FALSE(phases[0].rewind_to_epoch.has_value());
}

}  // namespace
}  // namespace prunelab
