#include "ml/models/lenet.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/models/image_sizes.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

constexpr int64_t kKernel = 5, kLargestPadding = 2;

// What a layer reads: a node, and its channels.
struct Input {
  std::string node;
  int64_t channels = 0;
};

// A convolution with the initial weights of Caffe's "xavier", which is even there and normal with the same variance
// here: one over the number of products in an output.
Input Convolution(NetworkWriter& net, const std::string& name, const Input& input, int64_t filters, int64_t kernel,
                  int64_t padding) {
  net.Conv(name, input.node, {filters, kernel, /*stride=*/1, padding, /*bias=*/true});
  net.last().mutable_conv2d()->set_initial_deviation(1 /
                                                     std::sqrt(static_cast<double>(input.channels * kernel * kernel)));
  return {name, filters};
}

// A fully connected layer of an input of one pixel.
Input FullyConnected(NetworkWriter& net, const std::string& name, const Input& input, int64_t features) {
  return Convolution(net, name, input, features, /*kernel=*/1, /*padding=*/0);
}

Input Relu(NetworkWriter& net, const std::string& name, const Input& input) {
  return {net.Relu(name, input.node), input.channels};
}

// Each of the input's `pixels` in each channel as a channel of one pixel.
Input OnePixel(NetworkWriter& net, const Input& input, int64_t pixels) {
  const std::string flat = net.Flatten("flatten", input.node);
  net.Append("features", {flat})->mutable_unflatten();
  return {"features", input.channels * pixels};
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

void Write300100(NetworkWriter& net, const ImageSizes& image) {
  const Input pixels = {net.Image(image.channels, image.height, image.width), image.channels};
  Input x = FullyConnected(net, "fc1", OnePixel(net, pixels, image.height * image.width), 300);
  x = FullyConnected(net, "fc2", Relu(net, "relu1", x), 100);
  x = FullyConnected(net, "fc3", Relu(net, "relu2", x), image.classes);
  net.Flatten("logits", x.node);
}

void Write5(NetworkWriter& net, const ImageSizes& image, int64_t padding) {
  const auto pooled = [&](const std::string& name, const Input& input) {
    return Input{net.MaxPool(name, input.node, 2, 2), input.channels};
  };
  const auto left = [&](int64_t side) { return SideAfter(SideAfter(side, padding), padding); };
  Input x = {net.Image(image.channels, image.height, image.width), image.channels};
  x = pooled("pool1", Convolution(net, "conv1", x, 20, kKernel, padding));
  x = pooled("pool2", Convolution(net, "conv2", x, 50, kKernel, padding));
  x = FullyConnected(net, "fc1", OnePixel(net, x, left(image.height) * left(image.width)), 500);
  x = FullyConnected(net, "fc2", Relu(net, "relu1", x), image.classes);
  net.Flatten("logits", x.node);
}

}  // namespace

absl::StatusOr<Network> CreateLeNet(const LeNet& parameters, const ImageDefaults& defaults) {
  PRUNELAB_RETURN_IF_ERROR(CheckPadding(parameters));
  PRUNELAB_ASSIGN_OR_RETURN(const ImageSizes image, ChooseImageSizes(parameters, defaults, {10, 1, 28}));
  const bool convolutions = parameters.kind() == LeNet::LENET_5;
  if (convolutions) PRUNELAB_RETURN_IF_ERROR(CheckImageSize(parameters, image));
  NetworkWriter net;
  if (convolutions) {
    Write5(net, image, parameters.padding());
  } else {
    Write300100(net, image);
  }
  return net.Take();
}

namespace {
const bool registered = RegisterNetworkFamily(&CreateLeNet);
}  // namespace

}  // namespace prunelab
