// Errors in a field of a config. A plugin that refuses its parameters names the field, relative to its own message. The
// code that holds the config file turns the field into a place (file:line:col).
//
//   if (!(config.rate() >= 0 && config.rate() < 1))
//     return FieldError("rate", absl::StrCat("is ", config.rate(), "; must be in [0, 1)"));
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace prunelab {

// InvalidArgument "field: message". `field` is a path such as "layers.max_rate" or "level[2].name"; fields inside an
// Any follow the name of the Any's own field. With "" the error is about the message as a whole.
absl::Status FieldError(absl::string_view field, absl::string_view message);

// The same error seen from the message that holds the field: "rate" with prefix "pruning" becomes "pruning.rate". A
// status that is not a field error becomes an error of the field `prefix`. OK stays OK.
absl::Status InField(absl::string_view prefix, const absl::Status& status);

// The path of a field error, or "" if the status is not a field error.
std::string ErrorField(const absl::Status& status);

// The message of a field error without its path; any other status's message as it is.
std::string ErrorText(const absl::Status& status);

}  // namespace prunelab
