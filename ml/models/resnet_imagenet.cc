#include "ml/models/resnet_imagenet.h"

#include <array>
#include <string>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/models/image_sizes.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

struct Shape {
  std::array<int, 4> blocks = {};
  bool bottleneck = false;
};

absl::StatusOr<Shape> ShapeOf(int32_t depth) {
  switch (depth) {
    case 18:
      return Shape{{2, 2, 2, 2}, false};
    case 34:
      return Shape{{3, 4, 6, 3}, false};
    case 50:
      return Shape{{3, 4, 6, 3}, true};
    case 101:
      return Shape{{3, 4, 23, 3}, true};
    case 152:
      return Shape{{3, 8, 36, 3}, true};
    default:
      return FieldError("depth", absl::StrCat("is ", depth,
                                              "; must be 18, 34, 50, 101 or 152 (for 20, 32, 44, 56 and 110 see "
                                              "ResNetCifar)"));
  }
}

// One residual block; `planes` is the number of channels of its 3x3 convolutions. A bottleneck ends with four times as
// many.
std::string Block(NetworkWriter& net, const std::string& name, const std::string& input, int64_t in_channels,
                  int64_t planes, int64_t stride, bool bottleneck) {
  const auto part = [&](const char* suffix) { return absl::StrCat(name, ".", suffix); };
  const int64_t channels = bottleneck ? 4 * planes : planes;
  std::string x;
  if (bottleneck) {
    x = net.Relu(part("relu1"), net.BatchNorm(part("bn1"), net.Conv(part("conv1"), input, {planes, 1, 1, 0})));
    x = net.Relu(part("relu2"), net.BatchNorm(part("bn2"), net.Conv(part("conv2"), x, {planes, 3, stride, 1})));
    x = net.BatchNorm(part("bn3"), net.Conv(part("conv3"), x, {channels, 1, 1, 0}));
  } else {
    x = net.Relu(part("relu1"), net.BatchNorm(part("bn1"), net.Conv(part("conv1"), input, {planes, 3, stride, 1})));
    x = net.BatchNorm(part("bn2"), net.Conv(part("conv2"), x, {planes, 3, 1, 1}));
  }
  std::string shortcut = input;
  if (stride != 1 || in_channels != channels) {
    shortcut = net.BatchNorm(part("downsample.1"), net.Conv(part("downsample.0"), input, {channels, 1, stride, 0}));
  }
  return net.Relu(part("relu"), net.Add(part("add"), {x, shortcut}));
}

}  // namespace

absl::StatusOr<Network> CreateResNetImageNet(const ResNetImageNet& parameters, const ImageDefaults& defaults) {
  PRUNELAB_ASSIGN_OR_RETURN(const Shape shape, ShapeOf(parameters.depth()));
  const bool small = parameters.stem() == ResNetImageNet::CIFAR;
  const FamilyDefaults family = small ? FamilyDefaults{10, 3, 32} : FamilyDefaults{1000, 3, 224};
  PRUNELAB_ASSIGN_OR_RETURN(const ImageSizes image, ChooseImageSizes(parameters, defaults, family));
  PRUNELAB_RETURN_IF_ERROR(CheckNetworkSize("width", parameters.width()));

  NetworkWriter net;
  std::string x = net.Image(image.channels, image.height, image.width);
  const NetworkWriter::ConvShape stem = {parameters.width(), small ? 3 : 7, small ? 1 : 2, small ? 1 : 3};
  x = net.Relu("relu", net.BatchNorm("bn1", net.Conv("conv1", x, stem)));
  if (!small) x = net.MaxPool("maxpool", x, 3, 2, 1);
  int64_t in_channels = parameters.width();
  for (size_t stage = 0; stage < shape.blocks.size(); ++stage) {
    const int64_t planes = parameters.width() << stage;
    for (int block = 0; block < shape.blocks[stage]; ++block) {
      const std::string name = absl::StrCat("layer", stage + 1, ".", block);
      x = Block(net, name, x, in_channels, planes, stage > 0 && block == 0 ? 2 : 1, shape.bottleneck);
      in_channels = shape.bottleneck ? 4 * planes : planes;
    }
  }
  net.Classifier("fc", x, image.classes);
  return net.Take();
}

namespace {
const bool registered = RegisterNetworkFamily(&CreateResNetImageNet);
}  // namespace

}  // namespace prunelab
