// Evaluation: a model in eval mode, masks applied, on images in order.
#pragma once

#include <cstdint>
#include <string>

#include "ml/data/dataset.h"
#include "ml/execution/plan.h"

namespace prunelab {

struct Evaluation {
  double loss = 0;  // mean cross-entropy
  double top1 = 0;  // fractions of 1
  double top5 = 0;  // with fewer than five classes always 1
  int64_t images = 0;
  int64_t not_finite = 0;  // images of which a logit is infinite or not a number: of them nothing is right or wrong
};

// Why an evaluation must not count, e.g. "the logits of 3 of 360 images are not finite"; "" where it may.
std::string EvaluationFault(const Evaluation& evaluation);

// A label counts as among the k best when fewer than k classes have a larger logit, or an equal one and a smaller
// index; a logit that is not a number is never right.
Evaluation Evaluate(Model& model, Plan& plan, const LabelledImages& data, const Normalization& normalization,
                    int64_t batch_size);

// "the logits of 3 of 360 images are not finite".
std::string NotFiniteText(int64_t not_finite, int64_t images);

// How many rows of `logits` [N, classes] hold a number that is not finite, as a scalar tensor on their device.
at::Tensor CountNotFinite(const at::Tensor& logits);

// For each row of `logits` [N, classes], how many classes stand before the label (see above): [N] int64; `classes`
// where the label's logit is not a number.
at::Tensor LabelRanks(const at::Tensor& logits, const at::Tensor& labels);

}  // namespace prunelab
