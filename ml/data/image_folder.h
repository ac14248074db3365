// Pictures in folders, a folder for each class:
//
//   flowers/train/daisy/1.jpg  flowers/train/rose/7.png  flowers/test/daisy/2.jpg  flowers/test/rose/8.jpg  ...
//   dataset { [type.googleapis.com/prunelab.ImageFolder] { path: "flowers" image_size: 64 } }
//
// Classes are numbered in the order of their folders' names (by bytes). picture_folders.h says which folders and files
// are used, in which order, and what is left out; picture.h says which pixels a picture has. All pictures are decoded
// at once, on all cores, scaled and cropped, and kept in memory as uint8.
//
// Errors are about the field "path" (NotFound if a folder is missing, DataLoss if pictures cannot be decoded,
// InvalidArgument if the folders do not fit: classes of train and test that differ, a class without pictures), or about
// the field that is out of range. Too many pictures for max_memory_mb is an error of that field.
#pragma once

#include "ml/data/dataset.h"
#include "ml/data/image_folder.pb.h"

namespace prunelab {

// describe() lists the folders and opens no picture. With on_bad_image SKIP its counts include pictures that open() may
// leave out.
TypedDatasetFactory<ImageFolder> CreateImageFolder();

}  // namespace prunelab
