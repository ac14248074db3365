#include "ml/execution/run_node.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/distributed/synchronized_batch_norm.h"
#include "ml/execution/dropout.h"
#include "ml/execution/sampled_conv.h"
#include "ml/execution/straight_through.h"
#include "ml/kernels/scatter_channels/scatter_channels.h"
#include "ml/network/arithmetic.h"
#include "ml/network/elementwise.h"
#include "ml/network/resampling.h"
#include "ml/network/window_ops.h"

namespace prunelab {
namespace {

struct MaskFunction : torch::autograd::Function<MaskFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& weight, const at::Tensor& mask,
                            bool masked_gradient) {
    context->saved_data["masked"] = masked_gradient;
    if (masked_gradient) context->save_for_backward({mask});
    return weight * mask;
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradient) {
    if (!context->saved_data["masked"].toBool()) return {gradient[0], at::Tensor(), at::Tensor()};
    return {gradient[0] * context->get_saved_variables()[0], at::Tensor(), at::Tensor()};
  }
};

// Whether `addend` can be added to `sum` without making it larger.
bool FitsInto(const at::Tensor& addend, const at::Tensor& sum) {
  if (addend.dim() != sum.dim()) return false;
  for (int64_t d = 0; d < sum.dim(); ++d) {
    if (addend.size(d) != sum.size(d) && addend.size(d) != 1) return false;
  }
  return true;
}

// The inputs one after the other by channel. A stored constant has a batch of one, which is repeated for each image.
at::Tensor Concatenated(const std::vector<at::Tensor>& in) {
  int64_t batch = 1;
  for (const at::Tensor& x : in) {
    if (x.size(0) != 1) batch = x.size(0);
  }
  std::vector<at::Tensor> parts;
  for (const at::Tensor& x : in) {
    std::vector<int64_t> sizes = x.sizes().vec();
    sizes[0] = batch;
    parts.push_back(x.expand(sizes));
  }
  return at::cat(parts, 1);
}

bool CanScatter(const at::Tensor& x) {
  return x.device().is_cpu() && x.dim() == 4 && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kDouble);
}

// The scatter of such a tensor, without a graph for the backward pass.
at::Tensor Scattered(const at::Tensor& x, const Scatter& scatter) {
  const at::Tensor from = x.detach().contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor out = at::empty({x.size(0), scatter.channels(), x.size(2), x.size(3)},
                                   x.options().memory_format(at::MemoryFormat::ChannelsLast));
  const int64_t rows = x.size(0) * x.size(2) * x.size(3);
  if (x.scalar_type() == at::kDouble) {
    ScatterChannels(rows, x.size(1), scatter.channels(), scatter.index().data(), from.data_ptr<double>(),
                    out.data_ptr<double>());
  } else {
    ScatterChannels(rows, x.size(1), scatter.channels(), scatter.index().data(), from.data_ptr<float>(),
                    out.data_ptr<float>());
  }
  return out;
}

}  // namespace

at::Tensor ConvWeight(Model& model, const Node& node, GradientPolicy policy) {
  const at::Tensor weight = model.Get(absl::StrCat(node.name(), ".weight"));
  const auto mask = model.masks().find(node.name());
  if (mask == model.masks().end()) return weight;
  return MaskFunction::apply(weight, mask->second, policy == GradientPolicy::kMasked);
}

at::Tensor RunConv(const Conv2d& conv, at::Tensor x, const at::Tensor& weight, const at::Tensor& bias) {
  // The dilation of a kernel of one pixel, for which oneDNN (of torch 2.11) reads past the image, is 1 here.
  Window window = WindowOf(conv);
  if (!window.HasEqualPads()) {
    x = Padded(window, x);
    window = WithoutPads(window);
  }
  if (at::GradMode::is_enabled() && weight.requires_grad() && NeedsSampling(window, weight)) {
    x = Sampled(window, x);
    window.down.stride = window.across.stride = 1;
  }
  return RunConv2d(window, x, weight, bias, conv.groups());
}

at::Tensor RunNode(Model& model, const Node& node, const std::vector<at::Tensor>& in, const ForwardOptions& options,
                   bool overwrite) {
  const auto parameter = [&](const char* suffix) { return model.Get(absl::StrCat(node.name(), ".", suffix)); };
  switch (node.op_case()) {
    case Node::kConv2D:
      return RunConv(node.conv2d(), in[0], ConvWeight(model, node, options.policy),
                     node.conv2d().bias() ? parameter("bias") : at::Tensor());
    case Node::kBatchNorm2D: {
      const bool train = options.mode == Mode::kTrain;
      // LibTorch would continue with a NaN running variance.
      PRUNELAB_CHECK(!train || options.batch_norm_ranks != nullptr || in[0].numel() > in[0].size(1))
          << node.name() << ": one value a channel, of which there is no variance";
      if (train) model.Get(absl::StrCat(node.name(), ".num_batches_tracked")).add_(1);
      if (train && options.batch_norm_ranks != nullptr) {
        return SynchronizedBatchNorm(in[0], parameter("weight"), parameter("bias"), parameter("running_mean"),
                                     parameter("running_var"),
                                     options.batch_norm_momentum.value_or(node.batch_norm2d().momentum()),
                                     node.batch_norm2d().epsilon(), *options.batch_norm_ranks);
      }
      return at::batch_norm(in[0], parameter("weight"), parameter("bias"), parameter("running_mean"),
                            parameter("running_var"), train,
                            options.batch_norm_momentum.value_or(node.batch_norm2d().momentum()),
                            node.batch_norm2d().epsilon(), /*cudnn_enabled=*/true);
    }
    case Node::kRelu:
      if (overwrite) return in[0].relu_();
      return at::relu(in[0]);
    case Node::kAdd: {
      // A stored constant has a batch of one and takes the shape of what is added to it.
      const bool in_place = overwrite && in[0].sizes() == in[1].sizes();
      at::Tensor sum = in_place ? in[0].add_(in[1]) : in[0] + in[1];
      for (size_t i = 2; i < in.size(); ++i) sum = FitsInto(in[i], sum) ? sum.add_(in[i]) : sum + in[i];
      return sum;
    }
    case Node::kMaxPool2D:
      return RunMaxPool2d(node.max_pool2d(), in[0]);
    case Node::kAveragePool2D:
      return RunAveragePool2d(node.average_pool2d(), in[0]);
    case Node::kGlobalAveragePool:
      return at::adaptive_avg_pool2d(in[0], {1, 1});
    case Node::kFlatten:
      return at::flatten(in[0], 1);
    case Node::kLinear:
      return at::linear(in[0], parameter("weight"), node.linear().bias() ? parameter("bias") : at::Tensor());
    case Node::kScatter: {
      if (!(at::GradMode::is_enabled() && in[0].requires_grad()) && CanScatter(in[0])) {
        return Scattered(in[0], node.scatter());
      }
      const std::vector<int64_t> channels(node.scatter().index().begin(), node.scatter().index().end());
      std::vector<int64_t> shape = in[0].sizes().vec();
      shape[1] = node.scatter().channels();
      const at::Tensor stream = at::zeros(shape, in[0].options().memory_format(at::MemoryFormat::ChannelsLast));
      return at::index_copy(stream, 1, model.Index(node.name(), channels), in[0]);
    }
    case Node::kConstant: {
      const Constant& constant = node.constant();
      at::Tensor value = parameter("value").unsqueeze(0);
      const auto repeat = [&](const google::protobuf::RepeatedField<int64_t>& repeats,
                              const google::protobuf::RepeatedField<int64_t>& index, int64_t dimension) {
        if (repeats.empty() && index.empty()) return;
        std::vector<int64_t> from(index.begin(), index.end());
        for (int k = 0; k < repeats.size(); ++k) from.insert(from.end(), repeats[k], k);  // k as often as it says
        value = value.index_select(dimension, model.Index(absl::StrCat(node.name(), "/", dimension), from));
      };
      repeat(constant.row_repeats(), constant.row_index(), 2);
      repeat(constant.column_repeats(), constant.column_index(), 3);
      return value;
    }
    case Node::kConcat:
      return Concatenated(in);
    case Node::kElementwise:
      return ApplyElementwise(node.elementwise(), in[0], overwrite);
    case Node::kFakeQuantize:
      return RoundedToGrid(node.fake_quantize(), in[0], parameter("scale"), parameter("zero_point"));
    case Node::kResize:
      return RunResize(node.resize(), in[0]);
    case Node::kPad:
      return RunPad(node.pad(), in[0]);
    case Node::kAdaptivePool2D:
      return RunAdaptivePool2d(node.adaptive_pool2d(), in[0]);
    case Node::kUnflatten:
      return in[0].unsqueeze(2).unsqueeze(3);
    case Node::kArithmetic:
      return ApplyArithmetic(node.arithmetic(), in[0], in[1]);
    case Node::kPrelu:
      return at::prelu(in[0], parameter("weight"));
    case Node::kSoftmax:
      return at::softmax(in[0], 1);
    case Node::kChannelScale: {
      const auto by_channel = [&](const char* suffix) {
        return in[0].dim() == 4 ? parameter(suffix).view({1, -1, 1, 1}) : parameter(suffix);
      };
      at::Tensor scaled = node.channel_scale().weight() ? in[0] * by_channel("weight") : in[0];
      return node.channel_scale().bias() ? scaled + by_channel("bias") : scaled;
    }
    case Node::kLayerNorm: {
      const at::Tensor weight = node.layer_norm().affine() ? parameter("weight") : at::Tensor();
      const at::Tensor bias = node.layer_norm().affine() ? parameter("bias") : at::Tensor();
      const auto normalized = [&](const at::Tensor& x) {
        return at::layer_norm(x, {x.size(-1)}, weight, bias, node.layer_norm().epsilon());
      };
      return in[0].dim() == 4 ? normalized(in[0].permute({0, 2, 3, 1})).permute({0, 3, 1, 2}) : normalized(in[0]);
    }
    case Node::kGroupNorm: {
      const GroupNorm& norm = node.group_norm();
      return at::group_norm(in[0], norm.groups(), norm.affine() ? parameter("weight") : at::Tensor(),
                            norm.affine() ? parameter("bias") : at::Tensor(), norm.epsilon());
    }
    case Node::kInstanceNorm: {
      const InstanceNorm& norm = node.instance_norm();
      return at::instance_norm(in[0], norm.affine() ? parameter("weight") : at::Tensor(),
                               norm.affine() ? parameter("bias") : at::Tensor(), {}, {}, /*use_input_stats=*/true,
                               /*momentum=*/0, norm.epsilon(), /*cudnn_enabled=*/true);
    }
    case Node::kSelect:
      return in[0].index_select(1,
                                model.Index(node.name(), {node.select().index().begin(), node.select().index().end()}));
    case Node::kConvTranspose2D: {
      const ConvTranspose2d& conv = node.conv_transpose2d();
      return RunConvTranspose2d(WindowOf(conv), in[0], parameter("weight"),
                                conv.bias() ? parameter("bias") : at::Tensor(), conv.groups());
    }
    case Node::kDropout: {
      const auto kept = options.kept.find(node.name());
      if (options.mode == Mode::kEvaluate || kept == options.kept.end()) return in[0];
      return ApplyDropout(node.dropout(), in[0], kept->second);
    }
    case Node::kImage:
    case Node::OP_NOT_SET:
      break;
  }
  PRUNELAB_CHECK(false) << "node \"" << node.name() << "\" cannot be run";
  return {};
}

bool MayOverwrite(const NetworkInfo& info, int i, const std::set<std::string>& captured) {
  if (info.inputs(i).empty()) return false;  // a stored constant
  const int input = info.inputs(i)[0];
  const Node& producer = info.node(input);
  switch (producer.op_case()) {
    case Node::kConv2D:
    case Node::kConvTranspose2D:
    case Node::kBatchNorm2D:
    case Node::kAdd:
    case Node::kLinear:
    case Node::kScatter:
    case Node::kConcat:
      return info.users(input).size() == 1 && captured.count(producer.name()) == 0;
    default:
      return false;
  }
}

}  // namespace prunelab
