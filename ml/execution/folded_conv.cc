#include "ml/execution/folded_conv.h"

#include <ATen/ATen.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/kernels/conv3x3/conv3x3.h"

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

// What is added to each image: numbers for a channel, and a picture where a constant has one.
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

}  // namespace

bool CanFoldConv(const Node& node, const NodeShape& input, int64_t filters) {
  const Conv2d& conv = node.conv2d();
  return node.op_case() == Node::kConv2D && conv.kernel_height() == 3 && conv.kernel_width() == 3 &&
         conv.stride() == 1 && conv.padding() == 1 && conv.dilation() == 1 && conv.groups() == 1 &&
         HasConv3x3(FilledUp(input.channels), FilledUp(filters), input.height, input.width);
}

at::Tensor RunFoldedConv(const Model& model, const FoldedConv& unit, const FoldedConvInputs& inputs, bool filled_up) {
  const at::NoGradGuard no_gradients;
  const NetworkInfo& info = model.info();
  const Node& conv = info.node(unit.conv);
  const at::Tensor masked = model.MaskedWeight(conv.name());
  const int64_t filters = masked.size(0), in = FilledUp(masked.size(1)), out = FilledUp(filters);
  const at::Tensor weight = FilledUpWeight(masked, out, in), x = WithChannels(inputs.x, in);
  const int64_t images = x.size(0), height = x.size(2), width = x.size(3);

  Conv3x3Output output;
  output.channels = out;
  output.relu = unit.relu >= 0;
  std::vector<int32_t> position;
  if (unit.scatter >= 0) {
    const Scatter& scatter = info.node(unit.scatter).scatter();
    output.channels = scatter.channels();
    position.assign(scatter.index().begin(), scatter.index().end());
    // Filters that only fill up go nowhere.
    while (static_cast<int64_t>(position.size()) < out) {
      position.push_back(static_cast<int32_t>(scatter.channels() + position.size()));
    }
    output.position = position.data();
  }
  const std::vector<int32_t>* const placed = unit.scatter >= 0 ? &position : nullptr;
  Constants constants(output.channels, height, width);
  if (conv.conv2d().bias()) {
    constants.Add(model.Get(absl::StrCat(conv.name(), ".bias")).detach().view({1, filters, 1, 1}), placed);
  }
  for (const at::Tensor& value : inputs.inner_constants) constants.Add(value, placed);
  for (const at::Tensor& value : inputs.constants) constants.Add(value, nullptr);
  output.shift = constants.shift();
  output.picture = constants.picture();

  at::Tensor addend, result;
  if (inputs.addend.defined()) {
    addend = inputs.addend.contiguous(kChannelsLast);
    PRUNELAB_CHECK(addend.sizes() == at::IntArrayRef({images, output.channels, height, width}))
        << conv.name() << ": shapes to add differ";
    output.addend = addend.const_data_ptr<float>();
    if (inputs.overwrite_addend) result = addend;
  }
  if (!result.defined()) result = at::empty({images, output.channels, height, width}, x.options(), kChannelsLast);
  Conv3x3Fused(images, height, width, in, out, x.const_data_ptr<float>(), weight.const_data_ptr<float>(), output,
               result.mutable_data_ptr<float>());
  if (filled_up || unit.scatter >= 0 || filters == out) return result;
  return result.narrow(1, 0, filters).contiguous(kChannelsLast);
}

}  // namespace prunelab
