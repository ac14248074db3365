#include "ml/distributed/rank_watch.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "ml/base/steady_seconds.h"

namespace prunelab {
namespace {

constexpr double kBeatSeconds = 1, kGuardSeconds = 0.2;
// How long a reason that a rank gives of its own waits, so that a rank with the same reason can give its own.
constexpr double kGraceSeconds = 2;

std::string BeatKey(int64_t rank) { return absl::StrCat("alive/", rank); }

std::vector<uint8_t> Bytes(const std::string& text) { return {text.begin(), text.end()}; }

// What is the same in two processes that see each other under their process numbers.
std::string ProcessSpace() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string boot;
  std::getline(file, boot);
  char space[64] = {};
  if (readlink("/proc/self/ns/pid", space, sizeof(space) - 1) < 0) return "";
  return absl::StrCat(boot, "/", space);
}

}  // namespace

std::string RankWatch::Self(const std::string& store_address) {
  char host[256] = {};
  gethostname(host, sizeof(host) - 1);
  return absl::StrCat(getpid(), " ", host, " ", ProcessSpace(), " ", store_address);
}

std::string RankWatch::StoreAddressIn(const std::string& description) {
  return description.substr(description.rfind(' ') + 1);
}

std::string RankWatch::NameOf(int64_t rank) const {
  const std::vector<std::string> parts = absl::StrSplit(who_[rank], ' ');
  return absl::StrCat("rank ", rank, " (process ", parts[0], " on ", parts[1], ")");
}

std::string RankWatch::LeftKey(int64_t rank) { return absl::StrCat("left/", rank); }

void RankWatch::ShowAlive(c10d::Store& store, int64_t rank) { store.set(BeatKey(rank), Bytes("0")); }

RankWatch::RankWatch(c10::intrusive_ptr<c10d::Store> store, std::string store_name, int64_t rank,
                     std::vector<std::string> who, double silence_seconds,
                     std::function<void(const std::string&)> on_lost)
    : store_(std::move(store)),
      store_name_(std::move(store_name)),
      rank_(rank),
      who_(std::move(who)),
      silence_seconds_(silence_seconds),
      on_lost_(std::move(on_lost)),
      beats_(who_.size()),
      silent_(who_.size(), 0),
      beat_([this] { Beat(); }),
      guard_([this] { Guard(); }) {}

RankWatch::~RankWatch() {
  ending_ = true;
  beat_.join();  // which may wait for a store that has gone, so that Guard has to end the process
  guard_ending_ = true;
  guard_.join();
}

void RankWatch::Beat() {
  double last = SteadySeconds();
  for (int64_t count = 1; !ending_; ++count) {
    try {
      store_->set(BeatKey(rank_), Bytes(absl::StrCat(count)));
      unanswered_ = 0;
      const std::string reason = ReasonGiven();
      if (!reason.empty()) return End(reason);
      // This process may have been frozen itself: then the others were not silent meanwhile, it did not listen.
      const double now = SteadySeconds();
      LookAtOthers(std::min(now - last, 2 * kBeatSeconds));
      last = now;
    } catch (const std::exception&) {
      // The store is away, for good or for now; Guard counts for how long.
    }
    for (double slept = 0; slept < kBeatSeconds && !ending_; slept += kGuardSeconds) {
      std::this_thread::sleep_for(std::chrono::duration<double>(kGuardSeconds));
    }
  }
}

std::string RankWatch::ReasonGiven() {
  if (!store_->check({kReasonKey})) return "";
  std::this_thread::sleep_for(std::chrono::duration<double>(kGraceSeconds));
  const std::vector<uint8_t> bytes = store_->get(kReasonKey);
  return {bytes.begin(), bytes.end()};
}

void RankWatch::LookAtOthers(double seconds) {
  std::vector<std::string> keys;
  for (size_t rank = 0; rank < who_.size(); ++rank) keys.push_back(BeatKey(static_cast<int64_t>(rank)));
  const std::vector<std::vector<uint8_t>> beats = store_->multiGet(keys);
  for (size_t i = 0; i < beats.size(); ++i) {
    const auto rank = static_cast<int64_t>(i);
    const std::string beat(beats[i].begin(), beats[i].end());
    silent_[i] = beat == beats_[i] ? silent_[i] + seconds : 0;
    beats_[i] = beat;
    if (rank == rank_) continue;
    const bool gone = IsGone(rank);
    if ((!gone && silent_[i] <= silence_seconds_) || store_->check({LeftKey(rank)})) continue;
    const std::string why =
        gone ? absl::StrCat(NameOf(rank), " has ended before its work was done")
             : absl::StrFormat("%s has given no sign of life for %.0f s: it is frozen, or cannot be reached",
                               NameOf(rank), silent_[i]);
    store_->set(kReasonKey, Bytes(why));  // so that all say the same
    return End(why);
  }
}

bool RankWatch::IsGone(int64_t rank) const {
  const std::vector<std::string> parts = absl::StrSplit(who_[rank], ' ');
  static const std::string space = ProcessSpace();
  if (parts.size() < 3 || space.empty() || parts[2] != space) return false;
  if (kill(std::atoi(parts[0].c_str()), 0) != 0 && errno == ESRCH) return true;
  std::ifstream file(absl::StrCat("/proc/", parts[0], "/stat"));
  std::string line;
  if (!std::getline(file, line)) return false;  // it may have ended just now, which the next look will tell
  // After the name, which is in parentheses and may contain anything: a process that has ended but that its parent has
  // not asked about yet is a zombie.
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos || name_end + 2 >= line.size()) return false;
  const char state = line[name_end + 2];
  return state == 'Z' || state == 'X';
}

void RankWatch::Guard() {
  double last = SteadySeconds();
  while (!guard_ending_) {
    std::this_thread::sleep_for(std::chrono::duration<double>(kGuardSeconds));
    const double now = SteadySeconds();
    // As above: of a time in which this process was frozen, little counts.
    unanswered_ = unanswered_ + std::min(now - last, 2 * kBeatSeconds);
    last = now;
    if (unanswered_ <= silence_seconds_ + kBeatSeconds + kGraceSeconds) continue;
    std::call_once(ended_, [&] {
      on_lost_(
          absl::StrFormat("the place where the ranks meet, %s, has not answered for %.0f s: its machine is down or "
                          "frozen, or cannot be reached",
                          store_name_, silence_seconds_));
    });
    return;
  }
}

void RankWatch::End(const std::string& why) {
  std::call_once(ended_, [&] {
    if (!ending_) on_lost_(why);
  });
}

}  // namespace prunelab
