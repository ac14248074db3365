#include "ml/models/mobilenet_v2.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/models/blocks.h"
#include "ml/models/image_sizes.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

// The paper's table 2: expansion, channels, number of blocks, stride of the first.
struct Stage {
  int64_t expansion, channels;
  int blocks;
  int64_t stride;
};
constexpr Stage kStages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                             {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
constexpr int64_t kFirst = 32, kLast = 1280;

int64_t Scaled(int64_t channels, double multiplier) {
  return MadeDivisible(static_cast<double>(channels) * multiplier);
}

// Convolution, BN and ReLU6 with the names of an nn.Sequential: name.0, name.1 and name.2.
std::string ConvNormClip(NetworkWriter& net, const std::string& name, const std::string& input,
                         const NetworkWriter::ConvShape& shape) {
  const std::string x = net.BatchNorm(absl::StrCat(name, ".1"), net.Conv(absl::StrCat(name, ".0"), input, shape));
  return net.Elementwise(absl::StrCat(name, ".2"), x, Elementwise::CLIP);
}

std::string Block(NetworkWriter& net, const std::string& name, const std::string& input, int64_t in_channels,
                  int64_t channels, int64_t expansion, int64_t stride) {
  int part = 0;
  const auto next = [&] { return absl::StrCat(name, ".conv.", part++); };
  const int64_t inner = in_channels * expansion;
  std::string x = input;
  if (expansion != 1) x = ConvNormClip(net, next(), x, {inner, 1, 1, 0});
  x = ConvNormClip(net, next(), x, {inner, 3, stride, 1, /*bias=*/false, /*groups=*/inner});
  const std::string projected = net.Conv(next(), x, {channels, 1, 1, 0});
  x = net.BatchNorm(next(), projected);
  return stride == 1 && in_channels == channels ? net.Add(absl::StrCat(name, ".add"), {input, x}) : x;
}

}  // namespace

absl::StatusOr<Network> CreateMobileNetV2(const MobileNetV2& parameters, const ImageDefaults& defaults) {
  const bool small = parameters.stem() == MobileNetV2::CIFAR;
  const FamilyDefaults family = small ? FamilyDefaults{10, 3, 32} : FamilyDefaults{1000, 3, 224};
  PRUNELAB_ASSIGN_OR_RETURN(const ImageSizes image, ChooseImageSizes(parameters, defaults, family));
  const double multiplier = parameters.width_multiplier();
  PRUNELAB_RETURN_IF_ERROR(CheckMultiplier("width_multiplier", multiplier));
  PRUNELAB_RETURN_IF_ERROR(CheckProbability("dropout", parameters.dropout()));

  NetworkWriter net;
  std::string x = net.Image(image.channels, image.height, image.width);
  int64_t in_channels = Scaled(kFirst, multiplier);
  x = ConvNormClip(net, "features.0", x, {in_channels, 3, small ? 1 : 2, 1});
  int index = 1;
  for (const Stage& stage : kStages) {
    const int64_t channels = Scaled(stage.channels, multiplier);
    for (int block = 0; block < stage.blocks; ++block) {
      const bool strided = block == 0 && !(small && stage.channels == 24);
      x = Block(net, absl::StrCat("features.", index++), x, in_channels, channels, stage.expansion,
                strided ? stage.stride : 1);
      in_channels = channels;
    }
  }
  x = ConvNormClip(net, absl::StrCat("features.", index), x, {Scaled(kLast, std::max(1.0, multiplier)), 1, 1, 0});
  x = net.Flatten("flatten", net.GlobalAveragePool("avgpool", x));
  x = DropOut(net, "classifier.0", x, parameters.dropout(), Dropout::ELEMENT);
  net.Linear("classifier.1", x, image.classes);
  return net.Take();
}

namespace {
const bool registered = RegisterNetworkFamily(&CreateMobileNetV2);
}  // namespace

}  // namespace prunelab
