#include "ml/execution/folded_conv.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/execution/prepared_values.h"
#include "ml/kernels/conv3x3/conv3x3.h"
#include "ml/network/window.h"

namespace prunelab {
namespace {

constexpr auto kChannelsLast = at::MemoryFormat::ChannelsLast;

// `tensor` in channels_last memory with `channels` channels, the last ones zero.
at::Tensor WithChannels(const at::Tensor& tensor, int64_t channels) {
  if (tensor.size(1) == channels) return tensor.contiguous(kChannelsLast);
  const at::Tensor filled =
      at::empty({tensor.size(0), channels, tensor.size(2), tensor.size(3)}, tensor.options(), kChannelsLast);
  filled.narrow(1, 0, tensor.size(1)).copy_(tensor);
  filled.narrow(1, tensor.size(1), channels - tensor.size(1)).zero_();
  return filled;
}

// The same for filters and their inputs.
at::Tensor FilledUpWeight(const at::Tensor& weight, int64_t out, int64_t in) {
  if (weight.size(0) == out && weight.size(1) == in) return weight.contiguous(kChannelsLast);
  const at::Tensor filled = at::empty({out, in, 3, 3}, weight.options(), kChannelsLast).zero_();
  filled.narrow(0, 0, weight.size(0)).narrow(1, 0, weight.size(1)).copy_(weight);
  return filled;
}

// What is added to each image: one number per channel, and a picture where a constant has one.
class Constants {
 public:
  Constants(int64_t channels, int64_t height, int64_t width)
      : shift_(at::zeros({channels}, at::kFloat)), height_(height), width_(width) {}

  // `value` [1, channels, 1 or H, 1 or W], its channel k at channel position[k] (null: k).
  void Add(const at::Tensor& value, const std::vector<int32_t>* position) {
    const int64_t channels = value.size(1);
    const bool uniform = value.size(2) == 1 && value.size(3) == 1;
    if (!uniform && !picture_.defined()) {
      picture_ = at::empty({1, shift_.size(0), height_, width_}, at::kFloat, kChannelsLast).zero_();
    }
    const at::Tensor to = uniform ? shift_.view({1, -1, 1, 1}) : picture_;
    const at::Tensor from = value.expand({1, channels, to.size(2), to.size(3)});
    if (position == nullptr) {
      to.narrow(1, 0, channels).add_(from);
    } else {
      const std::vector<int64_t> index(position->begin(), position->begin() + channels);
      to.index_add_(1, at::tensor(index), from);
    }
  }

  const float* shift() const { return shift_.const_data_ptr<float>(); }
  const float* picture() const { return picture_.defined() ? picture_.const_data_ptr<float>() : nullptr; }

 private:
  at::Tensor shift_, picture_;
  int64_t height_, width_;
};

// Whether nothing else is the value's memory, such as what dropout passes on in evaluation, a view, images that were
// given, or a value that is kept. Called before the value is copied.
bool IsAlone(const at::Tensor& value) { return value.use_count() == 1 && value.storage().use_count() == 1; }

// Whether only the next step needs the value of `node`, so that its memory may be overwritten. Images must stay.
bool MayTakeOver(const PlanBuilder& builder, int node) {
  const Node& producer = builder.network().node(node);
  return builder.reads_left(node) == 1 && producer.op_case() != Node::kImage &&
         builder.structure().capture.count(producer.name()) == 0;
}

class FoldedConvStep : public Step {
 public:
  FoldedConvStep(const PlanBuilder& builder, const FoldedConv& unit, bool filled_up)
      : Step(unit.output, Inputs(unit)),
        unit_(unit),
        name_(builder.network().node(unit.conv).name()),
        conv_(builder.network().node(unit.conv).conv2d()),
        channels_(builder.network().shape(unit.output).channels),
        overwrite_addend_(unit.other >= 0 && MayTakeOver(builder, unit.other)),
        filled_up_(filled_up),
        macs_(builder.network().MacCount(unit.conv)) {
    if (unit.scatter >= 0) SetPosition(builder.network().node(unit.scatter).scatter());
  }

  Activation Run(Execution& execution) const override {
    const at::NoGradGuard no_gradients;
    PreparedValues* const prepared = execution.options.prepared;
    if (prepared == nullptr) return Computed(execution, Operands(execution));
    return Computed(execution, prepared->Of<Operand>(id(), [&] {
      Operand operand = Operands(execution);
      const at::Tensor weight = operand.weight;
      operand.weight = at::empty({Conv3x3TransformedSize(operand.in, operand.out)}, weight.options());
      TransformConv3x3Weight(operand.in, operand.out, weight.const_data_ptr<float>(),
                             operand.weight.mutable_data_ptr<float>());
      return operand;
    }));
  }

 private:
  // What the model's values alone make.
  struct Operand {
    int64_t in, out;    // filled up
    at::Tensor weight;  // filled up; where it is kept between calls, transformed
    Constants constants;
  };

  Operand Operands(const Execution& execution) const {
    const at::Tensor masked = execution.model.MaskedWeight(name_);
    const int64_t in = FilledUp(masked.size(1)), out = FilledUp(masked.size(0));
    const at::Tensor& input = execution.values[unit_.input].tensor;
    return {in, out, FilledUpWeight(masked, out, in),
            ConstantsOf(execution, FilledUp(channels_), input.size(2), input.size(3))};
  }

  Activation Computed(Execution& execution, const Operand& operand) const {
    const int64_t in = operand.in, out = operand.out;
    const at::Tensor x = WithChannels(execution.values[unit_.input].tensor, in);
    const int64_t images = x.size(0), height = x.size(2), width = x.size(3);
    Conv3x3Output output;
    output.channels = FilledUp(channels_);
    output.relu = unit_.relu >= 0;
    output.position = unit_.scatter >= 0 ? position_.data() : nullptr;
    output.shift = operand.constants.shift();
    output.picture = operand.constants.picture();

    at::Tensor addend, to;
    if (unit_.other >= 0) {
      const at::Tensor& value = execution.values[unit_.other].tensor;
      const bool take_over = overwrite_addend_ && IsAlone(value);
      addend = WithChannels(value, output.channels);
      PRUNELAB_CHECK(addend.sizes() == at::IntArrayRef({images, output.channels, height, width}))
          << name_ << ": shapes to add differ";
      output.addend = addend.const_data_ptr<float>();
      if (take_over || !addend.is_same(value)) to = addend;
    }
    if (!to.defined()) to = at::empty({images, output.channels, height, width}, x.options(), kChannelsLast);
    const auto convolve = execution.options.prepared != nullptr ? &Conv3x3FusedTransformed : &Conv3x3Fused;
    convolve(images, height, width, in, out, x.const_data_ptr<float>(), operand.weight.const_data_ptr<float>(), output,
             to.mutable_data_ptr<float>());
    execution.macs += macs_;
    Activation result;
    const bool whole = filled_up_ || channels_ == output.channels;
    result.tensor = whole ? to : to.narrow(1, 0, channels_).contiguous(kChannelsLast);
    return result;
  }

  static std::vector<int> Inputs(const FoldedConv& unit) {
    std::vector<int> inputs = {unit.input};
    if (unit.other >= 0) inputs.push_back(unit.other);
    inputs.insert(inputs.end(), unit.inner_constants.begin(), unit.inner_constants.end());
    inputs.insert(inputs.end(), unit.constants.begin(), unit.constants.end());
    return inputs;
  }

  void SetPosition(const Scatter& scatter) {
    position_.assign(scatter.index().begin(), scatter.index().end());
    // Filters that are only padding go nowhere.
    const int64_t out = FilledUp(static_cast<int64_t>(position_.size()));
    while (static_cast<int64_t>(position_.size()) < out) {
      position_.push_back(static_cast<int32_t>(FilledUp(scatter.channels()) + position_.size()));
    }
  }

  // The convolution's bias and the constants that are added.
  Constants ConstantsOf(const Execution& execution, int64_t channels, int64_t height, int64_t width) const {
    const std::vector<int32_t>* const placed = unit_.scatter >= 0 ? &position_ : nullptr;
    Constants constants(channels, height, width);
    if (conv_.bias()) {
      const at::Tensor bias = execution.model.Get(absl::StrCat(name_, ".bias")).detach();
      constants.Add(bias.view({1, bias.size(0), 1, 1}), placed);
    }
    for (const int i : unit_.inner_constants) constants.Add(execution.values[i].tensor.detach(), placed);
    for (const int i : unit_.constants) constants.Add(execution.values[i].tensor.detach(), nullptr);
    return constants;
  }

  const FoldedConv unit_;
  const std::string name_;  // of the convolution
  const Conv2d conv_;
  const int64_t channels_;  // of the output, not filled up
  const bool overwrite_addend_, filled_up_;
  const int64_t macs_;
  std::vector<int32_t> position_;  // of each of the convolution's channels, filled up, in the scatter's output
};

}  // namespace

bool CanFoldConv(const Node& node, const NodeShape& input, int64_t filters) {
  const Conv2d& conv = node.conv2d();
  return node.op_case() == Node::kConv2D && IsPlain3x3(WindowOf(conv)) && conv.groups() == 1 &&
         HasConv3x3(FilledUp(input.channels), FilledUp(filters), input.height, input.width);
}

void AddFoldedConvStep(PlanBuilder& builder, const FoldedConv& unit, bool filled_up) {
  builder.Add(std::make_unique<FoldedConvStep>(builder, unit, filled_up));
}

}  // namespace prunelab
