#include "ml/execution/latency.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "ml/base/check.h"
#include "ml/base/steady_seconds.h"
#include "ml/execution/device_arithmetic.h"
#include "ml/execution/prepared_values.h"
#include "ml/execution/skipping_plan.h"
#include "ml/statistics/summary.h"

namespace prunelab {

std::vector<Latency> MeasureLatencies(const std::vector<Model*>& models, int64_t batch_size, int64_t runs,
                                      double seconds) {
  PRUNELAB_CHECK(!models.empty() && batch_size >= 1 && runs >= 1)
      << models.size() << " models, " << batch_size << " images, " << runs << " runs";
  const DeviceArithmetic arithmetic(DeviceArithmetic::Float32::kIeee);
  const at::NoGradGuard no_gradients;
  const Model& first = *models[0];
  const NodeShape& shape = first.info().input_shape();
  const at::Tensor images = at::linspace(-1, 1, batch_size * shape.channels * shape.height * shape.width, at::kDouble)
                                .mul(1e4)
                                .sin()
                                .view({batch_size, shape.channels, shape.height, shape.width})
                                .to(first.device(), first.dtype())
                                .contiguous(at::MemoryFormat::ChannelsLast);
  std::vector<PreparedValues> prepared(models.size());
  std::vector<SkippingPlan> plans(models.size());
  std::vector<ForwardOptions> options(models.size());
  for (size_t i = 0; i < models.size(); ++i) options[i].prepared = &prepared[i];
  std::vector<std::vector<double>> times(models.size());
  double total = 0;
  for (int64_t turn = -2; turn < runs && (turn < 3 || total < seconds); ++turn) {
    for (size_t i = 0; i < models.size(); ++i) {
      const double start = SteadySeconds();
      // Reading a logit synchronizes with a GPU.
      plans[i].Forward(*models[i], images, options[i]).logits.flatten()[0].item();
      const double taken = SteadySeconds() - start;
      if (turn < 0) continue;
      times[i].push_back(taken);
      total += taken;
    }
  }
  std::vector<Latency> latencies;
  for (std::vector<double>& of_model : times) {
    std::sort(of_model.begin(), of_model.end());
    latencies.push_back({QuantileOfSorted(of_model, 0.5), QuantileOfSorted(of_model, 0.25),
                         QuantileOfSorted(of_model, 0.75), static_cast<int64_t>(of_model.size())});
  }
  return latencies;
}

}  // namespace prunelab
