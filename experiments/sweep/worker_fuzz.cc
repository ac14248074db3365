// Reads arbitrary bytes as messages between coordinator and worker.
#include <cstdint>
#include <string>

#include "experiments/sweep/worker.h"
#include "ml/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<prunelab::RunRequest> request = prunelab::ParseRunRequest(text);
  if (request.ok()) PRUNELAB_CHECK(prunelab::ParseRunRequest(request->SerializeAsString()).ok());
  const std::optional<prunelab::WorkerMessage> message = prunelab::ParseWorkerMessage(text);
  if (message) PRUNELAB_CHECK(prunelab::ParseWorkerMessage(prunelab::WorkerLine(*message)).has_value());
  return 0;
}
