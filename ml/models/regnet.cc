#include "ml/models/regnet.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/models/blocks.h"
#include "ml/models/image_sizes.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

constexpr int kDeepest = 1000;
constexpr int64_t kMultiple = 8;

// The paper's parameters of a network.
struct Design {
  int depth;
  int64_t initial_width;
  double slope, width_step;
  int64_t group_width;
  double se_ratio;
};

Design DesignOf(RegNet::Variant variant) {
  switch (variant) {
    case RegNet::X_400MF:
      return {22, 24, 24.48, 2.54, 16, 0};
    case RegNet::X_800MF:
      return {16, 56, 35.73, 2.28, 16, 0};
    case RegNet::X_1600MF:
      return {18, 80, 34.01, 2.25, 24, 0};
    case RegNet::X_3200MF:
      return {25, 88, 26.31, 2.25, 48, 0};
    case RegNet::X_8GF:
      return {23, 80, 49.56, 2.88, 120, 0};
    case RegNet::X_16GF:
      return {22, 216, 55.59, 2.1, 128, 0};
    case RegNet::X_32GF:
      return {23, 320, 69.86, 2.0, 168, 0};
    case RegNet::Y_400MF:
      return {16, 48, 27.89, 2.09, 8, 0.25};
    case RegNet::Y_800MF:
      return {14, 56, 38.84, 2.4, 16, 0.25};
    case RegNet::Y_1600MF:
      return {27, 48, 20.71, 2.65, 24, 0.25};
    case RegNet::Y_3200MF:
      return {21, 80, 42.63, 2.66, 24, 0.25};
    case RegNet::Y_8GF:
      return {17, 192, 76.82, 2.19, 56, 0.25};
    case RegNet::Y_16GF:
      return {18, 200, 106.23, 2.48, 112, 0.25};
    case RegNet::Y_32GF:
      return {20, 232, 115.89, 2.53, 232, 0.25};
    case RegNet::Y_128GF:
      return {27, 456, 160.83, 2.52, 264, 0.25};
  }
  return {};
}

absl::StatusOr<Design> ChooseDesign(const RegNet& parameters) {
  Design design = DesignOf(parameters.variant());
  if (parameters.has_depth()) design.depth = parameters.depth();
  if (parameters.has_initial_width()) design.initial_width = parameters.initial_width();
  if (parameters.has_slope()) design.slope = parameters.slope();
  if (parameters.has_width_step()) design.width_step = parameters.width_step();
  if (parameters.has_group_width()) design.group_width = parameters.group_width();
  if (parameters.has_se_ratio()) design.se_ratio = parameters.se_ratio();
  if (design.depth < 1 || design.depth > kDeepest) {
    return FieldError("depth", absl::StrCat("is ", design.depth, "; must be from 1 to ", kDeepest));
  }
  PRUNELAB_RETURN_IF_ERROR(CheckNetworkSize("initial_width", design.initial_width));
  if (design.initial_width % kMultiple != 0) {
    return FieldError("initial_width",
                      absl::StrCat("is ", design.initial_width, "; must be a multiple of ", kMultiple));
  }
  if (!(design.slope >= 0 && design.slope <= 1000)) {
    return FieldError("slope", absl::StrCat("is ", design.slope, "; must be from 0 to 1000, e.g. 24.48"));
  }
  if (!(design.width_step >= 1.01 && design.width_step <= 100)) {
    return FieldError("width_step", absl::StrCat("is ", design.width_step, "; must be from 1.01 to 100, e.g. 2.5"));
  }
  PRUNELAB_RETURN_IF_ERROR(CheckNetworkSize("group_width", design.group_width));
  if (!(design.se_ratio >= 0 && design.se_ratio <= 1)) {
    return FieldError("se_ratio", absl::StrCat("is ", design.se_ratio, "; must be from 0 to 1, e.g. 0.25"));
  }
  PRUNELAB_RETURN_IF_ERROR(CheckNetworkSize("stem_width", parameters.stem_width()));
  return design;
}

// Blocks of one width.
struct Stage {
  int64_t channels = 0;
  int64_t group_width = 0;
  int blocks = 0;
};

// The paper's section 3.3, in single precision as torchvision computes it, so that what is rounded is the same.
std::vector<Stage> StagesOf(const Design& design) {
  std::vector<Stage> stages;
  const auto first = static_cast<float>(design.initial_width);
  for (int block = 0; block < design.depth; ++block) {
    const float line = static_cast<float>(block) * static_cast<float>(design.slope) + first;
    const float power = std::nearbyint(std::log(line / first) / static_cast<float>(std::log(design.width_step)));
    const float exact = first * std::pow(static_cast<float>(design.width_step), power);
    const int64_t channels = kMultiple * static_cast<int64_t>(std::nearbyint(exact / kMultiple));
    if (stages.empty() || stages.back().channels != channels) stages.push_back({channels, 0, 0});
    ++stages.back().blocks;
  }
  // Whole groups. Stages that thereby become equally wide stay apart.
  for (Stage& stage : stages) {
    stage.group_width = std::min(design.group_width, stage.channels);
    stage.channels = MadeDivisible(static_cast<double>(stage.channels), stage.group_width);
  }
  return stages;
}

std::string Block(NetworkWriter& net, const std::string& name, const std::string& input, int64_t in_channels,
                  const Stage& stage, int64_t stride, double se_ratio) {
  const auto part = [&](const char* suffix) { return absl::StrCat(name, ".", suffix); };
  const int64_t channels = stage.channels;
  std::string shortcut = input;
  if (stride != 1 || in_channels != channels) {
    shortcut = ConvNorm(net, part("proj"), input, {channels, 1, stride, 0}, {}, Activation::kNone);
  }
  std::string x = ConvNorm(net, part("f.a"), input, {channels, 1, 1, 0}, {}, Activation::kRelu);
  x = ConvNorm(net, part("f.b"), x, {channels, 3, stride, 1, /*bias=*/false, channels / stage.group_width}, {},
               Activation::kRelu);
  if (se_ratio > 0) {
    const double squeezed = std::nearbyint(se_ratio * static_cast<double>(in_channels));
    x = SqueezeExcitation(net, part("f.se"), x, channels, std::max<int64_t>(1, static_cast<int64_t>(squeezed)),
                          Activation::kRelu, Elementwise::SIGMOID);
  }
  x = ConvNorm(net, part("f.c"), x, {channels, 1, 1, 0}, {}, Activation::kNone);
  return net.Relu(part("activation"), net.Add(part("add"), {shortcut, x}));
}

}  // namespace

absl::StatusOr<Network> CreateRegNet(const RegNet& parameters, const ImageDefaults& defaults) {
  PRUNELAB_ASSIGN_OR_RETURN(const Design design, ChooseDesign(parameters));
  const bool small = parameters.stem() == RegNet::CIFAR;
  const FamilyDefaults family = small ? FamilyDefaults{10, 3, 32} : FamilyDefaults{1000, 3, 224};
  PRUNELAB_ASSIGN_OR_RETURN(const ImageSizes image, ChooseImageSizes(parameters, defaults, family));
  const std::vector<Stage> stages = StagesOf(design);
  // Later blocks are wider: the slope may be too steep for the depth.
  if (!CheckNetworkSize("slope", stages.back().channels).ok()) {
    return FieldError("slope", absl::StrCat("is ", design.slope, ", which makes ", stages.back().channels,
                                            " channels after ", design.depth, " blocks; must lead to fewer"));
  }

  NetworkWriter net;
  std::string x = net.Image(image.channels, image.height, image.width);
  int64_t channels = parameters.stem_width();
  x = ConvNorm(net, "stem", x, {channels, 3, small ? 1 : 2, 1}, {}, Activation::kRelu);
  for (size_t i = 0; i < stages.size(); ++i) {
    const int64_t first_stride = small && i == 0 ? 1 : 2;
    for (int block = 0; block < stages[i].blocks; ++block) {
      const std::string name = absl::StrCat("trunk_output.block", i + 1, ".block", i + 1, "-", block);
      x = Block(net, name, x, channels, stages[i], block == 0 ? first_stride : 1, design.se_ratio);
      channels = stages[i].channels;
    }
  }
  x = net.Flatten("flatten", net.GlobalAveragePool("avgpool", x));
  NormalLinear(net, "fc", x, image.classes, 0.01);
  return net.Take();
}

namespace {
const bool registered = RegisterNetworkFamily(&CreateRegNet);
}  // namespace

}  // namespace prunelab
