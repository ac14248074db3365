#include "ml/execution/device.h"

#include <ATen/Context.h>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"

namespace prunelab {

absl::Status CheckDeviceName(const std::string& device) {
  if (device == "auto" || device == "cpu" || device == "cuda") return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--device=", device, ": must be auto, cpu or cuda"));
}

absl::StatusOr<at::Device> ChooseDevice(const std::string& device) {
  PRUNELAB_RETURN_IF_ERROR(CheckDeviceName(device));
  if (device == "cpu") return at::Device(at::kCPU);
  const bool has_cuda = at::hasCUDA();
  if (device == "auto") return at::Device(has_cuda ? at::kCUDA : at::kCPU);
  if (!has_cuda) {
    return absl::FailedPreconditionError(
        "--device=cuda: no CUDA device can be used; use --device=cpu, or build with --config=cuda on a machine with a "
        "GPU");
  }
  return at::Device(at::kCUDA);
}

}  // namespace prunelab
