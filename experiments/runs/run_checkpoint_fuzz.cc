// Any bytes as the checkpoint of a run.
#include <cstdint>
#include <string>

#include "absl/strings/str_format.h"
#include "experiments/runs/run_checkpoint.h"
#include "ml/base/check.h"
#include "ml/base/digest.h"

namespace {

// With a correct checksum if there is one in the checkpoint: only then is what follows it read.
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
  const absl::StatusOr<prunelab::RunCheckpoint> checkpoint =
      prunelab::ParseRunCheckpoint(WithWholeChecksum(text), "checkpoint");
  if (checkpoint.ok()) {
    const std::string written = prunelab::SerializeRunCheckpoint(*checkpoint);
    PRUNELAB_CHECK(prunelab::ParseRunCheckpoint(written, "again").ok());
  }
  return 0;
}
