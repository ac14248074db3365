#include "ml/base/method_table.h"

#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/descriptor.h"

namespace prunelab {
namespace {

constexpr char kBegin[] = "<!-- methods: ", kBeginEnd[] = " -->\n", kEnd[] = "<!-- end of methods -->";

using Cells = std::vector<std::string>;

std::string Row(const Cells& cells) { return absl::StrCat("| ", absl::StrJoin(cells, " | "), " |\n"); }

// "|" would end the cell, "*" and "<" are Markdown's.
std::string Escaped(const std::string& text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}, {"*", "\\*"}, {"<", "\\<"}});
}

std::string Code(absl::string_view text) { return absl::StrCat("`", text, "`"); }

std::string FieldNames(const google::protobuf::Descriptor& message) {
  Cells names;
  for (int i = 0; i < message.field_count(); ++i) names.push_back(Code(message.field(i)->name()));
  return absl::StrJoin(names, ", ");
}

// The fields of Method that a plugin of the kind sets.
std::vector<const google::protobuf::FieldDescriptor*> Columns(const PluginKind& kind) {
  std::vector<const google::protobuf::FieldDescriptor*> columns;
  for (int i = 0; i < Method::descriptor()->field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = Method::descriptor()->field(i);
    for (const auto& [name, info] : kind.linked()) {
      if (!info.method().GetReflection()->HasField(info.method(), field)) continue;
      columns.push_back(field);
      break;
    }
  }
  return columns;
}

absl::StatusOr<const PluginKind*> KindOf(absl::string_view noun) {
  for (const PluginKind* kind : PluginKind::All()) {
    if (kind->noun() == noun) return kind;
  }
  return absl::NotFoundError(absl::StrCat("the page has a table of methods of the kind \"", noun,
                                          "\", which no linked "
                                          "plugin is"));
}

}  // namespace

std::string MethodTable(const PluginKind& kind) {
  const std::vector<const google::protobuf::FieldDescriptor*> columns = Columns(kind);
  Cells header = {"target"};
  for (const google::protobuf::FieldDescriptor* column : columns) {
    header.push_back(absl::StrReplaceAll(column->name(), {{"_", " "}}));
  }
  header.push_back("options");
  std::map<std::string, std::string> rows;
  for (const auto& [name, info] : kind.linked()) {
    const std::string target = info.target.substr(info.target.rfind(':') + 1);
    Cells cells = {Code(target)};
    for (const google::protobuf::FieldDescriptor* column : columns) {
      cells.push_back(Escaped(info.method().GetReflection()->GetString(info.method(), column)));
    }
    cells.push_back(FieldNames(*info.parameters));
    rows[target] = Row(cells);
  }
  std::string table = absl::StrCat(Row(header), "|", absl::StrJoin(Cells(header.size(), "---"), "|"), "|\n");
  for (const auto& [target, row] : rows) absl::StrAppend(&table, row);
  return table;
}

absl::StatusOr<std::string> WithMethodTables(absl::string_view page) {
  std::string result;
  while (true) {
    const size_t begin = page.find(kBegin);
    if (begin == absl::string_view::npos) return absl::StrCat(result, page);
    const size_t noun = begin + sizeof(kBegin) - 1;
    const size_t noun_end = page.find(kBeginEnd, noun);
    const size_t end = page.find(kEnd, noun);
    if (end == absl::string_view::npos || noun_end > end) {
      return absl::InvalidArgumentError(absl::StrCat("the table of methods at \"",
                                                     page.substr(begin, page.find('\n', begin) - begin),
                                                     "\" has no line \"", kEnd, "\""));
    }
    const absl::StatusOr<const PluginKind*> kind = KindOf(page.substr(noun, noun_end - noun));
    if (!kind.ok()) return kind.status();
    absl::StrAppend(&result, page.substr(0, noun_end + sizeof(kBeginEnd) - 1), MethodTable(**kind));
    page.remove_prefix(end);
  }
}

}  // namespace prunelab
