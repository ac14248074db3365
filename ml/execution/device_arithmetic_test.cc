#include "ml/execution/device_arithmetic.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>

namespace prunelab {
namespace {

using Float32 = DeviceArithmetic::Float32;
using Reduction = at::CuBLASReductionOption;

// What cuDNN and cuBLAS would be told. The readers without an operator check that LibTorch's two sets of switches
// agree.
struct Settings {
  const bool convolutions = at::globalContext().allowTF32CuDNN(), products = at::globalContext().allowTF32CuBLAS();
  const bool deterministic = at::globalContext().deterministicCuDNN();
  const Reduction bfloat16 = at::globalContext().allowBF16ReductionCuBLAS();
  const Reduction float16 = at::globalContext().allowFP16ReductionCuBLAS();
  bool operator==(const Settings& other) const {
    return convolutions == other.convolutions && products == other.products && deterministic == other.deterministic &&
           bfloat16 == other.bfloat16 && float16 == other.float16;
  }
};

at::Float32Precision PrecisionOf(at::Float32Op op) {
  return at::globalContext().float32Precision(at::Float32Backend::CUDA, op);
}

void ExpectExact() {
  EXPECT_EQ(PrecisionOf(at::Float32Op::CONV), at::Float32Precision::IEEE);
  EXPECT_EQ(PrecisionOf(at::Float32Op::MATMUL), at::Float32Precision::IEEE);
  const Settings settings;
  EXPECT_FALSE(settings.convolutions);
  EXPECT_FALSE(settings.products);
  EXPECT_TRUE(settings.deterministic);
  EXPECT_EQ(settings.bfloat16, Reduction::DisallowReducedPrecisionAllowSplitK);
  EXPECT_EQ(settings.float16, Reduction::DisallowReducedPrecisionAllowSplitK);
}

TEST(DeviceArithmeticTest, SaysWhatFloat32MeansAndPutsEverythingBack) {
  const Settings before;
  EXPECT_TRUE(before.convolutions) << "LibTorch's default is what this class is for";
  {
    const DeviceArithmetic exact(Float32::kIeee);
    ExpectExact();
    {
      const DeviceArithmetic fast(Float32::kTf32);
      EXPECT_EQ(PrecisionOf(at::Float32Op::CONV), at::Float32Precision::TF32);
      EXPECT_EQ(PrecisionOf(at::Float32Op::MATMUL), at::Float32Precision::TF32);
      EXPECT_TRUE(Settings().convolutions);
      EXPECT_TRUE(Settings().products);
      EXPECT_EQ(Settings().bfloat16, Reduction::DisallowReducedPrecisionAllowSplitK);
    }
    ExpectExact();
  }
  EXPECT_TRUE(Settings() == before);
}

TEST(DeviceArithmeticTest, WhatAllBackendsWereToldDoesNotReachIt) {
  at::globalContext().setFloat32Precision(at::Float32Backend::GENERIC, at::Float32Op::ALL, at::Float32Precision::TF32);
  {
    const DeviceArithmetic exact(Float32::kIeee);
    ExpectExact();
  }
  at::globalContext().setFloat32Precision(at::Float32Backend::GENERIC, at::Float32Op::ALL, at::Float32Precision::NONE);
}

}  // namespace
}  // namespace prunelab
