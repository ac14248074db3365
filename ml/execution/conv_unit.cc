#include "ml/execution/conv_unit.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/execution/channel_lists.h"
#include "ml/execution/sampled_conv.h"
#include "ml/kernels/batch_norm/batch_norm.h"
#include "ml/kernels/conv3x3/conv3x3.h"

namespace prunelab {
namespace {

std::vector<double> Values(const at::Tensor& tensor) {
  std::vector<double> values(tensor.numel());
  const at::Tensor data = tensor.detach().contiguous();
  AT_DISPATCH_FLOATING_TYPES(data.scalar_type(), "values", [&] {
    const scalar_t* from = data.const_data_ptr<scalar_t>();
    for (size_t i = 0; i < values.size(); ++i) values[i] = from[i];
  });
  return values;
}

// values[list] as a tensor like `like`.
at::Tensor Listed(const std::vector<double>& values, const std::vector<int64_t>& list, const at::Tensor& like) {
  const at::Tensor tensor = at::empty({static_cast<int64_t>(list.size())}, like.options().requires_grad(false));
  AT_DISPATCH_FLOATING_TYPES(tensor.scalar_type(), "values", [&] {
    scalar_t* to = tensor.mutable_data_ptr<scalar_t>();
    for (size_t j = 0; j < list.size(); ++j) to[j] = static_cast<scalar_t>(values[list[j]]);
  });
  return tensor;
}

// The reverse: `of_list` at the places of the list, zero elsewhere.
at::Tensor Unlisted(const std::vector<double>& of_list, const std::vector<int64_t>& list, int64_t size,
                    const at::Tensor& like) {
  std::vector<double> all(size);
  for (size_t j = 0; j < list.size(); ++j) all[list[j]] = of_list[j];
  return Listed(all, AllChannels(size), like);
}

at::Tensor EmptyLike(const at::Tensor& tensor, int64_t channels) {
  return at::empty({tensor.size(0), channels, tensor.size(2), tensor.size(3)}, tensor.options().requires_grad(false),
                   at::MemoryFormat::ChannelsLast);
}

BatchNormLayout LayoutOf(const at::Tensor& y, const ChannelLists& lists) {
  BatchNormLayout layout;
  layout.rows = y.size(0) * y.size(2) * y.size(3);
  layout.channels = static_cast<int64_t>(lists.wide.size());
  layout.stored = static_cast<int64_t>(lists.stored.size());
  layout.position = lists.all_stored() ? nullptr : lists.position.data();
  return layout;
}

template <typename T>
const T* Data(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}
template <typename T>
T* MutableData(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr<T>() : nullptr;
}

// Whether the project's own kernels are for convolutions like this one, and for its weight gradient.
struct OwnKernels {
  bool convolution = false, weight_gradient = false;
};
OwnKernels FindOwnKernels(const Conv2d& conv, const at::Tensor& weight, const at::Tensor& input) {
  if (weight.scalar_type() != at::kFloat || weight.size(2) != 3 || weight.size(3) != 3 || conv.stride() != 1 ||
      conv.padding() != 1 || conv.dilation() != 1) {
    return {};
  }
  const int64_t out = weight.size(0), in = weight.size(1), height = input.size(2), width = input.size(3);
  return {HasConv3x3(in, out, height, width), HasConv3x3WeightGradient(in, out, height, width)};
}

// A convolution's input in channels_last memory, with BN and ReLU still to come where scale and shift are defined.
struct ConvInput {
  at::Tensor tensor, scale, shift;

  Conv3x3Input data() const { return {Data<float>(tensor), Data<float>(scale), Data<float>(shift)}; }
  // The input itself.
  at::Tensor Made() const {
    if (!scale.defined()) return tensor;
    const at::Tensor made = at::empty_like(tensor);
    const int64_t channels = tensor.size(1);
    AT_DISPATCH_FLOATING_TYPES(tensor.scalar_type(), "ConvInput", [&] {
      BatchNormForward<scalar_t>({tensor.numel() / channels, channels, channels, nullptr}, Data<scalar_t>(tensor),
                                 Data<scalar_t>(scale), Data<scalar_t>(shift), nullptr, /*relu=*/true,
                                 MutableData<scalar_t>(made));
    });
    return made;
  }
};

at::Tensor ConvForward(const Conv2d& conv, const ConvInput& input, const at::Tensor& weight) {
  const int64_t out = weight.size(0), in = weight.size(1);
  const at::Tensor& x = input.tensor;
  if (!FindOwnKernels(conv, weight, x).convolution) {
    return at::conv2d(input.Made(), weight, {}, at::IntArrayRef(conv.stride()), at::IntArrayRef(conv.padding()),
                      at::IntArrayRef(conv.dilation()))
        .contiguous(at::MemoryFormat::ChannelsLast);
  }
  const at::Tensor w = weight.contiguous(at::MemoryFormat::ChannelsLast);
  at::Tensor y = EmptyLike(x, out);
  Conv3x3(x.size(0), x.size(2), x.size(3), in, out, input.data(), w.const_data_ptr<float>(),
          y.mutable_data_ptr<float>());
  return y;
}

// Gradients of input and weight, those that are wanted; to the input's `of_others` is added, where it is defined.
std::pair<at::Tensor, at::Tensor> ConvBackward(const Conv2d& conv, const at::Tensor& dy, const ConvInput& input,
                                               const at::Tensor& weight, bool needs_input, bool needs_weight,
                                               const at::Tensor& of_others) {
  const int64_t out = weight.size(0), in = weight.size(1);
  const OwnKernels own = FindOwnKernels(conv, weight, input.tensor);
  at::Tensor dinput, dweight;
  if (needs_input && own.convolution) {
    const at::Tensor w = weight.contiguous(at::MemoryFormat::ChannelsLast);
    dinput = EmptyLike(dy, in);
    Conv3x3InputGradient(dy.size(0), dy.size(2), dy.size(3), in, out, dy.const_data_ptr<float>(),
                         w.const_data_ptr<float>(), Data<float>(of_others), dinput.mutable_data_ptr<float>());
  }
  if (needs_weight && own.weight_gradient) {
    dweight = at::empty({out, in, 3, 3}, weight.options(), at::MemoryFormat::ChannelsLast);
    Conv3x3WeightGradient(dy.size(0), dy.size(2), dy.size(3), in, out, input.data(), dy.const_data_ptr<float>(),
                          dweight.mutable_data_ptr<float>());
  }
  const bool library_input = needs_input && !own.convolution, library_weight = needs_weight && !own.weight_gradient;
  const auto by_library = [&](const at::Tensor& x, int64_t stride, bool of_input, bool of_weight) {
    return at::convolution_backward(dy, x, weight, at::OptionalIntArrayRef(), {stride, stride},
                                    {conv.padding(), conv.padding()}, {conv.dilation(), conv.dilation()},
                                    /*transposed=*/false, {0, 0}, /*groups=*/1, {of_input, of_weight, false});
  };
  const bool sampled = library_weight && NeedsSampling(conv, weight);
  if (sampled) dweight = std::get<1>(by_library(Sampled(conv, input.Made()), 1, false, true));
  if (library_input || (library_weight && !sampled)) {
    auto [of_input, of_weight, unused] = by_library(library_weight && !sampled ? input.Made() : input.tensor,
                                                    conv.stride(), library_input, library_weight && !sampled);
    if (library_input) dinput = of_others.defined() ? of_input.add_(of_others) : of_input;
    if (library_weight && !sampled) dweight = of_weight;
  }
  return {dinput, dweight};
}

struct ConvUnitBackward : torch::autograd::Node {
  std::string name() const override { return "prunelab::ConvUnitBackward"; }

  void release_variables() override {
    for (at::Tensor* tensor : {&input.tensor, &input.scale, &input.shift, &weight, &y, &out, &scale, &shift, &mean}) {
      *tensor = at::Tensor();
    }
  }

  // Gradients of input, weight, gamma, beta, bias and addend, of those of the output and of the input's other readers.
  torch::autograd::variable_list apply(torch::autograd::variable_list&& gradients) override {
    torch::autograd::variable_list result(6);
    at::Tensor of_others = gradients.size() > 1 ? gradients[1] : at::Tensor();
    if (!gradients[0].defined()) {
      result[0] = of_others;
      return result;
    }
    if (of_others.defined()) of_others = of_others.contiguous(at::MemoryFormat::ChannelsLast);
    PRUNELAB_CHECK(!at::GradMode::is_enabled()) << "only the reference plan is twice differentiable";
    PRUNELAB_CHECK(y.defined()) << "the graph was used and freed";
    const at::Tensor gradient = gradients[0].contiguous(at::MemoryFormat::ChannelsLast);
    const BatchNormLayout layout = LayoutOf(y, lists);
    const bool needs_input = task_should_compute_output(0);
    const bool one_call = lists.all_stored();
    const bool gate_by_output = relu && has_addend;
    at::Tensor gated, dy, dy_stored;
    if (gate_by_output) gated = at::empty_like(gradient);
    if (one_call || !masked_gradient) dy = EmptyLike(y, layout.channels);
    if (!one_call && (masked_gradient || needs_input)) dy_stored = EmptyLike(y, layout.stored);
    std::vector<double> dgamma(layout.channels), dbeta(layout.channels);
    AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "ConvUnitBackward", [&] {
      BatchNormBackward<scalar_t>(layout, Data<scalar_t>(gradient), Data<scalar_t>(y),
                                  gate_by_output ? Data<scalar_t>(out) : nullptr, Data<scalar_t>(scale),
                                  Data<scalar_t>(shift), Data<scalar_t>(mean), inverse.data(), relu,
                                  MutableData<scalar_t>(gated), dgamma.data(), dbeta.data(), MutableData<scalar_t>(dy),
                                  MutableData<scalar_t>(dy_stored));
    });
    at::Tensor dweight;
    if (one_call || masked_gradient) {
      auto [of_input, of_weight] =
          ConvBackward(conv, one_call ? dy : dy_stored, input, weight, needs_input, true, of_others);
      result[0] = of_input;
      dweight = of_weight;
    } else {
      if (needs_input) result[0] = ConvBackward(conv, dy_stored, input, weight, true, false, of_others).first;
      const at::Tensor shape_only = at::empty({layout.channels, weight.size(1), weight.size(2), weight.size(3)},
                                              weight.options(), at::MemoryFormat::ChannelsLast);
      dweight = ConvBackward(conv, dy, input, shape_only, false, true, at::Tensor()).second;
    }
    const std::vector<int64_t>& rows = masked_gradient ? lists.stored : lists.wide;
    result[1] = GradientOfSlice(dweight, weight_shape, masked_gradient ? mask : at::Tensor(), rows, columns);
    result[2] = Unlisted(dgamma, lists.wide, lists.filters, scale);
    result[3] = Unlisted(dbeta, lists.wide, lists.filters, scale);
    // BN takes the mean of y away, and the bias with it.
    if (has_bias) result[4] = at::zeros({lists.filters}, scale.options());
    if (has_addend) result[5] = gate_by_output ? gated : gradient;
    return result;
  }

  Conv2d conv;
  ChannelLists lists;
  std::vector<int64_t> columns, weight_shape;
  std::vector<double> inverse;  // of the wide channels
  bool relu = false, has_addend = false, has_bias = false, masked_gradient = false;
  // `weight`: the slice that was used. `out` only where the gate depends on an addend.
  ConvInput input;
  at::Tensor weight, mask, y, out, scale, shift, mean;
};

// Running statistics of all filters; those that are not stored have y = 0.
void UpdateRunningStatistics(const at::Tensor& running_mean, const at::Tensor& running_var, double momentum,
                             const std::vector<double>& mean, const std::vector<double>& variance,
                             const std::vector<double>& bias, double rows) {
  AT_DISPATCH_FLOATING_TYPES(running_mean.scalar_type(), "UpdateRunningStatistics", [&] {
    scalar_t* means = running_mean.mutable_data_ptr<scalar_t>();
    scalar_t* vars = running_var.mutable_data_ptr<scalar_t>();
    for (size_t c = 0; c < mean.size(); ++c) {
      const double of_batch = mean[c] + (bias.empty() ? 0 : bias[c]);
      means[c] = static_cast<scalar_t>((1 - momentum) * means[c] + momentum * of_batch);
      vars[c] = static_cast<scalar_t>((1 - momentum) * vars[c] + momentum * (variance[c] * rows / (rows - 1)));
    }
  });
}

}  // namespace

Activation RunConvUnit(Model& model, const ConvUnit& unit, Activation& input, const at::Tensor& addend,
                       const ForwardOptions& options, const OutputForm& form, bool input_is_read_again, int64_t* macs) {
  const NetworkInfo& info = model.info();
  const Conv2d& conv = info.node(unit.conv).conv2d();
  const std::string &conv_name = info.node(unit.conv).name(), &norm_name = info.node(unit.norm).name();
  const at::Tensor& weight = model.Get(absl::StrCat(conv_name, ".weight"));
  const at::Tensor& gamma_parameter = model.Get(absl::StrCat(norm_name, ".weight"));
  const at::Tensor& beta_parameter = model.Get(absl::StrCat(norm_name, ".bias"));
  const at::Tensor bias_parameter = conv.bias() ? model.Get(absl::StrCat(conv_name, ".bias")) : at::Tensor();
  const at::Tensor& running_mean = model.Get(absl::StrCat(norm_name, ".running_mean"));
  const at::Tensor& running_var = model.Get(absl::StrCat(norm_name, ".running_var"));
  const BatchNorm2d& norm = info.node(unit.norm).batch_norm2d();
  const bool train = options.mode == Mode::kTrain;
  const bool record = train && at::GradMode::is_enabled();
  const int64_t filters = weight.size(0);

  const auto found = model.masks().find(conv_name);
  const at::Tensor mask = found == model.masks().end() ? at::Tensor() : found->second;
  std::vector<bool> live(filters, true);
  if (mask.defined() && mask.numel() == filters) {
    const std::vector<double> on = Values(mask);
    for (int64_t c = 0; c < filters; ++c) live[c] = on[c] != 0;
  }
  const std::vector<double> gamma = Values(gamma_parameter), beta = Values(beta_parameter);
  const std::vector<double> bias = conv.bias() ? Values(bias_parameter) : std::vector<double>();
  std::vector<double> mean(filters), variance(filters), inverse(filters), scale(filters), shift(filters);
  const auto set_affine = [&](bool with_bias) {
    for (int64_t c = 0; c < filters; ++c) {
      inverse[c] = 1 / std::sqrt(variance[c] + norm.epsilon());
      scale[c] = gamma[c] * inverse[c];
      shift[c] = beta[c] + ((with_bias && conv.bias() ? bias[c] : 0) - mean[c]) * scale[c];
    }
  };
  if (!train) {
    mean = Values(running_mean);
    variance = Values(running_var);
    set_affine(true);
  }
  // A filter that is off gives its constant behind the ReLU, if it is above 0 (or no number at all).
  std::vector<bool> needed(filters);
  for (int64_t c = 0; c < filters; ++c) needed[c] = !live[c] && !((train ? beta[c] : shift[c]) <= 0);
  const bool to_relu = unit.relu >= 0 && unit.add < 0;
  const ChannelLists lists = ChooseChannels(live, needed, /*full_width=*/!(form.compact && to_relu));
  const std::vector<int64_t> columns = input.channels.empty() ? AllChannels(weight.size(1)) : input.channels;

  Activation result;
  ConvInput conv_input;
  at::Tensor y, slice;
  {
    const at::NoGradGuard no_gradients;
    slice = WeightSlice(weight.detach(), mask, lists.stored, columns);
    conv_input = {input.tensor.detach().contiguous(at::MemoryFormat::ChannelsLast), input.scale, input.shift};
    // What the library reads is made once, for the backward pass too.
    if (!FindOwnKernels(conv, slice, conv_input.tensor).convolution) conv_input = {conv_input.Made(), {}, {}};
    y = ConvForward(conv, conv_input, slice);
  }
  const BatchNormLayout layout = LayoutOf(y, lists);
  if (train) {
    PRUNELAB_CHECK(layout.rows > 1) << norm_name << ": one value a channel, of which there is no variance";
    // The statistics of the stored channels, then of all.
    const BatchNormLayout stored{layout.rows, layout.stored, layout.stored, nullptr};
    std::vector<double> stored_mean(layout.stored), stored_variance(layout.stored);
    AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "RunConvUnit", [&] {
      BatchNormStatistics(stored, y.const_data_ptr<scalar_t>(), stored_mean.data(), stored_variance.data());
    });
    for (size_t j = 0; j < lists.stored.size(); ++j) {
      mean[lists.stored[j]] = stored_mean[j];
      variance[lists.stored[j]] = stored_variance[j];
    }
    set_affine(false);
    model.Get(absl::StrCat(norm_name, ".num_batches_tracked")).mutable_data_ptr<int64_t>()[0] += 1;
    UpdateRunningStatistics(running_mean, running_var, options.batch_norm_momentum.value_or(norm.momentum()), mean,
                            variance, bias, static_cast<double>(layout.rows));
  }
  const at::Tensor scales = Listed(scale, lists.wide, weight), shifts = Listed(shift, lists.wide, weight);
  const at::Tensor added = addend.defined() ? addend.detach().contiguous(at::MemoryFormat::ChannelsLast) : addend;
  if (form.deferred && to_relu && lists.all_stored()) {
    result.tensor = y.detach();
    result.scale = scales;
    result.shift = shifts;
  } else {
    result.tensor = EmptyLike(y, layout.channels);
    PRUNELAB_CHECK(!added.defined() || added.sizes() == result.tensor.sizes()) << norm_name << ": shapes to add differ";
    AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "RunConvUnit", [&] {
      BatchNormForward(layout, y.const_data_ptr<scalar_t>(), scales.const_data_ptr<scalar_t>(),
                       shifts.const_data_ptr<scalar_t>(), Data<scalar_t>(added), unit.relu >= 0,
                       result.tensor.mutable_data_ptr<scalar_t>());
    });
  }
  if (layout.channels < filters) result.channels = lists.wide;

  const bool masked_gradient = options.policy == GradientPolicy::kMasked && mask.defined();
  const int64_t macs_of_filter =
      static_cast<int64_t>(columns.size()) * weight.size(2) * weight.size(3) * y.size(2) * y.size(3);
  *macs += layout.stored * macs_of_filter;
  if (!record) return result;
  *macs += (masked_gradient ? layout.stored : layout.channels) * macs_of_filter;
  if (input.tensor.requires_grad()) *macs += layout.stored * macs_of_filter;

  const std::shared_ptr<ConvUnitBackward> node(new ConvUnitBackward(), torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(input.tensor, weight, gamma_parameter, beta_parameter,
                                                           bias_parameter, addend));
  node->conv = conv;
  node->columns = columns;
  node->weight_shape = weight.sizes().vec();
  for (const int64_t c : lists.wide) node->inverse.push_back(inverse[c]);
  node->relu = unit.relu >= 0;
  node->has_addend = addend.defined();
  node->has_bias = conv.bias();
  node->masked_gradient = masked_gradient;
  node->input = conv_input;
  node->weight = slice;
  node->mask = mask;
  node->y = y;
  if (node->relu && node->has_addend) node->out = result.tensor.detach();
  node->scale = scales;
  node->shift = shifts;
  node->mean = Listed(mean, lists.wide, weight);
  node->lists = lists;
  torch::autograd::set_history(result.tensor, node);
  if (input_is_read_again && input.tensor.requires_grad()) {
    input.tensor = input.tensor.detach();
    torch::autograd::set_history(input.tensor, node);
  }
  return result;
}

}  // namespace prunelab
