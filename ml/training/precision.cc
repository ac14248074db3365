#include "ml/training/precision.h"

#include <ATen/detail/CUDAHooksInterface.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/kernels/instruction_set.h"

namespace prunelab {

absl::Status CheckPrecision(const Training& training, at::Device device) {
  if (training.precision() == Training::FLOAT32) return absl::OkStatus();  // without looking at the device
  return CheckPrecision(
      training, device,
      device.is_cpu() ? HasBfloat16() : at::detail::getCUDAHooks().supportsBFloat16ConvolutionWithCuDNNv8());
}

absl::Status CheckPrecision(const Training& training, at::Device device, bool native_bfloat16) {
  const Training::Precision precision = training.precision();
  if (precision == Training::TF32 && device.is_cpu()) {
    return FieldError("precision", "is TF32, which only GPUs compute with; use FLOAT32 on the CPU, or a GPU");
  }
  if (precision == Training::FLOAT32 || native_bfloat16) return absl::OkStatus();
  if (device.is_cpu()) {
    return FieldError(
        "precision",
        "is BFLOAT16, but this machine's CPU has neither avx512_bf16 nor amx_bf16 and would only emulate it; "
        "use FLOAT32, a CPU that has one of them (Intel from Cooper Lake on, AMD from Zen 4 on), or a GPU");
  }
  return FieldError("precision",
                    absl::StrCat("is ", Training::Precision_Name(precision),
                                 ", but this machine's GPU is of a compute capability below 8 and ",
                                 precision == Training::TF32 ? "does not have it" : "would only emulate it",
                                 "; use FLOAT32, or a GPU from Ampere on"));
}

std::string PrecisionName(Training::Precision precision) {
  return absl::AsciiStrToLower(Training::Precision_Name(precision));
}

}  // namespace prunelab
