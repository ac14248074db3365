// Reads arbitrary bytes as a .pdc file: they are refused with a reason, or read to a checkpoint that is written and
// read again the same. Checksums are passed over, because a fuzzer would have to guess them.
#include <ATen/ATen.h>

#include "ml/base/check.h"
#include "ml/deep_compression/deep_compressed.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  prunelab::DecodeLimits limits;
  limits.ignore_checksums = true;
  limits.decoded_bytes = 1 << 22;  // so that no input takes long
  const absl::StatusOr<prunelab::Safetensors> read = prunelab::DecodeDeepCompressed(bytes, "fuzz", limits);
  if (!read.ok()) {
    PRUNELAB_CHECK(read.status().message().size() > 6);
    return 0;
  }
  // Its network may be none, or a weight that is stored as it is may not be finite: such a checkpoint cannot be
  // written.
  const absl::StatusOr<prunelab::DeepCompressed> written = prunelab::EncodeDeepCompressed(*read, "again", {});
  if (!written.ok()) {
    PRUNELAB_CHECK(!written.status().message().empty());
    return 0;
  }
  const absl::StatusOr<prunelab::Safetensors> again = prunelab::DecodeDeepCompressed(written->bytes, "again");
  PRUNELAB_CHECK(again.ok()) << again.status();
  PRUNELAB_CHECK(prunelab::SerializeSafetensors(*again) == prunelab::SerializeSafetensors(written->shared));
  return 0;
}
