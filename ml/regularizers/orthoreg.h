// `orthoreg`: Rodriguez, Gonzalez, Cucurull, Gonfaus and Roca, "Regularizing CNNs with Locally Constrained
// Decorrelations", ICLR 2017: over the layers, and in each over the ordered pairs i != j of filters,
//
//   POSITIVE   sum of log(1 + exp(lambda (cos_ij - 1))),   lambda = 10: only filters that are near to each other repel
//   ALL        sum of cos_ij^2,                            the form that the paper starts from
//
// with cos_ij the cosine between the filters' weights, not centred. Pairs are over live filters (live_filters.h).
//
// Deviations: the gradient is that of the penalty. The authors' code (prlz77/orthoreg) moves the weights itself, beside
// the optimizer, by the gradient in the normalized filters, as if norms were 1 and each pair stood once; and its
// PyTorch version forgot the exponential that its Lua version has. MEAN is ours: it makes a weight mean the same for
// any width.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "ml/regularizers/orthoreg.pb.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {

// A layer's term as it is computed on a GPU, without looking which filters are live.
at::Tensor OrthoregTermOnDevice(const Orthoreg& parameters, const RegularizedLayer& layer);

// Refuses a lambda that is not above 0 and finite, and a selection without a convolution.
absl::StatusOr<std::unique_ptr<Regularizer>> CreateOrthoreg(const Orthoreg& parameters, const NetworkInfo& network);

}  // namespace prunelab
