// Pictures in folders, a folder for each class:
//
//   flowers/train/daisy/1.jpg  flowers/train/rose/7.png  flowers/test/daisy/2.jpg  flowers/test/rose/8.jpg  ...
//   dataset { [type.googleapis.com/prunelab.ImageFolder] { path: "flowers" image_size: 64 } }
//
// Classes are numbered in the alphabetical order (by bytes) of their folders. Which folders and files are used, in
// which order, and what is left out, is said in picture_folders.h; which pixels a picture has, in picture.h. All are
// decoded at once, on all cores, scaled and cut, and kept in memory as uint8.
//
// Errors are of the field "path" (NotFound where a folder is missing, DataLoss where pictures do not decode,
// InvalidArgument where the folders do not fit: classes of train and test that differ, a class without pictures), or of
// the field that is out of range; too many pictures for max_memory_mb is an error of that.
#pragma once

#include "ml/data/dataset.h"
#include "ml/data/image_folder.pb.h"

namespace prunelab {

// describe() lists the folders and opens no picture; under on_bad_image SKIP it counts those that open() may leave out.
TypedDatasetFactory<ImageFolder> CreateImageFolder();

}  // namespace prunelab
