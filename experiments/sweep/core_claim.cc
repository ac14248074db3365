#include "experiments/sweep/core_claim.h"

#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

namespace prunelab {
namespace {

constexpr int kTaken = -2, kUnseen = -1;

// A socket bound to `name`, closed when this process executes another program; kTaken if the name is in use, kUnseen if
// there are no such sockets.
int BindAbstractSocket(const std::string& name) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  // An abstract name begins with a zero byte, and is as long as the address says.
  const size_t length = std::min(name.size(), sizeof(address.sun_path) - 1);
  std::memcpy(address.sun_path + 1, name.data(), length);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return kUnseen;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0) return fd;
  const int error = errno;
  close(fd);
  return error == EADDRINUSE ? kTaken : kUnseen;
}

}  // namespace

std::vector<int> CoreClaim::Allowed() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &set)) cores.push_back(core);
    }
  }
  if (cores.empty()) {
    for (unsigned core = 0; core < std::max(1u, std::thread::hardware_concurrency()); ++core) cores.push_back(core);
  }
  return cores;
}

CoreClaim CoreClaim::Take(const std::vector<int>& cores, int64_t count, const std::string& prefix) {
  CoreClaim claim;
  for (const int core : cores) {
    if (static_cast<int64_t>(claim.cores_.size()) == count) break;
    const int fd = BindAbstractSocket(absl::StrCat(prefix, core));
    if (fd == kTaken) continue;
    claim.cores_.push_back(core);
    if (fd != kUnseen) claim.sockets_.push_back(fd);
  }
  if (static_cast<int64_t>(claim.cores_.size()) < count) claim.Release();
  return claim;
}

CoreClaim::CoreClaim(CoreClaim&& other) noexcept
    : cores_(std::exchange(other.cores_, {})), sockets_(std::exchange(other.sockets_, {})) {}

CoreClaim& CoreClaim::operator=(CoreClaim&& other) noexcept {
  if (this == &other) return *this;
  Release();
  cores_ = std::exchange(other.cores_, {});
  sockets_ = std::exchange(other.sockets_, {});
  return *this;
}

CoreClaim::~CoreClaim() { Release(); }

void CoreClaim::Release() {
  for (const int fd : sockets_) close(fd);
  sockets_.clear();
  cores_.clear();
}

}  // namespace prunelab
