// Whether two models give the same results for the same images, as a network and its removed version must.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "ml/data/dataset.h"
#include "ml/execution/plan.h"

namespace prunelab {

struct Agreement {
  int64_t images = 0;
  double largest_difference = 0;      // max|a - b| / max|a| over the logits of all images
  int64_t differing_predictions = 0;  // images whose best class differs
  // Those of them whose two best logits in `a` are further apart than `tolerance` * max|a|: rounding does not explain
  // these.
  int64_t unexplained_predictions = 0;
  // Images with an infinite or NaN logit of `a`, or of `b`: the numbers above do not cover them.
  int64_t not_finite = 0;
  double top1_of_b = 0;  // if there are labels: as Evaluate (evaluate.h) on the same images
};

// The change of logits that rounding in float32 may cause, relative to the largest: 1e-5 on each of two.
constexpr double kRemovalTolerance = 2e-5;

// In evaluation mode, in IEEE float32 on a GPU too. Both models get the images as they are (normalized).
Agreement CompareOnImages(Model& a, Model& b, Plan& plan, const at::Tensor& images, double tolerance);

// On labelled images, which are normalized here, `batch_size` at a time; only the first `limit` of them.
// Errors: images that cannot be read.
absl::StatusOr<Agreement> CompareOnData(Model& a, Model& b, Plan& plan, const LabelledImages& data,
                                        const Normalization& normalization, int64_t batch_size, int64_t limit,
                                        double tolerance);

}  // namespace prunelab
