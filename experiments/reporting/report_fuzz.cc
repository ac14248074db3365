// Makes a report of arbitrary bytes as a results folder: it is refused with a reason, or reported with what is wrong in
// it.
//
// The input is a list of files: after a line "--- some/none/1/result.json" come that file's bytes. After "+++ ..." each
// line gets the checksum of records, without which none of them would be read.
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "experiments/records/records.h"
#include "experiments/reporting/analysis.h"
#include "experiments/reporting/power_text.h"
#include "experiments/reporting/report_page.h"
#include "experiments/reporting/report_records.h"
#include "experiments/reporting/summary_latex.h"
#include "experiments/reporting/summary_markdown.h"
#include "experiments/reporting/summary_rows.h"
#include "ml/base/check.h"

namespace {

namespace fs = std::filesystem;

const std::string& Folder() {
  static const std::string* folder = [] {
    // In memory if there is such a folder: an input is up to a few dozen files.
    std::string name = absl::StrCat(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", "/report_fuzz_XXXXXX");
    PRUNELAB_CHECK(mkdtemp(name.data()) != nullptr);
    atexit([] { fs::remove_all(Folder()); });
    return new std::string(name);
  }();
  return *folder;
}

// Below the folder and not too deep.
bool IsPlainPath(absl::string_view path) {
  const std::vector<absl::string_view> pieces = absl::StrSplit(path, '/');
  return path.size() < 200 && pieces.size() < 6 && !absl::StrContains(path, '\0') &&
         std::all_of(pieces.begin(), pieces.end(),
                     [](absl::string_view piece) { return !piece.empty() && piece != "." && piece != ".."; });
}

void Write(absl::string_view path, const std::string& bytes) {
  const fs::path file = fs::path(Folder()) / std::string(path);
  std::error_code error;
  fs::create_directories(file.parent_path(), error);  // there may be a file in its place
  std::ofstream(file, std::ios::binary) << bytes;
}

std::string WithChecksums(absl::string_view text) {
  std::vector<std::string> lines;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const bool object = line.size() > 2 && line.back() == '}';
    lines.push_back(object ? prunelab::WithChecksum(std::string(line)) : std::string(line));
  }
  return absl::StrJoin(lines, "\n");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::error_code error;
  fs::remove_all(Folder(), error);
  fs::create_directories(Folder());
  int files = 0;
  absl::string_view rest(reinterpret_cast<const char*>(data), size);
  while (!rest.empty() && ++files <= 40) {
    const bool checksums = absl::ConsumePrefix(&rest, "+++ ");
    if (!checksums) absl::ConsumePrefix(&rest, "--- ");
    const absl::string_view path = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), path.size() + 1));
    const absl::string_view bytes = rest.substr(0, std::min(rest.find("\n--- "), rest.find("\n+++ ")));
    rest.remove_prefix(std::min(rest.size(), bytes.size() + 1));
    if (IsPlainPath(path)) Write(path, checksums ? WithChecksums(bytes) : std::string(bytes));
  }
  const absl::StatusOr<prunelab::ReportRecords> records = prunelab::ReadResults({Folder()});
  if (!records.ok()) {
    PRUNELAB_CHECK(absl::StrContains(records.status().message(), Folder())) << records.status();
    return 0;
  }
  // Many missing runs make tables slow, not wrong.
  if (records->runs.size() > 2000) return 0;
  std::vector<prunelab::RunResult> runs;
  for (const prunelab::RunRecords& run : records->runs) runs.push_back(run.result);
  const prunelab::Analysis analysis =
      prunelab::Analyse(records->ablation, runs, records->arms, records->planned ? &*records->planned : nullptr);
  prunelab::ResultsCsv(runs);
  prunelab::VerdictTable(analysis);
  prunelab::PowerText(records->ablation, records->ablation.seeds().count(), runs, 0);
  prunelab::SummaryMarkdown(records->ablation, analysis, records->notes);
  prunelab::SummaryLatex(records->ablation, analysis, records->notes);
  const std::string page = prunelab::ReportPage(*records, analysis, Folder());
  PRUNELAB_CHECK(absl::StrContains(page, "</html>"));
  return 0;
}
