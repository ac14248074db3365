// Keeps programs that are told what to read and where to write from overwriting what they read. Part of how files are
// written (files.h), with a header of its own for those that need it.
//
//   ProtectWhatIsRead();  // first of all
//   PRUNELAB_RETURN_IF_ERROR(CheckOutputs({{"--checkpoint", FLAGS_checkpoint}}, {{"--output", FLAGS_output}}));
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace prunelab {

// Whether two paths lead to one file or folder, however they are spelled: by links, "./", absolute, hard links. What is
// not there yet is known by the folder in which it would appear, and its name.
bool SameFile(const std::string& a, const std::string& b);

// A flag that takes a path, and the path as it was typed; an empty one is passed over.
struct PathFlag {
  std::string flag;  // "--output"
  std::string path;
};

// Refuses an output that is the file of an input or of another output, or that the program's own messages go to, or
// that WriteFileAtomically would refuse for its kind or its folder. Nothing is created.
absl::Status CheckOutputs(const std::vector<PathFlag>& inputs, const std::vector<PathFlag>& outputs);

// From here on WriteFileAtomically refuses to replace a file that this process has read by ReadFile, e.g. one of a data
// set's folder. For programs that do not rewrite their own files.
void ProtectWhatIsRead();

}  // namespace prunelab
