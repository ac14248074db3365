#include "ml/base/field_error.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace prunelab {
namespace {
constexpr char kFieldUrl[] = "prunelab/field";
}

absl::Status FieldError(absl::string_view field, absl::string_view message) {
  if (field.empty()) return absl::InvalidArgumentError(message);  // of the message as a whole
  absl::Status status = absl::InvalidArgumentError(absl::StrCat(field, ": ", message));
  status.SetPayload(kFieldUrl, absl::Cord(field));
  return status;
}

absl::Status InField(absl::string_view prefix, const absl::Status& status) {
  if (status.ok()) return status;
  const std::string field = ErrorField(status);
  if (prefix.empty() && field.empty()) return status;
  const std::string path = field.empty()    ? std::string(prefix)
                           : prefix.empty() ? field
                                            : absl::StrCat(prefix, ".", field);
  absl::Status result(status.code(), absl::StrCat(path, ": ", ErrorText(status)));
  status.ForEachPayload([&result](absl::string_view url, const absl::Cord& payload) {
    result.SetPayload(url, absl::Cord(std::string(payload)));
  });
  result.SetPayload(kFieldUrl, absl::Cord(path));
  return result;
}

std::string ErrorField(const absl::Status& status) {
  const absl::optional<absl::Cord> field = status.GetPayload(kFieldUrl);
  return field ? std::string(*field) : "";
}

std::string ErrorText(const absl::Status& status) {
  const std::string field = ErrorField(status);
  absl::string_view message = status.message();
  if (!field.empty()) absl::ConsumePrefix(&message, absl::StrCat(field, ": "));
  return std::string(message);
}

}  // namespace prunelab
