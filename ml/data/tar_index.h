// Where the files in a tar archive are, so that each can be read in place. Archives of POSIX (ustar, pax) and GNU tar,
// not compressed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prunelab {

struct TarMember {
  std::string name;
  uint64_t offset = 0, bytes = 0;  // of its content in the archive
};

// The regular files in the archive, in their order. `read` gives bytes of it (offset, bytes), and `size` is its length.
// Errors, InvalidArgument, with the place: a header whose checksum is wrong, a length that passes the archive's end, a
// compressed archive, a sparse file. Links, folders and devices are left out. An archive may end without the blocks of
// zeros that should close it, but not inside of a file, and nothing may follow them.
absl::StatusOr<std::vector<TarMember>> ListTar(
    uint64_t size, const std::function<absl::StatusOr<std::string>(uint64_t, uint64_t)>& read);

}  // namespace prunelab
