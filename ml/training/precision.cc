#include "ml/training/precision.h"

#include <ATen/detail/CUDAHooksInterface.h>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/kernels/instruction_set.h"

namespace prunelab {

absl::Status CheckPrecision(const Training& training, at::Device device) {
  if (training.precision() != Training::BFLOAT16) return absl::OkStatus();  // without looking at the device
  return CheckPrecision(
      training, device,
      device.is_cpu() ? HasBfloat16() : at::detail::getCUDAHooks().supportsBFloat16ConvolutionWithCuDNNv8());
}

absl::Status CheckPrecision(const Training& training, at::Device device, bool native_bfloat16) {
  if (training.precision() != Training::BFLOAT16 || native_bfloat16) return absl::OkStatus();
  return FieldError(
      "precision",
      device.is_cpu()
          ? "is BFLOAT16, but this machine's CPU has neither avx512_bf16 nor amx_bf16 and would only emulate it; "
            "use FLOAT32, a CPU that has one of them (Intel from Cooper Lake on, AMD from Zen 4 on), or a GPU"
          : "is BFLOAT16, but this machine's GPU is of a compute capability below 8 and would only emulate it; use "
            "FLOAT32, or "
            "a GPU from Ampere on");
}

}  // namespace prunelab
