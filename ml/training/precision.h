// Whether the device supports the precision that training asks for.
#pragma once

#include <c10/core/Device.h>

#include <string>

#include "absl/status/status.h"
#include "ml/training/training.pb.h"

namespace prunelab {

// Refuses what the device does not compute itself, by an error of the field "precision": BFLOAT16 on a CPU without the
// instructions, TF32 on any CPU, and either on a GPU of a compute capability below 8.
absl::Status CheckPrecision(const Training& training, at::Device device);

// The same for a device that is known to multiply bfloat16 numbers itself, or not. GPUs that do also have TF32.
absl::Status CheckPrecision(const Training& training, at::Device device, bool native_bfloat16);

// How records and flags name it: "float32", "bfloat16", "tf32".
std::string PrecisionName(Training::Precision precision);

}  // namespace prunelab
