#include "ml/models/mnasnet.h"

#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/models/blocks.h"
#include "ml/models/image_sizes.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

// The paper's figure 7: a stack of blocks.
struct Stack {
  int64_t channels, kernel, stride, expansion;
  int blocks;
};
constexpr Stack kStacks[] = {{24, 3, 2, 3, 3}, {40, 5, 2, 3, 3},  {80, 5, 2, 6, 3},
                             {96, 3, 1, 6, 2}, {192, 5, 2, 6, 4}, {320, 3, 1, 6, 1}};
constexpr int64_t kFirst = 32, kSecond = 16, kLast = 1280;

// Modules name.<index>, name.<index + 1>, ... of an nn.Sequential.
class Sequence {
 public:
  Sequence(NetworkWriter& net, double momentum, std::string name, std::string input)
      : net_(net), momentum_(momentum), name_(std::move(name)), x_(std::move(input)) {}

  // Convolution and BN, and ReLU if `relu`.
  void Conv(const NetworkWriter::ConvShape& shape, bool relu) {
    x_ = FanOutConv(net_, Next(), x_, shape);
    x_ = net_.BatchNorm(Next(), x_);
    net_.last().mutable_batch_norm2d()->set_momentum(momentum_);
    if (relu) x_ = net_.Relu(Next(), x_);
  }

  std::string Next() { return absl::StrCat(name_, ".", index_++); }
  std::string& x() { return x_; }

 private:
  NetworkWriter& net_;
  double momentum_;
  std::string name_, x_;
  int index_ = 0;
};

std::string Block(NetworkWriter& net, double momentum, const std::string& name, const std::string& input,
                  int64_t in_channels, const Stack& stack, int64_t channels, int64_t stride) {
  const int64_t inner = in_channels * stack.expansion;
  Sequence layers(net, momentum, absl::StrCat(name, ".layers"), input);
  layers.Conv({inner, 1, 1, 0}, true);
  layers.Conv({inner, stack.kernel, stride, stack.kernel / 2, /*bias=*/false, /*groups=*/inner}, true);
  layers.Conv({channels, 1, 1, 0}, false);
  return stride == 1 && in_channels == channels ? net.Add(absl::StrCat(name, ".add"), {layers.x(), input}) : layers.x();
}

}  // namespace

absl::StatusOr<Network> CreateMnasNet(const MnasNet& parameters, const ImageDefaults& defaults) {
  const bool small = parameters.stem() == MnasNet::CIFAR;
  const FamilyDefaults family = small ? FamilyDefaults{10, 3, 32} : FamilyDefaults{1000, 3, 224};
  PRUNELAB_ASSIGN_OR_RETURN(const ImageSizes image, ChooseImageSizes(parameters, defaults, family));
  PRUNELAB_RETURN_IF_ERROR(CheckMultiplier("width_multiplier", parameters.width_multiplier()));
  PRUNELAB_RETURN_IF_ERROR(CheckProbability("dropout", parameters.dropout()));
  PRUNELAB_RETURN_IF_ERROR(CheckMomentum("norm_momentum", parameters.norm_momentum()));
  const auto scaled = [&](int64_t channels) {
    return MadeDivisible(static_cast<double>(channels) * parameters.width_multiplier());
  };

  NetworkWriter net;
  Sequence layers(net, parameters.norm_momentum(), "layers", net.Image(image.channels, image.height, image.width));
  const int64_t first = scaled(kFirst);
  int64_t channels = scaled(kSecond);
  layers.Conv({first, 3, small ? 1 : 2, 1}, true);
  layers.Conv({first, 3, 1, 1, /*bias=*/false, /*groups=*/first}, true);
  layers.Conv({channels, 1, 1, 0}, false);
  for (const Stack& stack : kStacks) {
    const std::string name = layers.Next();
    const int64_t first_stride = small && stack.channels == kStacks[0].channels ? 1 : stack.stride;
    for (int block = 0; block < stack.blocks; ++block) {
      layers.x() = Block(net, parameters.norm_momentum(), absl::StrCat(name, ".", block), layers.x(), channels, stack,
                         scaled(stack.channels), block == 0 ? first_stride : 1);
      channels = scaled(stack.channels);
    }
  }
  layers.Conv({kLast, 1, 1, 0}, true);
  std::string x = net.Flatten("flatten", net.GlobalAveragePool("avgpool", layers.x()));
  x = DropOut(net, "classifier.0", x, parameters.dropout(), Dropout::ELEMENT);
  // torchvision's are uniform within sqrt(3 / classes): of the same variance.
  NormalLinear(net, "classifier.1", x, image.classes, 1 / std::sqrt(static_cast<double>(image.classes)));
  return net.Take();
}

namespace {
const bool registered = RegisterNetworkFamily(&CreateMnasNet);
}  // namespace

}  // namespace prunelab
