// The NetworkProbe (ml/network/network_probe.h) of a model and training data.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ml/data/dataset.h"
#include "ml/execution/model.h"
#include "ml/network/network_probe.h"

namespace prunelab {

class ModelProbe : public NetworkProbe {
 public:
  // All arguments must outlive the probe. `train` and `normalization` may both be null: then there are no data. The
  // order of the images is RandomPermutation(n, RandomStream(seed, "probe")). The probe sees the model as it is when it
  // is asked.
  ModelProbe(const Model& model, const LabelledImages* train, const Normalization* normalization, uint64_t seed);

  const NetworkInfo& network() const override { return model_.info(); }
  at::Tensor Tensor(const std::string& name) const override { return model_.Get(name).detach(); }
  absl::StatusOr<ProbeBatch> TrainingImages(int64_t first, int64_t count) const override;
  ProbeResult Forward(const ProbeRequest& request) const override;

 private:
  const Model& model_;
  const LabelledImages* const train_;
  const Normalization* const normalization_;
  const uint64_t seed_;
};

}  // namespace prunelab
