#include "ml/execution/conv_unit.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/execution/channel_lists.h"
#include "ml/execution/unit_conv.h"
#include "ml/kernels/batch_norm/batch_norm.h"

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

// values[list] as a tensor with the options of `like`.
at::Tensor Listed(const std::vector<double>& values, const std::vector<int64_t>& list, const at::Tensor& like) {
  const at::Tensor tensor = at::empty({static_cast<int64_t>(list.size())}, like.options().requires_grad(false));
  AT_DISPATCH_FLOATING_TYPES(tensor.scalar_type(), "values", [&] {
    scalar_t* to = tensor.mutable_data_ptr<scalar_t>();
    for (size_t j = 0; j < list.size(); ++j) to[j] = static_cast<scalar_t>(values[list[j]]);
  });
  return tensor;
}

// The reverse: `of_list` at the positions in the list, zero elsewhere.
at::Tensor Unlisted(const std::vector<double>& of_list, const std::vector<int64_t>& list, int64_t size,
                    const at::Tensor& like) {
  std::vector<double> all(size);
  for (size_t j = 0; j < list.size(); ++j) all[list[j]] = of_list[j];
  return Listed(all, AllChannels(size), like);
}

BatchNormLayout LayoutOf(const at::Tensor& y, const ChannelLists& lists) {
  BatchNormLayout layout;
  layout.rows = y.size(0) * y.size(2) * y.size(3);
  layout.channels = static_cast<int64_t>(lists.wide.size());
  layout.stored = static_cast<int64_t>(lists.stored.size());
  layout.position = lists.all_stored() ? nullptr : lists.position.data();
  return layout;
}

struct ConvUnitBackward : torch::autograd::Node {
  std::string name() const override { return "prunelab::ConvUnitBackward"; }

  void release_variables() override {
    for (at::Tensor* tensor : {&input.tensor, &input.scale, &input.shift, &weight, &y, &out, &scale, &shift, &mean}) {
      *tensor = at::Tensor();
    }
  }

  // The gradients of input, weight, gamma, beta, bias and addend, from the gradients of the output and of the input's
  // other consumers.
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
    const bool gate_by_output = relu.on && has_addend;
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
      const ConvGradients of =
          ConvBackward(conv, one_call ? dy : dy_stored, input, weight, needs_input, true, of_others);
      result[0] = of.input;
      dweight = of.weight;
    } else {
      if (needs_input) result[0] = ConvBackward(conv, dy_stored, input, weight, true, false, of_others).input;
      const at::Tensor shape_only = at::empty({layout.channels, weight.size(1), weight.size(2), weight.size(3)},
                                              weight.options(), at::MemoryFormat::ChannelsLast);
      dweight = ConvBackward(conv, dy, input, shape_only, false, true, at::Tensor()).weight;
    }
    const std::vector<int64_t>& rows = masked_gradient ? lists.stored : lists.wide;
    result[1] = GradientOfSlice(dweight, weight_shape, masked_gradient ? mask : at::Tensor(), rows, columns);
    result[2] = Unlisted(dgamma, lists.wide, lists.filters, scale);
    result[3] = Unlisted(dbeta, lists.wide, lists.filters, scale);
    // BN subtracts the mean of y, and with it the bias.
    if (has_bias) result[4] = at::zeros({lists.filters}, scale.options());
    if (has_addend) result[5] = gate_by_output ? gated : gradient;
    return result;
  }

  Conv2d conv;
  ChannelLists lists;
  std::vector<int64_t> columns, weight_shape;
  std::vector<double> inverse;  // for the wide channels
  Rectifier relu;
  bool has_addend = false, has_bias = false, masked_gradient = false;
  // `weight`: the slice that was used. `out` only if the gate depends on an addend.
  ConvInput input;
  at::Tensor weight, mask, y, out, scale, shift, mean;
};

// Updates the running statistics of all filters; filters that are not stored have y = 0.
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

// The model's tensors that a unit reads; mask and bias are undefined if there are none.
struct UnitTensors {
  at::Tensor weight, mask, bias, gamma, beta, running_mean, running_var, batches_tracked;
};

// BN by filter, in double: the convolution's output y without its bias becomes y * scale + shift.
struct NormNumbers {
  std::vector<double> gamma, beta, bias;  // of the convolution; empty if it has none
  std::vector<double> mean, variance;     // that BN normalizes by
  std::vector<double> inverse, scale, shift;

  // Of mean and variance. `mean_has_bias`: the mean is that of y with the bias.
  void SetAffine(double epsilon, bool mean_has_bias) {
    for (size_t c = 0; c < gamma.size(); ++c) {
      inverse[c] = 1 / std::sqrt(variance[c] + epsilon);
      scale[c] = gamma[c] * inverse[c];
      shift[c] = beta[c] + ((mean_has_bias && !bias.empty() ? bias[c] : 0) - mean[c]) * scale[c];
    }
  }
};

// A convolution's output, and what it was computed of.
struct Convolved {
  std::vector<int64_t> columns;  // the stored channels of the input
  ConvInput input;
  at::Tensor slice;  // of the masked weight
  at::Tensor y;      // [N, stored channels, H, W]
};

class ConvUnitStep : public Step {
 public:
  ConvUnitStep(const PlanBuilder& builder, const ConvUnit& unit, const OutputForm& form)
      : Step(unit.output, unit.other >= 0 ? std::vector<int>{unit.input, unit.other} : std::vector<int>{unit.input}),
        conv_name_(builder.network().node(unit.conv).name()),
        norm_name_(builder.network().node(unit.norm).name()),
        conv_(builder.network().node(unit.conv).conv2d()),
        norm_(builder.network().node(unit.norm).batch_norm2d()),
        form_(form),
        mask_(builder.structure().masks[unit.conv]),
        relu_(unit.relu >= 0, unit.ceiling),
        relu_at_once_(unit.relu >= 0 && unit.add < 0),
        train_(builder.structure().mode == Mode::kTrain),
        records_(train_ && builder.structure().gradients),
        masked_gradient_(builder.structure().policy == GradientPolicy::kMasked && mask_ != PlanStructure::Mask::kNone),
        input_is_read_again_(builder.reads_left(unit.input) > 1) {}

  Activation Run(Execution& execution) const override {
    Activation& input = execution.values[inputs()[0]];
    at::Tensor addend;
    if (inputs().size() > 1) addend = execution.values[inputs()[1]].tensor;
    const UnitTensors tensors = TensorsOf(execution.model);
    NormNumbers numbers = NumbersOf(tensors);
    const ChannelLists lists = Channels(tensors, numbers);
    const Convolved convolved = Convolve(tensors, lists, input);
    if (train_) {
      const std::optional<double>& momentum = execution.options.batch_norm_momentum;
      NormalizeByBatch(tensors, lists, convolved.y, momentum.value_or(norm_.momentum()), numbers);
    }
    const at::Tensor scale = Listed(numbers.scale, lists.wide, tensors.weight);
    const at::Tensor shift = Listed(numbers.shift, lists.wide, tensors.weight);
    Activation result = Output(lists, convolved.y, scale, shift, addend);
    execution.macs += Macs(tensors, lists, convolved, input.tensor.requires_grad());
    if (!records_) return result;
    const std::shared_ptr<ConvUnitBackward> node = BackwardNode(tensors, numbers, lists, convolved, addend.defined());
    node->set_next_edges(torch::autograd::collect_next_edges(input.tensor, tensors.weight, tensors.gamma, tensors.beta,
                                                             tensors.bias, addend));
    node->scale = scale;
    node->shift = shift;
    if (node->relu.on && node->has_addend) node->out = result.tensor.detach();
    torch::autograd::set_history(result.tensor, node);
    if (input_is_read_again_ && input.tensor.requires_grad()) {
      input.tensor = input.tensor.detach();
      torch::autograd::set_history(input.tensor, node);
    }
    return result;
  }

 private:
  UnitTensors TensorsOf(const Model& model) const {
    const auto tensor = [&](const std::string& node, const char* name) { return model.Get(absl::StrCat(node, name)); };
    UnitTensors tensors;
    tensors.weight = tensor(conv_name_, ".weight");
    if (mask_ != PlanStructure::Mask::kNone) tensors.mask = model.masks().at(conv_name_);
    if (conv_.bias()) tensors.bias = tensor(conv_name_, ".bias");
    tensors.gamma = tensor(norm_name_, ".weight");
    tensors.beta = tensor(norm_name_, ".bias");
    tensors.running_mean = tensor(norm_name_, ".running_mean");
    tensors.running_var = tensor(norm_name_, ".running_var");
    if (train_) tensors.batches_tracked = tensor(norm_name_, ".num_batches_tracked");
    return tensors;
  }

  // In evaluation all of them; in training what does not depend on the batch.
  NormNumbers NumbersOf(const UnitTensors& tensors) const {
    NormNumbers numbers;
    numbers.gamma = Values(tensors.gamma);
    numbers.beta = Values(tensors.beta);
    if (conv_.bias()) numbers.bias = Values(tensors.bias);
    const size_t filters = numbers.gamma.size();
    for (std::vector<double>* list :
         {&numbers.mean, &numbers.variance, &numbers.inverse, &numbers.scale, &numbers.shift}) {
      list->resize(filters);
    }
    if (train_) return numbers;
    numbers.mean = Values(tensors.running_mean);
    numbers.variance = Values(tensors.running_var);
    numbers.SetAffine(norm_.epsilon(), /*mean_has_bias=*/true);
    return numbers;
  }

  ChannelLists Channels(const UnitTensors& tensors, const NormNumbers& numbers) const {
    const auto filters = static_cast<size_t>(tensors.weight.size(0));
    std::vector<bool> live(filters, true);
    if (mask_ == PlanStructure::Mask::kFilters) {
      const std::vector<double> on = Values(tensors.mask);
      for (size_t c = 0; c < filters; ++c) live[c] = on[c] != 0;
    }
    // A filter that is off gives its constant after the ReLU, if it is above 0 (or no number at all).
    std::vector<bool> needed(filters);
    for (size_t c = 0; c < filters; ++c) {
      needed[c] = !live[c] && !((train_ ? numbers.beta[c] : numbers.shift[c]) <= 0);
    }
    return ChooseChannels(live, needed, /*full_width=*/!(form_.compact && relu_at_once_));
  }

  Convolved Convolve(const UnitTensors& tensors, const ChannelLists& lists, const Activation& input) const {
    const at::NoGradGuard no_gradients;
    Convolved convolved;
    convolved.columns = input.channels.empty() ? AllChannels(tensors.weight.size(1)) : input.channels;
    convolved.slice = WeightSlice(tensors.weight.detach(), tensors.mask, lists.stored, convolved.columns);
    ConvInput from = {input.tensor.detach().contiguous(at::MemoryFormat::ChannelsLast), input.scale, input.shift};
    // The tensor that the library reads is computed once, for the backward pass as well.
    if (!HasOwnKernel(conv_, convolved.slice, from.tensor)) from = {from.Made(), {}, {}};
    convolved.input = from;
    convolved.y = ConvForward(conv_, from, convolved.slice);
    return convolved;
  }

  // BN's numbers by the batch's statistics, which go into the running ones.
  void NormalizeByBatch(const UnitTensors& tensors, const ChannelLists& lists, const at::Tensor& y, double momentum,
                        NormNumbers& numbers) const {
    const BatchNormLayout layout = LayoutOf(y, lists);
    PRUNELAB_CHECK(layout.rows > 1) << norm_name_ << ": one value a channel, of which there is no variance";
    // The statistics of the stored channels, then of all channels.
    const BatchNormLayout stored{layout.rows, layout.stored, layout.stored, nullptr};
    std::vector<double> mean(layout.stored), variance(layout.stored);
    AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "NormalizeByBatch", [&] {
      BatchNormStatistics(stored, y.const_data_ptr<scalar_t>(), mean.data(), variance.data());
    });
    for (size_t j = 0; j < lists.stored.size(); ++j) {
      numbers.mean[lists.stored[j]] = mean[j];
      numbers.variance[lists.stored[j]] = variance[j];
    }
    numbers.SetAffine(norm_.epsilon(), /*mean_has_bias=*/false);
    tensors.batches_tracked.mutable_data_ptr<int64_t>()[0] += 1;
    UpdateRunningStatistics(tensors.running_mean, tensors.running_var, momentum, numbers.mean, numbers.variance,
                            numbers.bias, static_cast<double>(layout.rows));
  }

  Activation Output(const ChannelLists& lists, const at::Tensor& y, const at::Tensor& scale, const at::Tensor& shift,
                    const at::Tensor& addend) const {
    const BatchNormLayout layout = LayoutOf(y, lists);
    Activation result;
    if (layout.channels < lists.filters) result.channels = lists.wide;
    if (form_.deferred && relu_at_once_ && !relu_.has_ceiling() && lists.all_stored()) {
      result.tensor = y.detach();
      result.scale = scale;
      result.shift = shift;
      return result;
    }
    const at::Tensor added = addend.defined() ? addend.detach().contiguous(at::MemoryFormat::ChannelsLast) : addend;
    result.tensor = EmptyLike(y, layout.channels);
    PRUNELAB_CHECK(!added.defined() || added.sizes() == result.tensor.sizes())
        << norm_name_ << ": shapes to add differ";
    AT_DISPATCH_FLOATING_TYPES(y.scalar_type(), "ConvUnitStep", [&] {
      BatchNormForward(layout, y.const_data_ptr<scalar_t>(), scale.const_data_ptr<scalar_t>(),
                       shift.const_data_ptr<scalar_t>(), Data<scalar_t>(added), relu_,
                       result.tensor.mutable_data_ptr<scalar_t>());
    });
    return result;
  }

  // Multiply-accumulates for one image, forward and what the backward pass will execute.
  int64_t Macs(const UnitTensors& tensors, const ChannelLists& lists, const Convolved& convolved,
               bool input_gradient) const {
    const auto stored = static_cast<int64_t>(lists.stored.size()), wide = static_cast<int64_t>(lists.wide.size());
    const at::Tensor &weight = tensors.weight, &y = convolved.y;
    const int64_t macs_of_filter =
        static_cast<int64_t>(convolved.columns.size()) * weight.size(2) * weight.size(3) * y.size(2) * y.size(3);
    int64_t filters = stored;
    if (records_) filters += masked_gradient_ ? stored : wide;
    if (records_ && input_gradient) filters += stored;
    return filters * macs_of_filter;
  }

  // Without its edges, and what the caller knows of the output.
  std::shared_ptr<ConvUnitBackward> BackwardNode(const UnitTensors& tensors, const NormNumbers& numbers,
                                                 const ChannelLists& lists, const Convolved& convolved,
                                                 bool has_addend) const {
    const std::shared_ptr<ConvUnitBackward> node(new ConvUnitBackward(), torch::autograd::deleteNode);
    node->conv = conv_;
    node->columns = convolved.columns;
    node->weight_shape = tensors.weight.sizes().vec();
    for (const int64_t c : lists.wide) node->inverse.push_back(numbers.inverse[c]);
    node->relu = relu_;
    node->has_addend = has_addend;
    node->has_bias = conv_.bias();
    node->masked_gradient = masked_gradient_;
    node->input = convolved.input;
    node->weight = convolved.slice;
    node->mask = tensors.mask;
    node->y = convolved.y;
    node->mean = Listed(numbers.mean, lists.wide, tensors.weight);
    node->lists = lists;
    return node;
  }

  const std::string conv_name_, norm_name_;
  const Conv2d conv_;
  const BatchNorm2d norm_;
  const OutputForm form_;
  const PlanStructure::Mask mask_;
  const Rectifier relu_;
  const bool relu_at_once_;  // BN's output goes into the ReLU, without an addition
  const bool train_, records_, masked_gradient_;
  const bool input_is_read_again_;
};

}  // namespace

void AddConvUnitStep(PlanBuilder& builder, const ConvUnit& unit, const OutputForm& form) {
  builder.Add(std::make_unique<ConvUnitStep>(builder, unit, form));
}

}  // namespace prunelab
