#include "experiments/reporting/report_page.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "experiments/reporting/report.h"
#include "experiments/reporting/report_assets.h"
#include "experiments/reporting/written_configs.h"
#include "ml/statistics/summary.h"
#include "third_party/plotly/plotly.h"

namespace prunelab {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxPageBytes = 5'900'000;
constexpr int64_t kMostPoints = 200, kFewestPoints = 6;

std::string HtmlText(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&#39;"}});
}

// JSON that may stand inside a <script>: no "<", so no tag begins or ends there.
std::string ScriptJson(const Json& json) {
  return absl::StrReplaceAll(json.dump(-1, ' ', false, Json::error_handler_t::replace), {{"<", "\\u003c"}});
}

// Four digits, which is what a screen shows; null where there is no number.
void AppendShort(double value, std::string* text) {
  if (!std::isfinite(value)) {
    text->append("null");
  } else {
    absl::StrAppend(text, absl::StrFormat("%.4g", value));
  }
}

// At most `points` of 0, ..., n - 1, evenly, the last among them.
std::vector<size_t> Thinned(size_t n, int64_t points) {
  const size_t count = std::min(n, static_cast<size_t>(points));
  std::vector<size_t> chosen;
  for (size_t i = 0; i < count; ++i) {
    chosen.push_back(count == 1 ? n - 1 : (i * (n - 1) + (count - 1) / 2) / (count - 1));
  }
  return chosen;
}

std::vector<const RunRecords*> DrawnRuns(const ReportRecords& records, const std::string& arm) {
  std::vector<const RunRecords*> runs;
  for (const RunRecords& run : records.runs) {
    if (run.result.arm == arm && run.result.status == "done" && !run.epochs.empty()) runs.push_back(&run);
  }
  return runs;
}

// [{"arm": 0, "n": 3, "test_top1": {"x": [...], "m": [...], "l": [...], "h": [...]}, ...}, ...]
std::string Curves(const ReportRecords& records, int64_t points) {
  static const auto& kDrawnColumns = *new std::set<std::string>{
      "train_loss", "train_top1", "validation_loss", "validation_top1",  "test_loss",    "test_top1",
      "test_top5",  "penalty",    "mask_changes",    "returned_filters", "mean_abs_rho", "penalty_gradient_ratio"};
  std::string text = "[";
  for (size_t a = 0; a < records.arms.size(); ++a) {
    const std::vector<const RunRecords*> runs = DrawnRuns(records, records.arms[a].name);
    if (runs.empty()) continue;
    int64_t epochs = 0;
    for (const RunRecords* run : runs) epochs = std::max(epochs, run->epoch_count());
    absl::StrAppend(&text, text.size() > 1 ? "," : "", "{\"arm\":", a, ",\"n\":", runs.size());
    for (int column = 0; column < kEpochColumnCount; ++column) {
      if (kDrawnColumns.count(kEpochColumns[column]) == 0) continue;
      const auto values_at = [&](int64_t epoch) {
        std::vector<float> values;
        for (const RunRecords* run : runs) {
          if (epoch >= run->epoch_count()) continue;
          const float value = run->epochs[static_cast<size_t>(epoch * kEpochColumnCount + column)];
          if (std::isfinite(value)) values.push_back(value);
        }
        std::sort(values.begin(), values.end());
        return values;
      };
      std::vector<int64_t> with_values;  // some columns are not measured every epoch
      for (int64_t epoch = 0; epoch < epochs; ++epoch) {
        const bool any = std::any_of(runs.begin(), runs.end(), [&](const RunRecords* run) {
          return epoch < run->epoch_count() &&
                 std::isfinite(run->epochs[static_cast<size_t>(epoch * kEpochColumnCount + column)]);
        });
        if (any) with_values.push_back(epoch);
      }
      if (with_values.empty()) continue;
      std::string x, middle, low, high;
      for (const size_t index : Thinned(with_values.size(), points)) {
        const std::vector<float> values = values_at(with_values[index]);
        absl::StrAppend(&x, x.empty() ? "" : ",", with_values[index]);
        for (auto [out, q] : {std::make_pair(&middle, 0.5), std::make_pair(&low, 0.1), std::make_pair(&high, 0.9)}) {
          if (!out->empty()) out->append(",");
          AppendShort(QuantileOfSorted(values, q), out);
        }
      }
      absl::StrAppend(&text, ",\"", kEpochColumns[column], "\":{\"x\":[", x, "],\"m\":[", middle, "]");
      if (low != high) absl::StrAppend(&text, ",\"l\":[", low, "],\"h\":[", high, "]");
      text += "}";
    }
    text += "}";
  }
  return text + "]";
}

// [{"arm": 0, "x": [epochs], "layers": [...], "max": [...], "z": [[by epoch] by layer]}, ...]: means over an arm's
// seeds. "max" is the most that any run had live in a layer of that name: its filters, where any run began dense.
std::string LiveFilters(const ReportRecords& records, int64_t points) {
  std::map<std::string, int32_t> most;
  for (const RunRecords& run : records.runs) {
    std::vector<int32_t> own(run.layers.size(), 0);
    for (size_t i = 0; i < run.live_filters.size(); ++i) {
      int32_t& entry = own[i % own.size()];
      entry = std::max(entry, run.live_filters[i]);
    }
    for (size_t layer = 0; layer < own.size(); ++layer) {
      int32_t& entry = most[run.layers[layer]];
      entry = std::max(entry, own[layer]);
    }
  }
  std::string text = "[";
  for (size_t a = 0; a < records.arms.size(); ++a) {
    std::vector<const RunRecords*> runs = DrawnRuns(records, records.arms[a].name);
    if (runs.empty() || runs.front()->layers.empty()) continue;
    const std::vector<std::string>& layers = runs.front()->layers;
    runs.erase(std::remove_if(runs.begin(), runs.end(), [&](const RunRecords* run) { return run->layers != layers; }),
               runs.end());
    int64_t epochs = 0;
    for (const RunRecords* run : runs) epochs = std::max(epochs, run->epoch_count());
    const std::vector<size_t> shown = Thinned(static_cast<size_t>(epochs), points);
    std::string z;
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      std::string row;
      for (const size_t epoch : shown) {
        double sum = 0;
        int64_t count = 0;
        for (const RunRecords* run : runs) {
          if (static_cast<int64_t>(epoch) >= run->epoch_count()) continue;
          sum += run->live_filters[epoch * layers.size() + layer];
          ++count;
        }
        absl::StrAppend(&row, row.empty() ? "" : ",", absl::StrFormat("%.3g", sum / static_cast<double>(count)));
      }
      absl::StrAppend(&z, z.empty() ? "[" : ",[", row, "]");
    }
    Json head;
    std::vector<int32_t> max;
    for (const std::string& layer : layers) max.push_back(most[layer]);
    head["arm"] = a;
    head["x"] = shown;
    head["layers"] = layers;
    head["max"] = max;
    std::string object = ScriptJson(head);
    object.pop_back();
    absl::StrAppend(&text, text.size() > 1 ? "," : "", object, ",\"z\":[", z, "]}");
  }
  return text + "]";
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
    // Arms of the same plugins at different strengths lie on one curve of the trade-off.
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

// results.csv as a table, value by value, so that the page shows what the file holds.
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
    // The config is copied first: the revision that made the results does not hold them.
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

}  // namespace

std::string ReportPage(const ReportRecords& records, const Analysis& analysis, const std::string& output) {
  Json data;
  data["arms"] = Arms(records, analysis);
  Json& measures = data["measures"] = Json::array();
  for (const Measure& measure : Measures()) {
    measures.push_back({{"column", measure.column},
                        {"label", measure.label},
                        {"unit", measure.unit},
                        {"scale", measure.scale},
                        {"digits", measure.digits}});
  }
  data["comparisons"] = Json::parse(ComparisonsJson(analysis));
  for (size_t i = 0; i < analysis.comparisons.size(); ++i) {
    data["comparisons"][i]["title"] = analysis.comparisons[i].title;
  }
  data["results"] = RunTable(records);
  data["links"] = Links(records, output);
  data["provenance"] = Provenance(records);

  const std::string title = records.ablation.name().empty() ? "Results" : records.ablation.name();
  std::string folders;
  for (const std::string& folder : records.folders) {
    absl::StrAppend(&folders, folders.empty() ? "" : ", ", PathForPeople(folder));
  }
  const auto page = [&](const std::string& curves, const std::string& live) {
    // Placeholders are looked for in the template alone, so that no text of a config can be one.
    const std::map<std::string, std::string> parts = {
        {"TITLE", HtmlText(title)},
        {"DESCRIPTION", HtmlText(records.ablation.description())},
        {"FOLDERS", HtmlText(folders)},
        {"STYLE", std::string(ReportStyle())},
        {"NOTES", Notes(records)},
        {"VERDICTS", Verdicts(analysis)},
        {"CONFIG", HtmlText(records.ablation_text)},
        {"COMMAND", HtmlText(RepeatCommand(records))},
        {"DATA", ScriptJson(data)},
        {"CURVES", curves},
        {"LIVE", live},
        {"PLOTLY", std::string(PlotlyScript())},
        {"SCRIPT", std::string(ReportScript())},
    };
    std::string html;
    bool is_name = false;
    for (const absl::string_view piece : absl::StrSplit(ReportTemplate(), absl::ByAnyChar("@"))) {
      if (is_name && parts.count(std::string(piece))) {
        html += parts.at(std::string(piece));
      } else {
        absl::StrAppend(&html, piece);
      }
      is_name = !is_name;
    }
    return html;
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
