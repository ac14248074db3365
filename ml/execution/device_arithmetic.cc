#include "ml/execution/device_arithmetic.h"

#include <ATen/Context.h>

namespace prunelab {
namespace {

bool IsTf32(at::Float32Op op) {
  return at::globalContext().float32Precision(at::Float32Backend::CUDA, op) == at::Float32Precision::TF32;
}

// LibTorch has two sets of switches, and refuses to read one where the other disagrees. The older one is set first: its
// "no" leaves the newer one to a default, which the newer call then replaces.

void SetConvolutions(bool tf32) {
  at::globalContext().setAllowTF32CuDNN(tf32);
  if (tf32) return;
  for (const at::Float32Op op : {at::Float32Op::CONV, at::Float32Op::RNN}) {
    at::globalContext().setFloat32Precision(at::Float32Backend::CUDA, op, at::Float32Precision::IEEE);
  }
}

void SetProducts(bool tf32) {
  at::globalContext().setAllowTF32CuBLAS(tf32);
  if (tf32) return;
  at::globalContext().setFloat32Precision(at::Float32Backend::CUDA, at::Float32Op::MATMUL, at::Float32Precision::IEEE);
}

void SetReductions(at::CuBLASReductionOption bfloat16, at::CuBLASReductionOption float16) {
  using Option = at::CuBLASReductionOption;
  const auto narrow = [](Option option) { return option == Option::AllowReducedPrecisionWithSplitK; };
  const auto split = [](Option option) { return option != Option::DisallowReducedPrecisionDisallowSplitK; };
  at::globalContext().setAllowBF16ReductionCuBLAS(narrow(bfloat16), split(bfloat16));
  at::globalContext().setAllowFP16ReductionCuBLAS(narrow(float16), split(float16));
}

}  // namespace

struct DeviceArithmetic::Settings {
  const bool tf32_convolutions = IsTf32(at::Float32Op::CONV), tf32_products = IsTf32(at::Float32Op::MATMUL);
  const bool deterministic = at::globalContext().deterministicCuDNN();
  const at::CuBLASReductionOption bfloat16 = at::globalContext().allowBF16ReductionCuBLAS();
  const at::CuBLASReductionOption float16 = at::globalContext().allowFP16ReductionCuBLAS();
};

DeviceArithmetic::DeviceArithmetic(Float32 float32) : before_(std::make_unique<Settings>()) {
  SetConvolutions(float32 == Float32::kTf32);
  SetProducts(float32 == Float32::kTf32);
  at::globalContext().setDeterministicCuDNN(true);
  constexpr auto kWideSums = at::CuBLASReductionOption::DisallowReducedPrecisionAllowSplitK;
  SetReductions(kWideSums, kWideSums);
}

DeviceArithmetic::~DeviceArithmetic() {
  SetConvolutions(before_->tf32_convolutions);
  SetProducts(before_->tf32_products);
  at::globalContext().setDeterministicCuDNN(before_->deterministic);
  SetReductions(before_->bfloat16, before_->float16);
}

}  // namespace prunelab
