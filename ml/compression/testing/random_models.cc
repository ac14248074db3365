#include "ml/compression/testing/random_models.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ml/base/random.h"
#include "ml/network/window.h"

namespace prunelab {
namespace {

void Fill(const at::Tensor& tensor, RandomStream& stream, double mean, double deviation) {
  at::Tensor values = at::empty(tensor.sizes(), at::kDouble);
  double* data = values.data_ptr<double>();
  for (int64_t i = 0; i < values.numel(); ++i) data[i] = mean + deviation * stream.Normal();
  tensor.detach().copy_(values);
}

// "layer1.0" of "layer1.0.conv2".
std::string BlockOf(const std::string& node) {
  const size_t first = node.find('.');
  if (first == std::string::npos) return "";
  const size_t second = node.find('.', first + 1);
  return second == std::string::npos ? "" : node.substr(0, second);
}

// Builds a random network node by node.
class NetworkDrawer {
 public:
  explicit NetworkDrawer(uint64_t seed) : stream_(seed, "random_network") {}

  Network Draw() {
    Image();
    const int64_t steps = Between(2, 7);
    for (block_ = 1; block_ <= steps; ++block_) Step();
    Tail();
    if (Happens(0.2)) NameOutputs();
    return std::move(network_);
  }

 private:
  struct Output {
    std::string name;
    int64_t channels = 0, height = 1, width = 1;
  };

  int64_t Between(int64_t least, int64_t most) {
    return least + static_cast<int64_t>(stream_.Uniform() * static_cast<double>(most - least + 1));
  }
  bool Happens(double p) { return stream_.Uniform() < p; }

  Node* Append(const std::string& kind, const std::vector<Output>& inputs) {
    Node* node = network_.add_node();
    node->set_name(absl::StrCat("layer", block_, ".0.", kind, ++nodes_));
    for (const Output& input : inputs) node->add_input(input.name);
    return node;
  }

  Output Keep(const Node* node, int64_t channels, int64_t height, int64_t width) {
    outputs_.push_back({node->name(), channels, height, width});
    return outputs_.back();
  }

  // Usually the last picture, else one of the few before it.
  Output Pick() {
    const int64_t size = static_cast<int64_t>(outputs_.size());
    return Happens(0.6) ? outputs_.back() : outputs_[size - Between(1, std::min<int64_t>(size, 6))];
  }

  void Image() {
    Node* node = Append("image", {});
    InputOp* image = node->mutable_image();
    image->set_channels(Between(1, 3));
    image->set_height(Happens(0.1) ? 1 : Between(2, 7));
    image->set_width(Happens(0.1) ? 1 : Between(2, 7));
    Keep(node, image->channels(), image->height(), image->width());
  }

  // Different in height and width, and at each side.
  template <typename Op>
  void MakeUneven(Op* op) {
    if (Happens(0.5)) op->set_stride_width(Between(1, 2));
    if (Happens(0.3)) return;
    for (int side = 0; side < 4; ++side) op->add_pads(Between(0, 2));
  }

  // With any window that fits.
  Output Conv(const Output& in, int64_t out_channels, int64_t groups) {
    for (;;) {
      Conv2d conv;
      conv.set_kernel_height(Between(1, 3));
      conv.set_kernel_width(Between(1, 3));
      conv.set_stride(Happens(0.3) ? 2 : 1);
      conv.set_padding(Between(0, 2));
      conv.set_dilation(Happens(0.2) ? 2 : 1);
      if (Happens(0.3)) {
        MakeUneven(&conv);
        if (Happens(0.3)) conv.set_dilation_width(Between(1, 2));
      }
      const Window window = WindowOf(conv);
      const int64_t height = window.down.Positions(in.height), width = window.across.Positions(in.width);
      if (height < 1 || width < 1 || height > 9 || width > 9) continue;
      return Conv(in, conv, out_channels, groups, height, width);
    }
  }

  Output Conv(const Output& in, Conv2d conv, int64_t out_channels, int64_t groups, int64_t height, int64_t width) {
    conv.set_out_channels(out_channels);
    conv.set_groups(groups);
    conv.set_bias(Happens(0.4));
    Node* node = Append("conv", {in});
    *node->mutable_conv2d() = conv;
    return Keep(node, out_channels, height, width);
  }

  Output ConvTranspose(const Output& in) {
    for (;;) {
      ConvTranspose2d conv;
      const std::vector<int64_t> divisors = Divisors(in.channels);
      conv.set_groups(Happens(0.6) ? 1 : divisors[Between(0, static_cast<int64_t>(divisors.size()) - 1)]);
      conv.set_out_channels(conv.groups() * Between(1, conv.groups() > 1 ? 2 : 5));
      conv.set_bias(Happens(0.4));
      conv.set_kernel_height(Between(1, 3));
      conv.set_kernel_width(Between(1, 3));
      conv.set_stride(Between(1, 2));
      conv.set_padding(Happens(0.3) ? 1 : 0);
      conv.set_dilation(Happens(0.2) ? 2 : 1);
      if (Happens(0.3)) conv.set_stride_width(Between(1, 3));
      if (Happens(0.3)) conv.set_padding_width(Between(0, 1));
      const TransposedWindow window = WindowOf(conv);
      if (window.down.stride > 1 && window.across.stride > 1 && Happens(0.3)) conv.set_output_padding(1);
      const int64_t height = WindowOf(conv).down.Size(in.height), width = WindowOf(conv).across.Size(in.width);
      if (height < 1 || width < 1 || height > 12 || width > 12) continue;
      Node* node = Append("up", {in});
      *node->mutable_conv_transpose2d() = conv;
      return Keep(node, conv.out_channels(), height, width);
    }
  }

  static std::vector<int64_t> Divisors(int64_t number) {
    std::vector<int64_t> divisors;
    for (int64_t d = 1; d <= number; ++d) {
      if (number % d == 0) divisors.push_back(d);
    }
    return divisors;
  }

  // One that keeps the size: 3x3 with padding, or 1x1.
  Output SameConv(const Output& in, int64_t out_channels) {
    Conv2d conv;
    const int64_t kernel = Happens(0.7) ? 3 : 1;
    conv.set_kernel_height(kernel);
    conv.set_kernel_width(kernel);
    conv.set_padding(kernel / 2);
    return Conv(in, conv, out_channels, 1, in.height, in.width);
  }

  Output GroupedConv(const Output& in) {
    const std::vector<int64_t> divisors = Divisors(in.channels);
    const int64_t groups = divisors[Between(0, static_cast<int64_t>(divisors.size()) - 1)];
    return Conv(in, groups * Between(1, 2), groups);
  }

  Output BatchNorm(const Output& in) {
    Node* node = Append("bn", {in});
    node->mutable_batch_norm2d()->set_epsilon(Happens(0.5) ? 1e-5 : 1e-3);
    return Keep(node, in.channels, in.height, in.width);
  }

  Output Relu(const Output& in) {
    Node* node = Append("relu", {in});
    node->mutable_relu();
    return Keep(node, in.channels, in.height, in.width);
  }

  // Any function; those of ReLU's kind are as likely as the smooth ones.
  Output Elementwise(const Output& in) {
    Node* node = Append("elementwise", {in});
    prunelab::Elementwise* elementwise = node->mutable_elementwise();
    elementwise->set_function(
        static_cast<prunelab::Elementwise::Function>(Between(1, prunelab::Elementwise::Function_MAX)));
    if (Happens(0.3)) {
      elementwise->set_low(-0.5);
      elementwise->set_high(0.25);
      elementwise->set_slope(0.3);
    }
    return Keep(node, in.channels, in.height, in.width);
  }

  Node* Drops(const Output& in) {
    Node* node = Append("dropout", {in});
    node->mutable_dropout()->set_probability(Happens(0.2) ? 0 : 0.9);
    node->mutable_dropout()->set_unit(static_cast<prunelab::Dropout::Unit>(Between(0, prunelab::Dropout::Unit_MAX)));
    return node;
  }

  Output Dropout(const Output& in) { return Keep(Drops(in), in.channels, in.height, in.width); }

  Output Pool(const Output& in) {
    for (;;) {
      const bool max = Happens(0.5), uneven = Happens(0.4);
      Node drawn;
      const auto set = [&](auto* pool) {
        pool->set_kernel(Between(1, 4));
        pool->set_stride(Between(1, 2));
        pool->set_padding(Between(0, pool->kernel() / 2));
        if (!uneven) return WindowOf(*pool);
        pool->set_kernel_width(Between(std::max<int64_t>(2 * pool->padding(), 1), 4));
        MakeUneven(pool);
        pool->set_ceil_mode(Happens(0.5));
        return WindowOf(*pool);
      };
      if (max && uneven && Happens(0.3)) drawn.mutable_max_pool2d()->set_dilation(2);
      if (!max && uneven && Happens(0.5)) drawn.mutable_average_pool2d()->set_count_include_pad(false);
      const Window window = max ? set(drawn.mutable_max_pool2d()) : set(drawn.mutable_average_pool2d());
      const int64_t height = window.down.Positions(in.height), width = window.across.Positions(in.width);
      const bool fits = height >= 1 && width >= 1 && height <= 9 && width <= 9;
      if (!fits || !window.down.EachHasPixels(in.height) || !window.across.EachHasPixels(in.width)) continue;
      Node* node = Append(max ? "max" : "avg", {in});
      drawn.set_name(node->name());
      *drawn.mutable_input() = node->input();
      *node = drawn;
      return Keep(node, in.channels, height, width);
    }
  }

  Output Resized(const Output& in) {
    Node* node = Append("resize", {in});
    Resize* resize = node->mutable_resize();
    resize->set_function(static_cast<Resize::Function>(Between(1, Resize::Function_MAX)));
    const auto size = [&](int64_t of) { return Happens(0.5) && of <= 4 ? 2 * of : Between(1, 9); };
    resize->set_height(size(in.height));
    resize->set_width(size(in.width));
    return Keep(node, in.channels, resize->height(), resize->width());
  }

  Output Padded(const Output& in) {
    Node* node = Append("pad", {in});
    Pad* pad = node->mutable_pad();
    pad->set_function(static_cast<Pad::Function>(Between(0, Pad::Function_MAX)));
    if (Happens(0.5)) pad->set_value(0.3);
    int64_t sizes[] = {in.height, in.width};
    for (int side = 0; side < 4; ++side) {
      const int64_t whole = side % 2 == 0 ? in.height : in.width;
      int64_t& size = sizes[side % 2];
      const int64_t most = pad->function() == Pad::REFLECT ? whole - 1 : 2;
      pad->add_pads(Between(0, std::max<int64_t>(std::min({most, int64_t{2}, 9 - size}), 0)));
      size += pad->pads(side);
    }
    return Keep(node, in.channels, sizes[0], sizes[1]);
  }

  Output AdaptivePool(const Output& in) {
    Node* node = Append("adaptive", {in});
    AdaptivePool2d* pool = node->mutable_adaptive_pool2d();
    pool->set_function(static_cast<AdaptivePool2d::Function>(Between(1, AdaptivePool2d::Function_MAX)));
    pool->set_height(Between(1, std::min<int64_t>(in.height + 1, 9)));
    pool->set_width(Between(1, std::min<int64_t>(in.width + 1, 9)));
    return Keep(node, in.channels, pool->height(), pool->width());
  }

  // What features say of a whole picture is added to all its pixels.
  Output AddFeatures(const Output& in) {
    Node* node = Append("flatten", {GlobalPool(in)});
    node->mutable_flatten();
    const Output features = Linear(Features(node, in.channels), in.channels);
    node = Append("unflatten", {Happens(0.5) ? FlatRelu(features) : features});
    node->mutable_unflatten();
    return Add({in, Keep(node, in.channels, 1, 1)});
  }

  Output GlobalPool(const Output& in) {
    Node* node = Append("gap", {in});
    node->mutable_global_average_pool();
    return Keep(node, in.channels, 1, 1);
  }

  // Of the size of the largest.
  Output Add(const std::vector<Output>& inputs) {
    Node* node = Append("add", inputs);
    node->mutable_add();
    int64_t height = 1, width = 1;
    for (const Output& input : inputs) {
      height = std::max(height, input.height);
      width = std::max(width, input.width);
    }
    return Keep(node, inputs[0].channels, height, width);
  }

  Output Stored(const Output& like) {
    Node* node = Append("constant", {});
    Constant* constant = node->mutable_constant();
    constant->set_channels(like.channels);
    if (Happens(0.4)) return {node->name(), like.channels, 1, 1};
    constant->set_height(like.height);
    constant->set_width(like.width);
    if (Happens(0.6)) {
      const auto repeat = [&](auto* repeats, int64_t size) {
        while (size > 0) {
          const int64_t run = Between(1, size);
          repeats->Add(run);
          size -= run;
        }
      };
      repeat(constant->mutable_row_repeats(), like.height);
      repeat(constant->mutable_column_repeats(), like.width);
    }
    return {node->name(), like.channels, like.height, like.width};
  }

  Output Scattered(const Output& in) {
    Node* node = Append("scatter", {in});
    Scatter* scatter = node->mutable_scatter();
    scatter->set_channels(in.channels + Between(0, 2));
    std::vector<int64_t> places(scatter->channels());
    for (size_t i = 0; i < places.size(); ++i) places[i] = static_cast<int64_t>(i);
    for (int64_t i = 0; i < in.channels; ++i) {
      std::swap(places[i], places[Between(i, scatter->channels() - 1)]);
      scatter->add_index(places[i]);
    }
    return Keep(node, scatter->channels(), in.height, in.width);
  }

  // With others of its size, and a stored constant among them.
  Output Concat(const Output& in) {
    std::vector<Output> inputs = {in};
    for (const Output& other : outputs_) {
      const bool fits = other.height == in.height && other.width == in.width && other.channels <= 6;
      if (fits && inputs.size() < 4 && Happens(0.4)) inputs.push_back(other);
    }
    if (Happens(0.2)) {
      const Output stored = Stored(in);
      if (stored.height == in.height && stored.width == in.width) inputs.push_back(stored);
    }
    if (inputs.size() == 1) inputs.push_back(SameConv(in, Between(1, 4)));
    int64_t channels = 0;
    for (const Output& input : inputs) channels += input.channels;
    Node* node = Append("concat", inputs);
    node->mutable_concat();
    return Keep(node, channels, in.height, in.width);
  }

  // After activation, as ResNets: relu(x + bn(conv(relu(bn(conv(x)))))).
  void Block(const Output& x) {
    const int64_t inner = Between(2, 5);
    Output branch = BatchNorm(SameConv(Relu(BatchNorm(SameConv(x, inner))), x.channels));
    Relu(Add({branch, x}));
  }

  // Before activation: x + conv(relu(bn(conv(relu(bn(x)))))).
  void PreActivationBlock(const Output& x) {
    const Output inner = SameConv(Relu(BatchNorm(x)), Between(2, 5));
    Add({x, SameConv(Relu(BatchNorm(inner)), x.channels)});
  }

  // Product, difference or quotient; what divides is positive.
  Output Arithmetic(const Output& a, const Output& b, prunelab::Arithmetic::Function function) {
    Node* node = Append("arithmetic", {a, b});
    node->mutable_arithmetic()->set_function(function);
    return Keep(node, std::max(a.channels, b.channels), std::max(a.height, b.height), std::max(a.width, b.width));
  }
  Output Product(const Output& a, const Output& b) { return Arithmetic(a, b, prunelab::Arithmetic::MULTIPLY); }

  Output Sigmoid(const Output& in, bool hard = false) {
    Node* node = Append("sigmoid", {in});
    node->mutable_elementwise()->set_function(hard ? prunelab::Elementwise::HARD_SIGMOID
                                                   : prunelab::Elementwise::SIGMOID);
    return Keep(node, in.channels, in.height, in.width);
  }

  // Squeeze and excitation, or a gate of another kind.
  void Gate(const Output& x) {
    const Output squeezed = Happens(0.7) ? GlobalPool(x) : x;
    const Output inner = Happens(0.5) ? Relu(SameConv(squeezed, Between(1, 4))) : squeezed;
    const Output gate = SameConv(inner, Happens(0.2) ? 1 : x.channels);
    Product(x, Happens(0.7) ? Sigmoid(gate, Happens(0.5)) : Relu(gate));
  }

  void Combine(const Output& x) {
    const Output other = Happens(0.5) ? SameConv(Pick(), 1) : SameConv(x, x.channels);
    const bool fits = (other.height == x.height || other.height == 1 || x.height == 1) &&
                      (other.width == x.width || other.width == 1 || x.width == 1);
    if (!fits || Happens(0.2)) {
      Happens(0.5) ? Product(x, Stored(x)) : Product(Stored(x), x);
    } else if (Happens(0.5)) {
      Product(x, other);
    } else if (Happens(0.5)) {
      Arithmetic(other, x, prunelab::Arithmetic::SUBTRACT);
    } else {
      Arithmetic(x, Sigmoid(other), prunelab::Arithmetic::DIVIDE);
    }
  }

  void Norm(const Output& in) {
    Node* node = Append("norm", {in});
    const int64_t kind = in.height * in.width > 1 ? Between(0, 2) : Between(0, 1);
    if (kind == 0) {
      node->mutable_layer_norm()->set_epsilon(1e-2);
      node->mutable_layer_norm()->set_affine(Happens(0.7));
    } else if (kind == 1) {
      node->mutable_group_norm()->set_groups(Happens(0.5) && in.channels % 2 == 0 ? 2 : 1);
      node->mutable_group_norm()->set_epsilon(1e-2);
      node->mutable_group_norm()->set_affine(Happens(0.7));
    } else {
      node->mutable_instance_norm()->set_epsilon(1e-2);
      node->mutable_instance_norm()->set_affine(Happens(0.7));
    }
    Keep(node, in.channels, in.height, in.width);
  }

  Output Selected(const Output& in, const std::vector<int64_t>& index) {
    Node* node = Append("select", {in});
    for (const int64_t k : index) node->mutable_select()->add_index(k);
    return Keep(node, static_cast<int64_t>(index.size()), in.height, in.width);
  }

  // Two parts, one of which takes another way and comes back; or any choice.
  void Choose(const Output& in) {
    std::vector<int64_t> first, second, any;
    for (int64_t c = 0; c < in.channels; ++c) (c < in.channels / 2 ? first : second).push_back(c);
    for (int64_t k = Between(1, 6); k > 0; --k) any.push_back(Between(0, in.channels - 1));
    if (first.empty() || Happens(0.5)) {
      Selected(in, any);
      return;
    }
    const Output part = Selected(in, first), branch = Relu(SameConv(Selected(in, second), Between(1, 4)));
    Node* node = Append("concat", {part, branch});
    node->mutable_concat();
    Keep(node, part.channels + branch.channels, in.height, in.width);
  }

  // What knows channels, but no rows and columns.
  void ChannelStep(const Output& in) {
    switch (Between(0, 7)) {
      case 0:
      case 1:
        Gate(in);
        return;
      case 2:
      case 3:
        Combine(in);
        return;
      case 4:
        Norm(in);
        return;
      case 5: {
        Node* node = Append("scale", {in});
        node->mutable_channel_scale()->set_bias(Happens(0.5));
        node->mutable_channel_scale()->set_weight(!node->channel_scale().bias() || Happens(0.5));
        Keep(node, in.channels, in.height, in.width);
        return;
      }
      case 6: {
        Node* node = Append("prelu_or_softmax", {in});
        if (Happens(0.7)) {
          node->mutable_prelu()->set_shared(Happens(0.5));
        } else {
          node->mutable_softmax();
        }
        Keep(node, in.channels, in.height, in.width);
        return;
      }
      default:
        Choose(in);
    }
  }

  void Step() {
    const Output in = Happens(0.1) ? Dropout(Pick()) : Pick();
    switch (Between(0, 30)) {
      case 0:
        Conv(in, Between(1, 6), 1);
        return;
      case 1:
        BatchNorm(in);
        return;
      case 2:
        Relu(in);
        return;
      case 3:
      case 4:
        Relu(BatchNorm(Conv(in, Between(2, 6), 1)));
        return;
      case 5:
        Block(in);
        return;
      case 6:
        PreActivationBlock(in);
        return;
      case 7:
        Pool(in);
        return;
      case 8:
      case 9: {
        const Output grouped = GroupedConv(in);
        if (Happens(0.7)) Relu(BatchNorm(grouped));
        return;
      }
      case 10: {
        std::vector<Output> inputs = {in};
        for (const Output& other : outputs_) {
          if (other.channels == in.channels && other.height == in.height && other.width == in.width && Happens(0.6)) {
            inputs.push_back(other);
          }
        }
        if (inputs.size() == 1) inputs.push_back(SameConv(in, in.channels));
        Add(inputs);
        return;
      }
      case 11:
        Add({in, GlobalPool(Conv(in, in.channels, 1))});
        return;
      case 12:
        Add(Happens(0.5) ? std::vector<Output>{in, Stored(in)} : std::vector<Output>{Stored(in), in, Relu(in)});
        return;
      case 13:
        Concat(in);
        return;
      case 14:
        Elementwise(in);
        return;
      case 15:
        Elementwise(BatchNorm(Conv(in, Between(2, 6), 1)));
        return;
      case 16:
      case 17:
      case 18:
      case 19:
      case 20:
        ChannelStep(in);
        return;
      case 22:
        Resized(in);
        return;
      case 23:
        Padded(in);
        return;
      case 24:
        AdaptivePool(in);
        return;
      case 25:
        AddFeatures(in);
        return;
      case 26: {  // a picture of constants, and what comes of it
        const Output conv = Relu(BatchNorm(Conv(in, Between(2, 6), 1)));
        const Output picture = Happens(0.5) ? Resized(conv) : Padded(conv);
        Conv(Happens(0.5) ? Pool(picture) : picture, Between(2, 6), 1);
        return;
      }
      case 27:
        Pool(Pool(in));
        return;
      case 28:
        Relu(BatchNorm(ConvTranspose(in)));
        return;
      case 29:
        ConvTranspose(in);
        return;
      case 30:  // of constants
        Conv(ConvTranspose(Relu(BatchNorm(Conv(in, Between(2, 6), 1)))), Between(2, 6), 1);
        return;
      default:
        Scattered(in);
    }
  }

  Output Features(const Node* node, int64_t channels) const { return {node->name(), channels, 1, 1}; }

  Output Linear(const Output& in, int64_t features) {
    Node* node = Append("fc", {in});
    node->mutable_linear()->set_out_features(features);
    node->mutable_linear()->set_bias(Happens(0.7));
    return Features(node, features);
  }

  Output FlatRelu(const Output& in) {
    Node* node = Append("relu", {in});
    node->mutable_relu();
    return Features(node, in.channels);
  }

  Output FlatAdd(const std::vector<Output>& in) {
    Node* node = Append("add", in);
    node->mutable_add();
    return Features(node, in[0].channels);
  }

  Output FlatConcat(const std::vector<Output>& in) {
    Node* node = Append("concat", in);
    node->mutable_concat();
    int64_t features = 0;
    for (const Output& input : in) features += input.channels;
    return Features(node, features);
  }

  void Tail() {
    Output last = outputs_.back();
    if (Happens(0.5) || last.channels * last.height * last.width > 60) last = GlobalPool(last);
    Node* node = Append("flatten", {last});
    node->mutable_flatten();
    Output x = Features(node, last.channels * last.height * last.width);
    if (Happens(0.3)) x = FlatRelu(Linear(x, Between(2, 5)));
    if (Happens(0.2)) x = FlatAdd({x, Linear(FlatRelu(Linear(x, Between(2, 5))), x.channels)});
    if (Happens(0.2)) x = FlatConcat({FlatRelu(Linear(x, Between(1, 4))), x});
    if (Happens(0.3)) x = Features(Drops(x), x.channels);
    if (Happens(0.1)) return;
    const int64_t classes = Between(1, 4);
    if (Happens(0.1)) {
      FlatAdd({Linear(x, classes), Linear(x, classes)});
    } else if (Happens(0.1)) {
      FlatConcat({Linear(x, classes), Linear(x, Between(1, 4))});
    } else {
      x = Linear(x, classes);
      if (Happens(0.1)) x = FlatRelu(x);
      if (Happens(0.1)) Drops(x);
    }
  }

  // The last node, and up to three others, of which any may be the first.
  void NameOutputs() {
    std::vector<std::string> names = {network_.node(network_.node_size() - 1).name()};
    for (int64_t count = Between(0, 3); count > 0; --count) {
      const std::string& name = network_.node(static_cast<int>(Between(0, network_.node_size() - 1))).name();
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    if (Happens(0.3)) std::swap(names.front(), names.back());
    for (const std::string& name : names) network_.add_output(name);
  }

  RandomStream stream_;
  Network network_;
  std::vector<Output> outputs_;  // pictures
  int64_t block_ = 0, nodes_ = 0;
};

}  // namespace

Network RandomNetwork(uint64_t seed) { return NetworkDrawer(seed).Draw(); }

void SetRandomZeros(Model& model, uint64_t seed) {
  RandomStream stream(seed, "random_zeros");
  for (const Node& node : model.info().network().node()) {
    if (node.op_case() != Node::kConv2D && node.op_case() != Node::kConvTranspose2D &&
        node.op_case() != Node::kLinear) {
      continue;
    }
    const at::Tensor weight = model.Get(absl::StrCat(node.name(), ".weight")).detach();
    for (const int64_t dimension : {0, 1}) {
      if (stream.Uniform() < 0.7) continue;
      for (int64_t k = 0; k < weight.size(dimension); ++k) {
        if (stream.Uniform() < 0.3) weight.select(dimension, k).zero_();
      }
    }
  }
}

Model RandomModel(const NetworkInfo& info, at::ScalarType dtype, uint64_t seed, bool zero_scales) {
  Model model = Model::Create(info, dtype, at::kCPU);
  InitializeParameters(model, seed);
  RandomStream stream(seed, "random_model");
  for (const Node& node : info.network().node()) {
    const auto get = [&](const char* suffix) { return model.Get(absl::StrCat(node.name(), ".", suffix)); };
    if (node.op_case() == Node::kBatchNorm2D) {
      Fill(get("weight"), stream, 0.6, 0.6);
      Fill(get("bias"), stream, 0, 0.5);
      Fill(get("running_mean"), stream, 0, 0.4);
      Fill(get("running_var"), stream, 0, 0.8);
      get("running_var").abs_().add_(0.2);
      if (zero_scales) get("weight").detach().slice(0, 0, c10::nullopt, 3).zero_();
    } else if (node.op_case() != Node::kConv2D && node.op_case() != Node::kLinear &&
               model.Has(absl::StrCat(node.name(), ".weight"))) {  // a norm, a scale, a PReLU
      Fill(get("weight"), stream, 0.6, 0.6);
      if (zero_scales) get("weight").detach().slice(0, 0, c10::nullopt, 3).zero_();
    }
    if (node.op_case() != Node::kBatchNorm2D && model.Has(absl::StrCat(node.name(), ".bias"))) {
      Fill(get("bias"), stream, 0, 0.3);
    } else if (node.op_case() == Node::kConstant) {
      Fill(get("value"), stream, 0, 0.5);
    }
  }
  return model;
}

namespace {

// The convolution whose channels node i passes on; "" if there is none or several.
std::string ConvBehind(const NetworkInfo& info, int i) {
  while (info.node(i).op_case() != Node::kConv2D) {
    if (info.inputs(i).size() != 1) return "";
    i = info.inputs(i)[0];
  }
  return info.node(i).name();
}

// The convolutions that MaskKind::kDeadGates and kDeadBranches kill. A gate is a factor of single pixels.
std::set<std::string> ChosenConvs(const NetworkInfo& info, MaskKind kind, RandomStream& stream) {
  std::set<std::string> chosen;
  for (int i = 0; i < info.network().node_size(); ++i) {
    const Node& node = info.node(i);
    const bool product = node.arithmetic().function() == Arithmetic::MULTIPLY;
    if (kind == MaskKind::kDeadGates ? !product : !node.has_concat()) continue;
    for (const int input : info.inputs(i)) {
      const NodeShape& shape = info.shape(input);
      const bool gate = shape.height == 1 && shape.width == 1;
      if (kind == MaskKind::kDeadGates && !gate) continue;
      const std::string last = ConvBehind(info, input);
      if (last.empty() || stream.Uniform() < 0.5) continue;
      chosen.insert(last);
      const std::string before = ConvBehind(info, info.inputs(info.Index(last))[0]);
      if (kind == MaskKind::kDeadGates && !before.empty() && stream.Uniform() < 0.3) chosen.insert(before);
    }
  }
  return chosen;
}

}  // namespace

void SetRandomMasks(Model& model, MaskKind kind, uint64_t seed) {
  RandomStream stream(seed, "random_masks");
  const double rate = 0.1 + 0.8 * stream.Uniform();
  std::map<std::string, bool> dead_block;
  std::map<std::string, std::string> last_of_block;
  for (const ConvInfo& conv : model.info().convs()) {
    if (!absl::StrContains(conv.node, "downsample")) last_of_block[BlockOf(conv.node)] = conv.node;
    if (dead_block.count(BlockOf(conv.node)) == 0) dead_block[BlockOf(conv.node)] = stream.Uniform() < 0.5;
  }
  dead_block[""] = false;
  std::set<std::string> chosen;
  if (kind == MaskKind::kDeadGates || kind == MaskKind::kDeadBranches) {
    chosen = ChosenConvs(model.info(), kind, stream);
  }
  std::map<std::string, at::Tensor> masks;
  for (const ConvInfo& conv : model.info().convs()) {
    const at::Tensor weight = model.Get(absl::StrCat(conv.node, ".weight")).detach();
    at::Tensor mask = at::ones({conv.filters, 1, 1, 1}, at::kDouble);
    const auto each = [&](at::Tensor& of, double p) {
      double* data = of.data_ptr<double>();
      for (int64_t i = 0; i < of.numel(); ++i) data[i] = stream.Uniform() < p ? 0 : 1;
    };
    switch (kind) {
      case MaskKind::kNone:
        continue;
      case MaskKind::kUniform:
        each(mask, rate);
        break;
      case MaskKind::kWeights:
        mask = at::ones(weight.sizes(), at::kDouble);
        each(mask, 1 - (1 - rate) / static_cast<double>(conv.weights_per_filter) * 3);
        break;
      case MaskKind::kDeadLayers:
        if (stream.Uniform() < 0.33) mask.zero_();
        break;
      case MaskKind::kDeadBlocks:
        each(mask, dead_block[BlockOf(conv.node)] && !absl::StrContains(conv.node, "downsample") ? 1 : rate / 2);
        break;
      case MaskKind::kLastOfBlock:
        if (dead_block[BlockOf(conv.node)] && last_of_block[BlockOf(conv.node)] == conv.node) mask.zero_();
        break;
      case MaskKind::kOneAlive:
        mask.zero_();
        mask[static_cast<int64_t>(stream.Uniform() * static_cast<double>(conv.filters))].fill_(1);
        break;
      case MaskKind::kDeadGates:
      case MaskKind::kDeadBranches:
        each(mask, chosen.count(conv.node) > 0 ? 1 : rate / 2);
        break;
      case MaskKind::kDeadGroups: {
        const int64_t groups = model.info().node(model.info().Index(conv.node)).conv2d().groups();
        each(mask, rate / 2);
        for (int64_t group = 0; group < groups && groups > 1; ++group) {
          const at::Tensor part = mask.narrow(0, group * (conv.filters / groups), conv.filters / groups);
          const double draw = stream.Uniform();
          if (draw < rate) part.zero_();
          if (draw < rate / 3) part[0].fill_(1);
        }
        break;
      }
    }
    masks[conv.node] = mask;
  }
  model.SetMasks(masks);
}

}  // namespace prunelab
