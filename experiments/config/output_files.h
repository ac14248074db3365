// The names of the files that an ablation leaves behind: docs/results.md. What is named by people, arms, gets folders
// beside them.
#pragma once

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace prunelab {

// In the output folder, by the ablation and by the report.
inline constexpr char kAblationFile[] = "ablation.textproto", kPlanFile[] = "planned.textproto",
                      kResultsFile[] = "results.csv", kComparisonsFile[] = "comparisons.json",
                      kMarkdownFile[] = "summary.md", kLatexFile[] = "summary.tex", kReportFile[] = "report.html";
inline constexpr const char* kOutputFiles[] = {kAblationFile, kPlanFile,  kResultsFile, kComparisonsFile,
                                               kMarkdownFile, kLatexFile, kReportFile};

// In a run's folder; besides, events.out.tfevents.*.
inline constexpr const char* kRunFiles[] = {"config.textproto",
                                            "provenance.json",
                                            "epochs.jsonl",
                                            "timing.jsonl",
                                            "last.safetensors",
                                            "state.safetensors",
                                            "removed.safetensors",
                                            "latency.json",
                                            "result.json",
                                            "checkpoint.safetensors",
                                            "checkpoint.previous.safetensors"};

// Whether a name is one of theirs. Some file systems do not tell capitals from small letters.
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
