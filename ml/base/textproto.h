// Text protos: parsing that remembers where each field stands, merging of patches, and the canonical form that
// identities are made of. All of them look inside google.protobuf.Any.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "google/protobuf/text_format.h"

namespace prunelab {

// A text proto and the places of its fields.
class TextProtoSource {
 public:
  // Parses `text` into `message`, which must outlive this object and not change. Every error of syntax is one line
  // "name:line:col: what; what would be right", joined by newlines.
  static absl::StatusOr<std::unique_ptr<TextProtoSource>> Parse(absl::string_view name, absl::string_view text,
                                                                google::protobuf::Message* message);
  // The same for a file. Errors besides: unreadable, empty, larger than 64 MB.
  static absl::StatusOr<std::unique_ptr<TextProtoSource>> ParseFile(const std::string& path,
                                                                    google::protobuf::Message* message);

  // Whether the text sets the field at `path`, e.g. "factor[1].level[0].patch.pruning.rate" (fields inside an Any
  // follow the Any's own field; a last index that is left out means the first element).
  bool Has(absl::string_view path) const;
  // "name:line:col" of the field at `path`, or of its nearest parent that the text sets, or "name" when there is none.
  std::string Place(absl::string_view path) const;

  const std::string& name() const { return name_; }

 private:
  TextProtoSource() = default;
  std::string name_;
  const google::protobuf::Message* message_ = nullptr;
  std::unique_ptr<google::protobuf::TextFormat::ParseInfoTree> tree_;

  // Deepest location along `path`; returns whether the whole path was found. `line` is -1 when not even its head is
  // set.
  bool Locate(absl::string_view path, int* line, int* column) const;
};

// Merges `patch` into `message` (same type): scalars that the patch sets replace, messages merge field by field,
// repeated fields replace as a whole; an Any of another type replaces, one of the same type is merged inside.
absl::Status MergePatch(const google::protobuf::Message& patch, google::protobuf::Message* message);

// Text that is equal exactly where configs mean the same: fields by number, those unset, equal to their default or
// marked (prunelab.execution) left out, Any's unpacked. Doubles in their shortest form that reads back equal.
absl::StatusOr<std::string> CanonicalText(const google::protobuf::Message& message);

// Readable text with Any's expanded, as written into result folders.
std::string PrettyText(const google::protobuf::Message& message);

}  // namespace prunelab
