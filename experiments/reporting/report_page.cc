#include "experiments/reporting/report_page.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "experiments/records/measures.h"
#include "experiments/reporting/comparisons_json.h"
#include "experiments/reporting/page_curves.h"
#include "experiments/reporting/report.h"
#include "experiments/reporting/report_assets.h"
#include "experiments/reporting/written_configs.h"
#include "third_party/plotly/plotly.h"

namespace prunelab {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxPageBytes = 5'900'000;
constexpr int64_t kMostPoints = 200, kFewestPoints = 6;

std::string HtmlText(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

const char* MaskName(MaskKind kind) {
  switch (kind) {
    case MaskKind::kNone:
      return "nothing";
    case MaskKind::kFilters:
      return "filters";
    case MaskKind::kWeights:
      return "weights";
    case MaskKind::kBoth:
      return "filters and weights";
    case MaskKind::kUnknown:
      break;
  }
  return "";
}

Json Arms(const ReportRecords& records, const Analysis& analysis) {
  Json arms = Json::array();
  for (size_t a = 0; a < analysis.arms.size(); ++a) {
    const ArmSummary& arm = analysis.arms[a];
    Json json;
    json["name"] = arm.name;
    json["done"] = arm.done;
    json["diverged"] = arm.diverged;
    json["failed"] = arm.failed;
    json["missing"] = arm.missing;
    json["masks"] = MaskName(records.arms[a].masks);
    const auto config = records.configs.find(arm.name);
    // Arms with the same plugins at different strengths are on one curve of the trade-off.
    if (config != records.configs.end()) {
      json["method"] =
          absl::StrCat(PluginType(config->second, "pruning"), " ", PluginType(config->second, "regularizer"));
    }
    Json& measures = json["measures"] = Json::object();
    for (const auto& [column, summary] : arm.measures) {
      measures[column] = {summary.mean, summary.sd ? Json(*summary.sd) : Json(nullptr), summary.n};
    }
    arms.push_back(json);
  }
  return arms;
}

// All measures, with what the page needs of their options.
Json PageMeasures() {
  Json measures = Json::array();
  for (const Measure& measure : AllMeasures()) {
    const MeasureOptions& options = measure.options();
    Json& json = measures.emplace_back();
    json["column"] = measure.name();
    json["label"] = options.label();
    json["unit"] = measure.unit();
    json["scale"] = measure.scale();
    json["digits"] = options.digits();
    json["whole"] = measure.is_whole();
    json["table"] = options.table();
    if (options.has_ratio()) json["ratio"] = {options.ratio().above(), options.ratio().below()};
    if (options.has_curve()) {
      const MeasureOptions::Curve& curve = options.curve();
      const std::string axis = options.unit() == MeasureOptions::PERCENT ? measure.unit() : options.label();
      json["curve"] = {{"plot", curve.plot()},
                       {"axis", curve.has_axis() ? curve.axis() : axis},
                       {"log", curve.log_scale()},
                       {"unlessZero", curve.unless_zero()},
                       {"ofMasks", curve.of_masks()}};
    }
  }
  return measures;
}

// The columns along an axis of the trade-off, the first of them shown first.
Json TradeOffColumns(MeasureOptions::TradeOff::Axis axis) {
  Json columns = Json::array();
  for (const Measure* measure : MeasuresInOrder(
           [&](const MeasureOptions& options) { return options.has_trade_off() && options.trade_off().axis() == axis; },
           [](const MeasureOptions& options) {
             const MeasureOptions::TradeOff& place = options.trade_off();
             return place.has_place() ? std::optional<int>(place.place()) : std::nullopt;
           })) {
    columns.push_back(measure->name());
  }
  return columns;
}

// results.csv as a table, value by value, so that the page shows what the file contains.
Json RunTable(const ReportRecords& records) {
  std::vector<RunResult> results;
  for (const RunRecords& run : records.runs) results.push_back(run.result);
  const std::vector<std::vector<std::string>> lines = ResultsRows(results);
  Json table;
  table["columns"] = lines[0];
  table["rows"] = std::vector<std::vector<std::string>>(lines.begin() + 1, lines.end());
  return table;
}

std::string Relative(const std::string& path, const std::string& base) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error).lexically_normal();
  const fs::path from = fs::absolute(base, error).lexically_normal();
  const std::string relative = absolute.lexically_relative(from).string();
  return relative.empty() ? path : relative;
}

Json Links(const ReportRecords& records, const std::string& output) {
  Json links = Json::array();
  for (const RunRecords& run : records.runs) {
    links.push_back(run.folder.empty() ? "" : Relative(run.folder, output));
  }
  return links;
}

// key -> value -> how many runs have it.
Json Provenance(const ReportRecords& records) {
  std::map<std::string, std::map<std::string, int64_t>> counts;
  for (const RunRecords& run : records.runs) {
    for (const auto& [key, value] : run.provenance) ++counts[key][value];
  }
  return counts;
}

// As one word of a shell command.
std::string ShellWord(const std::string& text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || absl::string_view("_./=:,+-").find(c) != absl::string_view::npos;
  });
  return plain ? text : absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

// The shell commands that make these results again.
std::string RepeatCommand(const ReportRecords& records) {
  std::set<std::string> revisions, devices;
  std::set<int64_t> seeds;
  for (const RunRecords& run : records.runs) {
    seeds.insert(run.result.seed);
    const auto value = [&](const char* key) {
      const auto found = run.provenance.find(key);
      return found == run.provenance.end() ? std::string() : found->second;
    };
    if (!value("code_revision").empty() && value("code_revision") != "unknown")
      revisions.insert(value("code_revision"));
    if (!value("device").empty()) devices.insert(value("device").substr(0, value("device").find(':')));
  }
  const std::string again = absl::StrCat(records.ablation.name().empty() ? "it" : records.ablation.name(), "_again");
  std::string config = absl::StrCat(PathForPeople(records.folders.front()), "/ablation.textproto");
  std::string command;
  if (revisions.size() == 1) {
    // The config is copied first, because the revision that made the results does not contain them.
    const std::string copy = absl::StrCat(again, ".textproto");
    const std::string& revision = *revisions.begin();
    const size_t dirty = revision.find("-dirty");
    absl::StrAppend(&command, "cp ", ShellWord(config), " ", ShellWord(copy), "\ngit checkout ",
                    ShellWord(revision.substr(0, dirty)),
                    dirty == std::string::npos ? "" : "  # the tree had changes besides", "\n");
    config = copy;
  }
  absl::StrAppend(&command, "./bazelw run ", devices.count("cuda") > 0 ? "--config=cuda " : "",
                  "//experiments:ablation -- --config=", ShellWord(config));
  if (!seeds.empty()) {
    const bool as_planned = records.ablation.seeds().first() == *seeds.begin() &&
                            records.ablation.seeds().first() + records.ablation.seeds().count() - 1 == *seeds.rbegin();
    if (!as_planned) absl::StrAppend(&command, " --seeds=", *seeds.begin(), "-", *seeds.rbegin());
  }
  if (devices.size() == 1) absl::StrAppend(&command, " --device=", ShellWord(*devices.begin()));
  absl::StrAppend(&command, " --output=", ShellWord(absl::StrCat("runs/", again)));
  return command;
}

std::string Verdicts(const Analysis& analysis) {
  constexpr absl::string_view kNone = "No conclusion";
  std::string html;
  for (const ComparisonResult& comparison : analysis.comparisons) {
    const std::string& verdict = comparison.judgement.verdict;
    absl::string_view sentence = comparison.sentence;
    if (absl::StartsWith(sentence, kNone)) sentence.remove_prefix(kNone.size());  // the verdict says it
    absl::StrAppend(&html, "<li class=\"verdict ", HtmlText(verdict.substr(0, verdict.find(' '))), "\"><b>",
                    HtmlText(verdict), "</b> ", HtmlText(sentence), "</li>\n");
  }
  return html;
}

std::string Notes(const ReportRecords& records) {
  std::string html;
  for (const std::string& note : records.notes) absl::StrAppend(&html, "<li>", HtmlText(note), "</li>\n");
  return html.empty()
             ? ""
             : absl::StrCat("<section class=\"notes\" id=\"notes\"><h2>Know first</h2><ul>", html, "</ul></section>");
}

// The trials of a search, as a table.
std::string Trials(const ReportRecords& records) {
  if (!records.search) return "";
  std::string html =
      "<section id=\"search\"><h2>Search</h2><p>Validation top-1 in %, where trials were compared.</p>"
      "<div class=\"table\"><table>";
  const char* cell = "th";
  for (const std::vector<std::string>& row : TrialRows(*records.search)) {
    html += "<tr>";
    for (const std::string& text : row) absl::StrAppend(&html, "<", cell, ">", HtmlText(text), "</", cell, ">");
    html += "</tr>\n";
    cell = "td";
  }
  return html + "</table></div></section>";
}

// What the page's script reads, except for what is drawn over the epochs.
Json PageData(const ReportRecords& records, const Analysis& analysis, const std::string& output) {
  Json data;
  data["arms"] = Arms(records, analysis);
  data["measures"] = PageMeasures();
  data["tradeOff"] = {{"x", TradeOffColumns(MeasureOptions::TradeOff::X)},
                      {"y", TradeOffColumns(MeasureOptions::TradeOff::Y)}};
  data["comparisons"] = Json::parse(ComparisonsJson(analysis));
  for (size_t i = 0; i < analysis.comparisons.size(); ++i) {
    data["comparisons"][i]["title"] = analysis.comparisons[i].title;
  }
  data["results"] = RunTable(records);
  data["links"] = Links(records, output);
  data["provenance"] = Provenance(records);
  return data;
}

// The parts of the page by their placeholders, except for CURVES and LIVE.
std::map<std::string, std::string> PageParts(const ReportRecords& records, const Analysis& analysis,
                                             const std::string& output) {
  const Json data = PageData(records, analysis, output);
  std::string folders;
  for (const std::string& folder : records.folders) {
    absl::StrAppend(&folders, folders.empty() ? "" : ", ", PathForPeople(folder));
  }
  return {
      {"TITLE", HtmlText(records.ablation.name().empty() ? "Results" : records.ablation.name())},
      {"DESCRIPTION", HtmlText(records.ablation.description())},
      {"FOLDERS", HtmlText(folders)},
      {"STYLE", std::string(ReportStyle())},
      {"NOTES", Notes(records)},
      {"SEARCH", Trials(records)},
      {"VERDICTS", Verdicts(analysis)},
      {"CONFIG", HtmlText(records.ablation_text)},
      {"COMMAND", HtmlText(RepeatCommand(records))},
      {"DATA", ForScript(data.dump(-1, ' ', false, Json::error_handler_t::replace))},
      {"PLOTLY", std::string(PlotlyScript())},
      {"SCRIPT", std::string(ReportScript())},
  };
}

// Placeholders are searched for in the template alone, so that no text of a config can act as one.
std::string Filled(const std::map<std::string, std::string>& parts) {
  std::string html;
  bool is_name = false;
  for (const absl::string_view piece : absl::StrSplit(ReportTemplate(), absl::ByAnyChar("@"))) {
    const auto part = is_name ? parts.find(std::string(piece)) : parts.end();
    absl::StrAppend(&html, part == parts.end() ? piece : absl::string_view(part->second));
    is_name = !is_name;
  }
  return html;
}

}  // namespace

std::string ReportPage(const ReportRecords& records, const Analysis& analysis, const std::string& output) {
  std::map<std::string, std::string> parts = PageParts(records, analysis, output);
  const auto page = [&](const std::string& curves, const std::string& live) {
    parts["CURVES"] = curves;
    parts["LIVE"] = live;
    return Filled(parts);
  };
  std::string html;
  for (int64_t points = kMostPoints; points >= kFewestPoints; points /= 2) {
    html = page(Curves(records, points), LiveFilters(records, std::min<int64_t>(points, 100)));
    if (html.size() <= kMaxPageBytes) return html;
  }
  html = page(Curves(records, kFewestPoints), "[]");
  if (html.size() <= kMaxPageBytes) return html;
  return page("[]", "[]");
}

}  // namespace prunelab
