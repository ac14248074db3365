#include "ml/training/make_optimizer.h"

#include "ml/training/adamw.h"
#include "ml/training/sgd.h"

namespace prunelab {

std::unique_ptr<Optimizer> MakeOptimizer(const Training& config, const std::vector<NamedTensor>& parameters) {
  if (config.has_adamw()) {
    AdamWOptions options;
    options.beta1 = config.adamw().beta1();
    options.beta2 = config.adamw().beta2();
    options.epsilon = config.adamw().epsilon();
    options.weight_decay = config.adamw().weight_decay();
    return std::make_unique<AdamWOptimizer>(parameters, options);
  }
  SgdOptions options;
  options.momentum = config.sgd().momentum();
  options.dampening = config.sgd().dampening();
  options.nesterov = config.sgd().nesterov();
  options.weight_decay = config.sgd().weight_decay();
  return std::make_unique<SgdOptimizer>(parameters, options);
}

}  // namespace prunelab
