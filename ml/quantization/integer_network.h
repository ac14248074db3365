// A quantized network computed in integers, as integer_operators.h defines it: the images are put on the first grid,
// and from there on nothing but whole numbers goes from layer to layer.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const IntegerNetwork integers, IntegerNetwork::Create(network));
//   const at::Tensor logits = integers.Run(images, {}).results[0];
//
// Where a value lies within rounding of the middle between two places of a grid, floating point may take the other
// place than integers; else both give the same places.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/compression/weighted_network.h"
#include "ml/execution/model.h"
#include "ml/network/network.h"
#include "ml/quantization/integer_operators.h"
#include "ml/quantization/ranges.h"

namespace prunelab {

// What a step of an integer network computes from the places of its inputs.
struct PlacedImages {  // the images, on the first grid
  FakeQuantize rounding;
  Grid grid;
};
struct StoredPlaces {  // of one image
  at::Tensor places;
};
struct MovedPlaces {  // the network's node moves them about; zero_point stands for zero
  int64_t zero_point = 0;
};
struct AccumulatedConv {  // the sums themselves, times conv.step: a result of the network
  IntegerConv conv;
};
using IntegerOperation = std::variant<PlacedImages, StoredPlaces, MovedPlaces, IntegerConv, AccumulatedConv, IntegerSum,
                                      IntegerConcat, IntegerProduct, IntegerAveragePool, IntegerTable>;

struct IntegerStep {
  int node = 0;             // whose value it computes
  std::vector<int> inputs;  // nodes
  IntegerOperation operation;
  std::vector<int> last_read;  // nodes whose values no later step reads
};

struct IntegerResult {
  std::vector<at::Tensor> results;           // of the network's outputs, float32
  std::map<std::string, at::Tensor> places;  // uint8, by FakeQuantize node, of those asked for
};

class IntegerNetwork {
 public:
  // `network` is as Quantize (quantize.h) makes it. Errors name the node: it has no integer form; it reads values that
  // lie on no grid; its weights are no whole multiples of weight_scale; its accumulators may not fit into 32 bits.
  static absl::StatusOr<IntegerNetwork> Create(const WeightedNetwork& network);

  const NetworkInfo& info() const { return model_->info(); }
  const std::vector<IntegerStep>& steps() const { return steps_; }
  // The grids of the outputs that lie on one, by node.
  const std::map<int, Grid>& output_grids() const { return output_grids_; }

  // `images` [N, C, H, W], float32, normalized. `places`: names of FakeQuantize nodes.
  IntegerResult Run(const at::Tensor& images, const std::set<std::string>& places) const;

  // The value of one step; `places` of its inputs, by node: [N, C, H, W] or [N, features], uint8 (float32 for the
  // result of AccumulatedConv).
  at::Tensor RunStep(const IntegerStep& step, const std::vector<at::Tensor>& places, const at::Tensor& images) const;

 private:
  friend class IntegerNetworkBuilder;
  explicit IntegerNetwork(std::shared_ptr<Model> model) : model_(std::move(model)) {}

  std::shared_ptr<Model> model_;  // in float32: runs what moves values about
  std::map<int, Grid> output_grids_;
  std::vector<IntegerStep> steps_;
};

}  // namespace prunelab
