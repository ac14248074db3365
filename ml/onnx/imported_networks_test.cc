// Tiny networks of every family of torchvision's classifiers, a detector and segmenters, as PyTorch's two exporters
// write them: outputs and gradients are PyTorch's, which tools/reference/imported_networks_values.py has stored.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "ml/execution/model.h"
#include "ml/execution/plan.h"
#include "ml/onnx/import.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {
namespace {

constexpr char kFolder[] = "ml/onnx/networks/";

class ImportedNetworksTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const absl::StatusOr<Safetensors> file = ReadSafetensors(absl::StrCat(kFolder, GetParam(), ".safetensors"));
    ASSERT_TRUE(file.ok()) << file.status();
    values_ = file->tensors;
  }

  // The network of an exporter in float64.
  static absl::StatusOr<Model> Import(const std::string& exporter) {
    absl::StatusOr<ImportedNetwork> imported = ImportOnnx(absl::StrCat(kFolder, GetParam(), ".", exporter, ".onnx"));
    if (!imported.ok()) return imported.status();
    Model model = Model::Create(imported->info, at::kDouble, at::kCPU);
    const at::NoGradGuard no_gradients;
    for (const std::vector<NamedTensor>* tensors : {&model.parameters(), &model.buffers()}) {
      for (const NamedTensor& tensor : *tensors) {
        const auto found = imported->tensors.find(tensor.name);
        if (found == imported->tensors.end()) return absl::InternalError("no tensor " + tensor.name);
        model.Get(tensor.name).detach().copy_(found->second);
      }
    }
    return model;
  }

  // As the script makes them of what it has stored.
  at::Tensor Images(const NetworkInfo& info) const {
    const at::Tensor& tile = values_.at("images");
    const int64_t height = info.input_shape().height, width = info.input_shape().width;
    const int64_t h = tile.size(2), w = tile.size(3);
    const at::Tensor images =
        tile.repeat({1, 1, (height + h - 1) / h, (width + w - 1) / w}).slice(2, 0, height).slice(3, 0, width);
    return (images + at::linspace(-1, 1, width)).to(at::kDouble);
  }

  static std::vector<at::Tensor> Outputs(Model& model, const at::Tensor& images, Mode mode) {
    ForwardOptions options;
    options.mode = mode;
    const auto& names = model.info().network().output();
    for (int k = 1; k < names.size(); ++k) options.capture.insert(names[k]);
    ReferencePlan plan;
    const ForwardResult result = plan.Forward(model, images, options);
    std::vector<at::Tensor> outputs = {result.logits};
    for (int k = 1; k < names.size(); ++k) outputs.push_back(result.captured.at(names[k]));
    return outputs;
  }

  void ExpectPyTorchsOutputs(const std::string& exporter, double limit) const {
    absl::StatusOr<Model> model = Import(exporter);
    ASSERT_TRUE(model.ok()) << model.status();
    const at::NoGradGuard no_gradients;
    const std::vector<at::Tensor> outputs = Outputs(*model, Images(model->info()), Mode::kEvaluate);
    ASSERT_EQ(values_.count(absl::StrCat("output.", outputs.size())), 0) << "outputs are missing";
    for (size_t k = 0; k < outputs.size(); ++k) {
      const at::Tensor& wanted = values_.at(absl::StrCat("output.", k));
      ASSERT_EQ(outputs[k].sizes(), wanted.sizes()) << exporter << ", output " << k;
      const double largest = wanted.abs().max().item<double>();
      EXPECT_GT((wanted[0] - wanted[1]).abs().max().item<double>(), 1e-3 * largest) << "the images have no effect";
      EXPECT_LE((outputs[k] - wanted).abs().max().item<double>(), limit * largest) << exporter << ", output " << k;
    }
  }

  std::map<std::string, at::Tensor> values_;
};

TEST_P(ImportedNetworksTest, OutputsArePyTorchs) { ExpectPyTorchsOutputs("preserve", 1e-10); }

// The exporter has folded BN and rounded the weights to float32.
TEST_P(ImportedNetworksTest, OutputsOfTheDynamoExporterArePyTorchs) { ExpectPyTorchsOutputs("dynamo", 1e-5); }

TEST_P(ImportedNetworksTest, GradientsArePyTorchs) {
  absl::StatusOr<Model> model = Import("preserve");
  ASSERT_TRUE(model.ok()) << model.status();
  at::Tensor loss = at::zeros({}, at::kDouble);
  for (const at::Tensor& y : Outputs(*model, Images(model->info()), Mode::kTrain)) {
    loss = loss + (y * y / 2 + y).mean();
  }
  loss.backward();
  std::set<std::string> missing;
  double largest = 0;
  for (const auto& [name, values] : values_) {
    if (!absl::StartsWith(name, "gradient.")) continue;
    missing.insert(name.substr(std::string("gradient.").size()));
    largest = std::max(largest, values[0].item<double>());
  }
  ASSERT_FALSE(missing.empty());
  for (const NamedTensor& parameter : model->parameters()) {
    // A module's own parameter, such as ConvNeXt's layer_scale, is here the weight of a node of that name.
    const bool is_own = missing.count(parameter.name) == 0;
    const std::string name(is_own ? absl::StripSuffix(parameter.name, ".weight") : parameter.name);
    ASSERT_EQ(missing.erase(name), 1) << "PyTorch's network has no parameter " << parameter.name;
    ASSERT_TRUE(parameter.tensor.grad().defined()) << parameter.name;
    const at::Tensor gradient = parameter.tensor.grad().contiguous().flatten();
    const at::Tensor i = at::arange(gradient.numel(), at::kDouble);
    const std::vector<at::Tensor> found = {gradient.norm(), gradient.dot((1.3 * i + 0.4).sin()),
                                           gradient.dot((0.7 * i + 0.1).cos())};
    const at::Tensor& wanted = values_.at("gradient." + name);
    // Small ones, such as that of a bias in front of BN, which has no effect, are differences of larger numbers, so
    // what is rounded in those is left.
    const double tolerance = std::max(1e-9 * wanted[0].item<double>(), 1e-12 * largest);
    for (int64_t k = 0; k < 3; ++k) {
      EXPECT_NEAR(found[k].item<double>(), wanted[k].item<double>(), tolerance) << parameter.name << " " << k;
    }
  }
  EXPECT_TRUE(missing.empty()) << "PyTorch's network also has " << *missing.begin();
}

INSTANTIATE_TEST_SUITE_P(Networks, ImportedNetworksTest,
                         testing::Values("alexnet", "convnext", "densenet", "efficientnet", "efficientnet_v2",
                                         "googlenet", "inception_v3", "mnasnet", "mobilenet_v2", "mobilenet_v3",
                                         "regnet_x", "regnet_y", "resnet_basic", "resnext", "shufflenet_v2",
                                         "squeezenet", "unet_bilinear", "unet_transposed", "vgg", "yolov8_like"),
                         [](const testing::TestParamInfo<const char*>& info) { return std::string(info.param); });

// As people call the older exporter: it folds BN, and names the weights by numbers.
class FoldedNetworksTest : public ImportedNetworksTest {};
TEST_P(FoldedNetworksTest, OutputsArePyTorchs) { ExpectPyTorchsOutputs("script", 1e-5); }
INSTANTIATE_TEST_SUITE_P(Networks, FoldedNetworksTest, testing::Values("densenet", "resnet_basic", "shufflenet_v2"),
                         [](const testing::TestParamInfo<const char*>& info) { return std::string(info.param); });

}  // namespace
}  // namespace prunelab
