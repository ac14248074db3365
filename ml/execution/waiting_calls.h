// Finds LibTorch's calls that would make the host synchronize with a GPU: they cannot be captured (recorder.h), and
// they keep a GPU idle while the host catches up.
//
//   EXPECT_THAT(WaitingCalls([&] { plan.Forward(model, images, options); }), testing::IsEmpty());
//
//   WaitingCallsWatch watch(at::kCUDA);
//   ... train ...
//   watch.counts();  // {"aten::_local_scalar_dense": 3}
//
// Calls are recognized by their names when they are dispatched, in all threads: that of the caller, those of the
// backward pass, and one that prepares batches. A step on the CPU shows what the same step would do on a GPU. Two kinds
// are visible only with a GPU: copies between devices, and tensors on a device that are made from values on the host. A
// copy that is asked not to block, from or to page-locked memory, does not wait. What a CUDA graph replays is not
// dispatched, and cannot wait either.
#pragma once

#include <c10/core/DeviceType.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace prunelab {

// Counts while it lives. Only one at a time in a process (checked).
class WaitingCallsWatch {
 public:
  // `device`: only calls that have a tensor on this kind of device are counted, because on a GPU's host a value of a
  // tensor on the CPU is read without waiting. Left out: all calls.
  explicit WaitingCallsWatch(std::optional<c10::DeviceType> device = std::nullopt);
  ~WaitingCallsWatch();
  WaitingCallsWatch(const WaitingCallsWatch&) = delete;
  WaitingCallsWatch& operator=(const WaitingCallsWatch&) = delete;

  // How often each call was made so far, by name.
  std::map<std::string, int64_t> counts() const;

 private:
  uint64_t handle_;  // of LibTorch's callback
};

// The names of the synchronizing calls that `work` makes (such as "aten::nonzero"). Only one at a time in a process
// (checked).
std::set<std::string> WaitingCalls(const std::function<void()>& work);

}  // namespace prunelab
