#include "ml/models/densenet.h"

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

struct Shape {
  std::vector<int> layers;  // of each block
  int64_t growth = 0;
  bool bottleneck = true;
  double dropout = 0;
};

absl::StatusOr<Shape> ImageNetShape(const DenseNet& parameters) {
  if (!parameters.bottleneck()) {
    return FieldError("bottleneck", "is false; must be true, or stem CIFAR: torchvision's networks have bottlenecks");
  }
  switch (parameters.has_depth() ? parameters.depth() : 121) {
    case 121:
      return Shape{{6, 12, 24, 16}, 32};
    case 161:
      return Shape{{6, 12, 36, 24}, 48};
    case 169:
      return Shape{{6, 12, 32, 32}, 32};
    case 201:
      return Shape{{6, 12, 48, 32}, 32};
    default:
      return FieldError("depth", absl::StrCat("is ", parameters.depth(),
                                              "; must be 121, 161, 169 or 201 (for 40, 100, 190 and 250 see stem "
                                              "CIFAR)"));
  }
}

absl::StatusOr<Shape> CifarShape(const DenseNet& parameters) {
  constexpr int kBlocks = 3, kDeepest = 1000;
  const int depth = parameters.has_depth() ? parameters.depth() : 100;
  const int step = parameters.bottleneck() ? 2 * kBlocks : kBlocks;
  if (depth < step + 4 || depth > kDeepest || (depth - 4) % step != 0) {
    return FieldError("depth", absl::StrCat("is ", depth, "; must be ", step, "n + 4 for some n, at most ", kDeepest,
                                            ", e.g. 40 or 100"));
  }
  Shape shape;
  shape.layers.assign(kBlocks, (depth - 4) / step);
  shape.growth = 12;
  shape.bottleneck = parameters.bottleneck();
  return shape;
}

// A convolution with torchvision's initial weights here: normal, with a variance of 2 / fan-in.
std::string Conv(NetworkWriter& net, const std::string& name, const std::string& input, int64_t in_channels,
                 const NetworkWriter::ConvShape& shape) {
  net.Conv(name, input, shape);
  const auto fan_in = static_cast<double>(shape.kernel * shape.kernel * in_channels);
  net.last().mutable_conv2d()->set_initial_deviation(std::sqrt(2 / fan_in));
  return name;
}

// The new channels of one layer.
std::string Layer(NetworkWriter& net, const std::string& name, const std::string& input, int64_t in_channels,
                  const Shape& shape) {
  const auto part = [&](const char* suffix) { return absl::StrCat(name, ".", suffix); };
  std::string x = net.Relu(part("relu1"), net.BatchNorm(part("norm1"), input));
  if (shape.bottleneck) {
    x = Conv(net, part("conv1"), x, in_channels, {4 * shape.growth, 1, 1, 0});
    x = net.Relu(part("relu2"), net.BatchNorm(part("norm2"), x));
    x = Conv(net, part("conv2"), x, 4 * shape.growth, {shape.growth, 3, 1, 1});
  } else {
    x = Conv(net, part("conv1"), x, in_channels, {shape.growth, 3, 1, 1});
  }
  return DropOut(net, part("dropout"), x, shape.dropout, Dropout::ELEMENT);
}

}  // namespace

absl::StatusOr<Network> CreateDenseNet(const DenseNet& parameters, const ImageDefaults& defaults) {
  const bool small = parameters.stem() == DenseNet::CIFAR;
  PRUNELAB_ASSIGN_OR_RETURN(Shape shape, small ? CifarShape(parameters) : ImageNetShape(parameters));
  const FamilyDefaults family = small ? FamilyDefaults{10, 3, 32} : FamilyDefaults{1000, 3, 224};
  PRUNELAB_ASSIGN_OR_RETURN(const ImageSizes image, ChooseImageSizes(parameters, defaults, family));
  if (parameters.has_growth()) shape.growth = parameters.growth();
  PRUNELAB_RETURN_IF_ERROR(CheckNetworkSize("growth", shape.growth));
  PRUNELAB_RETURN_IF_ERROR(CheckProbability("dropout", parameters.dropout()));
  shape.dropout = parameters.dropout();

  NetworkWriter net;
  std::string x = net.Image(image.channels, image.height, image.width);
  int64_t channels = shape.bottleneck ? 2 * shape.growth : 16;
  if (small) {
    x = Conv(net, "features.conv0", x, image.channels, {channels, 3, 1, 1});
  } else {
    x = Conv(net, "features.conv0", x, image.channels, {channels, 7, 2, 3});
    x = net.Relu("features.relu0", net.BatchNorm("features.norm0", x));
    x = net.MaxPool("features.pool0", x, 3, 2, 1);
  }
  for (size_t block = 1; block <= shape.layers.size(); ++block) {
    for (int layer = 1; layer <= shape.layers[block - 1]; ++layer) {
      const std::string name = absl::StrCat("features.denseblock", block, ".denselayer", layer);
      const std::string added = Layer(net, name, x, channels, shape);
      // What was there before is one input, not one for each layer: the same values with fewer edges.
      net.Append(absl::StrCat(name, ".concat"), {x, added})->mutable_concat();
      x = absl::StrCat(name, ".concat");
      channels += shape.growth;
    }
    if (block == shape.layers.size()) break;
    const std::string name = absl::StrCat("features.transition", block);
    x = net.Relu(absl::StrCat(name, ".relu"), net.BatchNorm(absl::StrCat(name, ".norm"), x));
    const int64_t halved = shape.bottleneck ? channels / 2 : channels;
    x = Conv(net, absl::StrCat(name, ".conv"), x, channels, {halved, 1, 1, 0});
    x = net.AveragePool(absl::StrCat(name, ".pool"), x, 2, 2);
    channels = halved;
  }
  x = net.Relu("features.relu5", net.BatchNorm("features.norm5", x));
  net.Classifier("classifier", x, image.classes);
  return net.Take();
}

namespace {
const bool registered = RegisterNetworkFamily(&CreateDenseNet);
}  // namespace

}  // namespace prunelab
