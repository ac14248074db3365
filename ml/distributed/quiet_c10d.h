// LibTorch's process groups log what is no fault, such as an address that has no name, and what is said by an error
// that is returned, such as an address where nobody is yet, with a page of the program's addresses.
#pragma once

#include <c10/util/Logging.h>

#include <cstdlib>

namespace prunelab {

// Lets LibTorch log nothing that it goes on after, unless the user asks for another level.
inline void QuietC10d() {
  if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = c10::GLOG_FATAL;
}

}  // namespace prunelab
