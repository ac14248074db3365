// Keeps programs from overwriting their own inputs. It is part of how files are written (files.h), with a separate
// header for the programs that need it.
//
//   ProtectWhatIsRead();  // before anything is read
//   PRUNELAB_RETURN_IF_ERROR(CheckOutputs({{"--checkpoint", FLAGS_checkpoint}}, {{"--output", FLAGS_output}}));
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace prunelab {

// Whether two paths lead to the same file or folder, however they are spelled: through links, "./", absolute paths,
// hard links. A file that does not exist yet is identified by its name and the folder in which it would appear.
bool SameFile(const std::string& a, const std::string& b);

// A flag that takes a path, and the path as it was typed. An empty path is ignored.
struct PathFlag {
  std::string flag;  // "--output"
  std::string path;
};

// Refuses an output that is also an input or another output, or that receives the program's own messages, or that
// WriteFileAtomically would refuse for its kind or its folder. Nothing is created.
absl::Status CheckOutputs(const std::vector<PathFlag>& inputs, const std::vector<PathFlag>& outputs);

// After this call WriteFileAtomically refuses to replace a file that this process has read with ReadFile, e.g. a file
// in a data set's folder. It is for programs that do not rewrite their own files.
void ProtectWhatIsRead();

}  // namespace prunelab
