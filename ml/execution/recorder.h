// Records work that the host gives to a device, so that it can be repeated: a CUDA graph. A training step is hundreds
// of small kernels, and launching each of them takes the host longer than the GPU takes to compute it.
//
// Recorded work reads and writes the same memory each time, so its inputs are copied to where the recording reads them.
// During the recording nothing may synchronize with the device (waiting_calls.h), and nothing is executed.
//
//   for (int i = 0; i < 3; ++i) recorder->Run(step);  // libraries set themselves up
//   PRUNELAB_ASSIGN_OR_RETURN(std::unique_ptr<Recording> recording, recorder->Record(step));
//   inputs.copy_(batch);
//   recording->Replay();
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>

#include "absl/status/statusor.h"

namespace prunelab {

class Recording {
 public:
  virtual ~Recording() = default;
  // Repeats the work, after what the current stream was given before and before what it is given next. Does not
  // synchronize.
  virtual void Replay() = 0;
};

class Recorder {
 public:
  virtual ~Recorder() = default;
  // Does `work` now, in the place where Record would record it.
  virtual void Run(const std::function<void()>& work) = 0;
  // `work` runs on the host once. Tensors that it makes and that are kept hold the results of the last Replay. All
  // recordings of one recorder share their memory, so they must be replayed in the order in which they were made.
  // Errors: FailedPrecondition if `work` did something that cannot be recorded; then the host has done its part of it,
  // and the device nothing.
  virtual absl::StatusOr<std::unique_ptr<Recording>> Record(const std::function<void()>& work) = 0;
};

// A recorder that uses CUDA graphs on `device`, a CUDA device. Checked: the program was built with --config=cuda.
std::unique_ptr<Recorder> MakeCudaGraphRecorder(c10::Device device);

}  // namespace prunelab
