// Your own data set in one safetensors file, as PyTorch or numpy write it:
//
//   tensors = {"train_images": x, "train_labels": y, "test_images": u, "test_labels": v}
//   safetensors.torch.save_file(tensors, "own.safetensors")
//
//   dataset { [type.googleapis.com/prunelab.SafetensorsDataset] { path: "own.safetensors" } }
//
// Images are [N, channels, height, width] in uint8 or float32, the same in both parts; labels are [N] in any integer
// type. Sizes are compared with the file's before anything is allocated. Everything that is wrong with names, types and
// shapes is reported at once, including images that look like [N, height, width, channels] (image_layout.h). Other
// tensors in the file are ignored.
//
// Errors are about the field "path" (NotFound if there is no file, DataLoss if it is damaged, InvalidArgument if it
// contains something else), or about the field that is out of range.
#pragma once

#include "ml/data/dataset.h"
#include "ml/data/safetensors_dataset.pb.h"

namespace prunelab {

// describe() reads the file's header and, if `classes` is unset, the labels.
TypedDatasetFactory<SafetensorsDataset> CreateSafetensorsDataset();

}  // namespace prunelab
