#include "ml/training/testing/hashed_training.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/models/model_builder.h"
#include "ml/models/testing/built_network.h"

namespace prunelab {
namespace {

constexpr int64_t kSize = 16, kEntries = 16;

// A tensor's sum, norm and entries.
at::Tensor Row(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.detach().to(at::kDouble).contiguous().flatten();
  const at::Tensor row = at::empty({kEntries + 2}, at::kDouble);
  double* numbers = row.mutable_data_ptr<double>();
  numbers[0] = flat.sum().item<double>();
  numbers[1] = flat.norm().item<double>();
  for (uint64_t k = 0; k < kEntries; ++k) {
    numbers[k + 2] = flat[static_cast<int64_t>((k * 2654435761u + 12345u) % flat.numel())].item<double>();
  }
  return row;
}

}  // namespace

google::protobuf::Any PluginOf(const std::string& text) {
  google::protobuf::Any any;
  EXPECT_TRUE(
      google::protobuf::TextFormat::ParseFromString(absl::StrCat("[type.googleapis.com/prunelab.", text), &any));
  return any;
}

std::vector<uint32_t> Hashes(int64_t n, uint32_t salt) {
  std::vector<uint32_t> hashes(n);
  for (int64_t i = 0; i < n; ++i) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761u + salt * 40503u + 12345u;
    x = (x ^ (x >> 16)) * 0x45D9F3Bu;
    x = (x ^ (x >> 15)) * 0x45D9F3Bu;
    hashes[i] = x ^ (x >> 16);
  }
  return hashes;
}

at::Tensor HashedNumbers(int64_t n, uint32_t salt) {
  const std::vector<uint32_t> hashes = Hashes(n, salt);
  const at::Tensor numbers = at::empty({n}, at::kDouble);
  for (int64_t i = 0; i < n; ++i) numbers.mutable_data_ptr<double>()[i] = hashes[i] / 2147483648.0 - 1.0;
  return numbers;
}

void InitializeByHash(Model& model) {
  const at::NoGradGuard no_gradients;
  for (size_t index = 0; index < model.parameters().size(); ++index) {
    const at::Tensor& parameter = model.parameters()[index].tensor;
    at::Tensor u = HashedNumbers(parameter.numel(), static_cast<uint32_t>(index + 1));
    if (parameter.dim() == 4) {
      u = u * std::sqrt(6.0 / static_cast<double>(parameter.size(0) * parameter.size(2) * parameter.size(3)));
    } else if (parameter.dim() == 2) {
      u = u / std::sqrt(static_cast<double>(parameter.size(1)));
    } else {
      u = index % 3 == 1 ? 1.0 + 0.25 * u : 0.1 * u;
    }
    parameter.copy_(u.view(parameter.sizes()));
  }
}

Dataset HashedData() {
  Dataset data;
  data.info = {10, 3, kSize, kSize, kHashedImages, kHashedImages};
  const std::vector<uint32_t> pixels = Hashes(kHashedImages * 3 * kSize * kSize, 1001),
                              labels = Hashes(kHashedImages, 1002);
  data.train.images = at::empty({kHashedImages, 3, kSize, kSize}, at::kByte);
  for (size_t i = 0; i < pixels.size(); ++i) {
    data.train.images.mutable_data_ptr<uint8_t>()[i] = static_cast<uint8_t>(pixels[i] % 256);
  }
  data.train.labels = at::empty({kHashedImages}, at::kLong);
  for (int64_t i = 0; i < kHashedImages; ++i) data.train.labels.mutable_data_ptr<int64_t>()[i] = labels[i] % 10;
  data.test = data.train;
  data.normalization.mean = {0.5, 0.5, 0.5};
  data.normalization.stddev = {0.5, 0.5, 0.5};
  return data;
}

NetworkInfo HashedResNet(int depth) {
  ImageDefaults defaults;
  defaults.height = defaults.width = kSize;
  return BuiltNetwork(BuildNetwork(PluginOf(absl::StrCat("ResNetCifar] { depth: ", depth, " }")), defaults));
}

std::vector<at::Tensor> ParametersOf(const Model& model) {
  std::vector<at::Tensor> tensors;
  for (const NamedTensor& parameter : model.parameters()) tensors.push_back(parameter.tensor);
  return tensors;
}

std::vector<at::Tensor> RunningStatisticsOf(const Model& model) {
  std::vector<at::Tensor> tensors;
  for (const NamedTensor& buffer : model.buffers()) {
    if (!absl::EndsWith(buffer.name, "num_batches_tracked")) tensors.push_back(buffer.tensor);
  }
  return tensors;
}

double RelativeDifference(const std::vector<at::Tensor>& tensors, const at::Tensor& expected) {
  EXPECT_EQ(static_cast<int64_t>(tensors.size()), expected.size(0));
  double largest = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const at::Tensor row = Row(tensors[i]);
    const double difference = (row - expected[i]).abs().max().item<double>();
    // A sum of n entries has the errors of all of them.
    const double scale =
        std::max(expected[i][1].item<double>(), 1e-12) * std::sqrt(static_cast<double>(tensors[i].numel()));
    largest = std::max(largest, difference / scale);
  }
  return largest;
}

at::Tensor MaskSummary(const Model& model) {
  const at::Tensor summary = at::empty({static_cast<int64_t>(model.info().convs().size()), 2}, at::kLong);
  int64_t row = 0;
  for (const ConvInfo& conv : model.info().convs()) {
    const auto mask = model.masks().find(conv.node);
    const at::Tensor& weight = model.Get(absl::StrCat(conv.node, ".weight"));
    const at::Tensor flat =
        mask == model.masks().end() ? at::ones({weight.size(0)}, at::kDouble) : mask->second.contiguous().flatten();
    const at::Tensor on = at::nonzero(flat).flatten() + 1;
    summary[row][0] = on.numel();
    summary[row][1] = (on * on % 1000003).sum();
    ++row;
  }
  return summary;
}

}  // namespace prunelab
