#include "ml/models/convnext.h"

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

struct Stage {
  int64_t channels;
  int blocks;
};

struct Design {
  std::vector<Stage> stages;
  double stochastic_depth;
};

Design DesignOf(ConvNeXt::Variant variant) {
  switch (variant) {
    case ConvNeXt::TINY:
      return {{{96, 3}, {192, 3}, {384, 9}, {768, 3}}, 0.1};
    case ConvNeXt::SMALL:
      return {{{96, 3}, {192, 3}, {384, 27}, {768, 3}}, 0.4};
    case ConvNeXt::BASE:
      return {{{128, 3}, {256, 3}, {512, 27}, {1024, 3}}, 0.5};
    case ConvNeXt::LARGE:
      return {{{192, 3}, {384, 3}, {768, 27}, {1536, 3}}, 0.5};
  }
  return {};
}

constexpr double kDeviation = 0.02;  // of all fresh weights

std::string Conv(NetworkWriter& net, const std::string& name, const std::string& input,
                 const NetworkWriter::ConvShape& shape) {
  net.Conv(name, input, shape);
  net.last().mutable_conv2d()->set_bias(true);
  net.last().mutable_conv2d()->set_initial_deviation(kDeviation);
  return name;
}

std::string Norm(NetworkWriter& net, const std::string& name, const std::string& input) {
  net.Append(name, {input})->mutable_layer_norm()->set_epsilon(1e-6);
  return name;
}

// `dropped`: the probability by which the block is left out.
std::string Block(NetworkWriter& net, const std::string& name, const std::string& input, int64_t channels,
                  double layer_scale, double dropped) {
  const auto part = [&](const char* suffix) { return absl::StrCat(name, ".", suffix); };
  std::string x = Conv(net, part("block.0"), input, {channels, 7, 1, 3, /*bias=*/true, /*groups=*/channels});
  x = Norm(net, part("block.2"), x);
  x = Conv(net, part("block.3"), x, {4 * channels, 1, 1, 0});
  x = net.Elementwise(part("block.4"), x, Elementwise::GELU);
  x = Conv(net, part("block.5"), x, {channels, 1, 1, 0});
  net.Append(part("layer_scale"), {x})->mutable_channel_scale()->set_initial_weight(layer_scale);
  x = DropOut(net, part("stochastic_depth"), part("layer_scale"), dropped, Dropout::IMAGE);
  return net.Add(part("add"), {x, input});
}

}  // namespace

absl::StatusOr<Network> CreateConvNeXt(const ConvNeXt& parameters, const ImageDefaults& defaults) {
  const bool small = parameters.stem() == ConvNeXt::CIFAR;
  const FamilyDefaults family = small ? FamilyDefaults{10, 3, 32} : FamilyDefaults{1000, 3, 224};
  PRUNELAB_ASSIGN_OR_RETURN(const ImageSizes image, ChooseImageSizes(parameters, defaults, family));
  Design design = DesignOf(parameters.variant());
  if (parameters.has_stochastic_depth()) design.stochastic_depth = parameters.stochastic_depth();
  PRUNELAB_RETURN_IF_ERROR(CheckMultiplier("width_multiplier", parameters.width_multiplier()));
  PRUNELAB_RETURN_IF_ERROR(CheckMultiplier("depth_multiplier", parameters.depth_multiplier()));
  PRUNELAB_RETURN_IF_ERROR(CheckProbability("stochastic_depth", design.stochastic_depth));
  if (!(parameters.layer_scale() >= 0 && parameters.layer_scale() <= 1000)) {
    return FieldError("layer_scale", absl::StrCat("is ", parameters.layer_scale(), "; must be from 0 to 1000"));
  }
  int all_blocks = 0;
  for (Stage& stage : design.stages) {
    stage.channels = MadeDivisible(static_cast<double>(stage.channels) * parameters.width_multiplier());
    stage.blocks = static_cast<int>(std::ceil(stage.blocks * parameters.depth_multiplier()));
    all_blocks += stage.blocks;
  }

  NetworkWriter net;
  std::string x = net.Image(image.channels, image.height, image.width);
  const int64_t first = design.stages[0].channels;
  x = Conv(net, "features.0.0", x,
           small ? NetworkWriter::ConvShape{first, 3, 1, 1} : NetworkWriter::ConvShape{first, 4, 4, 0});
  x = Norm(net, "features.0.1", x);
  int index = 1, built = 0;
  for (size_t i = 0; i < design.stages.size(); ++i) {
    const Stage& stage = design.stages[i];
    if (i > 0) {
      x = Norm(net, absl::StrCat("features.", index, ".0"), x);
      x = Conv(net, absl::StrCat("features.", index, ".1"), x, {stage.channels, 2, 2, 0});
      ++index;
    }
    for (int block = 0; block < stage.blocks; ++block) {
      const double dropped = design.stochastic_depth * built++ / std::max(1, all_blocks - 1);
      x = Block(net, absl::StrCat("features.", index, ".", block), x, stage.channels, parameters.layer_scale(),
                dropped);
    }
    ++index;
  }
  x = Norm(net, "classifier.0", net.GlobalAveragePool("avgpool", x));
  NormalLinear(net, "classifier.2", net.Flatten("classifier.1", x), image.classes, kDeviation);
  return net.Take();
}

namespace {
const bool registered = RegisterNetworkFamily(&CreateConvNeXt);
}  // namespace

}  // namespace prunelab
