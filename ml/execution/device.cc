#include "ml/execution/device.h"

#include <ATen/Context.h>

#include "absl/strings/str_cat.h"

namespace prunelab {

absl::StatusOr<at::Device> ChooseDevice(const std::string& device) {
  if (device == "cpu") return at::Device(at::kCPU);
  const bool has_cuda = at::hasCUDA();
  if (device == "auto") return at::Device(has_cuda ? at::kCUDA : at::kCPU);
  if (device != "cuda") {
    return absl::InvalidArgumentError(absl::StrCat("--device=", device, ": must be auto, cpu or cuda"));
  }
  if (!has_cuda) {
    return absl::FailedPreconditionError(
        "--device=cuda: no CUDA device can be used; use --device=cpu, or build with --config=cuda on a machine with a "
        "GPU");
  }
  return at::Device(at::kCUDA);
}

}  // namespace prunelab
