// Evaluation: a model in eval mode, with masks applied, on images in order, in IEEE float32 on a GPU too, whatever it
// was trained in.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "ml/data/dataset.h"
#include "ml/distributed/ranks.h"
#include "ml/execution/plan.h"

namespace prunelab {

struct Evaluation {
  double loss = 0;  // mean cross-entropy
  double top1 = 0;  // fractions of 1
  double top5 = 0;  // with fewer than five classes always 1
  int64_t images = 0;
  int64_t not_finite = 0;  // images with an infinite or NaN logit, which are neither right nor wrong
};

// Why an evaluation must not count, e.g. "the logits of 3 of 360 images are not finite"; "" if it may.
std::string EvaluationFault(const Evaluation& evaluation);

// A label is among the k best if fewer than k classes have a larger logit, or an equal one and a smaller index. A NaN
// logit is never right. With `ranks`, each runs its share of the images, and all get the same answer. Errors: images
// that cannot be read (ml/data/batches.h).
absl::StatusOr<Evaluation> Evaluate(Model& model, Plan& plan, const LabelledImages& data,
                                    const Normalization& normalization, int64_t batch_size, Ranks* ranks = nullptr);

// "the logits of 3 of 360 images are not finite".
std::string NotFiniteText(int64_t not_finite, int64_t images);

// How many rows of `logits` [N, classes] have an entry that is not finite, as a scalar tensor on their device.
at::Tensor CountNotFinite(const at::Tensor& logits);

// For each row of `logits` [N, classes], the number of classes before the label (see above): [N] int64. It is `classes`
// if the label's logit is NaN.
at::Tensor LabelRanks(const at::Tensor& logits, const at::Tensor& labels);

}  // namespace prunelab
