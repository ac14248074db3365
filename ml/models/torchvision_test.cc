// The networks that others publish, with the names, shapes and numbers of PyTorch.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/text_format.h"
#include "ml/base/digest.h"
#include "ml/execution/model.h"
#include "ml/execution/plan.h"
#include "ml/models/model_builder.h"
#include "ml/models/torchvision_values.h"

namespace prunelab {
namespace {

NetworkInfo Build(const PublicNetwork& wanted, int64_t image_size) {
  google::protobuf::Any parameters;
  const std::string text = absl::StrCat("[type.googleapis.com/", wanted.type, "] { ", wanted.parameters, " }");
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &parameters)) << text;
  ImageDefaults defaults;
  if (image_size > 0) defaults.height = defaults.width = image_size;
  absl::StatusOr<Network> network = BuildNetwork(parameters, defaults);
  EXPECT_TRUE(network.ok()) << network.status();
  absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(*std::move(network));
  EXPECT_TRUE(info.ok()) << info.status();
  return *std::move(info);
}

std::vector<std::string> StateLines(const NetworkInfo& info) {
  std::vector<std::string> lines;
  for (const ParameterSpec& spec : info.parameters()) {
    lines.push_back(absl::StrCat(spec.name, " [", absl::StrJoin(spec.shape, ", "), "]"));
  }
  return lines;
}

// The formula of tools/reference/torchvision_values.py.
class Uniform {
 public:
  explicit Uniform(const std::string& name) {
    for (const unsigned char byte : name) hash_ = (hash_ ^ byte) * 0x100000001B3;
  }
  double operator()(uint64_t index) const {
    uint64_t x = hash_ + index * 0x9E3779B97F4A7C15;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
    return static_cast<double>((x ^ (x >> 31)) >> 11) * 0x1p-53;
  }

 private:
  uint64_t hash_ = 0xCBF29CE484222325;
};

void FillByFormula(const NamedTensor& wanted) {
  if (absl::EndsWith(wanted.name, ".num_batches_tracked")) return;
  const Uniform uniform(wanted.name);
  at::Tensor values = at::empty(wanted.tensor.sizes(), at::kDouble);
  double* out = values.mutable_data_ptr<double>();
  const bool scale = absl::EndsWith(wanted.name, ".running_var") || absl::EndsWith(wanted.name, ".weight");
  const double bound = values.dim() > 1 ? std::sqrt(6 / static_cast<double>(values.numel() / values.size(0))) : 0.2;
  for (int64_t i = 0; i < values.numel(); ++i) {
    out[i] = values.dim() == 1 && scale ? uniform(i) + 0.5 : (2 * uniform(i) - 1) * bound;
  }
  wanted.tensor.detach().copy_(values);
}

at::Tensor Images(int64_t size) {
  at::Tensor images = at::empty({2, 3, size, size}, at::kDouble);
  const Uniform uniform("images");
  for (int64_t i = 0; i < images.numel(); ++i) images.mutable_data_ptr<double>()[i] = 2 * uniform(i) - 1;
  return images;
}

std::vector<double> Summary(const at::Tensor& logits) {
  std::vector<double> summary = {logits.sum().item<double>(), logits.norm().item<double>()};
  for (const int64_t i : {0, 3, 6, 9}) summary.push_back(logits[i].item<double>());
  return summary;
}

TEST(TorchvisionTest, NamesShapesAndCountsAreThoseOfTheStateDict) {
  for (const PublicNetwork& wanted : PublicNetworks()) {
    const NetworkInfo info = Build(wanted, 0);
    EXPECT_EQ(info.ParameterCount(), wanted.parameter_count) << wanted.name;
    EXPECT_EQ(Sha256(absl::StrJoin(StateLines(info), "\n") + "\n"), wanted.state_sha256) << wanted.name;
  }
}

// Entry by entry, so that a difference can be seen.
TEST(TorchvisionTest, TheListsOfResNet18AndResNet50) {
  for (const PublicNetwork& wanted : PublicNetworks()) {
    const bool is18 = std::string(wanted.name) == "resnet18", is50 = std::string(wanted.name) == "resnet50";
    if (is18 || is50) EXPECT_EQ(StateLines(Build(wanted, 0)), is18 ? ResNet18State() : ResNet50State());
  }
}

void ExpectLogits(at::ScalarType dtype, double tolerance) {
  int compared = 0;
  for (const PublicNetwork& wanted : PublicNetworks()) {
    if (wanted.image_size == 0) continue;
    Model model = Model::Create(Build(wanted, wanted.image_size), dtype, at::kCPU);
    for (const NamedTensor& parameter : model.parameters()) FillByFormula(parameter);
    for (const NamedTensor& buffer : model.buffers()) FillByFormula(buffer);
    ReferencePlan plan;
    const at::NoGradGuard no_gradients;
    const at::Tensor logits = plan.Forward(model, Images(wanted.image_size).to(dtype), {}).logits.to(at::kDouble);
    for (int64_t image = 0; image < 2; ++image) {
      const std::vector<double> summary = Summary(logits[image]);
      // All are measured by the largest logits, which the norm stands for.
      const double scale = wanted.logits[image][1] / std::sqrt(static_cast<double>(logits.size(1)));
      for (size_t i = 0; i < summary.size(); ++i) {
        const double size = i == 0   ? scale * static_cast<double>(logits.size(1))
                            : i == 1 ? wanted.logits[image][1]
                                     : scale;
        EXPECT_NEAR(summary[i], wanted.logits[image][i], tolerance * size) << wanted.name << " " << image << " " << i;
      }
    }
    ++compared;
  }
  EXPECT_EQ(compared, 5);
}

TEST(TorchvisionTest, LogitsInDouble) { ExpectLogits(at::kDouble, 1e-9); }

TEST(TorchvisionTest, LogitsInFloat) { ExpectLogits(at::kFloat, 1e-4); }

}  // namespace
}  // namespace prunelab
