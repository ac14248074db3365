// What the programs take from their command lines alike.
#pragma once

#include "absl/status/status.h"

namespace prunelab {

// Reads the flags (gflags) of main's arguments; `usage` heads --help. What is no flag is refused: a program here has no
// other arguments, and one is most often a value that was torn from its flag by a space.
absl::Status ParseFlags(const char* usage, int argc, char** argv);

}  // namespace prunelab
