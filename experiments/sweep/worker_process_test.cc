#include "experiments/sweep/worker_process.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "absl/strings/str_cat.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"

namespace prunelab {
namespace {

// Whether `done` comes true within some seconds.
template <typename Done>
bool Becomes(const Done& done) {
  for (int i = 0; i < 400; ++i) {
    if (done()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(25));
  }
  return false;
}

// Starts a process that starts a worker and dies once the worker runs. The worker touches the file "runs" again and
// again, for ten seconds, and "asked" when it is asked to end.
void StartAndDie(const std::string& folder, int parent_death_signal) {
  const std::string script =
      absl::StrCat("trap 'touch ", folder, "/asked; exit 0' TERM; i=0; while [ $i -lt 200 ]; do touch ", folder,
                   "/runs; sleep 0.05; i=$((i+1)); done");
  const pid_t parent = fork();
  ASSERT_GE(parent, 0);
  if (parent == 0) {
    const auto worker = WorkerProcess::Start({"/bin/sh", "-c", script}, {}, {}, "", parent_death_signal);
    _exit(worker.ok() && Becomes([&] { return PathExists(folder + "/runs"); }) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(parent, &status, 0), parent);
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the worker was not started";
}

// Whether the worker has stopped touching its file.
bool IsGone(const std::string& folder) {
  unlink((folder + "/runs").c_str());
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  return !PathExists(folder + "/runs");
}

TEST(WorkerProcessTest, OneThatUsesAGpuIsAskedToEndWhenItsParentDies) {
  const std::string folder = FreshFolder("asked");
  StartAndDie(folder, SIGTERM);
  EXPECT_TRUE(Becomes([&] { return PathExists(folder + "/asked"); }));
  EXPECT_TRUE(IsGone(folder) || IsGone(folder));
}

TEST(WorkerProcessTest, OthersAreKilledWithIt) {
  const std::string folder = FreshFolder("killed");
  StartAndDie(folder, SIGKILL);
  EXPECT_TRUE(IsGone(folder) || IsGone(folder));
  EXPECT_FALSE(PathExists(folder + "/asked"));
}

TEST(WorkerProcessTest, TheEnvironmentIsReplacedAndAddedTo) {
  const std::string folder = FreshFolder("environment");
  ASSERT_EQ(setenv("CUDA_VISIBLE_DEVICES", "4,5", 1), 0);
  auto worker = WorkerProcess::Start({"/bin/sh", "-c", "echo $CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS"},
                                     {"CUDA_VISIBLE_DEVICES=5", "OMP_NUM_THREADS=3"}, {}, "");
  ASSERT_TRUE(worker.ok()) << worker.status();
  EXPECT_TRUE(Becomes([&] { return worker->Ended(); }));
  EXPECT_EQ(worker->ReadLines(), std::vector<std::string>{"5 3"});
}

}  // namespace
}  // namespace prunelab
