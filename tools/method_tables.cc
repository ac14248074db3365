// Writes the tables of docs/methods.md again, of what the plugins say about themselves:
//
//   bazel run //tools:method_tables
#include <cstdlib>
#include <iostream>
#include <string>

#include "ml/base/files.h"
#include "ml/base/method_table.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

absl::Status Run() {
  const char* root = std::getenv("BUILD_WORKSPACE_DIRECTORY");
  if (root == nullptr) return absl::FailedPreconditionError("run this by bazel run //tools:method_tables");
  const std::string path = JoinPath(root, "docs/methods.md");
  PRUNELAB_ASSIGN_OR_RETURN(const std::string page, ReadFile(path));
  PRUNELAB_ASSIGN_OR_RETURN(const std::string written, WithMethodTables(page));
  return WriteFileAtomically(path, written);
}

}  // namespace
}  // namespace prunelab

int main() {
  const absl::Status status = prunelab::Run();
  if (!status.ok()) std::cerr << "method_tables: " << status.message() << "\n";
  return status.ok() ? 0 : 1;
}
