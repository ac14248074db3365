// What the programs take from their command lines alike, and how they end.
//
//   int main(int argc, char** argv) {
//     return prunelab::RunMain("prints the layers of a network; see docs/tools.md", argc, argv,
//                              [] { return prunelab::ExitStatus(prunelab::Main()); });
//   }
//
// Exit status: 0, done; 1, done but for a part, or what was printed has not arrived; 2, refused, with one message on
// the standard error that says what is wrong and what would be right.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace prunelab {

constexpr int kNotAllDone = 1, kRefused = 2;

// 0, or says the message on the standard error and returns kRefused.
int ExitStatus(const absl::Status& status);

// A program's whole main: reads the flags (gflags), or prints them for --help, which `usage` heads, and calls
// `run`, whose exit status it returns unless the standard output could not be written. Flags are refused that nobody
// defined, that have a bad value or none, and so is what is no flag: a program here has no other arguments, and one is
// most often a value that was torn from its flag by a space. A file that may not grow (SIGXFSZ) is an error of its
// write.
int RunMain(const char* usage, int argc, char** argv, const std::function<int()>& run);

// RunMain's first step, for tests: sets the flags. `arguments` are those behind the program's name. Cancelled where
// help is asked for.
absl::Status ParseFlags(const std::vector<std::string>& arguments);

}  // namespace prunelab
