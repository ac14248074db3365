// A data set: images with labels, in memory or read when they are wanted, split into training and test data, and how to
// normalize a pixel.
//
//   google.protobuf.Any parameters;  // dataset { [type.googleapis.com/prunelab.Digits] {} }
//   PRUNELAB_ASSIGN_OR_RETURN(const Dataset digits, OpenDataset(parameters));
//   digits.train.images;             // [1438, 1, 8, 8] uint8
//
// Each data set is one target made by dataset() in defs.bzl; docs/data.md explains how to write one.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/message.h"
#include "ml/base/plugin.h"
#include "ml/data/image_source.h"

namespace prunelab {

// What is known about a data set without reading it.
struct DatasetInfo {
  int64_t classes = 0;
  int64_t channels = 0;
  int64_t height = 0, width = 0;
  int64_t train_images = 0, test_images = 0;
};

struct LabelledImages {
  at::Tensor images;  // [N, C, H, W] contiguous, uint8 or float32; or undefined, and `source` gives them
  at::Tensor labels;  // [N] int64, in [0, classes)
  std::shared_ptr<const ImageSource> source = nullptr;
  // The images were cut from pictures that `source` does not give: a random crop would not see all of them.
  bool cut = false;
  int64_t size() const { return labels.defined() ? labels.size(0) : 0; }
};

// Channels, height and width of each image.
std::array<int64_t, 3> ShapeOf(const LabelledImages& data);

// Whether images are bytes; else they are float32.
bool HasBytes(const LabelledImages& data);

// The images that `index`, [n] int64, names, in its order. Of a source nothing is read.
LabelledImages SelectImages(const LabelledImages& data, const at::Tensor& index);

// A pixel x becomes (x * scale - mean[c]) / stddev[c].
struct Normalization {
  double scale = 1.0 / 255;
  std::vector<double> mean, stddev;  // one per channel
};

struct Dataset {
  DatasetInfo info;
  LabelledImages train, test;
  Normalization normalization;
  std::string fingerprint;         // DataFingerprint(train, test): part of a run's identity
  std::vector<std::string> notes;  // what the user should know, e.g. files that were left out; one paragraph each
};

// A linked data set: both functions take the plugin's parameters.
struct DatasetFactory {
  // Sizes, from the parameters alone if the format fixes them; reads as little as it can. Errors: parameters that are
  // refused (a field error); NotFound if the data must be read and do not exist.
  std::function<absl::StatusOr<DatasetInfo>(const google::protobuf::Message& parameters)> describe;
  // Reads and checks everything. Errors name the file, the place, the value, and what would be right; NotFound if the
  // data do not exist.
  std::function<absl::StatusOr<Dataset>(const google::protobuf::Message& parameters)> open;
};

// The linked data sets.
PluginRegistry<DatasetFactory>& Datasets();

// Errors: not linked, not a data set, and those of DatasetFactory.
absl::StatusOr<DatasetInfo> DescribeDataset(const google::protobuf::Any& parameters);
absl::StatusOr<Dataset> OpenDataset(const google::protobuf::Any& parameters);

// SHA-256 (64 hexadecimal digits) over dtypes, shapes and bytes of images and labels, training data first. It is the
// same whether images are in memory or come from a source.
std::string DataFingerprint(const LabelledImages& train, const LabelledImages& test);

// The training and test data's sizes and the images' shape, for Dataset::info.
DatasetInfo InfoOf(int64_t classes, const LabelledImages& train, const LabelledImages& test);

// Makes a data set known, from its .cc file: const bool registered = RegisterDataset(&CreateDigits); CreateDigits
// returns the functions that take Digits.
template <typename Parameters>
struct TypedDatasetFactory {
  absl::StatusOr<DatasetInfo> (*describe)(const Parameters&);
  absl::StatusOr<Dataset> (*open)(const Parameters&);
};

template <typename Parameters>
bool RegisterDataset(TypedDatasetFactory<Parameters> (*create)()) {
  const TypedDatasetFactory<Parameters> typed = create();
  Datasets().Register(
      Parameters::descriptor(),
      {[typed](const google::protobuf::Message& p) { return typed.describe(static_cast<const Parameters&>(p)); },
       [typed](const google::protobuf::Message& p) { return typed.open(static_cast<const Parameters&>(p)); }});
  return true;
}

}  // namespace prunelab
