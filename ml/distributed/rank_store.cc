#include "ml/distributed/rank_store.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/distributed/quiet_c10d.h"

namespace prunelab {
namespace {

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

// A socket that listens at 127.0.0.1, at a free port, which `port` becomes; -1, with errno.
int ListenHere(uint16_t& port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0 || listen(fd, SOMAXCONN) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return -1;
  }
  port = ntohs(address.sin_port);
  return fd;
}

c10d::TCPStoreOptions ServerOptions(uint16_t port) {
  c10d::TCPStoreOptions options;
  options.port = port;
  options.isServer = true;
  options.waitWorkers = false;
  return options;
}

}  // namespace

RankStore::RankStore(c10::intrusive_ptr<c10d::TCPStore> store) : store_(std::move(store)) {}

RankStore::~RankStore() = default;

absl::StatusOr<std::unique_ptr<RankStore>> RankStore::ServeHere() {
  QuietC10d();
  uint16_t port = 0;
  const int fd = ListenHere(port);
  if (fd < 0) {
    return absl::UnavailableError(absl::StrCat("the place where ranks meet cannot be opened: ", std::strerror(errno)));
  }
  c10d::TCPStoreOptions options = ServerOptions(port);
  options.masterListenFd = fd;
  try {
    return std::unique_ptr<RankStore>(new RankStore(c10::make_intrusive<c10d::TCPStore>("127.0.0.1", options)));
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat("the place where ranks meet cannot be opened: ", FirstLine(error.what())));
  }
}

absl::StatusOr<std::unique_ptr<RankStore>> RankStore::Serve(int64_t port) {
  QuietC10d();
  try {
    return std::unique_ptr<RankStore>(
        new RankStore(c10::make_intrusive<c10d::TCPStore>("localhost", ServerOptions(static_cast<uint16_t>(port)))));
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat("port ", port, ", where ranks are to meet, cannot be opened: ", FirstLine(error.what())));
  }
}

absl::StatusOr<std::unique_ptr<RankStore>> RankStore::Connect(const std::string& address, int64_t port,
                                                              double seconds) {
  QuietC10d();
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(port);
  options.waitWorkers = false;
  options.timeout = std::chrono::milliseconds(static_cast<int64_t>(1000 * seconds));
  try {
    return std::unique_ptr<RankStore>(new RankStore(c10::make_intrusive<c10d::TCPStore>(address, options)));
  } catch (const std::exception& error) {
    return absl::DeadlineExceededError(absl::StrCat("rank 0 cannot be reached at ", address, ":", port, " within ",
                                                    seconds, " s: ", FirstLine(error.what())));
  }
}

int64_t RankStore::port() const { return store_->getPort(); }

absl::Status RankStore::Set(const std::string& name, const std::string& value) {
  try {
    // LibTorch's set returns when the socket has the value, and a process that reads by a connection of its own may be
    // answered before the store has read that socket. A connection's requests are carried out in order, so the answer
    // to a second one says that the first is done.
    store_->set(name, std::vector<uint8_t>(value.begin(), value.end()));
    if (store_->check({name})) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("the place where ranks meet has lost \"", name, "\""));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("the place where ranks meet has gone: ", FirstLine(error.what())));
  }
}

absl::StatusOr<std::optional<std::string>> RankStore::Get(const std::string& name) {
  try {
    if (!store_->check({name})) return std::optional<std::string>();
    const std::vector<uint8_t> value = store_->get(name);
    return std::optional<std::string>(std::string(value.begin(), value.end()));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("the place where ranks meet has gone: ", FirstLine(error.what())));
  }
}

}  // namespace prunelab
