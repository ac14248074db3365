// The device that a program runs on, by its flag --device.
#pragma once

#include <c10/core/Device.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace prunelab {

// Whether it is "auto", "cpu" or "cuda"; the error names --device.
absl::Status CheckDeviceName(const std::string& device);

// "auto" (CUDA if it can be used), "cpu" or "cuda". Errors: another word; "cuda" if no device can be used.
absl::StatusOr<at::Device> ChooseDevice(const std::string& device);

}  // namespace prunelab
