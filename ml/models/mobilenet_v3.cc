#include "ml/models/mobilenet_v3.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/models/blocks.h"
#include "ml/models/image_sizes.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

// A row of the paper's tables.
struct Row {
  int64_t kernel, expanded, channels;
  bool gated;
  Activation activation;
  int64_t stride;
};
constexpr Activation kRe = Activation::kRelu, kHs = Activation::kHardSwish;

const std::vector<Row>& Rows(MobileNetV3::Variant variant) {
  static const auto* large =
      new std::vector<Row>{{3, 16, 16, false, kRe, 1},  {3, 64, 24, false, kRe, 2},  {3, 72, 24, false, kRe, 1},
                           {5, 72, 40, true, kRe, 2},   {5, 120, 40, true, kRe, 1},  {5, 120, 40, true, kRe, 1},
                           {3, 240, 80, false, kHs, 2}, {3, 200, 80, false, kHs, 1}, {3, 184, 80, false, kHs, 1},
                           {3, 184, 80, false, kHs, 1}, {3, 480, 112, true, kHs, 1}, {3, 672, 112, true, kHs, 1},
                           {5, 672, 160, true, kHs, 2}, {5, 960, 160, true, kHs, 1}, {5, 960, 160, true, kHs, 1}};
  static const auto* small = new std::vector<Row>{
      {3, 16, 16, true, kRe, 2},  {3, 72, 24, false, kRe, 2}, {3, 88, 24, false, kRe, 1}, {5, 96, 40, true, kHs, 2},
      {5, 240, 40, true, kHs, 1}, {5, 240, 40, true, kHs, 1}, {5, 120, 48, true, kHs, 1}, {5, 144, 48, true, kHs, 1},
      {5, 288, 96, true, kHs, 2}, {5, 576, 96, true, kHs, 1}, {5, 576, 96, true, kHs, 1}};
  return variant == MobileNetV3::LARGE ? *large : *small;
}

constexpr int64_t kFirst = 16, kLastLarge = 1280, kLastSmall = 1024;
constexpr double kEpsilon = 1e-3;

// `row` with the channels that the multiplier gives it.
std::string Block(NetworkWriter& net, const std::string& name, const std::string& input, int64_t in_channels,
                  const Row& row, const NormSettings& norm) {
  int part = 0;
  const auto next = [&] { return absl::StrCat(name, ".block.", part++); };
  std::string x = input;
  if (row.expanded != in_channels) x = ConvNorm(net, next(), x, {row.expanded, 1, 1, 0}, norm, row.activation);
  x = ConvNorm(net, next(), x, {row.expanded, row.kernel, row.stride, row.kernel / 2, /*bias=*/false, row.expanded},
               norm, row.activation);
  if (row.gated) {
    const int64_t squeezed = MadeDivisible(static_cast<double>(row.expanded / 4));
    x = SqueezeExcitation(net, next(), x, row.expanded, squeezed, Activation::kRelu, Elementwise::HARD_SIGMOID);
  }
  x = ConvNorm(net, next(), x, {row.channels, 1, 1, 0}, norm, Activation::kNone);
  return row.stride == 1 && in_channels == row.channels ? net.Add(absl::StrCat(name, ".add"), {x, input}) : x;
}

}  // namespace

absl::StatusOr<Network> CreateMobileNetV3(const MobileNetV3& parameters, const ImageDefaults& defaults) {
  const bool small = parameters.stem() == MobileNetV3::CIFAR;
  const FamilyDefaults family = small ? FamilyDefaults{10, 3, 32} : FamilyDefaults{1000, 3, 224};
  PRUNELAB_ASSIGN_OR_RETURN(const ImageSizes image, ChooseImageSizes(parameters, defaults, family));
  PRUNELAB_RETURN_IF_ERROR(CheckMultiplier("width_multiplier", parameters.width_multiplier()));
  PRUNELAB_RETURN_IF_ERROR(CheckProbability("dropout", parameters.dropout()));
  PRUNELAB_RETURN_IF_ERROR(CheckMomentum("norm_momentum", parameters.norm_momentum()));
  const auto scaled = [&](int64_t channels) {
    return MadeDivisible(static_cast<double>(channels) * parameters.width_multiplier());
  };

  const NormSettings norm = {kEpsilon, parameters.norm_momentum()};
  NetworkWriter net;
  std::string x = net.Image(image.channels, image.height, image.width);
  int64_t channels = scaled(kFirst);
  x = ConvNorm(net, "features.0", x, {channels, 3, small ? 1 : 2, 1}, norm, Activation::kHardSwish);
  int index = 1;
  bool strided = !small;  // whether strides count already
  for (Row row : Rows(parameters.variant())) {
    row.expanded = scaled(row.expanded);
    row.channels = scaled(row.channels);
    if (row.stride == 2 && !strided) {
      row.stride = 1;
      strided = true;
    }
    x = Block(net, absl::StrCat("features.", index++), x, channels, row, norm);
    channels = row.channels;
  }
  x = ConvNorm(net, absl::StrCat("features.", index), x, {6 * channels, 1, 1, 0}, norm, Activation::kHardSwish);
  x = net.Flatten("flatten", net.GlobalAveragePool("avgpool", x));
  const int64_t last = scaled(parameters.variant() == MobileNetV3::LARGE ? kLastLarge : kLastSmall);
  x = NormalLinear(net, "classifier.0", x, last, 0.01);
  x = Activate(net, "classifier.1", x, Activation::kHardSwish);
  x = DropOut(net, "classifier.2", x, parameters.dropout(), Dropout::ELEMENT);
  NormalLinear(net, "classifier.3", x, image.classes, 0.01);
  return net.Take();
}

namespace {
const bool registered = RegisterNetworkFamily(&CreateMobileNetV3);
}  // namespace

}  // namespace prunelab
