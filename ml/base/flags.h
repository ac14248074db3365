// What all programs share in reading their command lines, and in how they end.
//
//   int main(int argc, char** argv) {
//     return prunelab::RunMain("prints the layers of a network; see docs/tools.md", argc, argv,
//                              [] { return prunelab::ExitStatus(prunelab::Main()); });
//   }
//
// Exit status: 0, done; 1, done except for a part, or the output could not be printed; 2, refused, with one message on
// standard error that says what is wrong and what would be right.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace prunelab {

constexpr int kNotAllDone = 1, kRefused = 2;

// Returns 0, or prints the message on standard error and returns kRefused.
int ExitStatus(const absl::Status& status);

// A program's whole main. It reads the flags (gflags), or prints them for --help after `usage`, and calls `run`. It
// returns the exit status of `run`, unless standard output could not be written. It refuses unknown flags, flags with a
// bad or missing value, and words that are not flags: no program here has other arguments, and such a word is usually a
// value that a space separated from its flag. If a file may not grow (SIGXFSZ), that is an error of the write.
int RunMain(const char* usage, int argc, char** argv, const std::function<int()>& run);

// RunMain's first step, for tests: sets the flags. `arguments` are those after the program's name. Cancelled if help is
// asked for.
absl::Status ParseFlags(const std::vector<std::string>& arguments);

}  // namespace prunelab
