// The records of a run: a line for each epoch (epochs.jsonl) and its result (result.json). docs/results.md names every
// field. Neither contains a time, so that equal runs have equal files; times are in timing.jsonl.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "ml/network/network.h"
#include "ml/training/epoch_record.h"

namespace prunelab {

struct RunResult {
  std::string arm;
  int64_t seed = 0;
  std::string status;   // done, diverged, failed, missing
  std::string message;  // why it failed or diverged
  int64_t epochs = 0;   // trained
  Measures measures;    // of the last epoch, of the whole run, and of its clocks; metrics.proto says what each is
  std::string run_id;
};

// Converts to one line of epochs.jsonl, without its newline, and back. Errors: a line that is torn or was changed.
std::string EpochLine(const EpochRecord& record);
absl::StatusOr<EpochRecord> ParseEpochLine(absl::string_view line);

// The whole lines of a records file: up to its end, or to the first line whose checksum is wrong.
std::vector<std::string> WholeLines(absl::string_view text);

// Converts to result.json, and back. Errors name `path` and what is wrong.
std::string ResultJson(const RunResult& result);
absl::StatusOr<RunResult> ParseResult(absl::string_view text, const std::string& path);

// The result.json of a run's folder. Errors: ParseResult's; NotFound if there is none.
absl::StatusOr<RunResult> ReadResult(const std::string& folder);

// Whether the run has ended for good; a failed run is tried again.
bool IsFinished(const RunResult& result);

// Puts a result into its run's folder. A finished result that is already there stays, unless it is equal to `result`; a
// failure that comes later does not replace it, and then the finished result is returned. Errors: AlreadyExists, with
// both, if another finished result would have to be replaced; the file system's. The caller must own the run (its
// lock).
absl::StatusOr<RunResult> KeepResult(const std::string& folder, const RunResult& result);

// A run without a result.
RunResult MissingResult(const std::string& arm, int64_t seed);

// Sets the times: seconds and images per second of all epochs trained in the folder, from the whole lines of its
// timing.jsonl, and the latencies in its latency.json; leaves them absent if there are none.
void AddTiming(const std::string& folder, RunResult& result);

// The result of a run from the records of its epochs.
RunResult Summarize(const std::vector<EpochRecord>& records, const NetworkInfo& network);

// results.csv: a header and a line for each result. Numbers read back equal; absent ones are empty.
std::string ResultsCsv(const std::vector<RunResult>& results);

// Its cells before quoting, with the header first. It has columns of removal only if a result has them.
std::vector<std::vector<std::string>> ResultsRows(const std::vector<RunResult>& results);

// A JSON object's text with `crc32c` as its last key: the CRC-32C of the object's text without that key.
std::string WithChecksum(const std::string& object);
// Whether `line` is such an object and undamaged.
bool ChecksumHolds(absl::string_view line);

}  // namespace prunelab
