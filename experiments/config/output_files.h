// The names of the files that an ablation writes: docs/results.md. Arms, which users name, get folders next to these
// files.
#pragma once

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace prunelab {

// In the output folder, written by the ablation and by the report.
inline constexpr char kAblationFile[] = "ablation.textproto", kPlanFile[] = "planned.textproto",
                      kResultsFile[] = "results.csv", kComparisonsFile[] = "comparisons.json",
                      kMarkdownFile[] = "summary.md", kLatexFile[] = "summary.tex", kReportFile[] = "report.html",
                      kSearchFile[] = "search.json", kBestFile[] = "best.textproto";
inline constexpr const char* kOutputFiles[] = {kAblationFile,    kPlanFile,     kResultsFile,
                                               kComparisonsFile, kMarkdownFile, kLatexFile,
                                               kReportFile,      kSearchFile,   kBestFile};

// In a run's folder, which also has events.out.tfevents.*.
inline constexpr const char* kRunFiles[] = {
    "config.textproto", "provenance.json",   "epochs.jsonl",           "timing.jsonl",
    "last.safetensors", "state.safetensors", "removed.safetensors",    "quantized.safetensors",
    "latency.json",     "result.json",       "checkpoint.safetensors", "checkpoint.previous.safetensors",
    "start.safetensors"};

// Whether a name is one of these. Some file systems do not distinguish upper and lower case.
inline bool IsOutputFile(absl::string_view name) {
  for (const char* file : kOutputFiles) {
    if (absl::EqualsIgnoreCase(name, file)) return true;
  }
  for (const char* file : kRunFiles) {
    if (absl::EqualsIgnoreCase(name, file)) return true;
  }
  return absl::StartsWithIgnoreCase(name, "events.out.tfevents.");
}

}  // namespace prunelab
