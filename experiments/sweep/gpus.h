// Which of the machine's GPUs a worker computes on: each worker sees one, by the variable CUDA_VISIBLE_DEVICES of its
// environment, and the workers are spread evenly.
#pragma once

#include <c10/core/Device.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace prunelab {

// The names that CUDA_VISIBLE_DEVICES has for the `count` GPUs that a process with this value of it sees, in its order:
// those in `visible`, which are numbers or identifiers such as "GPU-5a3c...", as a user or Slurm set them, and without
// a value "0", "1", ... CUDA does not look beyond the first name that it does not know, and `count` says where that is.
std::vector<std::string> GpuNames(const std::optional<std::string>& visible, int64_t count);

// The names of the GPUs that this process may use if its runs compute on `device`: none on the CPU.
std::vector<std::string> GpusFor(c10::Device device);

// The GPU for the next worker, of at least one: that with the fewest, and the first of several such. `workers`: how
// many each GPU has.
size_t LeastBusyGpu(const std::vector<int64_t>& workers);

// Whether NVIDIA's multi-process service shares this machine's GPUs among processes: its control daemon listens in the
// folder `pipes`, that of CUDA_MPS_PIPE_DIRECTORY if it is set.
bool MpsListensIn(const std::string& pipes);
bool UsesMps();

}  // namespace prunelab
