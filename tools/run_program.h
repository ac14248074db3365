// Runs a built program in a test, as a person would.
//
//   const ProgramResult result = RunProgram("tools/inspect", {"--checkpoint=" + path});
#pragma once

#include <string>
#include <vector>

namespace prunelab {

struct ProgramResult {
  int status = -1;  // exit status
  std::string out, err;
};

// `program` is a path from the root of the runfiles, where tests start.
ProgramResult RunProgram(const std::string& program, const std::vector<std::string>& arguments);

}  // namespace prunelab
