// The handwritten digits of the UCI repository: 1,797 images of 8x8 pixels in ten classes. They are embedded in the
// program, so they need no files.
//
//   dataset { [type.googleapis.com/prunelab.Digits] {} }
//
// Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits" (1998), UCI Machine Learning
// Repository, https://doi.org/10.24432/C50P49, licensed CC BY 4.0. This is its test part, the digits of 13 people, as
// scikit-learn 1.5.2 ships it (BSD-3-Clause). A pixel counts the dark points, 0 to 16, in a 4x4 cell of the original
// 32x32 bitmap. The description and the licences come with //third_party/scikit_learn_digits:attribution.
//
// Split: a fifth of each class, rounded to the nearest whole number and chosen at random with a fixed seed, is test
// data (359 images). The other 1,438 images are training data. Both keep the order of the source. The split is over
// images, not over writers (the source does not say who wrote which), so accuracies are for handwritings that were seen
// in training.
//
// Normalization: x / 16, minus the mean and divided by the standard deviation of all pixels of the training images.
//
// Fingerprint: DataFingerprint() of the two parts.
#pragma once

#include "ml/data/dataset.h"
#include "ml/data/digits.pb.h"

namespace prunelab {

TypedDatasetFactory<Digits> CreateDigits();

}  // namespace prunelab
