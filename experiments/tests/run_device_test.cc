// Whole runs on every device that there is (ml/kernels/testing/devices.h): phases with rewinding, recalibrated
// BatchNorm, exact removal with its comparison and fine-tuning, and stopping in the middle.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "experiments/tests/small_ablation.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"
#include "ml/kernels/testing/devices.h"

namespace prunelab {
namespace {

// Static masks on half of the filters, from a rewound network, and then without them.
constexpr char kPhases[] = R"pb(
  phase {
    name: "dense"
    epochs: 2
    pruning {
      [type.googleapis.com/prunelab.NoPruning] {}
    }
  }
  phase {
    name: "half"
    epochs: 3
    rewind_to_epoch: 1
    pruning {
      [type.googleapis.com/prunelab.Static] {
        rate: 0.5
        ranking { scope: PER_LAYER }
      }
    }
    regularization {
      weight: 0.1
      regularizer {
        [type.googleapis.com/prunelab.Cov] {}
      }
    }
  }
  compression { mode: EXACT fine_tune_epochs: 1 }
)pb";

class DeviceRunTest : public testing::TestWithParam<at::Device> {
 protected:
  std::string device() const { return GetParam().is_cuda() ? "cuda" : "cpu"; }
  std::string Folder(const std::string& name) const { return FreshFolder(absl::StrCat(name, "_", device())); }
  LoadedAblation Loaded(const std::string& precision) const {
    return LoadText(SmallAblation(
        absl::StrCat("epochs: 5 bn_recalibration_batches: 3 validation_fraction: 0.2 precision: ", precision),
        kPhases));
  }
  absl::StatusOr<AblationOutcome> Run(const LoadedAblation& loaded, const std::string& output,
                                      std::function<bool()> stop = nullptr) const {
    RunnerOptions options = AllRuns(loaded, output);
    options.device = device();
    options.stop = std::move(stop);
    return RunAblation(loaded, options);
  }
};

INSTANTIATE_TEST_SUITE_P(Devices, DeviceRunTest, testing::ValuesIn(Devices()), DeviceName());

// In TF32 steps round a thousand times more than removal may; evaluation and the comparison after it do not.
TEST_P(DeviceRunTest, PhasesRewindingRecalibrationAndExactRemoval) {
  std::vector<std::string> precisions = {"FLOAT32"};
  if (GetParam().is_cuda()) precisions.push_back("TF32");
  for (const std::string& precision : precisions) {
    SCOPED_TRACE(precision);
    const absl::StatusOr<AblationOutcome> outcome = Run(Loaded(precision), Folder(precision));
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    ASSERT_EQ(outcome->results.size(), 1u);
    const RunResult& result = outcome->results[0];
    ASSERT_EQ(result.status, "done") << result.message;
    EXPECT_EQ(result.epochs, 5);
    EXPECT_GT(result.measures.test_top1(), 0.5);
    EXPECT_NEAR(result.measures.removed_test_top1(), result.measures.test_top1(), 0.003) << "one of 359 test images";
    EXPECT_GT(result.measures.fine_tuned_test_top1(), 0.5);
    EXPECT_GT(result.measures.filter_sparsity(), 0.4);
  }
}

TEST_P(DeviceRunTest, AStoppedRunEndsInTheSameFiles) {
  const LoadedAblation loaded = Loaded("FLOAT32");
  const std::string whole = Folder("whole"), stopped = Folder("stopped");
  ASSERT_TRUE(Run(loaded, whole).ok());
  int64_t calls = 0;
  for (int64_t times = 0;; ++times) {
    ASSERT_LT(times, 20) << "it does not come to its end";
    const absl::StatusOr<AblationOutcome> outcome = Run(loaded, stopped, [&] { return ++calls % 17 == 0; });
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    if (!outcome->stopped) break;
  }
  EXPECT_GT(calls, 17) << "it was never stopped";
  for (const char* file : {"last.safetensors", "removed.safetensors", "epochs.jsonl", "result.json"}) {
    const std::string path = JoinPath(absl::StrCat(loaded.arms[0].name, "/", loaded.ablation.seeds().first()), file);
    EXPECT_EQ(*ReadFile(JoinPath(stopped, path)), *ReadFile(JoinPath(whole, path))) << file;
  }
}

}  // namespace
}  // namespace prunelab
