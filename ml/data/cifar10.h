// CIFAR-10: 50,000 training and 10,000 test images of 32x32 pixels in colour, 10 classes, equally many of each.
// A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, University of Toronto,
// 2009.
//
// Reads the "binary version" (cifar-10-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html): six files of
// 10,000 records. A record is a label byte (0 to 9) and 3 x 32 x 32 pixels, first all of red, row by row. Everything is
// checked: the files' sizes, every label, and that each class has its 5,000 training and 1,000 test images.
//
// For errors see cifar_binary.h, which CIFAR-100 uses too.
#pragma once

#include "ml/data/cifar10.pb.h"
#include "ml/data/dataset.h"

namespace prunelab {

// describe() needs no files.
TypedDatasetFactory<Cifar10> CreateCifar10();

}  // namespace prunelab
