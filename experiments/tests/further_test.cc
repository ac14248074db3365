// Finished runs that get more epochs end with the files of runs that had them from the start.
#include "experiments/runs/further.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "experiments/records/records.h"
#include "experiments/sweep/dry_run.h"
#include "experiments/tests/small_ablation.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kDynamicL1Cov[] = R"pb(
  pruning {
    [type.googleapis.com/prunelab.DynamicL1] { rate: 0.5 period: 4 importance: WEIGHT_TIMES_GRADIENT }
  }
  regularization {
    weight: 0.5
    regularizer {
      [type.googleapis.com/prunelab.Cov] {}
    }
  }
)pb";

std::string Folder(const std::string& name) { return JoinPath(FreshFolder("further_test_" + name), "output"); }

// With `settings` of `base`.
LoadedAblation Load(const std::string& settings) {
  return LoadText(SmallAblation("random_crop_padding: 1"), absl::StrCat("base { ", settings, " }"));
}

absl::StatusOr<AblationOutcome> RunAll(const std::string& settings, const std::string& output,
                                       std::function<bool()> stop = nullptr) {
  return prunelab::RunAll(Load(settings), output, std::move(stop));
}

std::string DryRunText(const std::string& settings, const std::string& output) {
  const LoadedAblation loaded = Load(settings);
  const absl::StatusOr<std::string> text = DryRun(loaded, AllRuns(loaded, output));
  return text.ok() ? *text : std::string(text.status().message());
}

void ExpectDone(const absl::StatusOr<AblationOutcome>& outcome, int64_t epochs) {
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_EQ(outcome->results[0].status, "done") << outcome->results[0].message;
  EXPECT_EQ(outcome->results[0].epochs, epochs);
}

std::string Read(const std::string& output, const std::string& name) {
  return ReadFile(JoinPath(JoinPath(output, "base/1"), name)).value_or("");
}

std::vector<std::string> Names(const std::string& output) {
  std::vector<std::string> names;
  for (const std::string& name : ListFolder(JoinPath(output, "base/1")).value_or(std::vector<std::string>())) {
    if (!absl::StartsWith(name, "events.")) names.push_back(name);
  }
  return names;
}

void ExpectTheSameFiles(const std::string& output, const std::string& from_start) {
  for (const char* file :
       {"epochs.jsonl", "result.json", "last.safetensors", "config.textproto", "state.safetensors"}) {
    EXPECT_TRUE(Read(output, file) == Read(from_start, file)) << file;
    EXPECT_NE(Read(output, file), "") << file;
  }
  EXPECT_EQ(Names(output), Names(from_start));
  EXPECT_EQ(Read(output, "epochs.jsonl"), Read(from_start, "epochs.jsonl"));
}

int64_t TimedEpochs(const std::string& output) {
  return static_cast<int64_t>(WholeLines(Read(output, "timing.jsonl")).size());
}

// With `more` of the training.
std::string Epochs(int64_t epochs, const std::string& more = "") {
  return absl::StrCat("training { epochs: ", epochs, " ", more, " } ");
}

// A run of `shorter` and then of `longer` in the same folder equals one of `longer` alone. `trained`: the epochs that
// the second call trains or finishes, by lines of timing.jsonl.
void ExpectContinues(const std::string& name, const std::string& shorter, int64_t short_epochs,
                     const std::string& longer, int64_t epochs) {
  const std::string from_start = Folder(name + "_from_start"), output = Folder(name);
  ExpectDone(RunAll(longer, from_start), epochs);
  ExpectDone(RunAll(shorter, output), short_epochs);
  EXPECT_THAT(DryRunText(longer, output),
              HasSubstr(absl::StrCat("Trained further, from ", short_epochs, " of ", short_epochs, " epochs to ",
                                     epochs, ": base seed 1\n")));
  ExpectDone(RunAll(longer, output), epochs);
  ExpectTheSameFiles(output, from_start);
  // The last epoch of the shorter run has a second line, because its end is repeated as the longer run's.
  EXPECT_EQ(TimedEpochs(output), epochs + 1);
  EXPECT_THAT(DryRunText(longer, output), AllOf(HasSubstr("1 of 1"), Not(HasSubstr("Trained"))));
}

TEST(FurtherTest, MoreEpochsAreThoseOfARunThatHadThemFromTheStart) {
  ExpectContinues("constant", Epochs(2) + kDynamicL1Cov, 2, Epochs(4) + kDynamicL1Cov, 4);
}

TEST(FurtherTest, StepAndMultiStepSchedulesGoOn) {
  const std::string step = "schedule { step { period: 1 gamma: 0.5 } warmup_epochs: 2 }";
  ExpectContinues("step", Epochs(2, step), 2, Epochs(3, step), 3);
  const std::string steps = "schedule { multi_step { milestone: [1, 3] gamma: 0.1 } }";
  ExpectContinues("multi_step", Epochs(3, steps) + kDynamicL1Cov, 3, Epochs(4, steps) + kDynamicL1Cov, 4);
}

// A run's end is always evaluated, its BatchNorm statistics are re-estimated for that, and soft filter pruning masks
// there. An epoch in the middle of a longer run has none of this.
TEST(FurtherTest, WhatComesAtARunsEndAloneIsNotCarriedOn) {
  const std::string training = "evaluate_every: 3 bn_recalibration_batches: 2 validation_fraction: 0.2";
  const std::string pruning = R"pb(
    pruning {
      [type.googleapis.com/prunelab.SoftFilter] { rate: 0.4 period_epochs: 3 }
    }
    compression {}
  )pb";
  ExpectContinues("end", Epochs(2, training) + pruning, 2, Epochs(4, training) + pruning, 4);
}

TEST(FurtherTest, TheLastPhaseMayBeLongerAndOthersMayFollow) {
  const std::string dense = R"pb(
    phase {
      name: "dense"
      epochs: 2
      pruning {
        [type.googleapis.com/prunelab.NoPruning] {}
      }
    }
  )pb";
  const auto half = [](int64_t epochs) {
    return absl::StrCat("phase { name: 'half' epochs: ", epochs,
                        " rewind_to_epoch: 1 pruning { [type.googleapis.com/prunelab.Unstructured] { rate: 0.5 } } } ");
  };
  const std::string quarter = R"pb(
    phase {
      name: "quarter"
      epochs: 1
      rewind_to_epoch: 1
      schedule { cosine {} }
      pruning {
        [type.googleapis.com/prunelab.Unstructured] { rate: 0.75 }
      }
    }
  )pb";
  ExpectContinues("longer_phase", dense + half(1), 3, dense + half(2), 4);
  ExpectContinues("more_phases", dense + half(1), 3, dense + half(1) + quarter, 4);
  ExpectContinues("both", dense + half(1), 3, dense + half(2) + quarter, 5);
  // The network after epoch 1 was not kept, so the run is trained from the start, with the same result.
  const std::string from_start = Folder("unkept_from_start"), output = Folder("unkept");
  ExpectDone(RunAll(dense + half(1), from_start), 3);
  ExpectDone(RunAll(dense, output), 2);
  EXPECT_THAT(DryRunText(dense + half(1), output),
              HasSubstr("Trained from the start to 3 epochs, since a phase goes back to the network after epoch 1, "
                        "which was not kept (what there is of 2 epochs stays until then): base seed 1\n"));
  ExpectDone(RunAll(dense + half(1), output), 3);
  ExpectTheSameFiles(output, from_start);
}

TEST(FurtherTest, AScheduleThatFollowsTheNumberOfEpochsIsRefused) {
  const std::string cosine = "schedule { cosine {} }", output = Folder("cosine");
  ExpectDone(RunAll(Epochs(2, cosine), output), 2);
  const std::string result = Read(output, "result.json");
  const absl::StatusOr<AblationOutcome> outcome = RunAll(Epochs(4, cosine), output);
  ASSERT_EQ(outcome.status().code(), absl::StatusCode::kFailedPrecondition) << outcome.status();
  EXPECT_THAT(
      std::string(outcome.status().message()),
      AllOf(HasSubstr("- training.epochs: 2\n+ training.epochs: 4\n"),
            HasSubstr("epoch 1 had a learning rate of 0.05, and with 4 epochs in place of 2 it has 0.0853553"),
            HasSubstr("Constant, step and multi_step schedules can be continued."), HasSubstr("use another --output")));
  EXPECT_THAT(DryRunText(Epochs(4, cosine), output), HasSubstr("schedule follows the number of epochs"));
  EXPECT_EQ(Read(output, "result.json"), result);
  ExpectDone(RunAll(Epochs(2, cosine), output), 2);
}

TEST(FurtherTest, AStrategyThatGoesByTheNumberOfEpochsIsRefusedAndItsFixedEndIsNot) {
  const auto gradual = [](const std::string& end) {
    return absl::StrCat("pruning { [type.googleapis.com/prunelab.Gradual] { rate: 0.5 period: 2 ", end, " } } ");
  };
  const std::string output = Folder("gradual");
  ExpectDone(RunAll(Epochs(2) + gradual(""), output), 2);
  const absl::StatusOr<AblationOutcome> outcome = RunAll(Epochs(3) + gradual(""), output);
  ASSERT_EQ(outcome.status().code(), absl::StatusCode::kFailedPrecondition) << outcome.status();
  EXPECT_THAT(std::string(outcome.status().message()),
              HasSubstr("its strategy, prunelab.Gradual, goes by the number of epochs"));
  ExpectContinues("gradual_end", Epochs(2) + gradual("end_epoch: 1"), 2, Epochs(3) + gradual("end_epoch: 1"), 3);
  // Other phases may follow a phase with that strategy.
  const std::string rigl = R"pb(
    phase {
      name: "sparse"
      epochs: 2
      pruning {
        [type.googleapis.com/prunelab.Rigl] { rate: 0.6 period: 5 }
      }
    }
  )pb";
  const std::string tuned = R"pb(
    phase {
      name: "fine_tune"
      epochs: 1
      pruning {
        [type.googleapis.com/prunelab.NoPruning] {}
      }
    }
  )pb";
  ExpectContinues("rigl", rigl, 2, rigl + tuned, 3);
}

TEST(FurtherTest, OtherChangesAreRefusedAsBefore) {
  const std::string output = Folder("other");
  ExpectDone(RunAll(Epochs(2), output), 2);
  const auto refused = [&](const std::string& settings) {
    const absl::StatusOr<AblationOutcome> outcome = RunAll(settings, output);
    EXPECT_EQ(outcome.status().code(), absl::StatusCode::kFailedPrecondition) << settings;
    return std::string(outcome.status().message());
  };
  EXPECT_THAT(refused(Epochs(1)), HasSubstr("epochs cannot be taken back"));
  EXPECT_THAT(refused(Epochs(3, "sgd { momentum: 0.5 }")),
              AllOf(HasSubstr("+ training.sgd.momentum: 0.5"), Not(HasSubstr("trained further"))));
  EXPECT_THAT(refused("phase { name: 'a' epochs: 2 } phase { name: 'b' epochs: 1 }"),
              Not(HasSubstr("trained further")));
  EXPECT_FALSE(PathExists(JoinPath(output, "base/1/further")));
}

TEST(FurtherTest, WithoutAStateItIsTrainedFromTheStartAndTheOldResultStaysUntilThen) {
  const std::string from_start = Folder("stateless_from_start");
  ExpectDone(RunAll(Epochs(3) + kDynamicL1Cov, from_start), 3);
  const std::string unkept = Epochs(2, "keep_state: false") + kDynamicL1Cov, output = Folder("stateless");
  ExpectDone(RunAll(unkept, output), 2);
  EXPECT_FALSE(PathExists(JoinPath(output, "base/1/state.safetensors")));
  EXPECT_THAT(DryRunText(Epochs(3) + kDynamicL1Cov, output),
              HasSubstr("Trained from the start to 3 epochs, since its state was not kept (what there is of 2 epochs "
                        "stays until then): base seed 1\n"));
  const std::string result = Read(output, "result.json"), epochs = Read(output, "epochs.jsonl");
  int64_t steps = 20;
  const absl::StatusOr<AblationOutcome> stopped =
      RunAll(Epochs(3) + kDynamicL1Cov, output, [&steps] { return --steps < 0; });
  ASSERT_TRUE(stopped.ok() && stopped->stopped) << stopped.status();
  EXPECT_EQ(Read(output, "result.json"), result);
  EXPECT_EQ(Read(output, "epochs.jsonl"), epochs);
  EXPECT_EQ(RunAll(unkept, output)->trained, 0) << "the old run is as it was";
  ExpectDone(RunAll(Epochs(3) + kDynamicL1Cov, output), 3);
  ExpectTheSameFiles(output, from_start);

  // A damaged one does not count.
  const std::string damaged = Folder("damaged"), path = JoinPath(damaged, "base/1/state.safetensors");
  ExpectDone(RunAll(Epochs(2) + kDynamicL1Cov, damaged), 2);
  std::string bytes = *ReadFile(path);
  bytes[bytes.size() / 2] ^= 1;
  ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  EXPECT_THAT(DryRunText(Epochs(3) + kDynamicL1Cov, damaged),
              HasSubstr(absl::StrCat("since of its state, ", path, ": its checksum does not hold")));
  ExpectDone(RunAll(Epochs(3) + kDynamicL1Cov, damaged), 3);
  ExpectTheSameFiles(damaged, from_start);
}

TEST(FurtherTest, StoppedAtAnyStepItEndsWithTheSameFiles) {
  const std::string from_start = Folder("stopped_from_start"), output = Folder("stopped");
  ExpectDone(RunAll(Epochs(4) + kDynamicL1Cov, from_start), 4);
  ExpectDone(RunAll(Epochs(2) + kDynamicL1Cov, output), 2);
  const std::string result = Read(output, "result.json"), last = Read(output, "last.safetensors");
  int64_t calls = 0;
  for (bool done = false; !done; ++calls) {
    ASSERT_LT(calls, 50);
    EXPECT_TRUE(Read(output, "result.json") == result && Read(output, "last.safetensors") == last);
    int64_t left = 3 + 2 * (calls % 5);
    const absl::StatusOr<AblationOutcome> outcome =
        RunAll(Epochs(4) + kDynamicL1Cov, output, [&left] { return --left < 0; });
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    done = !outcome->stopped;
  }
  EXPECT_GT(calls, 3);
  ExpectTheSameFiles(output, from_start);
}

// An unfinished run may get more epochs, too.
TEST(FurtherTest, AnInterruptedRunGoesOnToMoreEpochs) {
  const std::string from_start = Folder("interrupted_from_start"), output = Folder("interrupted");
  ExpectDone(RunAll(Epochs(4) + kDynamicL1Cov, from_start), 4);
  int64_t steps = 18;
  ASSERT_TRUE(RunAll(Epochs(3) + kDynamicL1Cov, output, [&steps] { return --steps < 0; })->stopped);
  EXPECT_THAT(DryRunText(Epochs(4) + kDynamicL1Cov, output),
              HasSubstr("Trained further, from 1 of 3 epochs to 4: base seed 1\n"));
  ExpectDone(RunAll(Epochs(4) + kDynamicL1Cov, output), 4);
  ExpectTheSameFiles(output, from_start);
}

// Whichever of its files have been moved when a process dies, the next one moves the others.
TEST(FurtherTest, ALongerRunThatIsHalfInItsPlaceIsPutThere) {
  const std::string from_start = Folder("half_from_start");
  ExpectDone(RunAll(Epochs(3), from_start), 3);
  const std::vector<std::string> order = {"provenance.json", "epochs.jsonl", "last.safetensors", "state.safetensors",
                                          "timing.jsonl"};
  for (size_t moved = 0; moved <= order.size(); ++moved) {
    const std::string output = Folder(absl::StrCat("half_", moved)), run = JoinPath(output, "base/1");
    ExpectDone(RunAll(Epochs(2), output), 2);
    const std::string further = FurtherFolder(run);
    ASSERT_TRUE(CreateFolders(further).ok());
    for (const char* name : {"config.textproto", "result.json", "provenance.json", "epochs.jsonl", "last.safetensors",
                             "state.safetensors", "timing.jsonl"}) {
      ASSERT_TRUE(WriteFileAtomically(JoinPath(further, name), Read(from_start, name)).ok());
    }
    for (size_t i = 0; i < moved; ++i) {
      ASSERT_EQ(std::rename(JoinPath(further, order[i]).c_str(), JoinPath(run, order[i]).c_str()), 0);
    }
    const absl::StatusOr<AblationOutcome> outcome = RunAll(Epochs(3), output);
    ExpectDone(outcome, 3);
    EXPECT_EQ(outcome->trained, 0) << moved;
    ExpectTheSameFiles(output, from_start);
  }
}

// If a run fails while it is trained further, nothing is lost.
TEST(FurtherTest, WhereItFailsTheOldResultStays) {
  const std::string output = Folder("fails");
  const std::string dense =
      "phase { name: 'dense' epochs: 1 pruning { [type.googleapis.com/prunelab.NoPruning] {} } } ";
  ExpectDone(RunAll(dense, output), 1);
  const std::string result = Read(output, "result.json");
  // The folder in which it would be trained cannot be created.
  ASSERT_TRUE(WriteFileAtomically(JoinPath(output, "base/1/further"), "a file").ok());
  const std::string longer = absl::StrReplaceAll(dense, {{"epochs: 1", "epochs: 2"}});
  const absl::StatusOr<AblationOutcome> outcome = RunAll(longer, output);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->results[0].status, "failed");
  EXPECT_EQ(Read(output, "result.json"), result);
  ASSERT_EQ(std::remove(JoinPath(output, "base/1/further").c_str()), 0);
  ExpectDone(RunAll(longer, output), 2);
}

}  // namespace
}  // namespace prunelab
