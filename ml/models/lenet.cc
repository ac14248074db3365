#include "ml/models/lenet.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/models/image_sizes.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

constexpr int64_t kKernel = 5, kLargestPadding = 2;

// A fully connected layer of an input of one pixel.
std::string FullyConnected(NetworkWriter& net, const std::string& name, const std::string& input, int64_t features) {
  return net.Conv(name, input, {features, /*kernel=*/1, /*stride=*/1, /*padding=*/0, /*bias=*/true});
}

// Each pixel of each channel as a channel of one pixel.
std::string OnePixel(NetworkWriter& net, const std::string& input) {
  const std::string flat = net.Flatten("flatten", input);
  net.Append("features", {flat})->mutable_unflatten();
  return "features";
}

// Pixels of a side after a convolution and a pooling.
int64_t SideAfter(int64_t side, int64_t padding) { return (side + 2 * padding - kKernel + 1) / 2; }

absl::Status CheckPadding(const LeNet& parameters) {
  const int64_t padding = parameters.padding();
  if (padding < 0 || padding > kLargestPadding) {
    return FieldError("padding", absl::StrCat("is ", padding, "; must be from 0 to ", kLargestPadding));
  }
  if (padding > 0 && parameters.kind() == LeNet::LENET_300_100) {
    return FieldError("padding", absl::StrCat("is ", padding,
                                              ", but LENET_300_100 has no convolutions that pad; "
                                              "leave it unset"));
  }
  return absl::OkStatus();
}

// Whether something is left of the image after both convolutions.
absl::Status CheckImageSize(const LeNet& parameters, const ImageSizes& image) {
  const int64_t smallest = std::min(image.height, image.width), padding = parameters.padding();
  const auto left = [](int64_t side, int64_t pixels) {
    // A pooling needs two pixels, a convolution as many as its kernel has.
    for (int i = 0; i < 2; ++i) {
      if (side + 2 * pixels < kKernel + 1) return false;
      side = SideAfter(side, pixels);
    }
    return true;
  };
  if (left(smallest, padding)) return absl::OkStatus();
  int64_t needed = 1;
  while (!left(needed, padding)) ++needed;
  return FieldError("image_size",
                    absl::StrCat("is ", smallest, "; must be at least ", needed, " with a padding of ", padding,
                                 padding < kLargestPadding && left(smallest, kLargestPadding)
                                     ? absl::StrCat("; a padding of ", kLargestPadding, " is enough for it")
                                     : ""));
}

void Write300100(NetworkWriter& net, const std::string& image, int64_t classes) {
  std::string x = FullyConnected(net, "fc1", OnePixel(net, image), 300);
  x = FullyConnected(net, "fc2", net.Relu("relu1", x), 100);
  x = FullyConnected(net, "fc3", net.Relu("relu2", x), classes);
  net.Flatten("logits", x);
}

void Write5(NetworkWriter& net, const std::string& image, int64_t padding, int64_t classes) {
  const auto conv = [&](const std::string& name, const std::string& input, int64_t filters) {
    return net.Conv(name, input, {filters, kKernel, /*stride=*/1, padding, /*bias=*/true});
  };
  std::string x = net.MaxPool("pool1", conv("conv1", image, 20), 2, 2);
  x = net.MaxPool("pool2", conv("conv2", x, 50), 2, 2);
  x = FullyConnected(net, "fc1", OnePixel(net, x), 500);
  x = FullyConnected(net, "fc2", net.Relu("relu1", x), classes);
  net.Flatten("logits", x);
}

}  // namespace

absl::StatusOr<Network> CreateLeNet(const LeNet& parameters, const ImageDefaults& defaults) {
  PRUNELAB_RETURN_IF_ERROR(CheckPadding(parameters));
  PRUNELAB_ASSIGN_OR_RETURN(const ImageSizes image, ChooseImageSizes(parameters, defaults, {10, 1, 28}));
  const bool convolutions = parameters.kind() == LeNet::LENET_5;
  if (convolutions) PRUNELAB_RETURN_IF_ERROR(CheckImageSize(parameters, image));
  NetworkWriter net;
  const std::string x = net.Image(image.channels, image.height, image.width);
  if (convolutions) {
    Write5(net, x, parameters.padding(), image.classes);
  } else {
    Write300100(net, x, image.classes);
  }
  return net.Take();
}

namespace {
const bool registered = RegisterNetworkFamily(&CreateLeNet);
}  // namespace

}  // namespace prunelab
