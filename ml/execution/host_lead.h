// Keeps the host from running far ahead of a GPU. Work that is given to a device waits in its stream, so that a loop
// that never looks at a result could give it hundreds of steps at once: their batches would fill page-locked memory,
// progress would be told of steps that have not been done, and a checkpoint would come after all of them.
//
//   HostLead lead(MarkOf(device));
//   for (...) {
//     Step();
//     lead.EndStep();
//   }
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <utility>

namespace prunelab {

class HostLead {
 public:
  // Steps that may be under way: enough that the device never waits for the host.
  static constexpr int64_t kSteps = 4;

  // Waits until the device has done what it had been given when the mark was made.
  using Wait = std::function<void()>;
  // Makes a mark behind what the device has been given so far.
  using Mark = std::function<Wait()>;

  explicit HostLead(Mark mark) : mark_(std::move(mark)) {}
  // After each step: waits until at most kSteps of them are not done.
  void EndStep();

 private:
  const Mark mark_;
  std::deque<Wait> under_way_;  // of the last kSteps steps, the oldest first
};

// Marks by events in the current stream of `device`, which is not a CPU.
HostLead::Mark MarkOf(c10::Device device);

}  // namespace prunelab
