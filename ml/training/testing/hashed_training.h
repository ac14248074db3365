// What trainings in tests and the scripts of tools/reference both compute from integer hashes (training_parity.py): a
// ResNet's initial weights, images and labels. And how large tensors are compared with a file of few numbers.
//
//   const Dataset data = HashedData();
//   InitializeByHash(trainer->model());
//   EXPECT_LT(RelativeDifference(ParametersOf(trainer->model()), expected.at("weights")), 1e-9);
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "google/protobuf/any.pb.h"
#include "ml/data/dataset.h"
#include "ml/execution/model.h"
#include "ml/network/network.h"

namespace prunelab {

// The data's, and the batches' that the scripts make of them: eight an epoch, the last of four images.
inline constexpr int64_t kHashedImages = 46, kHashedBatch = 6;
inline constexpr uint64_t kHashedSeed = 7;

// A plugin by its text after the type's prefix, e.g. "DynamicL1] { rate: 0.6 }".
google::protobuf::Any PluginOf(const std::string& text);

// n integers that `salt` chooses.
std::vector<uint32_t> Hashes(int64_t n, uint32_t salt);
// n numbers in [-1, 1), float64, of these integers.
at::Tensor HashedNumbers(int64_t n, uint32_t salt);

// Convolutions uniform with He's variance, BN about 1 and 0, the linear layer within 1 / sqrt(fan-in). Of networks in
// which every convolution's weight comes before its BN's weight and bias, as HashedResNet.
void InitializeByHash(Model& model);

// Images of 3 x 16 x 16 pixels in ten classes. The test data are the training data.
Dataset HashedData();

// A CIFAR ResNet for these images.
NetworkInfo HashedResNet(int depth);

std::vector<at::Tensor> ParametersOf(const Model& model);
// Running means and variances.
std::vector<at::Tensor> RunningStatisticsOf(const Model& model);

// The largest difference of a number in a tensor's row, relative to the tensor's norm. `expected` has a row for each
// tensor: its sum, its norm, and 16 of its entries.
double RelativeDifference(const std::vector<at::Tensor>& tensors, const at::Tensor& expected);

// For each convolution the number of unmasked entries, and a sum that depends on where they are.
at::Tensor MaskSummary(const Model& model);

}  // namespace prunelab
