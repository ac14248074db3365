// A data set of one's own in one safetensors file, as PyTorch or numpy write it:
//
//   tensors = {"train_images": x, "train_labels": y, "test_images": u, "test_labels": v}
//   safetensors.torch.save_file(tensors, "own.safetensors")
//
//   dataset { [type.googleapis.com/prunelab.SafetensorsDataset] { path: "own.safetensors" } }
//
// Images are [N, channels, height, width] in uint8 or float32, both parts alike; labels [N] in any integer type. Sizes
// are checked against the file's before anything is allocated; all that is wrong with names, types and shapes is said
// at once, also images that look like [N, height, width, channels] (image_layout.h). Further tensors in the file are
// left alone.
//
// Errors are of the field "path" (NotFound where there is no file, DataLoss where it is damaged, InvalidArgument where
// it holds something else), or of the field that is out of range.
#pragma once

#include "ml/data/dataset.h"
#include "ml/data/safetensors_dataset.pb.h"

namespace prunelab {

// describe() reads the file's header and, where `classes` is unset, the labels.
TypedDatasetFactory<SafetensorsDataset> CreateSafetensorsDataset();

}  // namespace prunelab
