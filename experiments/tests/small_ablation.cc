#include "experiments/tests/small_ablation.h"

#include <gtest/gtest.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/files.h"

namespace prunelab {

std::string SmallAblation(const std::string& training, const std::string& base) {
  return absl::StrCat(R"(
    name: "small"
    seeds { count: 1 }
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
  )",
                      training, " }\n", base, " }\n");
}

LoadedAblation LoadText(const std::string& text, const std::string& override_text) {
  const std::string path = JoinPath(testing::TempDir(), "ablation.textproto");
  EXPECT_TRUE(WriteFileAtomically(path, text).ok());
  absl::StatusOr<LoadedAblation> loaded = LoadAblation(path, override_text);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return *std::move(loaded);
}

RunnerOptions AllRuns(const LoadedAblation& loaded, const std::string& output) {
  RunnerOptions options;
  options.output = output;
  options.arms = loaded.arms;
  options.seeds = loaded.ablation.seeds();
  options.device = "cpu";
  return options;
}

absl::StatusOr<AblationOutcome> RunAll(const LoadedAblation& loaded, const std::string& output,
                                       std::function<bool()> stop) {
  RunnerOptions options = AllRuns(loaded, output);
  options.stop = std::move(stop);
  return RunAblation(loaded, options);
}

void ExpectTheSameFilesStoppedAtAnyStep(const LoadedAblation& loaded, const std::string& undisturbed,
                                        const std::string& stopped, const std::vector<std::string>& files) {
  ASSERT_TRUE(RunAll(loaded, undisturbed).ok());
  int64_t calls = 0;
  for (bool done = false; !done; ++calls) {
    ASSERT_LT(calls, 100);
    // At another step each time: 12 steps make an epoch.
    int64_t left = 5 + 4 * (calls % 5);
    const absl::StatusOr<AblationOutcome> outcome = RunAll(loaded, stopped, [&left] { return --left < 0; });
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    done = !outcome->stopped;
  }
  EXPECT_GT(calls, 4);
  for (const std::string& file : files) {
    const absl::StatusOr<std::string> whole = ReadFile(JoinPath(JoinPath(undisturbed, "base/1"), file));
    const absl::StatusOr<std::string> resumed = ReadFile(JoinPath(JoinPath(stopped, "base/1"), file));
    ASSERT_TRUE(whole.ok()) << whole.status();
    ASSERT_TRUE(resumed.ok()) << resumed.status();
    EXPECT_EQ(*whole, *resumed) << file;
  }
}

}  // namespace prunelab
