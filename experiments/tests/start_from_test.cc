// Runs that start from what another arm of the same seed ended with (start_from), as it is or made smaller.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "experiments/config/load.h"
#include "experiments/config/selection.h"
#include "experiments/records/records.h"
#include "experiments/tests/small_ablation.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/coupled.h"
#include "ml/execution/checkpoint.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

std::string Folder(const std::string& name) { return JoinPath(FreshFolder("start_from_test_" + name), "output"); }

// A dense arm, and three that start from it: with steps of no length; with a quarter of the MACs by two rankings.
constexpr char kArms[] = R"pb(
  base {
    network {
      [type.googleapis.com/prunelab.ResNetCifar] { width: 16 }
    }
    training { epochs: 2 }
  }
  factor {
    name: "how"
    level { name: "dense" }
    level {
      name: "same"
      patch {
        start_from { arm: "dense" }
        training {
          epochs: 1
          sgd { learning_rate: 1e-30 weight_decay: 0 }
        }
      }
    }
    level {
      name: "quarter"
      patch {
        start_from {
          arm: "dense"
          removal {
            mode: COUPLED
            target { macs: 0.25 }
            groups { importance: GROUP_NORM normalize: MEAN }
          }
        }
      }
    }
    level {
      name: "half"
      patch {
        start_from {
          arm: "dense"
          removal { mode: COUPLED rate: 0.5 }
        }
        training {
          epochs: 1
          sgd { learning_rate: 1e-30 weight_decay: 0 }
        }
      }
    }
    level {
      name: "random"
      patch {
        start_from {
          arm: "dense"
          removal {
            mode: COUPLED
            target { macs: 0.25 }
            groups { importance: RANDOM }
          }
        }
      }
    }
    level {
      name: "by_images"
      patch {
        start_from {
          arm: "dense"
          removal {
            mode: COUPLED
            rate: 0.5
            groups { importance: FISHER normalize: LOSS images: 32 points: 3 }
          }
        }
      }
    }
  }
)pb";

std::map<std::string, RunResult> ByArm(const absl::StatusOr<AblationOutcome>& outcome) {
  EXPECT_TRUE(outcome.ok()) << outcome.status();
  std::map<std::string, RunResult> results;
  for (const RunResult& result : outcome->results) {
    EXPECT_EQ(result.status, "done") << result.arm << ": " << result.message;
    results[result.arm] = result;
  }
  return results;
}

at::Tensor Weight(const std::string& output, const std::string& arm, const std::string& name) {
  return ReadSafetensors(JoinPath(output, arm + "/1/last.safetensors"))->tensors.at(name);
}

TEST(StartFromTest, FromTheOtherArmsWeightsAsTheyAreOrRemoved) {
  const std::string output = Folder("arms");
  std::map<std::string, RunResult> results = ByArm(RunAll(LoadText(SmallAblation(""), kArms), output));
  ASSERT_EQ(results.size(), 6u);
  // The weights of the dense arm; its statistics have moved on for an epoch.
  EXPECT_TRUE(
      at::equal(Weight(output, "same", "layer2.0.conv1.weight"), Weight(output, "dense", "layer2.0.conv1.weight")));
  const Measures dense = results["dense"].measures;
  EXPECT_EQ(results["same"].measures.live_macs(), dense.live_macs());
  EXPECT_GT(results["same"].measures.test_top1(), 0.5);
  for (const char* arm : {"quarter", "random"}) {
    EXPECT_NEAR(results[arm].measures.live_macs() / static_cast<double>(dense.live_macs()), 0.25, 0.005) << arm;
  }
  EXPECT_LT(results["by_images"].measures.live_macs(), dense.live_macs());
  EXPECT_NE(Weight(output, "quarter", "conv1.weight").sizes(), Weight(output, "dense", "conv1.weight").sizes());
  EXPECT_GT(results["quarter"].measures.test_top1(), results["dense"].measures.test_top1() - 0.2);

  // What is called dense is the network before the removal.
  EXPECT_EQ(results["quarter"].measures.macs(), dense.macs());
  EXPECT_EQ(results["quarter"].measures.parameters(), dense.parameters());
  // The weights are those of the channels that the dense network keeps; statistics have moved on.
  const Model model = *LoadModel(JoinPath(output, "dense/1/last.safetensors"), at::kFloat, at::kCPU);
  WeightedNetwork half = *ToWeightedNetwork(model);
  CoupledOptions options_of_half;
  options_of_half.rate = 0.5;
  ASSERT_TRUE(RemoveCoupled(half, options_of_half).ok());
  int compared = 0;
  for (const auto& [name, tensor] : half.tensors) {
    if (absl::EndsWith(name, "running_mean") || absl::EndsWith(name, "running_var") ||
        absl::EndsWith(name, "num_batches_tracked")) {
      continue;
    }
    EXPECT_TRUE(at::equal(Weight(output, "half", name), tensor)) << name;
    ++compared;
  }
  EXPECT_GT(compared, 20);

  // A call with one arm alone finds the other's run done.
  LoadedAblation again = LoadText(SmallAblation(""), kArms);
  RunnerOptions options = AllRuns(again, output);
  options.arms = *SelectArms(again.arms, "quarter");
  const absl::StatusOr<AblationOutcome> alone = RunAblation(again, options);
  ASSERT_TRUE(alone.ok()) << alone.status();
  EXPECT_EQ(alone->results[0].run_id, results["quarter"].run_id);
}

// Stopped and started again at many steps, every file is that of the undisturbed call.
TEST(StartFromTest, StoppedAtAnyStepItEndsWithTheSameFiles) {
  const LoadedAblation loaded = LoadText(SmallAblation("checkpoint_minutes: 1e-9"), kArms);
  const std::string undisturbed = Folder("undisturbed"), stopped = Folder("stopped");
  ASSERT_TRUE(RunAll(loaded, undisturbed).ok());
  // Of a removal that images decide, until the run has ended.
  const std::string start = JoinPath(stopped, "by_images/1/start.safetensors");
  bool kept = false;
  int64_t calls = 0;
  for (bool done = false; !done; ++calls) {
    ASSERT_LT(calls, 100);
    int64_t steps = 0;
    const absl::StatusOr<AblationOutcome> outcome = RunAll(loaded, stopped, [&] { return ++steps > 17; });
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    done = !outcome->stopped;
    kept = kept || PathExists(start);
  }
  EXPECT_GT(calls, 3);
  EXPECT_TRUE(kept);
  EXPECT_FALSE(PathExists(start));
  for (const char* arm : {"dense", "same", "quarter", "half", "random", "by_images"}) {
    for (const char* file : {"epochs.jsonl", "result.json", "last.safetensors"}) {
      const std::string path = absl::StrCat(arm, "/1/", file);
      EXPECT_EQ(*ReadFile(JoinPath(stopped, path)), *ReadFile(JoinPath(undisturbed, path))) << path;
    }
  }
}

// What drives channels away before a removal ends with it: here it would destroy whatever is left.
TEST(StartFromTest, GrowingRegularizationEndsWithTheRemoval) {
  const std::string output = Folder("greg");
  std::map<std::string, RunResult> results = ByArm(RunAll(LoadText(SmallAblation(""), R"(
    base { network { [type.googleapis.com/prunelab.ResNetCifar] { width: 16 } } training { epochs: 2 } }
    factor { name: "penalty"
      level { name: "greg" patch {
        regularization { weight: 1e-20 growth { period: 1000000 until: 1e9 }
                         regularizer { [type.googleapis.com/prunelab.Greg] {} } }
        compression { mode: COUPLED rate: 0.3 groups { importance: GROUP_NORM scope: PER_SET } fine_tune_epochs: 2 } } } })"),
                                                          output));
  EXPECT_GT(results["greg"].measures.fine_tuned_test_top1(), 0.3);
}

// Masks come along, and so does the network that an arm with `compression` ends with.
TEST(StartFromTest, FromMasksAndFromARemovedNetwork) {
  const auto arms = [](const std::string& source) {
    return absl::StrCat(R"(base { network { [type.googleapis.com/prunelab.ResNetCifar] { width: 16 } }
                                  training { epochs: 1 } pruning { [type.googleapis.com/prunelab.NoPruning] {} } }
                           factor { name: "how"
                             level { name: "source" patch {
                               pruning { [type.googleapis.com/prunelab.Static] { rate: 0.5 } } )",
                        source, R"( } }
                             level { name: "on" patch { start_from { arm: "source" } } } })");
  };
  const std::string masked = Folder("masked");
  std::map<std::string, RunResult> results = ByArm(RunAll(LoadText(SmallAblation(""), arms("")), masked));
  EXPECT_GT(results["source"].measures.filter_sparsity(), 0.4);
  EXPECT_EQ(results["on"].measures.filter_sparsity(), results["source"].measures.filter_sparsity());
  EXPECT_TRUE(at::equal(Weight(masked, "on", "layer1.0.conv1.mask"), Weight(masked, "source", "layer1.0.conv1.mask")));
  const std::string removed = Folder("removed");
  results = ByArm(RunAll(LoadText(SmallAblation(""), arms("compression {}")), removed));
  EXPECT_EQ(results["on"].measures.live_macs(), results["source"].measures.physical_macs());
  EXPECT_EQ(results["on"].measures.filter_sparsity(), 0);
  EXPECT_EQ(results["on"].measures.macs(), results["source"].measures.macs());
}

// Each seed from a file of its own, here networks of different widths, whose sizes only the files tell.
TEST(SeedFilesTest, EachSeedStartsFromItsOwnFile) {
  const std::string sources = Folder("sources");
  const std::string removal = "compression { mode: COUPLED rate: 0.5 groups { importance: RANDOM } }";
  ASSERT_TRUE(RunAll(LoadText(SmallAblation("epochs: 1", removal), "seeds { count: 2 }"), sources).ok());
  const std::string still = "base { training { sgd { learning_rate: 1e-30 weight_decay: 0 } } } ";
  const std::string own = absl::StrReplaceAll(
      SmallAblation("epochs: 1", absl::StrCat("initial_weights: '", sources, "/base/{seed}/removed.safetensors'")),
      {{"network {\n        [type.googleapis.com/prunelab.ResNetCifar] { depth: 8 width: 4 }\n      }", ""}});
  const LoadedAblation loaded = LoadText(own, still + "seeds { count: 2 }");
  const std::string output = Folder("from_files");
  const absl::StatusOr<AblationOutcome> outcome = RunAll(loaded, output);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  std::set<std::string> ids;
  for (const RunResult& result : outcome->results) {
    ASSERT_EQ(result.status, "done") << result.message;
    const std::string run = absl::StrCat("/base/", result.seed);
    const Safetensors file = *ReadSafetensors(sources + run + "/removed.safetensors");
    const Safetensors last = *ReadSafetensors(output + run + "/last.safetensors");
    EXPECT_TRUE(at::equal(last.tensors.at("layer1.0.conv1.weight"), file.tensors.at("layer1.0.conv1.weight")));
    EXPECT_THAT(*ReadFile(output + run + "/config.textproto"), HasSubstr(run + "/removed.safetensors"));
    EXPECT_EQ(result.measures.macs(), ReadResult(sources + run)->measures.physical_macs());
    ids.insert(result.run_id);
  }
  EXPECT_EQ(ids.size(), 2u);
  EXPECT_FALSE(at::equal(ReadSafetensors(output + "/base/1/last.safetensors")->tensors.at("conv1.weight"),
                         ReadSafetensors(output + "/base/2/last.safetensors")->tensors.at("conv1.weight")));
  // The same call finds them done; a seed without a file is refused before anything is trained, by the file's name.
  EXPECT_EQ(RunAll(loaded, output)->trained, 0);
  const absl::StatusOr<AblationOutcome> missing = RunAll(LoadText(own, still + "seeds { count: 3 }"), output);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("/base/3/removed.safetensors"));
}

// Compactors behind the other arm's convolutions change nothing at first. What ResRep makes them lose is gone from the
// convolutions, and nothing is left of them in the removed network.
TEST(CompactorsTest, AreTrainedAndMerged) {
  const std::string output = Folder("compactors");
  const std::string patch = R"(
      start_from { arm: "dense" } compactors { layers { exclude: "conv1" } } compression {}
      regularization { weight: 1e-3 regularizer { [type.googleapis.com/prunelab.GroupLasso] {
        layers { include: "*.compactor" } } } } )";
  const std::string resrep = R"(pruning { [type.googleapis.com/prunelab.Resrep] {
      rate: 0.4 first_epoch: 0 period: 3 filters_at_a_time: 10 threshold: 10 } } )";
  const std::string still = "training { epochs: 1 sgd { learning_rate: 1e-30 weight_decay: 0 } } ";
  const LoadedAblation loaded = LoadText(
      SmallAblation(""),
      absl::StrCat("base { network { [type.googleapis.com/prunelab.ResNetCifar] { width: 8 } } training { epochs: 2 } }"
                   " factor { name: 'how' level { name: 'dense' } level { name: 'still' patch { ",
                   patch, still, "} } level { name: 'resrep' patch { ", patch, resrep,
                   "} } level { name: 'fresh' patch { compactors {} ", resrep, "} } }"));
  std::map<std::string, RunResult> results = ByArm(RunAll(loaded, output));
  ASSERT_EQ(results.size(), 4u);
  const Measures dense = results["dense"].measures;
  for (const char* arm : {"still", "resrep", "fresh"}) {
    EXPECT_EQ(results[arm].measures.macs(), dense.macs()) << arm;
    EXPECT_EQ(results[arm].measures.parameters(), dense.parameters()) << arm;
  }
  EXPECT_EQ(results["still"].measures.physical_macs(), dense.macs());
  // Two numbers of a BatchNorm's filter have become one.
  const int64_t filters = 2 * (8 + 16 + 32) + 16 + 32;
  EXPECT_EQ(results["still"].measures.physical_parameters(), dense.parameters() - filters);
  EXPECT_EQ(Weight(output, "still", "layer1.0.conv1.compactor.weight").flatten(1).trace().item<float>(), 8);
  EXPECT_LT(results["resrep"].measures.physical_macs(), 0.8 * dense.macs());
  EXPECT_EQ(results["resrep"].measures.physical_macs(), results["resrep"].measures.live_macs());
  EXPECT_LT(results["fresh"].measures.live_macs(), 0.8 * dense.macs());
  EXPECT_GT(results["resrep"].measures.test_top1(), 0.3);
  EXPECT_NEAR(results["resrep"].measures.removed_test_top1(), results["resrep"].measures.test_top1(), 0.01);
  const Safetensors removed = *ReadSafetensors(JoinPath(output, "resrep/1/removed.safetensors"));
  for (const auto& [name, tensor] : removed.tensors) EXPECT_FALSE(absl::StrContains(name, "compactor")) << name;

  // From a file that has none, and from one that has them.
  const std::string from_file = Folder("compactors_from_file");
  results = ByArm(RunAll(LoadText(SmallAblation("", absl::StrCat("initial_weights: '", output,
                                                                 "/dense/1/last.safetensors' compactors {} ")),
                                  absl::StrCat("base { network { [type.googleapis.com/prunelab.ResNetCifar] { width: 8 "
                                               "} } ",
                                               still, "}")),
                         from_file));
  EXPECT_EQ(Weight(from_file, "base", "conv1.compactor.weight").flatten(1).trace().item<float>(), 8);
  EXPECT_TRUE(at::equal(Weight(from_file, "base", "conv1.weight"), Weight(output, "dense", "conv1.weight")));
  const std::string on = Folder("compactors_on");
  results = ByArm(RunAll(
      LoadText(SmallAblation("", absl::StrCat("initial_weights: '", output,
                                              "/still/1/last.safetensors' compactors { layers { exclude: 'conv1' } } ",
                                              "regularization { weight: 0.1 regularizer { "
                                              "[type.googleapis.com/prunelab.GroupLasso] {} } }")),
               "base { network { [type.googleapis.com/prunelab.ResNetCifar] { width: 8 } } training { epochs: 1 } }"),
      on));
  const std::string again = Folder("compactors_again"), name = "layer1.0.conv1.compactor.weight";
  results = ByArm(RunAll(
      LoadText(SmallAblation("", absl::StrCat("initial_weights: '", on,
                                              "/base/1/last.safetensors' compactors { layers { exclude: 'conv1' } } ")),
               absl::StrCat("base { network { [type.googleapis.com/prunelab.ResNetCifar] { width: 8 } } ", still, "}")),
      again));
  EXPECT_FALSE(at::equal(Weight(on, "base", name), Weight(output, "still", name)));
  EXPECT_TRUE(at::equal(Weight(again, "base", name), Weight(on, "base", name)));
}

// From an arm that has compactors in the end: another that goes on with them, and with new ones where it has none, by
// their penalty, which ends with the removal. What cannot be done is said before anything is trained.
TEST(CompactorsTest, GoOnFromAnotherArm) {
  const std::string lasso = R"(regularization { weight: 0.01 regularizer { [type.googleapis.com/prunelab.GroupLasso] {
      layers { include: "*.compactor" } } } } )";
  const auto arms = [&](const std::string& patch) {
    return LoadText(SmallAblation(""),
                    absl::StrCat("base { training { epochs: 1 } } factor { name: 'how' level { name: 'first' patch { "
                                 "compactors { layers { exclude: 'conv1' } } ",
                                 lasso, "} } level { name: 'then' patch { ", patch, " } } }"));
  };
  const std::string output = Folder("on_from_compactors");
  std::map<std::string, RunResult> results = ByArm(RunAll(
      arms(absl::StrCat("start_from { arm: 'first' } compactors {} ", lasso, "compression { fine_tune_epochs: 1 }")),
      output));
  EXPECT_EQ(results["then"].measures.macs(), results["first"].measures.macs());
  EXPECT_GT(results["then"].measures.fine_tuned_test_top1(), 0.1);
  const std::string name = "layer1.0.conv1.compactor.weight";
  EXPECT_FALSE(at::equal(Weight(output, "then", name), Weight(output, "first", name)));
  const std::string still = Folder("compactors_as_they_are");
  ByArm(RunAll(arms("start_from { arm: 'first' } compactors {} training { sgd { learning_rate: 1e-30 weight_decay: 0 } "
                    "}"),
               still));
  EXPECT_TRUE(at::equal(Weight(still, "then", name), Weight(still, "first", name)));
  EXPECT_EQ(Weight(still, "then", "conv1.compactor.weight").flatten(1).trace().item<float>(), 4);
  const Safetensors last = *ReadSafetensors(JoinPath(still, "then/1/last.safetensors"));
  EXPECT_EQ(last.tensors.count("layer1.0.conv1.compactor.compactor.weight"), 0u);

  const auto error = [&](const std::string& patch) {
    const std::string path = FreshFolder("compactors_error") + "/ablation.textproto";
    EXPECT_TRUE(WriteFileAtomically(path, SmallAblation("")).ok());
    return std::string(LoadAblation(path, absl::StrCat("base { training { epochs: 1 } } factor { name: 'how' level { "
                                                       "name: 'first' patch { compactors {} } } level { name: 'then' "
                                                       "patch { ",
                                                       patch, " } } }"))
                           .status()
                           .message());
  };
  EXPECT_THAT(error("from_scratch { arm: 'first' }"), HasSubstr("has compactors, and what they are merged to"));
  EXPECT_THAT(error("compactors {} training { quantization {} }"), HasSubstr("does not go with compactors"));
  EXPECT_THAT(error("start_from { arm: 'first' } training { quantization {} }"), HasSubstr("ends with compactors"));
}

TEST(StartFromTest, WhatCannotBeStartedIsSaid) {
  const auto failure = [](const std::string& name, const std::string& patch) {
    const absl::StatusOr<AblationOutcome> outcome = RunAll(
        LoadText(SmallAblation(""), absl::StrCat("base { training { epochs: 1 } } factor { name: \"how\" level { name: "
                                                 "\"dense\" } level { name: \"start\" patch { ",
                                                 patch, " } } }")),
        Folder(name));
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    if (!outcome.ok()) return std::string();
    EXPECT_EQ(outcome->results[1].status, "failed");
    return outcome->results[1].message;
  };
  EXPECT_THAT(failure("target", "start_from { arm: \"dense\" removal { mode: COUPLED target { macs: 0.0001 } } }"),
              HasSubstr("start_from.removal.target: macs is 0.0001, and the least share"));
}

}  // namespace
}  // namespace prunelab
