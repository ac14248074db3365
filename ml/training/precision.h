// Whether the precision that training asks for is one of the device's own.
#pragma once

#include <c10/core/Device.h>

#include "absl/status/status.h"
#include "ml/training/training.pb.h"

namespace prunelab {

// Refuses BFLOAT16 where it would be emulated, by an error of the field "precision": on a CPU without the instructions,
// on a GPU of a compute capability below 8.
absl::Status CheckPrecision(const Training& training, at::Device device);

// The same for a device of which is known whether it multiplies bfloat16 numbers itself.
absl::Status CheckPrecision(const Training& training, at::Device device, bool native_bfloat16);

}  // namespace prunelab
