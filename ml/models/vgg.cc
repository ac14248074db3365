#include "ml/models/vgg.h"

#include <algorithm>
#include <array>
#include <string>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/models/image_sizes.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

// The number of convolutions in each of the five groups, and the groups' channels divided by those of the first group.
using Groups = std::array<int, 5>;
constexpr Groups kMultiples = {1, 2, 4, 8, 8};

absl::StatusOr<Groups> GroupsOf(int32_t depth) {
  switch (depth) {
    case 11:
      return Groups{1, 1, 2, 2, 2};
    case 13:
      return Groups{2, 2, 2, 2, 2};
    case 16:
      return Groups{2, 2, 3, 3, 3};
    case 19:
      return Groups{2, 2, 4, 4, 4};
    default:
      return FieldError("depth", absl::StrCat("is ", depth, "; must be 11, 13, 16 or 19"));
  }
}

}  // namespace

absl::StatusOr<Network> CreateVgg(const Vgg& parameters, const ImageDefaults& defaults) {
  PRUNELAB_ASSIGN_OR_RETURN(const Groups groups, GroupsOf(parameters.depth()));
  PRUNELAB_ASSIGN_OR_RETURN(const ImageSizes image, ChooseImageSizes(parameters, defaults, {10, 3, 32}));
  PRUNELAB_RETURN_IF_ERROR(CheckNetworkSize("width", parameters.width()));
  const int64_t poolings = parameters.last_max_pool() ? 5 : 4;
  const int64_t smallest = std::min(image.height, image.width);
  if (smallest < int64_t{1} << poolings) {
    return FieldError("image_size", absl::StrCat("is ", smallest, "; must be at least ", int64_t{1} << poolings, ": ",
                                                 poolings, " poolings halve it"));
  }

  NetworkWriter net;
  std::string x = net.Image(image.channels, image.height, image.width);
  int index = 0;
  const auto next = [&index] { return absl::StrCat("features.", index++); };
  for (size_t group = 0; group < groups.size(); ++group) {
    for (int i = 0; i < groups[group]; ++i) {
      x = net.Conv(next(), x, {kMultiples[group] * parameters.width(), 3, 1, 1, parameters.conv_bias()});
      x = net.BatchNorm(next(), x);
      x = net.Relu(next(), x);
    }
    if (static_cast<int64_t>(group) < poolings) x = net.MaxPool(next(), x, 2, 2);
  }
  net.Classifier("classifier", x, image.classes);
  return net.Take();
}

namespace {
const bool registered = RegisterNetworkFamily(&CreateVgg);
}  // namespace

}  // namespace prunelab
