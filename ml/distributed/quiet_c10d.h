// LibTorch's process groups warn of what is no fault, e.g. of an address that has no name.
#pragma once

#include <c10/util/Logging.h>

#include <cstdlib>

namespace prunelab {

// Lets LibTorch log errors alone, unless the user asks for another level.
inline void QuietC10d() {
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = c10::GLOG_ERROR;
}

}  // namespace prunelab
