// The binary versions of CIFAR-10 and CIFAR-100: the part that cifar10.h and cifar100.h share. There are 50,000
// training and 10,000 test images of 32x32 pixels. A record is one or two label bytes and 3 x 32 x 32 pixels, first all
// of red, row by row.
//
// Errors are about the field "path", or about the field that is out of range. Their codes: NotFound if the folder or
// one of its files is missing, DataLoss if a file is damaged or contains something else, InvalidArgument if the path
// cannot be right.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/data/dataset.h"

namespace prunelab {

// One label byte of each record. Every class has equally many images.
struct CifarLabel {
  std::string name;  // for errors: "label", "coarse label", ...
  int64_t classes = 0;
};

struct CifarFormat {
  std::string name;                      // "CIFAR-10"
  std::string stream;                    // prefix of the names of the subsets' random streams
  std::string fetch;                     // the command that downloads it
  std::string archive;                   // the file on the data set's home page
  std::string folder;                    // the folder that the archive contains
  std::vector<std::string> train_files;  // each has the same number of training images
  std::string test_file;
  std::vector<CifarLabel> labels;  // in the order of their bytes; the first of two is the coarser one
  int64_t label = 0;               // index of the label that is used
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
