// Whether the device supports the precision that training asks for.
#pragma once

#include <c10/core/Device.h>

#include "absl/status/status.h"
#include "ml/training/training.pb.h"

namespace prunelab {

// Refuses BFLOAT16 if it would be emulated, by an error of the field "precision": on a CPU without the instructions,
// and on a GPU of a compute capability below 8.
absl::Status CheckPrecision(const Training& training, at::Device device);

// The same for a device that is known to multiply bfloat16 numbers itself, or not.
absl::Status CheckPrecision(const Training& training, at::Device device, bool native_bfloat16);

}  // namespace prunelab
