#include "experiments/sweep/worker.h"

#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prunelab {
namespace {

TEST(WorkerTest, MemoryThatDoesNotSufficeIsAnErrorThatSaysWhatHelps) {
  const absl::Status status = WithinGpuMemory([]() -> absl::Status {
    TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate 2.00 GiB");
    return absl::OkStatus();
  });
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              testing::StartsWith("the GPU's memory does not suffice; fewer --jobs, a smaller batch_size or "
                                  "evaluation_batch_size need less: CUDA out of memory. Tried to allocate 2.00 GiB"));
}

TEST(WorkerTest, OtherAnswersAndErrorsPass) {
  EXPECT_TRUE(WithinGpuMemory([] { return absl::OkStatus(); }).ok());
  EXPECT_TRUE(absl::IsCancelled(WithinGpuMemory([] { return absl::CancelledError("stopped"); })));
  EXPECT_THROW(WithinGpuMemory([]() -> absl::Status {
                 TORCH_CHECK(false, "an illegal memory access was encountered");
                 return absl::OkStatus();
               }).IgnoreError(),
               c10::Error);
}

}  // namespace
}  // namespace prunelab
