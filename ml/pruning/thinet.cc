#include "ml/pruning/thinet.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/field_error.h"
#include "ml/base/random.h"
#include "ml/base/status_macros.h"
#include "ml/network/readers.h"
#include "ml/network/window_ops.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/one_time_pruning.h"
#include "ml/pruning/parameter_checks.h"
#include "ml/pruning/thinet.pb.h"

namespace prunelab {
namespace {

class ThinetStrategy : public OneTimePruning {
 public:
  ThinetStrategy(const Thinet& parameters, std::map<std::string, InnerConvolution> inner, uint64_t seed)
      : OneTimePruning(Granularity::kFilter, parameters.epoch()),
        parameters_(parameters),
        inner_(std::move(inner)),
        seed_(seed) {}

 private:
  absl::StatusOr<MaskUpdate> Choose(const std::vector<PrunableLayer>& layers) const override {
    const at::NoGradGuard no_gradients;
    std::map<std::string, at::Tensor> in_force;
    for (const PrunableLayer& layer : layers) in_force[layer.node] = layer.mask;
    MaskUpdate update;
    for (const PrunableLayer& layer : layers) {
      const auto inner = inner_.find(layer.node);
      if (inner == inner_.end()) continue;
      PRUNELAB_RETURN_IF_ERROR(PruneLayer(layer, in_force.at(inner->second.reader), update));
    }
    return update;
  }

  // The network's tensor as the layers before left it.
  at::Tensor Current(const MaskUpdate& update, const std::string& name) const {
    const auto found = update.new_weights.find(name);
    return found != update.new_weights.end() ? found->second : probe().Tensor(name);
  }

  // `reader_mask` is that of the next convolution, which is chosen later.
  absl::Status PruneLayer(const PrunableLayer& layer, const at::Tensor& reader_mask, MaskUpdate& update) const {
    const InnerConvolution& inner = inner_.at(layer.node);
    const int64_t channels = layer.weight.size(0);
    const std::string reader_weight = absl::StrCat(inner.reader, ".weight");
    PRUNELAB_ASSIGN_OR_RETURN(const at::Tensor contributions,
                              Contributions(inner, Current(update, reader_weight) * reader_mask, update));
    if (!at::isfinite(contributions).all().item<bool>()) {
      return absl::DataLossError(absl::StrCat(inner.reader, ": its inputs are infinite or not a number, so that ",
                                              layer.node, " cannot be judged by it; the training has diverged"));
    }
    const int64_t given_up = std::min(GivenUpCount(channels, parameters_.rate()),
                                      std::max<int64_t>(channels - parameters_.min_live_filters(), 0));
    std::vector<bool> off(channels);
    const at::Tensor in_force = MaskByFilter(layer).flatten().cpu().to(at::kBool);
    for (int64_t c = 0; c < channels; ++c) off[c] = !in_force.const_data_ptr<bool>()[c];
    off = DiscardChannels(contributions, std::move(off), given_up);

    at::Tensor mask = at::ones({channels}, at::kDouble);
    for (int64_t c = 0; c < channels; ++c) mask.mutable_data_ptr<double>()[c] = off[c] ? 0 : 1;
    mask = mask.to(layer.weight.options());
    update.masks[layer.node] = mask.view({channels, 1, 1, 1});
    std::vector<std::string> per_channel;
    for (const std::string& batch_norm : inner.batch_norms) {
      per_channel.push_back(absl::StrCat(batch_norm, ".weight"));
      per_channel.push_back(absl::StrCat(batch_norm, ".bias"));
    }
    const NetworkInfo& network = probe().network();
    if (network.node(network.Index(layer.node)).conv2d().bias())
      per_channel.push_back(absl::StrCat(layer.node, ".bias"));
    for (const std::string& name : per_channel) update.new_weights[name] = Current(update, name) * mask;
    if (!parameters_.rescale()) return absl::OkStatus();
    const at::Tensor scale = LeastSquaresScale(contributions, off).to(layer.weight.options());
    update.new_weights[reader_weight] = Current(update, reader_weight) * scale.view({1, channels, 1, 1});
    return absl::OkStatus();
  }

  // From the probe's first images, by the network with `update`.
  absl::StatusOr<at::Tensor> Contributions(const InnerConvolution& inner, const at::Tensor& weight,
                                           const MaskUpdate& update) const {
    constexpr int64_t kBatch = 32;
    const NetworkInfo& network = probe().network();
    const NodeShape& output = network.shape(inner.reader);
    ProbeRequest request;
    request.parameters = update.new_weights;
    request.masks = update.masks;
    request.capture = {inner.features};
    std::vector<at::Tensor> parts;
    for (int64_t first = 0; first < parameters_.images(); first += kBatch) {
      PRUNELAB_ASSIGN_OR_RETURN(const ProbeBatch batch,
                                probe().TrainingImages(first, std::min(kBatch, parameters_.images() - first)));
      if (batch.labels.size(0) == 0) break;
      std::vector<SampledOutput> samples;
      for (int64_t image = 0; image < batch.labels.size(0); ++image) {
        RandomStream stream(seed_, absl::StrCat("thinet/", inner.reader), first + image);
        for (int64_t i = 0; i < parameters_.samples_per_image(); ++i) {
          SampledOutput sample;
          sample.image = image;
          sample.position = static_cast<int64_t>(stream.Below(output.height * output.width));
          sample.filter = static_cast<int64_t>(stream.Below(output.channels));
          samples.push_back(sample);
        }
      }
      request.images = batch.images;
      const at::Tensor features = probe().Forward(request).captured.at(inner.features);
      parts.push_back(
          ChannelContributions(features, weight, network.node(network.Index(inner.reader)).conv2d(), samples));
    }
    return at::cat(parts);
  }

  const Thinet parameters_;
  const std::map<std::string, InnerConvolution> inner_;  // by convolution
  const uint64_t seed_;
};

}  // namespace

int64_t GivenUpCount(int64_t channels, double rate) {
  // The rate is a decimal that doubles only come near to: 0.07 of 100 is 7, not 8.
  return static_cast<int64_t>(std::ceil(static_cast<double>(channels) * rate - 1e-9));
}

at::Tensor ChannelContributions(const at::Tensor& features, const at::Tensor& weight, const Conv2d& conv,
                                const std::vector<SampledOutput>& samples) {
  PRUNELAB_CHECK(conv.groups() == 1 && features.size(1) == weight.size(1));
  const int64_t channels = weight.size(1);
  const at::Tensor filters = weight.to(at::kCPU, at::kDouble).flatten(2);  // [out, C, k]
  const Window window = WindowOf(conv);
  // [n, C, k, outputs]
  const at::Tensor windows =
      at::im2col(Padded(window, features.to(at::kCPU, at::kDouble)).contiguous(), window.Kernel(), window.Dilations(),
                 /*padding=*/{0, 0}, window.Strides())
          .view({features.size(0), channels, weight.size(2) * weight.size(3), -1});
  std::vector<at::Tensor> rows;
  for (const SampledOutput& sample : samples) {
    rows.push_back((windows[sample.image].select(2, sample.position) * filters[sample.filter]).sum(1));
  }
  return at::stack(rows);
}

std::vector<bool> DiscardChannels(const at::Tensor& contributions, std::vector<bool> discarded, int64_t count) {
  const int64_t channels = contributions.size(1);
  // The squared norm of a sum of columns is a sum over the Gram matrix.
  const at::Tensor gram = at::mm(contributions.t(), contributions).contiguous();
  const double* products = gram.const_data_ptr<double>();
  std::vector<double> with_lost(channels);  // of each column with the sum of those given up
  const auto give_up = [&](int64_t c) {
    discarded[c] = true;
    for (int64_t other = 0; other < channels; ++other) with_lost[other] += products[c * channels + other];
  };
  int64_t given_up = 0;
  for (int64_t c = 0; c < channels; ++c) {
    if (!discarded[c]) continue;
    give_up(c);
    ++given_up;
  }
  for (; given_up < count; ++given_up) {
    int64_t least = -1;
    double least_added = std::numeric_limits<double>::infinity();
    for (int64_t c = 0; c < channels; ++c) {
      const double added = 2 * with_lost[c] + products[c * channels + c];  // to the squared norm
      if (!discarded[c] && added < least_added) {
        least = c;
        least_added = added;
      }
    }
    PRUNELAB_CHECK(least >= 0);
    give_up(least);
  }
  return discarded;
}

at::Tensor LeastSquaresScale(const at::Tensor& contributions, const std::vector<bool>& discarded) {
  const int64_t channels = contributions.size(1);
  std::vector<int64_t> kept;
  for (int64_t c = 0; c < channels; ++c) {
    if (!discarded[c]) kept.push_back(c);
  }
  at::Tensor scale = at::ones({channels}, at::kDouble);
  if (kept.empty() || static_cast<int64_t>(kept.size()) == channels) return scale;
  const at::Tensor index = at::tensor(kept, at::kLong);
  const at::Tensor x = contributions.index_select(1, index);
  // w = 1 + v, so that the solver's smallest v is the w nearest to 1.
  const at::Tensor lost = (contributions.sum(1) - x.sum(1)).unsqueeze(1);
  const at::Tensor v = std::get<0>(at::linalg_lstsq(x, lost, /*rcond=*/std::nullopt, "gelsd"));
  return scale.index_add(0, index, v.flatten());
}

namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateThinet(const Thinet& parameters, const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckEpoch("epoch", parameters.epoch()));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("images", parameters.images(), 1));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("samples_per_image", parameters.samples_per_image(), 1));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("min_live_filters", parameters.min_live_filters(), 0));
  PRUNELAB_ASSIGN_OR_RETURN(const std::set<std::string> nodes, ChosenLayers(parameters.layers(), *setup.network));
  std::map<std::string, InnerConvolution> inner;
  for (const std::string& node : nodes) {
    std::optional<InnerConvolution> found = ReadByOneConvolution(*setup.network, node);
    if (found) inner[node] = *std::move(found);
  }
  if (inner.empty()) {
    return FieldError("layers", absl::StrCat("chooses ", nodes.size(),
                                             " convolutions, none that one other convolution without groups alone "
                                             "reads; filters are judged by that"));
  }
  return std::make_unique<ThinetStrategy>(parameters, std::move(inner), setup.seed);
}
const bool registered = RegisterPruningStrategy(&CreateThinet);

}  // namespace
}  // namespace prunelab
