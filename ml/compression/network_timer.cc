#include "ml/compression/network_timer.h"

#include <ATen/ATen.h>

#include "ml/compression/compressed_model.h"

namespace prunelab {

NetworkTimer TimerHere(const TimerOptions& options) {
  return [options](const std::vector<const WeightedNetwork*>& networks) {
    std::vector<Model> models;
    for (const WeightedNetwork* network : networks) models.push_back(ToInferenceModel(*network, at::kCPU));
    std::vector<Model*> pointers;
    for (Model& model : models) pointers.push_back(&model);
    return MeasureLatencies(pointers, options.batch_size, options.runs, options.seconds);
  };
}

}  // namespace prunelab
