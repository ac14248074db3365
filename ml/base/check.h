// Checks of invariants. Errors that a user can cause are an absl::Status. A failed check is a bug in the program, so it
// says where and what, and aborts the process.
//
//   PRUNELAB_CHECK(mask.size(0) == weight.size(0)) << node << ": mask of " << mask.size(0) << " filters";
#pragma once

#include <cstdlib>
#include <iostream>
#include <sstream>

namespace prunelab {

class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition) {
    stream_ << file << ":" << line << ": check failed: " << condition << " ";
  }
  [[noreturn]] ~CheckFailure() {
    std::cerr << stream_.str() << std::endl;
    std::abort();
  }
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

}  // namespace prunelab

#define PRUNELAB_CHECK(condition) \
  if (condition) {                \
  } else                          \
    ::prunelab::CheckFailure(__FILE__, __LINE__, #condition).stream()
