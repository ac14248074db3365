// The canonical text has a line for each value that is set and means something:
//
//   pruning: [prunelab.DynamicL1]
//   pruning.rate: 0.6
//   training.schedule.multi_step: {}
//   training.schedule.multi_step.milestone[0]: 100
//
// Such a line is the path of the field and its value. A line `path: [type]` says what an Any holds; the fields of that
// message follow under the Any's own path. A line `path: {}` is a message whose presence alone means something (the
// choice of a oneof, an element of a repeated field, a field marked (prunelab.says_by_presence)). Lines are in the
// order of field numbers. Strings are C-escaped, so that a value cannot look like another line.
#include "ml/base/textproto.h"

#include <charconv>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/tokenizer.h"
#include "ml/base/check.h"
#include "ml/base/files.h"
#include "ml/base/options.pb.h"
#include "ml/base/plugin.h"
#include "ml/base/presence.pb.h"
#include "ml/base/spelling.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

using google::protobuf::Any;
using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::TextFormat;

constexpr uint64_t kMaxBytes = uint64_t{64} << 20;
constexpr char kByteOrderMark[] = "\xEF\xBB\xBF";  // some editors begin UTF-8 files with it
constexpr int kMaxDepth = 100;

const Any* AsAny(const Message& message) {
  return message.GetDescriptor() == Any::descriptor() ? static_cast<const Any*>(&message) : nullptr;
}

// ---------------------------------------------------------------------------------------------------------------------
// Errors of syntax

struct ParserError {
  int line = 0, column = 0;  // from 0, as the tokenizer counts: in bytes, but a tab moves to the next multiple of 8
  std::string message;
};

class ErrorList : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    errors.push_back({line, column, message});
  }
  std::vector<ParserError> errors;
};

int NextColumn(char c, int column) { return c == '\t' ? column + 8 - column % 8 : column + 1; }

size_t Offset(absl::string_view text, int line, int column) {
  size_t offset = 0;
  for (; line > 0 && offset < text.size(); ++offset) {
    if (text[offset] == '\n') --line;
  }
  for (int at = 0; at < column && offset < text.size() && text[offset] != '\n'; ++offset)
    at = NextColumn(text[offset], at);
  return offset;
}

void MoveTo(absl::string_view text, size_t offset, ParserError* error) {
  error->line = error->column = 0;
  for (size_t i = 0; i < offset; ++i) {
    if (text[i] == '\n') {
      ++error->line;
      error->column = 0;
    } else {
      error->column = NextColumn(text[i], error->column);
    }
  }
}

bool IsNameCharacter(char c) { return absl::ascii_isalnum(c) || c == '_'; }

// The parser reports a name at the position after it. This goes back to where the name begins, and returns its offset.
size_t MoveBackTo(absl::string_view text, absl::string_view name, ParserError* error) {
  const size_t behind = Offset(text, error->line, error->column);
  size_t at = behind;
  while (at > 0 && !name.empty()) {
    at = text.rfind(name, at - 1);
    if (at == absl::string_view::npos) break;
    const size_t end = at + name.size();
    const bool whole =
        (at == 0 || !IsNameCharacter(text[at - 1])) && (end == text.size() || !IsNameCharacter(text[end]));
    if (whole && end <= behind) {
      MoveTo(text, at, error);
      return at;
    }
  }
  return behind;
}

// The parts of the parser's message that are between double quotes.
std::vector<std::string> QuotedParts(absl::string_view message) {
  const std::vector<std::string> parts = absl::StrSplit(message, '"');
  std::vector<std::string> quoted;
  for (size_t i = 1; i < parts.size(); i += 2) quoted.push_back(parts[i]);
  return quoted;
}

std::vector<std::string> FieldNames(const Descriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) names.push_back(type.field(i)->name());
  return names;
}

// The enum types of fields called `field` in `type`, in the messages that it contains, and in the linked plugins'
// parameters.
void FindEnums(const Descriptor* type, const std::string& field, std::set<const Descriptor*>* seen,
               std::set<const EnumDescriptor*>* found) {
  if (!seen->insert(type).second) return;
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* inner = type->field(i);
    if (inner->enum_type() != nullptr && inner->name() == field) found->insert(inner->enum_type());
    if (inner->message_type() != nullptr) FindEnums(inner->message_type(), field, seen, found);
  }
}

std::vector<std::string> EnumValues(const Descriptor* root, const std::string& field) {
  std::set<const Descriptor*> seen;
  std::set<const EnumDescriptor*> found;
  FindEnums(root, field, &seen, &found);
  for (const PluginKind* kind : PluginKind::All()) {
    for (const auto& [name, info] : kind->linked()) FindEnums(info.parameters, field, &seen, &found);
  }
  std::set<std::string> names;
  for (const EnumDescriptor* type : found) {
    for (int i = 0; i < type->value_count(); ++i) names.insert(type->value(i)->name());
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> LinkedNames() {
  std::vector<std::string> names;
  for (const PluginKind* kind : PluginKind::All()) {
    for (const auto& [name, info] : kind->linked()) names.push_back(name);
  }
  return names;
}

// The most similar of `names`, and all of them.
std::string Choices(absl::string_view name, absl::string_view what, const std::vector<std::string>& names) {
  const std::string hint = DidYouMean(name, names);
  return absl::StrCat(hint, hint.empty() ? "; " : " ", what, ": ", names.empty() ? "none" : absl::StrJoin(names, ", "));
}

constexpr char kAnyExample[] = "[type.googleapis.com/prunelab.Name] { ... }";

std::string UnknownField(const std::string& type_name, const std::string& field) {
  const Descriptor* type = DescriptorPool::generated_pool()->FindMessageTypeByName(type_name);
  if (type == Any::descriptor()) {
    std::vector<std::string> linked = LinkedNames();
    return absl::StrCat("\"", field, "\" is where a plugin must be named; write ", kAnyExample,
                        linked.empty() ? "" : "; linked plugins: ", absl::StrJoin(linked, ", "));
  }
  std::string text = absl::StrCat(type_name, " has no field \"", field, "\"");
  if (type != nullptr) absl::StrAppend(&text, Choices(field, "fields there", FieldNames(*type)));
  return text;
}

std::string UnlinkedType(const std::string& url) {
  const size_t slash = url.rfind('/');
  const std::string prefix = slash == std::string::npos ? "" : url.substr(0, slash + 1);
  const std::string name = url.substr(prefix.size());
  if (DescriptorPool::generated_pool()->FindMessageTypeByName(name) != nullptr) {
    return absl::StrCat("[", url, "] begins with \"", prefix, "\"; write [type.googleapis.com/", name, "]");
  }
  return absl::StrCat(UnlinkedTypeRemedy(name), DidYouMean(name, LinkedNames()));
}

// A number with a comma, "3,2", if the parser failed at the text after the comma. (It takes the comma for the end of
// the value.) Moves the error to the number.
std::string NumberWithComma(absl::string_view text, ParserError* error) {
  const auto is_digit = [&](size_t i) { return i < text.size() && absl::ascii_isdigit(text[i]); };
  const size_t behind = Offset(text, error->line, error->column);
  if (behind < 2 || !is_digit(behind) || text[behind - 1] != ',' || !is_digit(behind - 2)) return "";
  size_t begin = behind - 2, end = behind;
  while (begin > 0 && is_digit(begin - 1)) --begin;
  while (is_digit(end)) ++end;
  const bool thousands = end - behind == 3 && text[begin] != '0';
  if (end < text.size() && (text[end] == 'e' || text[end] == 'E')) {
    size_t exponent = end + 1;
    if (exponent < text.size() && (text[exponent] == '-' || text[exponent] == '+')) ++exponent;
    if (is_digit(exponent)) end = exponent;
    while (is_digit(end)) ++end;
  }
  const absl::string_view whole = text.substr(begin, behind - 1 - begin), rest = text.substr(behind, end - behind);
  MoveTo(text, begin, error);
  return absl::StrCat("\"", text.substr(begin, end - begin), "\" has a comma in a number; write ", whole, ".", rest,
                      thousands ? absl::StrCat(", or ", whole, rest, " if thousands are meant") : "");
}

// Says what is wrong and what would be right; moves the error to the name that it is about.
void Explain(absl::string_view text, const Descriptor* root, ParserError* error) {
  const std::string& message = error->message;
  const std::vector<std::string> quoted = QuotedParts(message);
  if (absl::StartsWith(message, "Message type ") && absl::StrContains(message, "has no field named") &&
      quoted.size() > 1) {
    MoveBackTo(text, quoted[1], error);
    error->message = UnknownField(quoted[0], quoted[1]);
  } else if (absl::StartsWith(message, "Could not find type ") && !quoted.empty()) {
    const std::string name = quoted[0].substr(quoted[0].rfind('/') + 1);
    const size_t bracket = text.rfind('[', MoveBackTo(text, name, error));
    if (bracket != absl::string_view::npos) MoveTo(text, bracket, error);
    error->message = UnlinkedType(quoted[0]);
  } else if (absl::EndsWith(message, "is specified multiple times.")) {
    if (!quoted.empty()) MoveBackTo(text, quoted[0], error);
    error->message = quoted.empty() ? "a second plugin where one must be named; keep one"
                                    : absl::StrCat("\"", quoted[0], "\" is given a second time; keep one");
  } else if (absl::StrContains(message, "another member of oneof") && quoted.size() > 1) {
    MoveBackTo(text, quoted[0], error);
    error->message = absl::StrCat("\"", quoted[0], "\" excludes \"", quoted[1], "\", which is given already; keep one");
  } else if (absl::StartsWith(message, "Unknown enumeration value of ") && quoted.size() > 1) {
    MoveBackTo(text, quoted[0], error);
    error->message = absl::StrCat("\"", quoted[0], "\" is not a value of \"", quoted[1], "\"",
                                  Choices(quoted[0], "values there", EnumValues(root, quoted[1])));
  } else if (absl::StartsWith(message, "Invalid value for boolean field ") && quoted.size() > 1) {
    MoveBackTo(text, quoted[1], error);
    error->message = absl::StrCat("\"", quoted[0], "\" is \"", quoted[1], "\"; must be true or false");
  } else if (const std::string comma =
                 absl::StartsWith(message, "Expected identifier, got: ") ? NumberWithComma(text, error) : "";
             !comma.empty()) {
    error->message = comma;
  } else if (absl::StartsWith(message, "Expected identifier, got: ") &&
             Offset(text, error->line, error->column) == text.size()) {
    error->message = "the text ends inside a message; close it with \"}\"";
  } else {
    // The parser's own message already says what would be right: "Expected integer, got: 0.5".
    const bool in_type_name = absl::StartsWith(message, "Expected \"/\"");
    std::string plain(absl::StripSuffix(message, "."));
    if (!plain.empty()) plain[0] = absl::ascii_tolower(plain[0]);
    plain = absl::Utf8SafeCEscape(plain);
    error->message = absl::StrReplaceAll(plain, {{"\\\"", "\""}, {"\\'", "'"}});
    if (in_type_name) absl::StrAppend(&error->message, "; a plugin is named like this: ", kAnyExample);
    if (absl::EndsWith(error->message, "got: ") || absl::EndsWith(error->message, "found \"\"")) {
      absl::StrAppend(&error->message, "(the text ends here)");
    }
  }
}

std::string PlaceText(absl::string_view name, int line, int column) {
  return absl::StrCat(name, ":", line + 1, ":", column + 1);
}

// Offset of the first byte that is not UTF-8, or npos.
size_t FirstNonUtf8(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t k) -> unsigned {
      return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0;
    };
    const unsigned lead = byte(0);
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xC2 && lead < 0xE0 ? 2
                          : lead >= 0xE0 && lead < 0xF0 ? 3
                          : lead >= 0xF0 && lead < 0xF5 ? 4
                                                        : 0;
    if (length == 0) return i;
    for (size_t k = 1; k < length; ++k) {
      if ((byte(k) & 0xC0) != 0x80) return i;
    }
    // Overlong forms, surrogates, and what is beyond U+10FFFF.
    if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) || (lead == 0xF0 && byte(1) < 0x90) ||
        (lead == 0xF4 && byte(1) > 0x8F)) {
      return i;
    }
    i += length;
  }
  return absl::string_view::npos;
}

// What the text is if it is not UTF-8, by its first bytes, or "".
std::string OtherEncoding(absl::string_view text) {
  const auto starts = [&](const char* bytes, size_t size) {
    return absl::StartsWith(text, absl::string_view(bytes, size));
  };
  if (starts("\xFF\xFE\0\0", 4) || starts("\0\0\xFE\xFF", 4)) return "UTF-32";
  // Without a byte order mark: ASCII letters with a zero byte each.
  const bool zeros = text.size() > 1 && (text[0] == '\0') != (text[1] == '\0');
  return starts("\xFF\xFE", 2) || starts("\xFE\xFF", 2) || zeros ? "UTF-16" : "";
}

// Reads the character at `offset` of a text that is valid UTF-8.
uint32_t CharacterAt(absl::string_view text, size_t offset, size_t* length) {
  const unsigned lead = static_cast<unsigned char>(text[offset]);
  *length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint32_t character = *length == 1 ? lead : lead & (0xFFu >> (*length + 1));
  for (size_t k = 1; k < *length; ++k)
    character = character << 6 | (static_cast<unsigned char>(text[offset + k]) & 0x3Fu);
  return character;
}

bool IsTypographicQuote(uint32_t c) {
  return (c >= 0x2018 && c <= 0x201F) || c == 0x2039 || c == 0x203A || c == 0xAB || c == 0xBB || c == 0xB4 ||
         c == 0x2032 || c == 0x2033 || (c >= 0x300C && c <= 0x300F) || (c >= 0x301D && c <= 0x301F);
}

// Names a character that is not ASCII, and says what to write instead of it outside of strings. Word processors, web
// pages and other keyboards insert such characters where ASCII was meant.
std::string CharacterFault(uint32_t c, absl::string_view bytes) {
  const std::string code = absl::AsciiStrToUpper(absl::StrCat("U+", absl::Hex(c, absl::kZeroPad4)));
  if (IsTypographicQuote(c)) {
    const bool is_single = (c >= 0x2018 && c <= 0x201B) || c == 0x2039 || c == 0x203A || c == 0xB4 || c == 0x2032;
    return absl::StrCat(bytes, " is a typographic quote (", code, "); write ", is_single ? "'" : "\"");
  }
  if ((c >= 0x2010 && c <= 0x2015) || c == 0x2212) {
    return absl::StrCat(bytes, " is a typographic dash (", code, "); write -");
  }
  if (c == 0xFEFF) return absl::StrCat("a byte order mark (", code, ") within the text; remove it");
  if (c == 0xA0 || (c >= 0x2000 && c <= 0x200D) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
      c == 0x2060 || c == 0x3000) {
    return absl::StrCat("a special space (", code, "); write an ordinary one");
  }
  if (c >= 0xFF01 && c <= 0xFF5E) {
    return absl::StrCat(bytes, " is a full-width character (", code, "); write ",
                        std::string(1, static_cast<char>(c - 0xFEE0)));
  }
  return absl::StrCat(bytes, " (", code, ") is allowed in strings and comments only; write it with ASCII characters");
}

// Finds characters outside of strings and comments that are not ASCII, and typographic quotes that were meant to end a
// string. The parser itself would report code points.
std::vector<ParserError> CharacterErrors(absl::string_view text) {
  constexpr size_t kShown = 10;
  std::vector<ParserError> errors;
  size_t left_out = 0;
  const auto add = [&](size_t offset) {
    if (errors.size() == kShown) {
      ++left_out;
      return;
    }
    size_t length;
    const uint32_t character = CharacterAt(text, offset, &length);
    ParserError error;
    MoveTo(text, offset, &error);
    error.message = CharacterFault(character, text.substr(offset, length));
    errors.push_back(std::move(error));
  };
  char quote = '\0';                                 // the one that opened the current string
  size_t quote_in_string = absl::string_view::npos;  // the last typographic quote in it
  for (size_t i = 0, length = 1; i < text.size(); i += length) {
    const uint32_t character = CharacterAt(text, i, &length);
    const char c = text[i];
    if (quote == '\0') {
      if (length > 1) {
        add(i);
      } else if (c == '#') {
        while (i + 1 < text.size() && text[i + 1] != '\n') ++i;
      } else if (c == '"' || c == '\'') {
        quote = c;
        quote_in_string = absl::string_view::npos;
      }
    } else if (c == quote) {
      quote = '\0';
    } else if (c == '\n') {  // which a string may not contain
      if (quote_in_string != absl::string_view::npos) add(quote_in_string);
      quote = '\0';
    } else if (c == '\\' && i + 1 < text.size() && text[i + 1] != '\n') {
      CharacterAt(text, i + 1, &length);
      ++length;
    } else if (IsTypographicQuote(character)) {
      quote_in_string = i;
    }
  }
  if (quote != '\0' && quote_in_string != absl::string_view::npos) add(quote_in_string);
  if (left_out > 0) absl::StrAppend(&errors.back().message, "; and ", left_out, " more such places");
  return errors;
}

// ---------------------------------------------------------------------------------------------------------------------
// Canonical text

std::string ShortestText(double value) {
  char buffer[32];
  // + 0.0 turns -0 into 0, which means the same.
  const std::to_chars_result result = std::to_chars(buffer, buffer + sizeof(buffer), value + 0.0);
  return std::string(buffer, result.ptr);
}

std::string ShortestText(float value) {
  char buffer[32];
  const std::to_chars_result result = std::to_chars(buffer, buffer + sizeof(buffer), value + 0.0f);
  return std::string(buffer, result.ptr);
}

// The value of a scalar field, or of its element `index` if it is repeated.
std::string ScalarText(const Message& message, const FieldDescriptor* field, int index) {
  const Reflection* reflection = message.GetReflection();
  const bool repeated = field->is_repeated();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(repeated ? reflection->GetRepeatedInt32(message, field, index)
                                   : reflection->GetInt32(message, field));
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrCat(repeated ? reflection->GetRepeatedInt64(message, field, index)
                                   : reflection->GetInt64(message, field));
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(repeated ? reflection->GetRepeatedUInt32(message, field, index)
                                   : reflection->GetUInt32(message, field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(repeated ? reflection->GetRepeatedUInt64(message, field, index)
                                   : reflection->GetUInt64(message, field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return ShortestText(repeated ? reflection->GetRepeatedDouble(message, field, index)
                                   : reflection->GetDouble(message, field));
    case FieldDescriptor::CPPTYPE_FLOAT:
      return ShortestText(repeated ? reflection->GetRepeatedFloat(message, field, index)
                                   : reflection->GetFloat(message, field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return (repeated ? reflection->GetRepeatedBool(message, field, index) : reflection->GetBool(message, field))
                 ? "true"
                 : "false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return (repeated ? reflection->GetRepeatedEnum(message, field, index) : reflection->GetEnum(message, field))
          ->name();
    case FieldDescriptor::CPPTYPE_STRING: {
      const std::string value =
          repeated ? reflection->GetRepeatedString(message, field, index) : reflection->GetString(message, field);
      return absl::StrCat("\"", absl::CEscape(value), "\"");
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      break;
  }
  PRUNELAB_CHECK(false) << field->full_name() << " is no scalar";
  return "";
}

absl::Status AppendMessage(const Message& message, const std::string& path, bool keep_empty, std::string* text);

absl::Status AppendFields(const Message& message, const std::string& prefix, std::string* text) {
  const Reflection* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;  // in the order of their numbers
  reflection->ListFields(message, &fields);
  // A field that is not set reads as its default.
  const std::unique_ptr<Message> defaults(message.New());
  for (const FieldDescriptor* field : fields) {
    if (field->options().GetExtension(execution)) continue;
    const std::string path = prefix.empty() ? field->name() : absl::StrCat(prefix, ".", field->name());
    const bool is_message = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    const int size = field->is_repeated() ? reflection->FieldSize(message, field) : 0;
    for (int i = 0; i < size; ++i) {
      const std::string element = absl::StrCat(path, "[", i, "]");
      if (is_message) {
        PRUNELAB_RETURN_IF_ERROR(AppendMessage(reflection->GetRepeatedMessage(message, field, i), element, true, text));
      } else {
        absl::StrAppend(text, element, ": ", ScalarText(message, field, i), "\n");
      }
    }
    if (field->is_repeated()) continue;
    const bool in_oneof = field->real_containing_oneof() != nullptr;
    if (is_message) {
      const bool keep_empty = in_oneof || field->options().GetExtension(says_by_presence);
      PRUNELAB_RETURN_IF_ERROR(AppendMessage(reflection->GetMessage(message, field), path, keep_empty, text));
      continue;
    }
    const std::string value = ScalarText(message, field, 0);
    // If the descriptor has no default, the fact that the field is set means something: "unset: no limit" is not 0.
    const bool is_default = !in_oneof && field->has_default_value() && value == ScalarText(*defaults, field, 0);
    if (!is_default) absl::StrAppend(text, path, ": ", value, "\n");
  }
  return absl::OkStatus();
}

absl::Status AppendMessage(const Message& message, const std::string& path, bool keep_empty, std::string* text) {
  if (const Any* any = AsAny(message)) {
    if (any->type_url().empty()) return absl::OkStatus();
    absl::StrAppend(text, path, path.empty() ? "" : ": ", "[", AnyTypeName(*any), "]\n");
    PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<Message> inner, UnpackAny(*any));
    return AppendFields(*inner, path, text);
  }
  const size_t before = text->size();
  PRUNELAB_RETURN_IF_ERROR(AppendFields(message, path, text));
  if (keep_empty && text->size() == before) absl::StrAppend(text, path, ": {}\n");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<TextProtoSource>> TextProtoSource::Parse(absl::string_view name, absl::string_view text,
                                                                        Message* message) {
  const std::string encoding = OtherEncoding(text);
  if (!encoding.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(PlaceText(name, 0, 0), ": the text is ", encoding,
                                                   ", which some editors call Unicode; save it as UTF-8"));
  }
  if (absl::StartsWith(text, kByteOrderMark)) text.remove_prefix(sizeof(kByteOrderMark) - 1);
  const size_t not_utf8 = FirstNonUtf8(text);
  if (not_utf8 != absl::string_view::npos) {
    ParserError error;
    MoveTo(text, not_utf8, &error);
    return absl::InvalidArgumentError(
        absl::StrCat(PlaceText(name, error.line, error.column), ": byte 0x",
                     absl::Hex(static_cast<unsigned char>(text[not_utf8]), absl::kZeroPad2),
                     " is not UTF-8; save the file as UTF-8 text"));
  }
  const std::vector<ParserError> characters = CharacterErrors(text);
  if (!characters.empty()) {
    std::vector<std::string> lines;
    for (const ParserError& error : characters) {
      lines.push_back(absl::StrCat(PlaceText(name, error.line, error.column), ": ", error.message));
    }
    return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
  }
  std::unique_ptr<TextProtoSource> source(new TextProtoSource);
  source->name_ = std::string(name);
  source->message_ = message;
  source->tree_ = std::make_unique<TextFormat::ParseInfoTree>();
  ErrorList errors;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  parser.WriteLocationsTo(source->tree_.get());
  parser.SetRecursionLimit(kMaxDepth);
  if (parser.ParseFromString(std::string(text), message)) return source;
  std::vector<std::string> lines;
  for (ParserError& error : errors.errors) {
    Explain(text, message->GetDescriptor(), &error);
    lines.push_back(absl::StrCat(PlaceText(name, error.line, error.column), ": ", error.message));
  }
  return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
}

absl::StatusOr<std::unique_ptr<TextProtoSource>> TextProtoSource::ParseFile(const std::string& path, Message* message) {
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxBytes);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(absl::StrCat(text.status().message(), "; check the path"));
  }
  PRUNELAB_RETURN_IF_ERROR(text.status());
  if (absl::StripAsciiWhitespace(absl::StripPrefix(*text, kByteOrderMark)).empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": is empty; it must hold a ", message->GetDescriptor()->full_name(), " in protobuf's text format"));
  }
  return Parse(path, *text, message);
}

bool TextProtoSource::Locate(absl::string_view path, int* line, int* column) const {
  *line = *column = -1;
  const Message* message = message_;
  const TextFormat::ParseInfoTree* tree = tree_.get();
  std::vector<std::unique_ptr<Message>> unpacked;
  for (const absl::string_view piece : absl::StrSplit(path, '.', absl::SkipEmpty())) {
    if (message == nullptr) return false;  // a scalar has no fields
    if (const Any* any = AsAny(*message)) {
      absl::StatusOr<std::unique_ptr<Message>> inner = UnpackAny(*any);
      if (!inner.ok()) return false;
      unpacked.push_back(*std::move(inner));
      message = unpacked.back().get();  // the Any's tree describes the message inside it
    }
    const std::vector<absl::string_view> name_and_index = absl::StrSplit(piece, absl::MaxSplits('[', 1));
    int index = 0;
    if (name_and_index.size() == 2 && !absl::SimpleAtoi(absl::StripSuffix(name_and_index[1], "]"), &index))
      return false;
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(std::string(name_and_index[0]));
    if (field == nullptr) return false;
    const Reflection* reflection = message->GetReflection();
    const bool repeated = field->is_repeated();
    if (repeated ? index < 0 || index >= reflection->FieldSize(*message, field)
                 : !reflection->HasField(*message, field)) {
      return false;
    }
    if (tree != nullptr) {
      TextFormat::ParseLocation location = tree->GetLocation(field, repeated ? index : -1);
      // The elements of "[1, 2, 3]" share the place of the list.
      if (location.line < 0 && repeated) location = tree->GetLocation(field, 0);
      if (location.line >= 0) {
        *line = location.line;
        *column = location.column;
      }
    }
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      message =
          repeated ? &reflection->GetRepeatedMessage(*message, field, index) : &reflection->GetMessage(*message, field);
      if (tree != nullptr) tree = tree->GetTreeForNested(field, repeated ? index : -1);
    } else {
      message = nullptr;
    }
  }
  return true;
}

bool TextProtoSource::Has(absl::string_view path) const {
  int line, column;
  return Locate(path, &line, &column);
}

std::string TextProtoSource::Place(absl::string_view path) const {
  int line, column;
  Locate(path, &line, &column);
  return line < 0 ? name_ : PlaceText(name_, line, column);
}

absl::Status MergePatch(const Message& patch, Message* message) {
  PRUNELAB_CHECK(patch.GetDescriptor() == message->GetDescriptor())
      << patch.GetTypeName() << " patches " << message->GetTypeName();
  if (const Any* patch_any = AsAny(patch)) {
    Any* any = static_cast<Any*>(message);
    if (AnyTypeName(*patch_any) != AnyTypeName(*any)) {
      any->CopyFrom(*patch_any);  // MergeFrom would concatenate the bytes
      return absl::OkStatus();
    }
    if (patch_any->type_url().empty()) return absl::OkStatus();
    PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<Message> inner_patch, UnpackAny(*patch_any));
    PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<Message> inner, UnpackAny(*any));
    PRUNELAB_RETURN_IF_ERROR(MergePatch(*inner_patch, inner.get()));
    inner->SerializeToString(any->mutable_value());
    return absl::OkStatus();
  }
  const Reflection* reflection = message->GetReflection();
  std::vector<const FieldDescriptor*> fields;
  patch.GetReflection()->ListFields(patch, &fields);
  // Scalars and repeated fields are copied in one go; setting one choice of a oneof clears the other by itself.
  const std::unique_ptr<Message> rest(patch.New());
  rest->CopyFrom(patch);
  for (const FieldDescriptor* field : fields) {
    if (field->is_repeated()) {
      reflection->ClearField(message, field);
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      reflection->ClearField(rest.get(), field);
      PRUNELAB_RETURN_IF_ERROR(
          MergePatch(patch.GetReflection()->GetMessage(patch, field), reflection->MutableMessage(message, field)));
    }
  }
  message->MergeFrom(*rest);
  return absl::OkStatus();
}

absl::StatusOr<std::string> CanonicalText(const Message& message) {
  std::string text;
  PRUNELAB_RETURN_IF_ERROR(AppendMessage(message, "", false, &text));
  return text;
}

std::string PrettyText(const Message& message) {
  TextFormat::Printer printer;
  printer.SetExpandAny(true);
  printer.SetUseUtf8StringEscaping(true);
  std::string text;
  PRUNELAB_CHECK(printer.PrintToString(message, &text)) << "cannot print a " << message.GetTypeName();
  return text;
}

}  // namespace prunelab
