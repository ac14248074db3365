// Compares networks that others publish by PyTorch's names, shapes and numbers.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/text_format.h"
#include "ml/base/digest.h"
#include "ml/execution/model.h"
#include "ml/execution/plan.h"
#include "ml/models/model_builder.h"
#include "ml/models/testing/built_network.h"
#include "ml/models/testing/torchvision_formula.h"
#include "ml/models/testing/torchvision_values.h"

namespace prunelab {
namespace {

NetworkInfo Build(const PublicNetwork& wanted, int64_t image_size) {
  google::protobuf::Any parameters;
  const std::string text = absl::StrCat("[type.googleapis.com/", wanted.type, "] { ", wanted.parameters, " }");
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &parameters)) << text;
  ImageDefaults defaults;
  if (image_size > 0) defaults.height = defaults.width = image_size;
  const absl::StatusOr<Network> network = BuildNetwork(parameters, defaults);
  return BuiltNetwork(network);
}

std::vector<std::string> StateLines(const NetworkInfo& info) {
  std::vector<std::string> lines;
  for (const ParameterSpec& spec : info.parameters()) {
    lines.push_back(absl::StrCat(spec.name, " [", absl::StrJoin(spec.shape, ", "), "]"));
  }
  return lines;
}

TEST(TorchvisionTest, NamesShapesAndCountsAreThoseOfTheStateDict) {
  for (const PublicNetwork& wanted : PublicNetworks()) {
    const NetworkInfo info = Build(wanted, 0);
    EXPECT_EQ(info.ParameterCount(), wanted.parameter_count) << wanted.name;
    EXPECT_EQ(Sha256(absl::StrJoin(StateLines(info), "\n") + "\n"), wanted.state_sha256) << wanted.name;
  }
}

// Entry by entry, so that a failure shows the difference.
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
    const auto fill = [](const NamedTensor& tensor) {
      tensor.tensor.detach().copy_(FormulaTensor(tensor.name, tensor.tensor.sizes().vec()));
    };
    for (const NamedTensor& parameter : model.parameters()) fill(parameter);
    for (const NamedTensor& buffer : model.buffers()) fill(buffer);
    ReferencePlan plan;
    const at::NoGradGuard no_gradients;
    const at::Tensor logits = plan.Forward(model, FormulaImages(wanted.image_size).to(dtype), {}).logits;
    for (int64_t image = 0; image < 2; ++image) {
      const LogitsSummary found = Summarize(logits[image]);
      for (size_t i = 0; i < found.values.size(); ++i) {
        EXPECT_NEAR(found.values[i], wanted.logits[image][i], tolerance * found.scales[i])
            << wanted.name << " " << image << " " << i;
      }
    }
    ++compared;
  }
  EXPECT_GE(compared, 24);
}

TEST(TorchvisionTest, LogitsInDouble) { ExpectLogits(at::kDouble, 1e-9); }

TEST(TorchvisionTest, LogitsInFloat) { ExpectLogits(at::kFloat, 1e-4); }

}  // namespace
}  // namespace prunelab
