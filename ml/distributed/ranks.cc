#include "ml/distributed/ranks.h"

#include <ATen/ATen.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ml/base/check.h"
#include "ml/distributed/nccl.h"
#include "ml/distributed/quiet_c10d.h"
#include "ml/distributed/rank_watch.h"

namespace prunelab {
namespace {

using StorePointer = c10::intrusive_ptr<c10d::Store>;

// How long a rank that lives may leave the others waiting: a slow disk or network may be what it waits for. A rank that
// does not live is found by RankWatch, long before this.
constexpr std::chrono::minutes kPatience(60);

std::chrono::milliseconds Milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(1000 * seconds));
}

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

[[noreturn]] void EndLost(const std::string& why) {
  // No destructors: they would wait for the one that is lost. Files are written atomically.
  std::cerr << why << std::endl;
  _exit(kLostRankStatus);
}

// How this machine and the one at `address` reach each other. Empty: it cannot be told.
struct Route {
  std::string own, other;  // their addresses, as numbers
  bool loopback() const { return absl::StartsWith(own, "127.") || own == "::1"; }
};
Route RouteTo(const std::string& address, int64_t port) {
  addrinfo hints = {}, *found = nullptr;
  hints.ai_socktype = SOCK_DGRAM;
  if (getaddrinfo(address.c_str(), absl::StrCat(port).c_str(), &hints, &found) != 0) return {};
  Route route;
  const auto text = [](const sockaddr* name, socklen_t length) {
    char text[NI_MAXHOST] = {};
    return getnameinfo(name, length, text, sizeof(text), nullptr, 0, NI_NUMERICHOST) == 0 ? std::string(text) : "";
  };
  for (const addrinfo* at = found; at != nullptr && route.own.empty(); at = at->ai_next) {
    const int fd = socket(at->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) continue;
    sockaddr_storage name = {};
    socklen_t length = sizeof(name);
    // Of datagrams this only asks the routes; nothing is sent.
    if (connect(fd, at->ai_addr, at->ai_addrlen) == 0 &&
        getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length) == 0) {
      route.own = text(reinterpret_cast<sockaddr*>(&name), length);
      route.other = text(at->ai_addr, at->ai_addrlen);
    }
    close(fd);
  }
  freeaddrinfo(found);
  return route;
}

// Where the other ranks reach this one. `who`: their descriptions, with how each reaches the store's machine.
std::string OwnAddress(const RankPlace& place, const std::vector<std::string>& who) {
  const Route route = RouteTo(place.address, place.port);
  if (!route.loopback()) return route.own;
  // This is the store's machine, whose name means the machine itself here, as it does on Debian. Others know its
  // address.
  for (const std::string& description : who) {
    const std::string seen = RankWatch::StoreAddressIn(description);
    if (!seen.empty() && !absl::StartsWith(seen, "127.") && seen != "::1") return seen;
  }
  return route.own;
}

StorePointer Connect(const RankPlace& place) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(place.port);
  options.isServer = false;
  options.waitWorkers = false;
  options.timeout = Milliseconds(place.join_seconds);
  return c10::make_intrusive<c10d::PrefixStore>(place.meeting,
                                                c10::make_intrusive<c10d::TCPStore>(place.address, options));
}

c10::intrusive_ptr<c10d::Backend> MakeGlooGroup(const StorePointer& store, const RankPlace& place,
                                                const std::vector<std::string>& who) {
  const auto options = c10d::ProcessGroupGloo::Options::create(kPatience);
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  const std::string own = OwnAddress(place, who);
  if (interface != nullptr && *interface != '\0') {
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForInterface(interface));
  } else if (!own.empty()) {
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(own));
  } else {
    options->devices.push_back(c10d::ProcessGroupGloo::createDefaultDevice());
  }
  return c10::make_intrusive<c10d::ProcessGroupGloo>(store, static_cast<int>(place.rank), static_cast<int>(place.ranks),
                                                     options);
}

// Each rank's description of itself, or which have not come.
absl::StatusOr<std::vector<std::string>> Meet(c10d::Store& store, const RankPlace& place) {
  const auto key = [](int64_t rank) { return absl::StrCat("who/", rank); };
  const std::string self = RankWatch::Self(RouteTo(place.address, place.port).other);
  RankWatch::ShowAlive(store, place.rank);
  store.set(key(place.rank), std::vector<uint8_t>(self.begin(), self.end()));
  const auto deadline = std::chrono::steady_clock::now() + Milliseconds(place.join_seconds);
  std::vector<std::string> who;
  for (int64_t rank = 0; rank < place.ranks; ++rank) {
    while (!store.check({key(rank)})) {
      if (std::chrono::steady_clock::now() > deadline) {
        return absl::DeadlineExceededError(absl::StrFormat("rank %d of %d has not come to %s:%d within %.0f s", rank,
                                                           place.ranks, place.address, place.port, place.join_seconds));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    const std::vector<uint8_t> bytes = store.get(key(rank));
    who.emplace_back(bytes.begin(), bytes.end());
  }
  return who;
}

}  // namespace

std::string LeftName(const std::string& meeting, int64_t rank) {
  return absl::StrCat(meeting, "/", RankWatch::LeftKey(rank));  // as PrefixStore puts them together
}

class Ranks::State {
 public:
  explicit State(RankPlace place) : place(std::move(place)) {}

  // Of an exception while waiting for others: mostly the watch knows better what has happened.
  [[noreturn]] void Lose(const std::string& what) const {
    std::this_thread::sleep_for(std::chrono::duration<double>(2 * place.silence_seconds + 10));
    EndLost(absl::StrCat("the ranks cannot work together any more: ", FirstLine(what)));
  }

  template <typename Work>
  auto Guarded(const Work& work) const {
    try {
      return work();
    } catch (const std::exception& error) {
      Lose(error.what());
    }
  }

  const RankPlace place;
  StorePointer store;
  c10::intrusive_ptr<c10d::Backend> gloo, nccl;
  std::unique_ptr<RankWatch> watch;
};

namespace {

template <typename Lose>
class PendingWork : public Ranks::Pending {
 public:
  PendingWork(c10::intrusive_ptr<c10d::Work> work, Lose lose) : work_(std::move(work)), lose_(std::move(lose)) {}
  void Wait() override {
    try {
      work_->wait();
    } catch (const std::exception& error) {
      lose_(error.what());
    }
  }

 private:
  const c10::intrusive_ptr<c10d::Work> work_;
  const Lose lose_;
};

}  // namespace

Ranks::Ranks(std::unique_ptr<State> state) : state_(std::move(state)) {}

Ranks::~Ranks() = default;

absl::StatusOr<std::unique_ptr<Ranks>> Ranks::Join(const RankPlace& place, c10::Device device) {
  PRUNELAB_CHECK(0 <= place.rank && place.rank < place.ranks) << "rank " << place.rank << " of " << place.ranks;
  QuietC10d();
  auto state = std::make_unique<State>(place);
  try {
    state->store = Connect(place);
    absl::StatusOr<std::vector<std::string>> who = Meet(*state->store, place);
    if (!who.ok()) return who.status();
    state->watch = std::make_unique<RankWatch>(Connect(place), absl::StrCat(place.address, ":", place.port), place.rank,
                                               *who, place.silence_seconds, EndLost);
    state->gloo = MakeGlooGroup(state->store, place, *who);
    if (device.is_cuda()) {
      state->nccl = MakeNcclGroup(c10::make_intrusive<c10d::PrefixStore>("nccl", state->store),
                                  static_cast<int>(place.rank), static_cast<int>(place.ranks), kPatience);
    }
  } catch (const std::exception& error) {
    return absl::DeadlineExceededError(absl::StrCat("rank ", place.rank, " of ", place.ranks,
                                                    " cannot meet the others at ", place.address, ":", place.port, ": ",
                                                    FirstLine(error.what())));
  }
  return std::unique_ptr<Ranks>(new Ranks(std::move(state)));
}

int64_t Ranks::rank() const { return state_->place.rank; }

int64_t Ranks::size() const { return state_->place.ranks; }

std::unique_ptr<Ranks::Pending> Ranks::StartSum(const at::Tensor& tensor) {
  PRUNELAB_CHECK(tensor.is_non_overlapping_and_dense()) << "strides " << tensor.strides();
  std::vector<at::Tensor> tensors = {tensor.detach()};
  c10d::Backend& group = tensor.is_cuda() ? *state_->nccl : *state_->gloo;
  // A GPU's sum is only begun here, so an exception says nothing of other ranks: while a step is captured, for example,
  // it says that this cannot be.
  auto work = tensor.is_cuda() ? group.allreduce(tensors) : state_->Guarded([&] { return group.allreduce(tensors); });
  const auto lose = [state = state_.get()](const char* what) { state->Lose(what); };
  return std::make_unique<PendingWork<decltype(lose)>>(std::move(work), lose);
}

bool Ranks::Any(bool mine) {
  const at::Tensor count = at::full({1}, mine ? 1 : 0, at::kInt);
  Sum(count);
  return count.item<int32_t>() > 0;
}

std::string Ranks::OfFirst(const std::string& bytes) {
  at::Tensor size = at::full({1}, first() ? static_cast<int64_t>(bytes.size()) : 0, at::kLong);
  Sum(size);
  std::vector<at::Tensor> tensors = {at::empty({std::max<int64_t>(1, size.item<int64_t>())}, at::kByte)};
  if (first()) std::memcpy(tensors[0].mutable_data_ptr(), bytes.data(), bytes.size());
  state_->Guarded([&] { return state_->gloo->broadcast(tensors)->wait(); });
  return {static_cast<const char*>(tensors[0].const_data_ptr()), static_cast<size_t>(size.item<int64_t>())};
}

std::vector<std::vector<int64_t>> Ranks::Gather(const std::vector<int64_t>& numbers) {
  const auto count = static_cast<int64_t>(numbers.size());
  const at::Tensor all = at::zeros({size(), count}, at::kLong);
  all[rank()].copy_(at::tensor(numbers, at::kLong));
  if (count > 0) Sum(all);
  std::vector<std::vector<int64_t>> gathered(size());
  for (int64_t r = 0; r < size(); ++r) {
    const int64_t* row = all.const_data_ptr<int64_t>() + r * count;
    gathered[r].assign(row, row + count);
  }
  return gathered;
}

void Ranks::Leave() {
  if (state_->watch == nullptr) return;
  Any(false);
  try {
    state_->store->set(RankWatch::LeftKey(rank()), std::vector<uint8_t>{1});
  } catch (const std::exception&) {
    // The store has gone before this rank, as it may: all is done.
  }
  state_->watch.reset();
}

void Ranks::Abandon(const std::string& why) {
  if (state_->watch == nullptr) return;
  const std::string text = absl::StrCat(state_->watch->NameOf(rank()), ": ", why);
  try {
    if (!state_->store->check({RankWatch::kReasonKey})) {
      state_->store->set(RankWatch::kReasonKey, std::vector<uint8_t>(text.begin(), text.end()));
    }
    state_->store->set(RankWatch::LeftKey(rank()), std::vector<uint8_t>{1});
  } catch (const std::exception&) {
    // The others will find out by themselves.
  }
  state_->watch.reset();
}

}  // namespace prunelab
