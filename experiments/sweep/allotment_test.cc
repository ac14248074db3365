#include "experiments/sweep/allotment.h"

#include <gtest/gtest.h>

namespace prunelab {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

CgroupLimits Limits(std::optional<double> cpus, std::optional<int64_t> memory) {
  CgroupLimits limits;
  limits.cpus = cpus;
  limits.memory = memory;
  return limits;
}

Allotment Of(const Machine& machine, int64_t jobs = 0, int64_t threads = 0, int64_t runs = 100) {
  return Allot(machine, jobs, threads, /*gpus=*/0, runs);
}

TEST(AllotmentTest, WithoutLimitsAJobACore) {
  const Machine machine = MachineWithin(8, 64 * kGiB, {});
  EXPECT_EQ(Of(machine).jobs, 8);
  EXPECT_EQ(Of(machine).threads, 1);
  EXPECT_EQ(Of(machine, 0, 0, 3).jobs, 3) << "no more than runs";
  EXPECT_EQ(Of(machine, 0, 0, 3).threads, 2);
  EXPECT_EQ(Of(machine, 2).threads, 4);
  EXPECT_EQ(AllotmentText(machine, Of(machine)),
            "Machine: 8 cores, 64.0 GiB of memory; 8 runs at once, with up to 1 thread each");
}

TEST(AllotmentTest, AQuotaOfCpuTimeCountsAsItsWholeCores) {
  const Machine machine = MachineWithin(64, 64 * kGiB, Limits(2.5, std::nullopt));
  EXPECT_EQ(Of(machine).jobs, 2);
  EXPECT_EQ(Of(machine).threads, 1);
  EXPECT_EQ(Of(machine, 1).threads, 2);
  EXPECT_EQ(Of(machine, 0, 2).jobs, 1);
  EXPECT_EQ(Of(machine, 5).jobs, 5) << "what is asked for is done";
  EXPECT_EQ(Of(machine, 5).threads, 1);
  EXPECT_EQ(Of(MachineWithin(64, 64 * kGiB, Limits(0.5, std::nullopt))).jobs, 1);
  EXPECT_EQ(Of(MachineWithin(4, 64 * kGiB, Limits(16, std::nullopt))).jobs, 4) << "cores are fewer than the quota";
  EXPECT_EQ(
      AllotmentText(machine, Of(machine)),
      "Machine: 64 cores (the control group's quota: the time of 2.5), 64.0 GiB of memory; 2 runs at once, with up "
      "to 1 thread each");
}

TEST(AllotmentTest, AMemoryLimitCountsInPlaceOfTheMachines) {
  const Machine machine = MachineWithin(8, 64 * kGiB, Limits(std::nullopt, 5 * kGiB));
  EXPECT_EQ(Of(machine).jobs, 2) << "2 GiB a run";
  EXPECT_EQ(Of(machine).threads, 4);
  EXPECT_EQ(Of(MachineWithin(8, 64 * kGiB, Limits(std::nullopt, kGiB))).jobs, 1);
  EXPECT_EQ(Of(MachineWithin(8, 6 * kGiB, Limits(std::nullopt, 64 * kGiB))).jobs, 3) << "the machine has less";
  EXPECT_EQ(
      AllotmentText(machine, Of(machine)),
      "Machine: 8 cores, 5.0 GiB of memory (the control group's limit); 2 runs at once, with up to 4 threads each");
}

TEST(AllotmentTest, AJobAGpu) {
  const Machine machine = MachineWithin(32, 64 * kGiB, {});
  EXPECT_EQ(Allot(machine, 0, 0, /*gpus=*/1, 100).jobs, 1);
  const Allotment eight = Allot(machine, 0, 0, /*gpus=*/8, 100);
  EXPECT_EQ(eight.jobs, 8);
  EXPECT_EQ(eight.threads, 4);
  EXPECT_EQ(Allot(machine, 0, 0, /*gpus=*/8, 3).jobs, 3) << "no more than runs";
  EXPECT_EQ(Allot(machine, 16, 0, /*gpus=*/8, 100).jobs, 16) << "what is asked for is done";
  EXPECT_EQ(AllotmentText(machine, eight),
            "Machine: 32 cores, 64.0 GiB of memory; 8 runs at once, with up to 4 threads each, on 8 GPUs");
}

TEST(AllotmentTest, ThisMachineHasSomething) {
  const Machine machine = ThisMachine();
  EXPECT_GE(machine.Threads(), 1);
  EXPECT_LE(machine.Threads(), machine.cores);
  EXPECT_GT(machine.memory, 0);
}

}  // namespace
}  // namespace prunelab
