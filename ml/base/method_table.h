// The tables of methods in the documentation, made of what the linked plugins say about themselves (method.proto).
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "ml/base/plugin.h"

namespace prunelab {

// A Markdown table with a row for each linked plugin of the kind, by target: what each says about itself, the columns
// that none fills left out, and the names of its parameters' fields.
std::string MethodTable(const PluginKind& kind);

// The page with each of its tables of methods written again: everything between the lines
//
//   <!-- methods: pruning strategy -->
//   <!-- end of methods -->
//
// becomes the table of the kind with this noun. Errors: a kind that is not linked, a table without an end.
absl::StatusOr<std::string> WithMethodTables(absl::string_view page);

}  // namespace prunelab
