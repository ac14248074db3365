// Gradients of several batches, added up to make one step.
//
//   StepSum sum;
//   for (...) sum.Add(step, images_of_the_batch / images_of_all);
//   sum.MoveInto(step, /*in_place=*/false);
//
// A batch's loss is the mean over its images, and so are its gradients. With their images' shares as factors the sum is
// that of the mean over the images of all batches, also where the last batch has fewer.
#pragma once

#include <ATen/core/Tensor.h>

#include "ml/training/step_capture.h"

namespace prunelab {

class StepSum {
 public:
  // Adds what a step's first half made of a batch, times `share`. The tensors given may be written over after that.
  void Add(const StepTensors& step, double share);

  // Puts the sums in the place of what the last step that was added has, for its second half to read, and forgets them.
  // `in_place`: the second half reads the tensors that are there (step_capture.h), so they are written over.
  void MoveInto(StepTensors& step, bool in_place);

 private:
  StepTensors sum_;  // without the loss; no gradients: nothing was added
};

}  // namespace prunelab
