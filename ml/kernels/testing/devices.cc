#include "ml/kernels/testing/devices.h"

#include <ATen/Context.h>

namespace prunelab {

std::vector<at::Device> Devices() {
  std::vector<at::Device> devices = {at::kCPU};
  if (at::hasCUDA()) devices.push_back(at::Device(at::kCUDA, 0));
  return devices;
}

}  // namespace prunelab
