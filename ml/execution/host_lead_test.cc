#include "ml/execution/host_lead.h"

#include <ATen/ATen.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "ml/kernels/testing/devices.h"

namespace prunelab {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(HostLeadTest, WaitsForTheStepFourBefore) {
  int64_t marks = 0;
  std::vector<int64_t> waited;
  HostLead lead([&]() -> HostLead::Wait { return [&waited, mark = marks++] { waited.push_back(mark); }; });
  for (int64_t step = 0; step < HostLead::kSteps; ++step) lead.EndStep();
  EXPECT_THAT(waited, IsEmpty());
  lead.EndStep();
  EXPECT_THAT(waited, ElementsAre(0));
  lead.EndStep();
  lead.EndStep();
  EXPECT_THAT(waited, ElementsAre(0, 1, 2));
  EXPECT_EQ(marks, HostLead::kSteps + 3);
}

// A mark is behind the work: once it was waited for, the device has nothing left to do.
TEST(HostLeadTest, AnEventOnAGpuIsBehindWhatWasGivenBefore) {
  const at::Device device = Devices().back();
  if (!device.is_cuda()) GTEST_SKIP() << "a CPU has done its work when it returns, and there is no CUDA device";
  const at::Tensor x = at::full({2048, 2048}, 1e-3, device);
  at::Tensor y = x;
  for (int i = 0; i < 50; ++i) y = y.matmul(x);
  const HostLead::Wait wait = MarkOf(device)();
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  wait();
  EXPECT_TRUE(guard.queryStream(guard.getStream(device)));
}

}  // namespace
}  // namespace prunelab
