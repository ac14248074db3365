// `paper_zero`: the regularizer as the public code of "Dynamic Filter Pruning with Decorrelation Regularization" (KSC
// 2020) computes it.
//
// It asks of every kernel slice of every convolution whether its *length* (number of rows) is 2, where the number of
// its dimensions was probably meant, and only then adds the sum of the absolute upper triangle, diagonal included, of
// the covariance matrix of the slice's rows. No network of the paper has such kernels, so the term is identically zero
// and a run with it equals a run with `none`, bit for bit. A network that has kernels of 2 rows gets the value as
// coded: of the dense weights (masks are not looked at), and computed outside of autograd, so it has no gradient and
// changes nothing but the logged penalty.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "ml/regularizers/paper_zero.pb.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {

absl::StatusOr<std::unique_ptr<Regularizer>> CreatePaperZero(const PaperZero& parameters, const NetworkInfo& network);

}  // namespace prunelab
