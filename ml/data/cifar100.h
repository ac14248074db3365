// CIFAR-100: 50,000 training and 10,000 test images of 32x32 pixels in colour, 100 classes in 20 groups of five,
// equally many images of each. A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical
// report, University of Toronto, 2009.
//
// Reads the "binary version" (cifar-100-binary.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html): train.bin and
// test.bin, with records of a coarse label byte (0 to 19), a fine one (0 to 99) and the pixels. It checks the files'
// sizes, every label, the number of images of each class, and that each fine class belongs to one coarse class. For
// errors see cifar_binary.h.
#pragma once

#include "ml/data/cifar100.pb.h"
#include "ml/data/dataset.h"

namespace prunelab {

// describe() needs no files.
TypedDatasetFactory<Cifar100> CreateCifar100();

}  // namespace prunelab
