// The blocks that several families of torchvision are made of, with the names that its modules give them.
//
//   std::string x = ConvNorm(net, "features.0", image, {32, 3, 2, 1}, {}, Activation::kSilu);
//   x = SqueezeExcitation(net, "features.1.0.block.1", x, 32, 8, Activation::kSilu, Elementwise::SIGMOID);
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "ml/network/network_writer.h"

namespace prunelab {

enum class Activation { kNone, kRelu, kHardSwish, kSilu };

// Of a BatchNorm2d.
struct NormSettings {
  double epsilon = 1e-5;
  double momentum = 0.1;
};

// The multiple of `divisor` next to `exact`, at least `divisor` and not more than a tenth below `exact`: torchvision's
// _make_divisible.
int64_t MadeDivisible(double exact, int64_t divisor = 8);

// The activation by that name; kNone: `input`.
std::string Activate(NetworkWriter& net, const std::string& name, const std::string& input, Activation activation);

// A convolution with the initial weights of torchvision: normal, with a variance of 2 over kernel area times output
// channels. (He's rule, which unset weights follow, differs where there are groups.)
std::string FanOutConv(NetworkWriter& net, const std::string& name, const std::string& input,
                       const NetworkWriter::ConvShape& shape);

// torchvision's Conv2dNormActivation: FanOutConv name.0, BN name.1, activation name.2.
std::string ConvNorm(NetworkWriter& net, const std::string& name, const std::string& input,
                     const NetworkWriter::ConvShape& shape, const NormSettings& norm, Activation activation);

// torchvision's SqueezeExcitation of an input of `channels`: name.avgpool, name.fc1, name.activation, name.fc2,
// name.scale_activation (the `gate`), and their product with the input, name.scale.
std::string SqueezeExcitation(NetworkWriter& net, const std::string& name, const std::string& input, int64_t channels,
                              int64_t squeezed, Activation activation, Elementwise::Function gate);

// A linear layer whose initial weights are normal with this deviation, and whose bias is zero.
std::string NormalLinear(NetworkWriter& net, const std::string& name, const std::string& input, int64_t features,
                         double deviation);

// Dropout, which is left out where the probability is 0.
std::string DropOut(NetworkWriter& net, const std::string& name, const std::string& input, double probability,
                    Dropout::Unit unit);

// A field error unless `value` is from 0 to below 1.
absl::Status CheckProbability(absl::string_view field, double value);

// A field error unless `value` is above 0 and at most 1.
absl::Status CheckMomentum(absl::string_view field, double value);

// A field error unless `value` is from 0.01 to 100.
absl::Status CheckMultiplier(absl::string_view field, double value);

}  // namespace prunelab
