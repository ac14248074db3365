#include "ml/network/liveness.h"

#include <algorithm>

#include "ml/base/check.h"

namespace prunelab {
namespace {

using Matrix = LivenessWeights::Matrix;

class Analysis {
 public:
  Analysis(const NetworkInfo& info, const LivenessWeights& weights) : info_(info), weights_(weights) {
    const int size = info.network().node_size();
    result_.state.resize(size);
    result_.value.resize(size);
    result_.needed.resize(size);
    matrices_.resize(size);
  }

  Liveness Run() && {
    const int size = info_.network().node_size();
    for (int i = 0; i < size; ++i) Forward(i);
    for (int i = 0; i < size; ++i) result_.needed[i].assign(info_.shape(i).channels, false);
    result_.needed[size - 1].assign(info_.shape(size - 1).channels, true);
    for (int i = size - 1; i >= 0; --i) Backward(i);
    for (int i = 0; i < size; ++i) Count(i);
    return std::move(result_);
  }

 private:
  int64_t Groups(int i) const { return info_.node(i).op_case() == Node::kConv2D ? info_.node(i).conv2d().groups() : 1; }

  // Calls f(out channel, in channel, index into the matrix) for each pair of a conv or linear node.
  template <typename F>
  void ForPairs(int i, F f) const {
    const int64_t groups = Groups(i);
    const int64_t out = info_.shape(i).channels;
    const int64_t in = info_.shape(info_.inputs(i)[0]).channels / groups;
    for (int64_t o = 0; o < out; ++o) {
      const int64_t first = o / (out / groups) * in;
      for (int64_t k = 0; k < in; ++k) f(o, first + k, o * in + k);
    }
  }

  // Whether a window may reach over the border, so that a constant input does not give a constant output.
  bool Pads(int i) const {
    const Node& node = info_.node(i);
    return node.op_case() == Node::kConv2D && node.conv2d().padding() > 0;
  }

  void Forward(int i) {
    const Node& node = info_.node(i);
    const int64_t channels = info_.shape(i).channels;
    std::vector<ChannelState>& state = result_.state[i];
    std::vector<double>& value = result_.value[i];
    state.assign(channels, ChannelState::kLive);
    value.assign(channels, 0.0);
    const int input = info_.inputs(i).empty() ? -1 : info_.inputs(i)[0];
    const auto copy = [&] {
      state = result_.state[input];
      value = result_.value[input];
    };
    switch (node.op_case()) {
      case Node::kImage:
      case Node::OP_NOT_SET:
        break;
      case Node::kConstant: {
        const bool uniform = node.constant().height() == 1 && node.constant().width() == 1;
        state.assign(channels, uniform ? ChannelState::kConstant : ChannelState::kMap);
        value = weights_.constant(node.name());
        break;
      }
      case Node::kConv2D:
      case Node::kLinear:
        ForwardMatrix(i, input);
        break;
      case Node::kBatchNorm2D: {
        copy();
        const LivenessWeights::Affine affine = weights_.affine(node.name());
        for (int64_t c = 0; c < channels; ++c) value[c] = value[c] * affine.scale[c] + affine.shift[c];
        break;
      }
      case Node::kRelu:
        copy();
        for (double& v : value) v = std::max(v, 0.0);
        break;
      case Node::kAdd:
        for (int64_t c = 0; c < channels; ++c) {
          state[c] = ChannelState::kConstant;
          for (const int j : info_.inputs(i)) {
            value[c] += result_.value[j][c];
            const ChannelState s = result_.state[j][c];
            if (s == ChannelState::kLive || state[c] == ChannelState::kLive) {
              state[c] = ChannelState::kLive;
            } else if (s == ChannelState::kMap) {
              state[c] = ChannelState::kMap;
            }
          }
        }
        break;
      case Node::kMaxPool2D:
      case Node::kGlobalAveragePool:
        // Padding of a max pool is -infinity: it changes no constant.
        copy();
        if (node.op_case() == Node::kGlobalAveragePool) {
          // A map's average is one number; its value is not followed here, only that it is constant.
          for (ChannelState& s : state) s = s == ChannelState::kMap ? ChannelState::kConstant : s;
        }
        break;
      case Node::kAveragePool2D:
        copy();
        if (node.average_pool2d().padding() > 0) {
          for (int64_t c = 0; c < channels; ++c) {
            if (state[c] == ChannelState::kConstant && value[c] != 0) state[c] = ChannelState::kMap;
          }
        }
        break;
      case Node::kFlatten: {
        const int64_t pixels = channels / info_.shape(input).channels;
        for (int64_t c = 0; c < channels; ++c) {
          const ChannelState s = result_.state[input][c / pixels];
          state[c] = s == ChannelState::kMap ? ChannelState::kConstant : s;
          value[c] = result_.value[input][c / pixels];
        }
        break;
      }
      case Node::kScatter:
        state.assign(channels, ChannelState::kConstant);
        for (int k = 0; k < node.scatter().index_size(); ++k) {
          state[node.scatter().index(k)] = result_.state[input][k];
          value[node.scatter().index(k)] = result_.value[input][k];
        }
        break;
    }
  }

  void ForwardMatrix(int i, int input) {
    matrices_[i] = weights_.matrix(info_.node(i).name());
    const Matrix& m = matrices_[i];
    std::vector<ChannelState>& state = result_.state[i];
    std::vector<double>& value = result_.value[i];
    std::fill(state.begin(), state.end(), ChannelState::kConstant);
    if (!m.bias.empty()) value = m.bias;
    ForPairs(i, [&](int64_t o, int64_t in, int64_t pair) {
      if (!m.nonzero[pair]) return;
      const ChannelState s = result_.state[input][in];
      if (s == ChannelState::kLive) {
        state[o] = ChannelState::kLive;
      } else if (state[o] != ChannelState::kLive) {
        const bool vanishes = s == ChannelState::kConstant && result_.value[input][in] == 0;
        if (s == ChannelState::kMap || (Pads(i) && !vanishes)) state[o] = ChannelState::kMap;
      }
      value[o] += m.tap_sums[pair] * result_.value[input][in];
    });
  }

  // From what is needed of node i to what is needed of its inputs.
  void Backward(int i) {
    const std::vector<bool>& needed = result_.needed[i];
    const Node& node = info_.node(i);
    for (const int input : info_.inputs(i)) {
      std::vector<bool>& of_input = result_.needed[input];
      switch (node.op_case()) {
        case Node::kConv2D:
        case Node::kLinear:
          ForPairs(i, [&](int64_t o, int64_t in, int64_t pair) {
            if (needed[o] && result_.state[i][o] == ChannelState::kLive && matrices_[i].nonzero[pair])
              of_input[in] = true;
          });
          break;
        case Node::kFlatten: {
          const int64_t pixels = info_.shape(i).channels / info_.shape(input).channels;
          for (size_t c = 0; c < needed.size(); ++c) {
            if (needed[c]) of_input[c / pixels] = true;
          }
          break;
        }
        case Node::kScatter:
          for (int k = 0; k < node.scatter().index_size(); ++k) {
            if (needed[node.scatter().index(k)]) of_input[k] = true;
          }
          break;
        default:
          for (size_t c = 0; c < needed.size(); ++c) {
            if (needed[c]) of_input[c] = true;
          }
      }
    }
  }

  bool Kept(int i, int64_t channel) const {
    return result_.state[i][channel] == ChannelState::kLive && result_.needed[i][channel];
  }

  // Whether the node carries a residual stream, whose width is kept: an add, or a node that passes one on.
  bool IsStream(int i) const {
    switch (info_.node(i).op_case()) {
      case Node::kAdd:
        return true;
      case Node::kRelu:
      case Node::kMaxPool2D:
      case Node::kAveragePool2D:
      case Node::kGlobalAveragePool:
      case Node::kFlatten:
        return IsStream(info_.inputs(i)[0]) || FeedsAdd(i);
      default:
        return FeedsAdd(i);
    }
  }

  // A node that an add reads and others read too is the stream at its start (the stem's ReLU).
  bool FeedsAdd(int i) const {
    if (info_.users(i).size() < 2) return false;
    for (const int user : info_.users(i)) {
      if (info_.node(user).op_case() == Node::kAdd) return true;
    }
    return false;
  }

  // A node at which a stream starts: not an add, and no node that passes a stream on.
  bool StartsStream(int i) const {
    if (!FeedsAdd(i) || info_.node(i).op_case() == Node::kAdd || info_.inputs(i).empty()) return false;
    return !IsStream(info_.inputs(i)[0]);
  }

  // Whether channel c of node i is the same for every image and not zero, so that it must be stored.
  bool IsStored(int i, int64_t c) const {
    return result_.needed[i][c] && (result_.state[i][c] == ChannelState::kMap ||
                                    (result_.state[i][c] == ChannelState::kConstant && result_.value[i][c] != 0));
  }

  void Count(int i) {
    const Node& node = info_.node(i);
    const int64_t channels = info_.shape(i).channels;
    if (StartsStream(i)) {
      for (int64_t c = 0; c < channels; ++c) result_.live_parameters += IsStored(i, c);
    }
    switch (node.op_case()) {
      case Node::kConv2D:
      case Node::kLinear: {
        const int input = info_.inputs(i)[0];
        const bool full_input = IsStream(input);
        const bool linear = node.op_case() == Node::kLinear;
        const int64_t taps = linear ? 1 : node.conv2d().kernel_height() * node.conv2d().kernel_width();
        std::vector<bool> meets_constant(channels, false);
        int64_t pairs = 0, kept = 0;
        ForPairs(i, [&](int64_t o, int64_t in, int64_t pair) {
          if (!Kept(i, o)) return;
          if (full_input || Kept(input, in)) {
            ++pairs;
          } else if (matrices_[i].nonzero[pair] && result_.state[input][in] != ChannelState::kLive &&
                     (result_.state[input][in] == ChannelState::kMap || result_.value[input][in] != 0)) {
            meets_constant[o] = true;
          }
        });
        for (int64_t o = 0; o < channels; ++o) {
          if (!Kept(i, o)) continue;
          ++kept;
          const bool has_bias = !matrices_[i].bias.empty();
          result_.live_parameters += has_bias;
          if (!meets_constant[o]) continue;
          if (Pads(i)) {
            result_.live_parameters += taps;
          } else if (!has_bias) {
            result_.live_parameters += 1;
          }
        }
        result_.live_parameters += pairs * taps;
        result_.live_macs += pairs * taps * info_.shape(i).height * info_.shape(i).width;
        break;
      }
      case Node::kBatchNorm2D:
        for (int64_t c = 0; c < channels; ++c) result_.live_parameters += 2 * Kept(i, c);
        break;
      case Node::kAdd: {
        // What constants bring to each needed channel of the stream, stored once.
        for (int64_t c = 0; c < channels; ++c) {
          bool stored = false;
          for (const int j : info_.inputs(i)) stored |= !IsStream(j) && IsStored(j, c);
          result_.live_parameters += stored;
        }
        break;
      }
      default:
        break;
    }
  }

  const NetworkInfo& info_;
  const LivenessWeights& weights_;
  Liveness result_;
  std::vector<Matrix> matrices_;
};

}  // namespace

Liveness AnalyzeLiveness(const NetworkInfo& info, const LivenessWeights& weights) {
  return Analysis(info, weights).Run();
}

}  // namespace prunelab
