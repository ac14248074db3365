// Which code a run was trained by.
#pragma once

#include <string>

namespace prunelab {

// What `git describe --always --dirty` says of the workspace under `bazel run` (BUILD_WORKSPACE_DIRECTORY), or
// "unknown". The path is git's argument, seen by no shell.
std::string CodeRevision();

}  // namespace prunelab
