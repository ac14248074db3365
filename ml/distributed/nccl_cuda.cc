#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "ml/distributed/nccl.h"

namespace prunelab {

c10::intrusive_ptr<c10d::Backend> MakeNcclGroup(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                                std::chrono::milliseconds patience) {
  const auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = patience;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, options);
}

}  // namespace prunelab
