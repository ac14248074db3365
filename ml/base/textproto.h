// Text protos: a parser that remembers where each field is, merging of patches, and the canonical text that identities
// are made from. All of them also look inside google.protobuf.Any.
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
  // Parses `text` into `message`, which must outlive this object and must not change. Each syntax error is one line
  // "name:line:col: what; what would be right"; the lines are joined by newlines.
  static absl::StatusOr<std::unique_ptr<TextProtoSource>> Parse(absl::string_view name, absl::string_view text,
                                                                google::protobuf::Message* message);
  // The same for a file. Additional errors: the file cannot be read, is empty, or is larger than 64 MB.
  static absl::StatusOr<std::unique_ptr<TextProtoSource>> ParseFile(const std::string& path,
                                                                    google::protobuf::Message* message);

  // Whether the text sets the field at `path`, e.g. "factor[1].level[0].patch.pruning.rate". Fields inside an Any
  // follow the Any's own field; without a last index the path means the first element.
  bool Has(absl::string_view path) const;
  // "name:line:col" of the field at `path`, or of its nearest parent that the text sets, or "name" if there is none.
  std::string Place(absl::string_view path) const;

  const std::string& name() const { return name_; }

 private:
  TextProtoSource() = default;
  std::string name_;
  const google::protobuf::Message* message_ = nullptr;
  std::unique_ptr<google::protobuf::TextFormat::ParseInfoTree> tree_;

  // The deepest location along `path`; returns whether the whole path was found. `line` is -1 if not even the first
  // part is set.
  bool Locate(absl::string_view path, int* line, int* column) const;
};

// Merges `patch` into `message` (same type). Scalars that the patch sets replace the old ones, messages are merged
// field by field, and repeated fields are replaced as a whole. An Any of another type replaces the old one; an Any of
// the same type is merged field by field.
absl::Status MergePatch(const google::protobuf::Message& patch, google::protobuf::Message* message);

// Text that is equal if and only if two configs mean the same. Fields are ordered by number; fields that are unset,
// equal to their default or marked (prunelab.execution) are left out; Any's are unpacked. Doubles have their shortest
// form that reads back equal.
absl::StatusOr<std::string> CanonicalText(const google::protobuf::Message& message);

// Readable text with expanded Any's, as written into results folders.
std::string PrettyText(const google::protobuf::Message& message);

}  // namespace prunelab
