// Dropout in a training step (the operator Dropout, network.proto). What a step keeps is drawn on the host before it,
// by counter-based streams (ml/base/random.h), and is an input of the step like its images. So it depends neither on
// the plan nor on the device, the model's type or the number of threads, a resumed training draws what an undisturbed
// one draws, and a captured step (recorder.h) reads new numbers each time that it is replayed.
//
//   const StepDropout dropout(model.info(), seed, model.device());
//   ForwardOptions options;
//   options.mode = Mode::kTrain;
//   options.kept = dropout.Draw(epoch, step, images.size(0));
//   plan.Forward(model, images, options);
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ml/base/share.h"
#include "ml/network/network.h"

namespace prunelab {

// What a network's dropout nodes keep in each step.
class StepDropout {
 public:
  // `device`: where the network runs.
  StepDropout(const NetworkInfo& info, uint64_t seed, at::Device device);

  // By dropout node, which of its values step `step` of `epoch` keeps: bool, broadcast to the values of a batch of
  // `images`. A node of probability 0 is not among them. Bool i, in the order of memory, is number i of
  // RandomStream(seed, "dropout/<node>", epoch, step), as RandomBools (ml/kernels/random_bools) gives them:
  //
  //   ELEMENT  [N, C, H, W] in channels_last, or [N, features]
  //   CHANNEL  [N, C, 1, 1], or [N, features]
  //   IMAGE    [N, 1, 1, 1], or [N, 1]
  //   BATCH    [1, 1, 1, 1], or [1, 1]
  //
  // Of these, the images of `share`.
  std::map<std::string, at::Tensor> Draw(int64_t epoch, int64_t step, int64_t images, const Share& share = {}) const;

 private:
  struct DropoutNode {
    std::string name;
    double kept = 1;             // the probability
    bool batch = false;          // one bool for all images
    std::vector<int64_t> sizes;  // for one image
  };
  std::vector<DropoutNode> nodes_;
  const uint64_t seed_;
  const at::Device device_;
};

// `x` where `kept` is true, divided by 1 - probability; 0 elsewhere. In x's type. Autograd differentiates through it.
at::Tensor ApplyDropout(const Dropout& dropout, const at::Tensor& x, const at::Tensor& kept);

}  // namespace prunelab
