// The devices on which a test runs: the CPU, and a GPU where program and machine have one. The same body runs on each,
// so that it is known to work where there is none:
//
//   class StepTest : public testing::TestWithParam<at::Device> {};
//   TEST_P(StepTest, LearnsTheDigits) { ... GetParam() ... }
//   INSTANTIATE_TEST_SUITE_P(Devices, StepTest, testing::ValuesIn(Devices()), DeviceName());
#pragma once

#include <c10/core/Device.h>

#include <string>
#include <vector>

namespace prunelab {

// {cpu} or {cpu, cuda:0}. A program that was built without --config=cuda does not link LibTorch's CUDA half.
std::vector<at::Device> Devices();

// Names the tests: "cpu" or "cuda".
struct DeviceName {
  template <typename ParamInfo>
  std::string operator()(const ParamInfo& info) const {
    return info.param.is_cuda() ? "cuda" : "cpu";
  }
};

}  // namespace prunelab
