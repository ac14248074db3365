// Any bytes as the records and the result of a run.
#include <cstdint>
#include <string>

#include "experiments/records/records.h"
#include "ml/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const std::string& line : prunelab::WholeLines(text)) PRUNELAB_CHECK(prunelab::ChecksumHolds(line));
  // A line with a correct checksum reaches the parser.
  if (size > 2 && text.back() == '}' && text.find('\n') == std::string::npos) {
    const absl::StatusOr<prunelab::EpochRecord> record = prunelab::ParseEpochLine(prunelab::WithChecksum(text));
    if (record.ok()) PRUNELAB_CHECK(prunelab::ParseEpochLine(prunelab::EpochLine(*record)).ok());
  }
  const absl::StatusOr<prunelab::RunResult> result = prunelab::ParseResult(text, "result.json");
  if (result.ok()) {
    const absl::StatusOr<prunelab::RunResult> again = prunelab::ParseResult(prunelab::ResultJson(*result), "again");
    PRUNELAB_CHECK(again.ok()) << again.status();
    prunelab::ResultsCsv({*result});
  }
  return 0;
}
