// Reads arbitrary bytes as a safetensors file: they are refused with a reason, or read to tensors that are written back
// equal.
#include <ATen/ATen.h>

#include "ml/base/check.h"
#include "ml/safetensors/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const absl::StatusOr<prunelab::Safetensors> read = prunelab::ParseSafetensors(bytes, "fuzz");
  if (!read.ok()) {
    PRUNELAB_CHECK(!read.status().message().empty());
    return 0;
  }
  const std::string written = prunelab::SerializeSafetensors(*read);
  const absl::StatusOr<prunelab::Safetensors> again = prunelab::ParseSafetensors(written, "again");
  PRUNELAB_CHECK(again.ok()) << again.status();
  PRUNELAB_CHECK(again->tensors.size() == read->tensors.size());
  PRUNELAB_CHECK(prunelab::SerializeSafetensors(*again) == written);
  return 0;
}
