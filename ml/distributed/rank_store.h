// The store at which ranks meet (ranks.h): names with values, kept by one process, read and written by all (LibTorch's
// TCPStore).
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace c10d {
class TCPStore;
}

namespace prunelab {

class RankStore {
 public:
  // A store of this process, until the object's end, for processes of this machine alone: at 127.0.0.1 and a free port.
  // Errors: the system's.
  static absl::StatusOr<std::unique_ptr<RankStore>> ServeHere();
  // The same for any machine that reaches this one, at `port`.
  static absl::StatusOr<std::unique_ptr<RankStore>> Serve(int64_t port);
  // That of another process. Waits `seconds` for it to be there. Errors: DeadlineExceeded.
  static absl::StatusOr<std::unique_ptr<RankStore>> Connect(const std::string& address, int64_t port, double seconds);
  ~RankStore();

  int64_t port() const;

  // Returns when the store has the value: whoever asks for it after that gets it. Errors: Unavailable, if the process
  // that keeps the store has gone.
  absl::Status Set(const std::string& name, const std::string& value);
  // No value: it is not set.
  absl::StatusOr<std::optional<std::string>> Get(const std::string& name);

 private:
  explicit RankStore(c10::intrusive_ptr<c10d::TCPStore> store);
  const c10::intrusive_ptr<c10d::TCPStore> store_;
};

}  // namespace prunelab
