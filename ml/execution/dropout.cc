#include "ml/execution/dropout.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "ml/base/random.h"
#include "ml/kernels/random_bools/random_bools.h"

namespace prunelab {
namespace {

// The bools that a node draws for one image.
std::vector<int64_t> SizesOf(Dropout::Unit unit, const NodeShape& shape) {
  const bool channels = unit == Dropout::ELEMENT || unit == Dropout::CHANNEL;
  std::vector<int64_t> sizes = {channels ? shape.channels : 1};
  if (shape.flat) return sizes;
  sizes.push_back(unit == Dropout::ELEMENT ? shape.height : 1);
  sizes.push_back(unit == Dropout::ELEMENT ? shape.width : 1);
  return sizes;
}

}  // namespace

StepDropout::StepDropout(const NetworkInfo& info, uint64_t seed, at::Device device) : seed_(seed), device_(device) {
  for (int i = 0; i < info.network().node_size(); ++i) {
    const Node& node = info.node(i);
    if (node.op_case() != Node::kDropout || node.dropout().probability() == 0) continue;
    const Dropout& dropout = node.dropout();
    nodes_.push_back({node.name(), 1 - dropout.probability(), dropout.unit() == Dropout::BATCH,
                      SizesOf(dropout.unit(), info.shape(i))});
  }
}

std::map<std::string, at::Tensor> StepDropout::Draw(int64_t epoch, int64_t step, int64_t images,
                                                    const Share& share) const {
  // A GPU copies them from page-locked memory while the host continues.
  const bool pinned = device_.is_cuda();
  std::map<std::string, at::Tensor> kept;
  for (const DropoutNode& node : nodes_) {
    std::vector<int64_t> sizes = {node.batch ? 1 : images};
    sizes.insert(sizes.end(), node.sizes.begin(), node.sizes.end());
    // Activations are channels_last, so that the two are multiplied in the order of memory.
    const auto format = sizes.size() == 4 ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
    at::Tensor bools = at::empty(sizes, at::TensorOptions().dtype(at::kBool).pinned_memory(pinned), format);
    RandomBools(RandomStream(seed_, absl::StrCat("dropout/", node.name), epoch, step), node.kept, bools.numel(),
                bools.mutable_data_ptr<bool>());
    if (!node.batch) bools = bools.narrow(0, share.Begin(images), share.Size(images));
    kept[node.name] = bools.to(device_, at::kBool, /*non_blocking=*/pinned);
  }
  return kept;
}

at::Tensor ApplyDropout(const Dropout& dropout, const at::Tensor& x, const at::Tensor& kept) {
  // Multiplied first and divided then: in bfloat16 a factor 1 / (1 - probability) would be rounded, all values alike.
  const at::Tensor y = x * kept;
  // With probability 1 nothing is kept, and there is nothing to divide.
  return dropout.probability() < 1 ? y.div_(1 - dropout.probability()) : y;
}

}  // namespace prunelab
