#include "ml/models/shufflenet_v2.h"

#include <array>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/models/image_sizes.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

// Channels of the three stages and of the last convolution.
std::array<int64_t, 4> ChannelsOf(ShuffleNetV2::Variant variant) {
  switch (variant) {
    case ShuffleNetV2::X0_5:
      return {48, 96, 192, 1024};
    case ShuffleNetV2::X1_0:
      return {116, 232, 464, 1024};
    case ShuffleNetV2::X1_5:
      return {176, 352, 704, 1024};
    case ShuffleNetV2::X2_0:
      return {244, 488, 976, 2048};
  }
  return {};
}

constexpr int64_t kFirst = 24;
constexpr int kBlocks[] = {4, 8, 4};

// Modules name.<index> and name.<index + 1>: a convolution with PyTorch's initial variance, 1 / (3 fan-in), and BN.
std::string ConvNorm(NetworkWriter& net, const std::string& name, int index, const std::string& input,
                     int64_t in_channels, const NetworkWriter::ConvShape& shape) {
  const std::string conv = net.Conv(absl::StrCat(name, ".", index), input, shape);
  const auto fan_in = static_cast<double>(in_channels / shape.groups * shape.kernel * shape.kernel);
  net.last().mutable_conv2d()->set_initial_deviation(1 / std::sqrt(3 * fan_in));
  return net.BatchNorm(absl::StrCat(name, ".", index + 1), conv);
}

// The channels from `first` on.
std::string Choose(NetworkWriter& net, const std::string& name, const std::string& input, int64_t first,
                   int64_t count) {
  Select* select = net.Append(name, {input})->mutable_select();
  for (int64_t c = 0; c < count; ++c) select->add_index(first + c);
  return name;
}

std::string Block(NetworkWriter& net, const std::string& name, const std::string& input, int64_t in_channels,
                  int64_t channels, int64_t stride) {
  const auto part = [&](const char* suffix) { return absl::StrCat(name, ".", suffix); };
  const int64_t half = channels / 2;
  std::string left, right = input;
  int64_t right_channels = in_channels;
  if (stride == 1) {
    left = Choose(net, part("left"), input, 0, half);
    right = Choose(net, part("right"), input, half, half);
    right_channels = half;
  } else {
    const std::string branch = part("branch1");
    left = ConvNorm(net, branch, 0, input, in_channels, {in_channels, 3, stride, 1, /*bias=*/false, in_channels});
    left = ConvNorm(net, branch, 2, left, in_channels, {half, 1, 1, 0});
    left = net.Relu(absl::StrCat(branch, ".4"), left);
  }
  const std::string branch = part("branch2");
  std::string x = ConvNorm(net, branch, 0, right, right_channels, {half, 1, 1, 0});
  x = net.Relu(absl::StrCat(branch, ".2"), x);
  x = ConvNorm(net, branch, 3, x, half, {half, 3, stride, 1, /*bias=*/false, half});
  x = ConvNorm(net, branch, 5, x, half, {half, 1, 1, 0});
  x = net.Relu(absl::StrCat(branch, ".7"), x);
  net.Append(part("concat"), {left, x})->mutable_concat();
  Select* shuffle = net.Append(part("shuffle"), {part("concat")})->mutable_select();
  for (int64_t c = 0; c < half; ++c) {
    shuffle->add_index(c);
    shuffle->add_index(half + c);
  }
  return part("shuffle");
}

}  // namespace

absl::StatusOr<Network> CreateShuffleNetV2(const ShuffleNetV2& parameters, const ImageDefaults& defaults) {
  const bool small = parameters.stem() == ShuffleNetV2::CIFAR;
  const FamilyDefaults family = small ? FamilyDefaults{10, 3, 32} : FamilyDefaults{1000, 3, 224};
  PRUNELAB_ASSIGN_OR_RETURN(const ImageSizes image, ChooseImageSizes(parameters, defaults, family));
  const std::array<int64_t, 4> widths = ChannelsOf(parameters.variant());

  NetworkWriter net;
  std::string x = net.Image(image.channels, image.height, image.width);
  x = ConvNorm(net, "conv1", 0, x, image.channels, {kFirst, 3, small ? 1 : 2, 1});
  x = net.Relu("conv1.2", x);
  if (!small) x = net.MaxPool("maxpool", x, 3, 2, 1);
  int64_t channels = kFirst;
  for (int stage = 0; stage < 3; ++stage) {
    for (int block = 0; block < kBlocks[stage]; ++block) {
      x = Block(net, absl::StrCat("stage", stage + 2, ".", block), x, channels, widths[stage], block == 0 ? 2 : 1);
      channels = widths[stage];
    }
  }
  x = net.Relu("conv5.2", ConvNorm(net, "conv5", 0, x, channels, {widths[3], 1, 1, 0}));
  net.Classifier("fc", x, image.classes);
  return net.Take();
}

namespace {
const bool registered = RegisterNetworkFamily(&CreateShuffleNetV2);
}  // namespace

}  // namespace prunelab
