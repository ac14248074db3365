#include "ml/models/efficientnet.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/models/blocks.h"
#include "ml/models/image_sizes.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

// A row of the papers' tables.
struct Stage {
  bool fused;  // a plain convolution in place of the depthwise one and the one before it, and no gate
  int64_t expansion, kernel, stride, channels;
  int blocks;
};

struct Design {
  std::vector<Stage> stages;
  double width = 1, depth = 1;  // multipliers
  double dropout = 0.2;
  int64_t first = 32;
  int64_t last = 0;  // 0: four times the channels before
  NormSettings norm;
};

Design BaseDesign(double width, double depth, double dropout, NormSettings norm = {}) {
  Design design;
  design.stages = {{false, 1, 3, 1, 16, 1},  {false, 6, 3, 2, 24, 2},  {false, 6, 5, 2, 40, 2}, {false, 6, 3, 2, 80, 3},
                   {false, 6, 5, 1, 112, 3}, {false, 6, 5, 2, 192, 4}, {false, 6, 3, 1, 320, 1}};
  design.width = width;
  design.depth = depth;
  design.dropout = dropout;
  design.norm = norm;
  return design;
}

Design V2Design(std::vector<Stage> stages, double dropout) {
  Design design;
  design.first = stages[0].channels;
  design.stages = std::move(stages);
  design.dropout = dropout;
  design.last = 1280;
  design.norm = {1e-3, 0.1};
  return design;
}

Design DesignOf(EfficientNet::Variant variant) {
  constexpr NormSettings kLargeNorm = {1e-3, 0.01};
  switch (variant) {
    case EfficientNet::B0:
      return BaseDesign(1, 1, 0.2);
    case EfficientNet::B1:
      return BaseDesign(1, 1.1, 0.2);
    case EfficientNet::B2:
      return BaseDesign(1.1, 1.2, 0.3);
    case EfficientNet::B3:
      return BaseDesign(1.2, 1.4, 0.3);
    case EfficientNet::B4:
      return BaseDesign(1.4, 1.8, 0.4);
    case EfficientNet::B5:
      return BaseDesign(1.6, 2.2, 0.4, kLargeNorm);
    case EfficientNet::B6:
      return BaseDesign(1.8, 2.6, 0.5, kLargeNorm);
    case EfficientNet::B7:
      return BaseDesign(2, 3.1, 0.5, kLargeNorm);
    case EfficientNet::V2_S:
      return V2Design({{true, 1, 3, 1, 24, 2},
                       {true, 4, 3, 2, 48, 4},
                       {true, 4, 3, 2, 64, 4},
                       {false, 4, 3, 2, 128, 6},
                       {false, 6, 3, 1, 160, 9},
                       {false, 6, 3, 2, 256, 15}},
                      0.2);
    case EfficientNet::V2_M:
      return V2Design({{true, 1, 3, 1, 24, 3},
                       {true, 4, 3, 2, 48, 5},
                       {true, 4, 3, 2, 80, 5},
                       {false, 4, 3, 2, 160, 7},
                       {false, 6, 3, 1, 176, 14},
                       {false, 6, 3, 2, 304, 18},
                       {false, 6, 3, 1, 512, 5}},
                      0.3);
    case EfficientNet::V2_L:
      return V2Design({{true, 1, 3, 1, 32, 4},
                       {true, 4, 3, 2, 64, 7},
                       {true, 4, 3, 2, 96, 7},
                       {false, 4, 3, 2, 192, 10},
                       {false, 6, 3, 1, 224, 19},
                       {false, 6, 3, 2, 384, 25},
                       {false, 6, 3, 1, 640, 7}},
                      0.4);
  }
  return {};
}

// `stage` with the channels that the multiplier gives it; `dropped`: the probability by which the block is left out.
std::string Block(NetworkWriter& net, const std::string& name, const std::string& input, int64_t in_channels,
                  const Stage& stage, int64_t stride, const NormSettings& norm, double dropped) {
  int part = 0;
  const auto next = [&] { return absl::StrCat(name, ".block.", part++); };
  const int64_t expanded = MadeDivisible(static_cast<double>(in_channels * stage.expansion));
  const int64_t padding = stage.kernel / 2;
  std::string x = input;
  if (stage.fused) {
    const bool single = expanded == in_channels;
    x = ConvNorm(net, next(), x, {single ? stage.channels : expanded, stage.kernel, stride, padding}, norm,
                 Activation::kSilu);
    if (!single) x = ConvNorm(net, next(), x, {stage.channels, 1, 1, 0}, norm, Activation::kNone);
  } else {
    if (expanded != in_channels) x = ConvNorm(net, next(), x, {expanded, 1, 1, 0}, norm, Activation::kSilu);
    x = ConvNorm(net, next(), x, {expanded, stage.kernel, stride, padding, /*bias=*/false, /*groups=*/expanded}, norm,
                 Activation::kSilu);
    x = SqueezeExcitation(net, next(), x, expanded, std::max<int64_t>(1, in_channels / 4), Activation::kSilu,
                          Elementwise::SIGMOID);
    x = ConvNorm(net, next(), x, {stage.channels, 1, 1, 0}, norm, Activation::kNone);
  }
  if (stride != 1 || in_channels != stage.channels) return x;
  x = DropOut(net, absl::StrCat(name, ".stochastic_depth"), x, dropped, Dropout::IMAGE);
  return net.Add(absl::StrCat(name, ".add"), {x, input});
}

}  // namespace

absl::StatusOr<Network> CreateEfficientNet(const EfficientNet& parameters, const ImageDefaults& defaults) {
  const bool small = parameters.stem() == EfficientNet::CIFAR;
  const FamilyDefaults family = small ? FamilyDefaults{10, 3, 32} : FamilyDefaults{1000, 3, 224};
  PRUNELAB_ASSIGN_OR_RETURN(const ImageSizes image, ChooseImageSizes(parameters, defaults, family));
  Design design = DesignOf(parameters.variant());
  if (parameters.has_width_multiplier()) design.width = parameters.width_multiplier();
  if (parameters.has_depth_multiplier()) design.depth = parameters.depth_multiplier();
  if (parameters.has_dropout()) design.dropout = parameters.dropout();
  PRUNELAB_RETURN_IF_ERROR(CheckMultiplier("width_multiplier", design.width));
  PRUNELAB_RETURN_IF_ERROR(CheckMultiplier("depth_multiplier", design.depth));
  PRUNELAB_RETURN_IF_ERROR(CheckProbability("dropout", design.dropout));
  PRUNELAB_RETURN_IF_ERROR(CheckProbability("stochastic_depth", parameters.stochastic_depth()));
  const auto scaled = [&](int64_t channels) { return MadeDivisible(static_cast<double>(channels) * design.width); };
  int all_blocks = 0;
  for (Stage& stage : design.stages) {
    stage.channels = scaled(stage.channels);
    stage.blocks = static_cast<int>(std::ceil(stage.blocks * design.depth));
    all_blocks += stage.blocks;
  }

  NetworkWriter net;
  std::string x = net.Image(image.channels, image.height, image.width);
  int64_t channels = scaled(design.first);
  x = ConvNorm(net, "features.0", x, {channels, 3, small ? 1 : 2, 1}, design.norm, Activation::kSilu);
  int index = 1, built = 0;
  bool strided = !small;  // whether strides count already
  for (const Stage& stage : design.stages) {
    const int64_t first_stride = strided ? stage.stride : 1;
    strided = strided || stage.stride == 2;
    for (int block = 0; block < stage.blocks; ++block) {
      const double dropped = parameters.stochastic_depth() * built++ / all_blocks;
      x = Block(net, absl::StrCat("features.", index, ".", block), x, channels, stage, block == 0 ? first_stride : 1,
                design.norm, dropped);
      channels = stage.channels;
    }
    ++index;
  }
  const int64_t last = design.last > 0 ? design.last : 4 * channels;
  x = ConvNorm(net, absl::StrCat("features.", index), x, {last, 1, 1, 0}, design.norm, Activation::kSilu);
  x = net.Flatten("flatten", net.GlobalAveragePool("avgpool", x));
  x = DropOut(net, "classifier.0", x, design.dropout, Dropout::ELEMENT);
  // torchvision's are uniform within 1 / sqrt(classes): of the same variance.
  NormalLinear(net, "classifier.1", x, image.classes, 1 / std::sqrt(3 * static_cast<double>(image.classes)));
  return net.Take();
}

namespace {
const bool registered = RegisterNetworkFamily(&CreateEfficientNet);
}  // namespace

}  // namespace prunelab
