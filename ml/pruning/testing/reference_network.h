// The small network, images and reference values of probe_reference.safetensors (made by
// tools/reference/probe_strategies.py, which tells what they are), for the tests of strategies that look at the
// network.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "ml/data/dataset.h"
#include "ml/execution/model.h"
#include "ml/execution/model_probe.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {

class ReferenceNetwork {
 public:
  ReferenceNetwork();
  ReferenceNetwork(const ReferenceNetwork&) = delete;

  // Convolutions conv1, conv2, conv3, conv4 and shortcut, each with a batch norm (bn1, ..., bn5); a ReLU relu1, relu2,
  // relu3 after the first three, relu4 after the sum of the others. 33 filters. float64.
  const Model& model() const { return model_; }
  const NetworkInfo& info() const { return model_.info(); }
  const NetworkProbe& probe() const { return probe_; }
  // All convolutions, masks of ones.
  std::vector<PrunableLayer> Layers(Granularity granularity) const;
  // A tensor of the file.
  const at::Tensor& Value(const std::string& name) const;
  // All images in the file's order.
  at::Tensor Images() const { return Value("images").to(at::kDouble); }
  // What the ReLUs give for these images [12, C, H, W], by convolution: that after it, or after the sum that it ends
  // in.
  std::map<std::string, at::Tensor> FeatureMaps() const;

  // The way a strategy is created and asked for the masks of `epoch`'s first step.
  PruningSetup Setup() const;
  MaskUpdate FirstUpdate(PruningStrategy& strategy, int64_t epoch = 0) const;

 private:
  Safetensors file_;
  Model model_;
  LabelledImages images_;
  Normalization normalization_;
  ModelProbe probe_;
};

// |a - b| <= 1e-6 max |b|, everywhere, and of one shape.
bool AgreesWithReference(const at::Tensor& a, const at::Tensor& b);

}  // namespace prunelab
