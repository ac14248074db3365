// Bytes as a tar archive: whatever they are, its members lie inside of it.

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "ml/base/check.h"
#include "ml/data/tar_index.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view archive(reinterpret_cast<const char*>(data), size);
  const auto read = [&](uint64_t offset, uint64_t bytes) -> absl::StatusOr<std::string> {
    PRUNELAB_CHECK(offset <= size && bytes <= size - offset) << bytes << " bytes at " << offset << " of " << size;
    return std::string(archive.substr(offset, bytes));
  };
  const absl::StatusOr<std::vector<prunelab::TarMember>> members = prunelab::ListTar(size, read);
  if (!members.ok()) return 0;
  for (const prunelab::TarMember& member : *members) {
    PRUNELAB_CHECK(member.offset <= size && member.bytes <= size - member.offset) << member.name;
  }
  return 0;
}
