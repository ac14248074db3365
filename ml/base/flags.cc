#include "ml/base/flags.h"

#include <gflags/gflags.h>

#include "absl/strings/str_cat.h"

namespace prunelab {

absl::Status ParseFlags(const char* usage, int argc, char** argv) {
  gflags::SetUsageMessage(usage);
  gflags::ParseCommandLineFlags(&argc, &argv, /*remove_flags=*/true);
  if (argc <= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("\"", argv[1], "\" is no flag; flags begin with --, and a value with spaces needs quotes"));
}

}  // namespace prunelab
