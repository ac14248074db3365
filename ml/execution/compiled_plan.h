// A network compiled into steps, and the one loop that executes them.
//
// A plan (plan.h) decides once for each structure, that is a network with the shapes of its masks and the way it is to
// be run, which steps run it; how often it is run then costs no further thought. What depends on values (which filters
// are on, the signs of BN's biases) is decided by the steps when they run.
//
//   PlanBuilder builder(PlanStructure::Of(model, images, options));
//   for (...) builder.Add(std::make_unique<SomeStep>(output, inputs, ...));
//   const CompiledPlan compiled = std::move(builder).Build();
//   const ForwardResult result = Execute(compiled, model, images, options);
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ml/execution/activation.h"
#include "ml/execution/forward_options.h"
#include "ml/execution/model.h"

namespace prunelab {

struct ForwardResult {
  at::Tensor logits;                           // [N, classes]; maps if the network's first output is one
  std::vector<at::Tensor> results;             // of all of the network's outputs, in its order; the first is the logits
  std::map<std::string, at::Tensor> captured;  // by node name
  // Multiply-accumulates of convolutions and linear layers, for one image, that this call executed and, in training,
  // that the backward pass to all parameters will execute.
  int64_t executed_macs = 0;
};

// What of a call decides how it is compiled. While it stays the same, so do the steps.
struct PlanStructure {
  enum class Mask { kNone, kFilters, kWeights };

  std::shared_ptr<const NetworkInfo> network;  // the same network is the same object
  at::ScalarType dtype = at::kFloat;
  c10::DeviceType device = c10::DeviceType::CPU;
  std::vector<int64_t> image;  // [C, H, W], or whatever follows the batch
  Mode mode = Mode::kEvaluate;
  GradientPolicy policy = GradientPolicy::kStraightThrough;
  bool gradients = false;  // whether autograd records
  std::set<std::string>
      capture;              // names of nodes whose values are wanted, the network's outputs among them if it names any
  std::vector<Mask> masks;  // by node

  static PlanStructure Of(const Model& model, const at::Tensor& images, const ForwardOptions& options);
  bool operator==(const PlanStructure& other) const;
};

// One execution of a compiled plan, as its steps see it.
struct Execution {
  Model& model;
  const at::Tensor& images;
  const ForwardOptions& options;
  std::vector<Activation> values;  // by node, of those that were computed and are still to be read
  int64_t macs = 0;                // ForwardResult::executed_macs so far
};

// Computes the value of one node from those of others, including everything that lies between them.
class Step {
 public:
  Step(int output, std::vector<int> inputs);
  virtual ~Step() = default;

  // The output's value. The values of the inputs exist; a step may replace them for the consumers that run after it.
  virtual Activation Run(Execution& execution) const = 0;

  int output() const { return output_; }
  const std::vector<int>& inputs() const { return inputs_; }  // a node once for each time that it is read
  int64_t id() const { return id_; }                          // no other step of this process has it

 private:
  const int64_t id_;
  const int output_;
  const std::vector<int> inputs_;
};

// The step of the node of images.
class ImageStep : public Step {
 public:
  explicit ImageStep(int node) : Step(node, {}) {}
  Activation Run(Execution& execution) const override { return {execution.images, {}, {}, {}}; }
};

struct CompiledPlan {
  struct PlannedStep {
    std::unique_ptr<const Step> step;
    bool captured = false;       // the output's value is wanted
    bool is_constant = false;    // the output depends on no image
    int result = -1;             // which of the network's outputs it is
    std::vector<int> last_read;  // nodes whose values no later step reads: they are released
  };
  PlanStructure structure;
  std::vector<PlannedStep> steps;
  // Runs under LibTorch's autocast to bfloat16; logits and captured values are returned as float32.
  bool bfloat16 = false;
};

// Puts a plan together, step after step.
class PlanBuilder {
 public:
  explicit PlanBuilder(PlanStructure structure);

  const PlanStructure& structure() const { return plan_.structure; }
  const NetworkInfo& network() const { return *plan_.structure.network; }

  // How often steps that are still to be added read the value of `node`.
  int reads_left(int node) const { return reads_left_[node]; }
  // Whether the value of `node` depends on the images. If not, it may be kept between calls (PreparedValues).
  bool depends_on_image(int node) const { return depends_on_image_[node]; }
  void Add(std::unique_ptr<const Step> step);
  CompiledPlan Build() && { return std::move(plan_); }

 private:
  CompiledPlan plan_;
  std::vector<int> reads_left_;         // by node
  std::vector<bool> depends_on_image_;  // by node
};

// Runs `plan`, compiled for the structure of this call.
ForwardResult Execute(const CompiledPlan& plan, Model& model, const at::Tensor& images, const ForwardOptions& options);

}  // namespace prunelab
