#include "experiments/sweep/gpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"

namespace prunelab {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(GpuNamesTest, WithoutAChoiceAllThatThereAre) {
  EXPECT_THAT(GpuNames(std::nullopt, 3), ElementsAre("0", "1", "2"));
  EXPECT_THAT(GpuNames(std::nullopt, 0), IsEmpty());
}

TEST(GpuNamesTest, AChoiceIsPassedOnAsItIsWritten) {
  EXPECT_THAT(GpuNames("2,3", 2), ElementsAre("2", "3"));
  EXPECT_THAT(GpuNames("5", 1), ElementsAre("5"));
  EXPECT_THAT(GpuNames("GPU-5a3c, MIG-77b1", 2), ElementsAre("GPU-5a3c", "MIG-77b1"));
}

TEST(GpuNamesTest, WhatCudaDoesNotSeeIsLeftOut) {
  EXPECT_THAT(GpuNames("1,9,2", 1), ElementsAre("1")) << "CUDA stops at the first that is not there";
  EXPECT_THAT(GpuNames("0,-1,2", 1), ElementsAre("0"));
  EXPECT_THAT(GpuNames("", 0), IsEmpty());
  EXPECT_THAT(GpusFor(at::kCPU), IsEmpty());
}

// Eight workers on three GPUs, of which one ends.
TEST(LeastBusyGpuTest, WorkersAreSpreadEvenly) {
  std::vector<int64_t> workers(3, 0);
  std::vector<size_t> given;
  for (int i = 0; i < 8; ++i) {
    given.push_back(LeastBusyGpu(workers));
    ++workers[given.back()];
  }
  EXPECT_THAT(given, ElementsAre(0, 1, 2, 0, 1, 2, 0, 1));
  --workers[1];
  EXPECT_EQ(LeastBusyGpu(workers), 1u);
  EXPECT_EQ(LeastBusyGpu({4}), 0u);
  EXPECT_EQ(LeastBusyGpu({2, 1, 2}), 1u);
}

TEST(MpsTest, IsWhereItsDaemonListens) {
  const std::string folder = FreshFolder("mps");
  EXPECT_FALSE(MpsListensIn(folder));
  EXPECT_FALSE(MpsListensIn(JoinPath(folder, "not_there")));
  ASSERT_TRUE(WriteFileAtomically(JoinPath(folder, "control"), "").ok());
  EXPECT_TRUE(MpsListensIn(folder));
}

}  // namespace
}  // namespace prunelab
