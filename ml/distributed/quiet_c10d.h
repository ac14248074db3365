// LibTorch's process groups log what is no fault, such as an address that has no name, and what is said by an error
// that is returned, such as an address where nobody is yet, with a page of the program's addresses.
#pragma once

#include <c10/util/Logging.h>

#include <cstdlib>

namespace prunelab {

// Lets LibTorch log nothing that it goes on after, and keep no record of its collectives, unless the user asks for
// either. That record is one for all process groups of a process, and is not safe from groups of several threads.
inline void QuietC10d() {
  static const bool once = [] {
    if (std::getenv("TORCH_CPP_LOG_LEVEL") == nullptr) FLAGS_caffe2_log_level = c10::GLOG_FATAL;
    for (const char* size : {"TORCH_FR_BUFFER_SIZE", "TORCH_NCCL_TRACE_BUFFER_SIZE"})
      setenv(size, "0", /*overwrite=*/0);
    return true;
  }();
  (void)once;
}

}  // namespace prunelab
