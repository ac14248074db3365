// The version of the code that a run was trained by.
#pragma once

#include <string>

namespace prunelab {

// The output of `git describe --always --dirty` for the workspace under `bazel run` (BUILD_WORKSPACE_DIRECTORY), or
// "unknown". The path is git's argument, and no shell sees it.
std::string CodeRevision();

}  // namespace prunelab
