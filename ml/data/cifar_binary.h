// The binary versions of CIFAR-10 and CIFAR-100: what cifar10.h and cifar100.h share. 50,000 training and 10,000 test
// images of 32x32 pixels; a record is one or two label bytes and 3 x 32 x 32 pixels, all of red first, row by row.
//
// Errors are of the field "path", or of the field that is out of range. Their codes: NotFound where the folder or one
// of its files is missing, DataLoss where a file is damaged or holds something else, InvalidArgument where the path
// cannot be right.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/data/dataset.h"

namespace prunelab {

// A label byte of each record. Every class has equally many images.
struct CifarLabel {
  std::string name;  // for errors: "label", "coarse label", ...
  int64_t classes = 0;
};

struct CifarFormat {
  std::string name;                      // "CIFAR-10"
  std::string stream;                    // prefix of the subsets' random streams
  std::string fetch;                     // the command that gets it
  std::string archive;                   // the file to be had from the data set's home page
  std::string folder;                    // that the archive unpacks to
  std::vector<std::string> train_files;  // share the training images equally
  std::string test_file;
  std::vector<CifarLabel> labels;  // in the order of their bytes; of two the first is the coarser
  int64_t label = 0;               // index of the one that is used
  int64_t train_images = 50000, test_images = 10000;
};

// The fields that both messages have; see cifar10.proto.
struct CifarOptions {
  std::string path;
  int64_t train_images = 0, test_images = 0;
  uint64_t subset_seed = 1;
  int64_t image_size = 32;
  std::vector<double> mean, stddev;
};

template <typename Parameters>
CifarOptions CifarOptionsOf(const Parameters& parameters) {
  return {parameters.path(),
          parameters.train_images(),
          parameters.test_images(),
          parameters.subset_seed(),
          parameters.image_size(),
          {parameters.mean().begin(), parameters.mean().end()},
          {parameters.stddev().begin(), parameters.stddev().end()}};
}

// Needs no files.
absl::StatusOr<DatasetInfo> DescribeCifar(const CifarFormat& format, const CifarOptions& options);

// Reads all files and checks sizes, every label, and the number of images of each class.
absl::StatusOr<Dataset> OpenCifar(const CifarFormat& format, const CifarOptions& options);

}  // namespace prunelab
