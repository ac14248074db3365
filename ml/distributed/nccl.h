// NCCL's process group (LibTorch's ProcessGroupNCCL), where the build has CUDA.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace prunelab {

// For tensors on the current GPU. A rank may leave the others waiting for `patience`. A build without CUDA has none,
// and no tensors on a GPU either.
c10::intrusive_ptr<c10d::Backend> MakeNcclGroup(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                                std::chrono::milliseconds patience);

}  // namespace prunelab
