// Which of LibTorch's calls would make the host wait for a GPU: what cannot be recorded (recorder.h), and what keeps a
// GPU idle while the host catches up.
//
//   EXPECT_THAT(WaitingCalls([&] { plan.Forward(model, images, options); }), testing::IsEmpty());
//
// Calls are recognised by their names as they are dispatched, in this thread and in those of the backward pass, on any
// device: a step on the CPU shows what the same step would do on a GPU. Two kinds are seen only where a GPU is there:
// copies between devices, and values of the host that a tensor on a device is made of.
#pragma once

#include <functional>
#include <set>
#include <string>

namespace prunelab {

// The waiting calls that `work` makes, by name (such as "aten::nonzero"). One at a time in a process (checked).
std::set<std::string> WaitingCalls(const std::function<void()>& work);

}  // namespace prunelab
