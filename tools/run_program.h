// Runs a built program in a test, as a user would.
//
//   const ProgramResult result = RunProgram("tools/inspect", {"--checkpoint=" + path});
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace prunelab {

struct ProgramResult {
  int status = -1;  // exit status; -1 if a signal ended it
  std::string out, err;
};

struct ProgramSetting {
  std::string standard_output;              // a file to write to instead of `out`, e.g. "/dev/full"; "-": closed
  std::optional<uint64_t> most_file_bytes;  // files may not become larger
};

// `program` is a path relative to the root of the runfiles, where tests start.
ProgramResult RunProgram(const std::string& program, const std::vector<std::string>& arguments,
                         const ProgramSetting& setting = {});

// The rest of the line in which `text` says `what`; the test fails if it does not.
std::string After(const std::string& text, const std::string& what);

}  // namespace prunelab
