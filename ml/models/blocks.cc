#include "ml/models/blocks.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"

namespace prunelab {

int64_t MadeDivisible(double exact, int64_t divisor) {
  const double halves = static_cast<double>(divisor) / 2;
  const int64_t rounded = std::max(divisor, static_cast<int64_t>(exact + halves) / divisor * divisor);
  return static_cast<double>(rounded) < 0.9 * exact ? rounded + divisor : rounded;
}

std::string Activate(NetworkWriter& net, const std::string& name, const std::string& input, Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return input;
    case Activation::kRelu:
      return net.Relu(name, input);
    case Activation::kHardSwish:
      return net.Elementwise(name, input, Elementwise::HARD_SWISH);
    case Activation::kSilu:
      return net.Elementwise(name, input, Elementwise::SILU);
  }
  return input;
}

std::string FanOutConv(NetworkWriter& net, const std::string& name, const std::string& input,
                       const NetworkWriter::ConvShape& shape) {
  net.Conv(name, input, shape);
  if (shape.groups > 1) {
    const int64_t width = shape.kernel_width > 0 ? shape.kernel_width : shape.kernel;
    const auto fan_out = static_cast<double>(shape.kernel * width * shape.out_channels);
    net.last().mutable_conv2d()->set_initial_deviation(std::sqrt(2 / fan_out));
  }
  return name;
}

std::string ConvNorm(NetworkWriter& net, const std::string& name, const std::string& input,
                     const NetworkWriter::ConvShape& shape, const NormSettings& norm, Activation activation) {
  const std::string conv = FanOutConv(net, absl::StrCat(name, ".0"), input, shape);
  const std::string x = net.BatchNorm(absl::StrCat(name, ".1"), conv, norm.epsilon);
  BatchNorm2d* batch_norm = net.last().mutable_batch_norm2d();
  if (norm.momentum != batch_norm->momentum()) batch_norm->set_momentum(norm.momentum);
  return Activate(net, absl::StrCat(name, ".2"), x, activation);
}

std::string SqueezeExcitation(NetworkWriter& net, const std::string& name, const std::string& input, int64_t channels,
                              int64_t squeezed, Activation activation, Elementwise::Function gate) {
  const auto part = [&](const char* suffix) { return absl::StrCat(name, ".", suffix); };
  std::string x = net.GlobalAveragePool(part("avgpool"), input);
  x = net.Conv(part("fc1"), x, {squeezed, 1, 1, 0, /*bias=*/true});
  x = Activate(net, part("activation"), x, activation);
  x = net.Conv(part("fc2"), x, {channels, 1, 1, 0, /*bias=*/true});
  x = net.Elementwise(part("scale_activation"), x, gate);
  net.Append(part("scale"), {input, x})->mutable_arithmetic()->set_function(Arithmetic::MULTIPLY);
  return part("scale");
}

std::string NormalLinear(NetworkWriter& net, const std::string& name, const std::string& input, int64_t features,
                         double deviation) {
  net.Linear(name, input, features);
  net.last().mutable_linear()->set_initial_deviation(deviation);
  return name;
}

std::string DropOut(NetworkWriter& net, const std::string& name, const std::string& input, double probability,
                    Dropout::Unit unit) {
  return probability == 0 ? input : net.Dropout(name, input, probability, unit);
}

absl::Status CheckProbability(absl::string_view field, double value) {
  if (value >= 0 && value < 1) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; must be at least 0 and below 1, e.g. 0.2"));
}

absl::Status CheckMomentum(absl::string_view field, double value) {
  if (value > 0 && value <= 1) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; must be above 0 and at most 1, e.g. 0.1"));
}

absl::Status CheckMultiplier(absl::string_view field, double value) {
  if (value >= 0.01 && value <= 100) return absl::OkStatus();
  return FieldError(field, absl::StrCat("is ", value, "; must be from 0.01 to 100, e.g. 0.5"));
}

}  // namespace prunelab
