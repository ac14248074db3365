#pragma once

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace prunelab {

// Puts a prefix before an error's message that says where it comes from, e.g. a flag: "--network: ...". The code stays
// the same.
inline absl::Status WithPrefix(absl::string_view prefix, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(prefix, ": ", status.message()));
}

}  // namespace prunelab
