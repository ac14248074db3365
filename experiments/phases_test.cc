// Runs of several phases, from their config to their results.
#include "experiments/phases.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "experiments/config.h"
#include "experiments/records.h"
#include "experiments/runner.h"
#include "ml/base/files.h"
#include "ml/base/fresh_folder.h"
#include "ml/execution/safetensors.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

constexpr char kAblation[] = R"pb(
  name: "phases"
  base {
    network {
      [type.googleapis.com/prunelab.ResNetCifar] { depth: 8 width: 4 }
    }
    dataset {
      [type.googleapis.com/prunelab.Digits] {}
    }
    training {
      batch_size: 128
      sgd { learning_rate: 0.1 momentum: 0.9 weight_decay: 1e-4 }
      checkpoint_minutes: 1e-9
    }
    pruning {
      [type.googleapis.com/prunelab.Unstructured] { rate: 0.5 }
    }
  }
  seeds { count: 1 }
)pb";

// Prunes half of the weights, then three quarters, and goes on from what there was after one epoch each time.
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
  const std::string path = JoinPath(testing::TempDir(), "phases.textproto");
  EXPECT_TRUE(WriteFileAtomically(path, kAblation).ok());
  absl::StatusOr<LoadedAblation> loaded = LoadAblation(path, override_text);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return *std::move(loaded);
}

absl::StatusOr<AblationOutcome> RunAll(const LoadedAblation& loaded, const std::string& output,
                                       std::function<bool()> stop = nullptr) {
  RunnerOptions options;
  options.output = output;
  options.arms = loaded.arms;
  options.seeds = loaded.ablation.seeds();
  options.device = "cpu";
  options.stop = std::move(stop);
  return RunAblation(loaded, options);
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
    EXPECT_EQ(records[i].learning_rate, rates[i]);
    EXPECT_NEAR(records[i].weight_sparsity, sparsities[i], 1e-3);
    EXPECT_TRUE(records[i].test.has_value());
    EXPECT_EQ(records[i].penalty > 0, phases[i] == "quarter");
    EXPECT_EQ(records[i].returned_filters, 0) << "what a phase before turned off is zero, and ranks last";
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
  // A last phase that moves nothing shows where it began.
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

// A strategy that sets weights before the first step: they go back too.
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

void ExpectTheSameFilesStoppedAtAnyStep(const char* name, const char* phases) {
  const LoadedAblation loaded = Load(phases);
  const std::string undisturbed = Folder(absl::StrCat(name, "_undisturbed"));
  const std::string stopped = Folder(absl::StrCat(name, "_stopped"));
  ASSERT_TRUE(RunAll(loaded, undisturbed).ok());
  int64_t calls = 0;
  for (bool done = false; !done; ++calls) {
    ASSERT_LT(calls, 100);
    // Other places each time: 12 steps make an epoch.
    int64_t left = 5 + 4 * (calls % 5);
    const absl::StatusOr<AblationOutcome> outcome = RunAll(loaded, stopped, [&left] { return --left < 0; });
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    done = !outcome->stopped;
  }
  EXPECT_GT(calls, 4);
  for (const char* file : {"epochs.jsonl", "result.json", "last.safetensors"}) {
    EXPECT_EQ(Read(JoinPath(undisturbed, "base/1"), file), Read(JoinPath(stopped, "base/1"), file)) << file;
  }
}

TEST(PhasesTest, StoppedAtAnyStepItEndsWithTheSameFiles) {
  ExpectTheSameFilesStoppedAtAnyStep("rewinding", kRewinding);
}

TEST(PhasesTest, MasksOfBothKindsFollowEachOtherAlsoWhereStopped) {
  ExpectTheSameFilesStoppedAtAnyStep("mixed", kMixed);
  const std::vector<EpochRecord> records = Records(JoinPath(testing::TempDir(), "phases_test_mixed_stopped/output"));
  ASSERT_EQ(records.size(), 6u);
  EXPECT_EQ(records[1].filter_sparsity, 0.25);  // one of four in a layer
  EXPECT_NEAR(records[2].weight_sparsity, 0.5, 1e-3);
  EXPECT_NEAR(records[3].filter_sparsity, 0.4, 1.0 / 84);
  // What the phases before have masked stays masked, together more than this one's 60 %.
  EXPECT_GT(records[3].weight_sparsity, 0.6);
  EXPECT_GE(records[4].weight_sparsity, records[3].weight_sparsity);
  EXPECT_NEAR(records[5].weight_sparsity, 0.6, 1e-3);
  EXPECT_LT(records[5].filter_sparsity, records[4].filter_sparsity) << "masks drawn anew";
  EXPECT_TRUE(records[5].validation.has_value());
  EXPECT_GT(records[5].penalty, 0);
}

std::string MaskOnly(const std::string& strategy) {
  return absl::StrCat("pruning { [type.googleapis.com/prunelab.", strategy, " }");
}

// How many entries that `before` masks are on in `after`, and how many weights there are not zero.
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
    // A dynamic one is made to let filters return, but brings back no single weights.
    const Safetensors dynamic = LastNetwork(
        "dynamic",
        absl::StrCat("base { ", phase, R"( phase { name: "second" epochs: 1 )",
                     MaskOnly("DynamicL1] { rate: 0.3 period: 2 ranking { min_live_filters: 1 } }"), " } }"));
    EXPECT_EQ(Returned(before, dynamic).first > 0, first == filters);
  }
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
