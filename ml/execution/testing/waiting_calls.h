// Finds LibTorch's calls that would make the host synchronize with a GPU: they cannot be captured (recorder.h), and
// they keep a GPU idle while the host catches up.
//
//   EXPECT_THAT(WaitingCalls([&] { plan.Forward(model, images, options); }), testing::IsEmpty());
//
// Calls are recognized by their names when they are dispatched, in this thread and in those of the backward pass, on
// any device: a step on the CPU shows what the same step would do on a GPU. Two kinds are visible only with a GPU:
// copies between devices, and tensors on a device that are made from values on the host.
#pragma once

#include <functional>
#include <set>
#include <string>

namespace prunelab {

// The names of the synchronizing calls that `work` makes (such as "aten::nonzero"). Only one at a time in a process
// (checked).
std::set<std::string> WaitingCalls(const std::function<void()>& work);

}  // namespace prunelab
