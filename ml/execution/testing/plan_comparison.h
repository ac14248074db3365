// Compares a step by a plan with the same step by the reference plan, in float64: the code that the tests of plans
// share.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "google/protobuf/text_format.h"
#include "ml/execution/plan.h"
#include "ml/models/model_builder.h"
#include "ml/models/testing/built_network.h"

namespace prunelab {

inline NetworkInfo Build(const std::string& text) {
  google::protobuf::Any any;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString("[type.googleapis.com/prunelab." + text, &any)) << text;
  return BuiltNetwork(BuildNetwork(any, {}));
}

inline at::Tensor Values(at::IntArrayRef shape, double frequency) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return at::arange(1, n + 1, at::kDouble).mul(frequency).mul(12.9898).sin().mul(43758.5453).frac().view(shape);
}

// BN with values other than 1 and 0, biases of both signs and zero, and running statistics as after some training.
inline Model MakeModel(const NetworkInfo& info) {
  Model model = Model::Create(info, at::kDouble, at::kCPU);
  InitializeParameters(model, 5);
  bool biased = false;
  for (const Node& node : info.network().node()) biased = biased || node.conv2d().bias() || node.has_elementwise();
  double frequency = 0.3;
  for (const auto* list : {&model.parameters(), &model.buffers()}) {
    for (const NamedTensor& tensor : *list) {
      if (tensor.tensor.dim() != 1 || tensor.tensor.scalar_type() != at::kDouble) continue;
      const at::Tensor values = Values(tensor.tensor.sizes(), frequency += 0.01);
      const bool above_zero = tensor.name.find("running_var") != std::string::npos;
      if (above_zero) {
        tensor.tensor.copy_(values.abs() + 0.1);
      } else if (tensor.name.find("bias") != std::string::npos) {
        // With a convolution's bias the reference's mean is inexact by rounding, and for a beta of exactly 0 it is
        // undefined on which side of the ReLU a masked filter is. So it is for a filter that reads only constants, of
        // which networks with other activations have many: their masked filters have outputs other than 0.
        const double to_zero = biased ? 0 : 0.2;
        tensor.tensor.detach().copy_(at::where(values.abs() < to_zero, at::zeros_like(values), values));
      } else {
        tensor.tensor.detach().copy_(values + (tensor.name.find("running_mean") != std::string::npos ? 0 : 1.2));
      }
    }
  }
  return model;
}

// Masks with `rate` of each layer's filters off; every fourth layer is whole and every seventh dead.
inline std::map<std::string, at::Tensor> SomeMasks(const NetworkInfo& info, double rate) {
  std::map<std::string, at::Tensor> masks;
  double frequency = 0.7;
  int index = 0;
  for (const ConvInfo& conv : info.convs()) {
    ++index;
    at::Tensor mask = (Values({conv.filters, 1, 1, 1}, frequency += 0.01).abs() > rate).to(at::kDouble);
    if (index % 4 == 0) mask = at::ones_like(mask);
    if (index % 7 == 0) mask = at::zeros_like(mask);
    masks[conv.node] = mask;
  }
  return masks;
}

struct Outcome {
  at::Tensor logits;
  std::vector<at::Tensor> gradients;
  std::map<std::string, at::Tensor> captured;
  int64_t macs = 0;
};

inline Outcome Step(Plan& plan, Model& model, const at::Tensor& images, ForwardOptions options) {
  options.mode = Mode::kTrain;
  const ForwardResult result = plan.Forward(model, images, options);
  std::vector<at::Tensor> parameters;
  for (const NamedTensor& parameter : model.parameters()) parameters.push_back(parameter.tensor);
  Outcome outcome;
  const at::Tensor labels = at::arange(images.size(0), at::kLong).remainder(10);
  at::Tensor objective = at::cross_entropy_loss(result.logits, labels);
  // A term on activations, as a regularizer may have: captured nodes have consumers besides the network's own.
  for (const auto& [name, tensor] : result.captured) objective = objective + 0.1 * (tensor - 0.3).square().mean();
  outcome.gradients = torch::autograd::grad({objective}, parameters);
  outcome.logits = result.logits.detach();
  outcome.captured = result.captured;
  outcome.macs = result.executed_macs;
  return outcome;
}

inline void ExpectClose(const at::Tensor& a, const at::Tensor& b, double tolerance, const std::string& what) {
  ASSERT_EQ(a.sizes(), b.sizes()) << what;
  const double largest = std::max(1.0, b.abs().max().item<double>());
  EXPECT_LT((a - b).abs().max().item<double>(), tolerance * largest) << what;
}

// One training step and an evaluation of `plan` and of the reference plan, from the same model.
inline void ExpectSameStep(Plan& plan, const NetworkInfo& info, const std::map<std::string, at::Tensor>& masks,
                           const ForwardOptions& options) {
  Model model = MakeModel(info), other = MakeModel(info);
  model.SetMasks(masks);
  other.SetMasks(masks);
  const NodeShape& shape = info.input_shape();
  const at::Tensor images =
      Values({6, shape.channels, shape.height, shape.width}, 0.37).contiguous(at::MemoryFormat::ChannelsLast);
  ReferencePlan reference;
  const Outcome expected = Step(reference, model, images, options), ours = Step(plan, other, images, options);
  ExpectClose(ours.logits, expected.logits, 1e-10, "logits");
  for (size_t i = 0; i < expected.gradients.size(); ++i) {
    ExpectClose(ours.gradients[i], expected.gradients[i], 1e-9, model.parameters()[i].name);
  }
  for (size_t i = 0; i < model.buffers().size(); ++i) {
    ExpectClose(other.buffers()[i].tensor.to(at::kDouble), model.buffers()[i].tensor.to(at::kDouble), 1e-11,
                model.buffers()[i].name);
  }
  EXPECT_EQ(ours.captured.size(), expected.captured.size());
  for (const auto& [name, tensor] : expected.captured) ExpectClose(ours.captured.at(name), tensor, 1e-10, name);
  const at::NoGradGuard no_gradients;
  ExpectClose(plan.Forward(other, images, {}).logits, reference.Forward(model, images, {}).logits, 1e-10, "evaluation");
}

// Networks of one convolution with BN and ReLU before and behind it, whose window is that of the project's own kernels
// but for one field, as a plan might overlook it.
inline std::vector<NetworkInfo> UnevenConvolutions() {
  std::vector<NetworkInfo> networks;
  for (const char* fields :
       {"pads: [1, 1, 1, 1]", "pads: [1, 1, 1, 0]", "pads: [1, 0, 1, 1]", "pads: [0, 1, 2, 1] padding: 1",
        "padding: 1 stride_width: 2", "padding: 1 dilation_width: 2", "padding: 1 stride: 2 stride_width: 1",
        "padding: 1 dilation: 2 dilation_width: 1", "kernel_height: 1 kernel_width: 1 stride_width: 2",
        "kernel_height: 1 kernel_width: 1 stride: 2 pads: [0, 1, 0, 0]", "padding: 1 kernel_width: 1"}) {
    Network network;
    const std::string text =
        std::string(R"(node { name: "image" image { channels: 8 height: 9 width: 9 } }
                       node { name: "before" input: "image" conv2d { out_channels: 16 padding: 1 } }
                       node { name: "bn1" input: "before" batch_norm2d {} } node { name: "r1" input: "bn1" relu {} }
                       node { name: "conv" input: "r1" conv2d { out_channels: 16 )") +
        fields + R"( } } node { name: "bn2" input: "conv" batch_norm2d {} } node { name: "r2" input: "bn2" relu {} }
                    node { name: "pool" input: "r2" global_average_pool {} }
                    node { name: "flat" input: "pool" flatten {} }
                    node { name: "fc" input: "flat" linear { out_features: 10 } })";
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &network)) << text;
    networks.push_back(*NetworkInfo::Create(network));
  }
  return networks;
}

inline constexpr char kResNet20[] = "ResNetCifar] { depth: 20 width: 16 image_size: 8 }";
inline const char* const kNetworks[] = {
    kResNet20,
    "ResNetCifar] { depth: 8 width: 12 image_size: 9 }",
    "ResNetImageNet] { depth: 18 width: 16 image_size: 32 classes: 10 }",
    "Vgg] { depth: 11 width: 16 image_size: 32 conv_bias: true }",
};

// BN before convolutions and after depthwise ones, ReLUs with a ceiling, other activations, gates.
inline const char* const kFamilies[] = {
    "MobileNetV2] { stem: CIFAR width_multiplier: 0.25 image_size: 16 }",
    "DenseNet] { stem: CIFAR depth: 22 growth: 8 image_size: 16 }",
    "EfficientNet] { stem: CIFAR width_multiplier: 0.2 depth_multiplier: 0.4 image_size: 16 }",
};

}  // namespace prunelab
