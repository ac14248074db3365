#include "ml/models/resnet_cifar.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/models/image_sizes.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

// A basic block: two 3x3 convolutions and the shortcut.
std::string Block(NetworkWriter& net, const std::string& name, const std::string& input, int64_t in_channels,
                  int64_t channels, int64_t stride, ResNetCifar::Shortcut kind) {
  const auto part = [&](const char* suffix) { return absl::StrCat(name, ".", suffix); };
  std::string x = net.Conv(part("conv1"), input, {channels, 3, stride, 1});
  x = net.Relu(part("relu1"), net.BatchNorm(part("bn1"), x));
  x = net.BatchNorm(part("bn2"), net.Conv(part("conv2"), x, {channels, 3, 1, 1}));
  std::string shortcut = input;
  if (stride != 1 || in_channels != channels) {
    if (kind == ResNetCifar::PROJECTION) {
      shortcut = net.Conv(part("downsample.0"), input, {channels, 1, stride, 0});
      shortcut = net.BatchNorm(part("downsample.1"), shortcut);
    } else {
      if (stride != 1) shortcut = net.AveragePool(part("subsample"), input, 1, stride);
      std::vector<int64_t> index(in_channels);
      for (int64_t i = 0; i < in_channels; ++i) index[i] = (channels - in_channels) / 2 + i;
      shortcut = net.Scatter(part("pad"), shortcut, channels, index);
    }
  }
  return net.Relu(part("relu2"), net.Add(part("add"), {x, shortcut}));
}

}  // namespace

absl::StatusOr<Network> CreateResNetCifar(const ResNetCifar& parameters, const ImageDefaults& defaults) {
  const int32_t depth = parameters.depth();
  if (depth < 8 || depth > 1202 || (depth - 2) % 6 != 0) {
    return FieldError(
        "depth", absl::StrCat("is ", depth, "; must be 6n + 2 with n from 1 to 200: 8, 14, 20, 32, 44, 56, 110, ..."));
  }
  PRUNELAB_ASSIGN_OR_RETURN(const ImageSizes image, ChooseImageSizes(parameters, defaults, {10, 3, 32}));
  PRUNELAB_RETURN_IF_ERROR(CheckNetworkSize("width", parameters.width()));

  NetworkWriter net;
  std::string x = net.Image(image.channels, image.height, image.width);
  x = net.Conv("conv1", x, {parameters.width(), 3, 1, 1});
  x = net.Relu("relu", net.BatchNorm("bn1", x));
  int64_t in_channels = parameters.width();
  for (int stage = 0; stage < 3; ++stage) {
    const int64_t channels = parameters.width() << stage;
    for (int block = 0; block < (depth - 2) / 6; ++block) {
      const std::string name = absl::StrCat("layer", stage + 1, ".", block);
      const int64_t stride = stage > 0 && block == 0 ? 2 : 1;
      x = Block(net, name, x, in_channels, channels, stride, parameters.shortcut());
      in_channels = channels;
    }
  }
  net.Classifier("fc", x, image.classes);
  return net.Take();
}

namespace {
const bool registered = RegisterNetworkFamily(&CreateResNetCifar);
}  // namespace

}  // namespace prunelab
