// Any bytes as what a run leaves behind and reads again: records, results, checkpoints, and the messages between
// coordinator and worker.
#include "absl/strings/str_format.h"
#include "experiments/records/records.h"
#include "experiments/runs/run_checkpoint.h"
#include "experiments/sweep/worker.h"
#include "ml/base/check.h"
#include "ml/base/digest.h"

namespace {

// With a checkpoint's checksum, where there is one, made to hold: what stands behind it is read only then.
std::string WithWholeChecksum(std::string bytes) {
  constexpr char kKey[] = "\"crc32c\":\"", kNone[] = "00000000";
  const size_t key = bytes.find(kKey), place = key + sizeof(kKey) - 1;
  if (key == std::string::npos || place + sizeof(kNone) - 1 > bytes.size()) return bytes;
  bytes.replace(place, sizeof(kNone) - 1, kNone);
  return bytes.replace(place, sizeof(kNone) - 1, absl::StrFormat("%08x", prunelab::Crc32c(bytes)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (const std::string& line : prunelab::WholeLines(text)) PRUNELAB_CHECK(prunelab::ChecksumHolds(line));
  // A line whose checksum holds reaches the parser behind it.
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
  const absl::StatusOr<prunelab::RunCheckpoint> checkpoint =
      prunelab::ParseRunCheckpoint(WithWholeChecksum(text), "checkpoint");
  if (checkpoint.ok()) {
    const std::string written = prunelab::SerializeRunCheckpoint(*checkpoint);
    PRUNELAB_CHECK(prunelab::ParseRunCheckpoint(written, "again").ok());
  }
  const absl::StatusOr<prunelab::RunRequest> request = prunelab::ParseRunRequest(text);
  if (request.ok()) PRUNELAB_CHECK(prunelab::ParseRunRequest(prunelab::SerializeRunRequest(*request)).ok());
  const std::optional<prunelab::WorkerMessage> message = prunelab::ParseWorkerMessage(text);
  if (message) PRUNELAB_CHECK(prunelab::ParseWorkerMessage(prunelab::SerializeWorkerMessage(*message)).has_value());
  return 0;
}
