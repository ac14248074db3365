// The formula by which tools/reference/torchvision_values.py makes weights and images, so that both sides have the same
// without a file of a hundred megabytes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace prunelab {

// The float64 values of the parameter or buffer `name`. num_batches_tracked is int64 0.
at::Tensor FormulaTensor(const std::string& name, const std::vector<int64_t>& shape);

// Two images, float64 [2, 3, size, size], in [-1, 1).
at::Tensor FormulaImages(int64_t size);

// What torchvision_values.h has of one image's logits [classes]: sum, norm, and entries 0, 3, 6 and 9. `scales` are the
// sizes by which differences of each are to be judged: those of the largest logits.
struct LogitsSummary {
  std::vector<double> values, scales;
};
LogitsSummary Summarize(const at::Tensor& logits);

}  // namespace prunelab
