#include "experiments/runs/run_events.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "experiments/records/measures.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

constexpr int64_t kHistograms = 20;

}  // namespace

absl::StatusOr<RunEvents> RunEvents::Create(const std::string& folder, const std::string& arm, int64_t seed,
                                            int64_t epochs, int64_t first_epoch) {
  PRUNELAB_ASSIGN_OR_RETURN(TensorboardWriter writer, TensorboardWriter::Create(folder, first_epoch));
  std::map<std::string, std::string> texts = {{"arm", arm}};
  const std::vector<std::string> levels = absl::StrSplit(arm, '/');
  for (size_t i = 0; i < levels.size() && levels.size() > 1; ++i) texts[absl::StrCat("level_", i + 1)] = levels[i];
  std::map<std::string, double> numbers;
  constexpr int64_t kMostExact = int64_t{1} << 53;  // as a double
  if (seed <= kMostExact) {
    numbers["seed"] = static_cast<double>(seed);
  } else {
    texts["seed"] = absl::StrCat(seed);  // a number would be another hyperparameter
  }
  writer.AddHyperparameters(texts, numbers, arm);
  PRUNELAB_RETURN_IF_ERROR(writer.Flush());
  return RunEvents(std::move(writer), epochs);
}

absl::Status RunEvents::AddEpoch(const EpochRecord& record, const Model& model) {
  for (const Measure* measure : EpochMeasures()) {
    if (measure->is_by_layer()) {
      for (const auto& [layer, count] : measure->ByLayer(record.measures)) {
        writer_.AddScalar(absl::StrCat(measure->name(), "/", layer), static_cast<double>(count), record.epoch);
      }
    } else if (const std::optional<double> value = measure->EpochValue(record.measures)) {
      writer_.AddScalar(measure->name(), *value, record.epoch);
    }
  }
  const int64_t period = std::max<int64_t>(1, epochs_ / kHistograms);
  if (record.epoch % period == 0 || record.epoch + 1 == epochs_ || record.diverged) {
    const at::NoGradGuard no_gradient;
    for (const auto& [layer, count] : FindMeasure("live_filters")->ByLayer(record.measures)) {
      const at::Tensor importance = model.Get(absl::StrCat(layer, ".weight"))
                                        .detach()
                                        .abs()
                                        .flatten(1)
                                        .mean(1)
                                        .to(at::kDouble)
                                        .cpu()
                                        .contiguous();
      const double* values = importance.data_ptr<double>();
      writer_.AddHistogram(absl::StrCat("importance/", layer), std::vector<double>(values, values + importance.numel()),
                           record.epoch);
    }
  }
  return writer_.Flush();
}

absl::Status RunEvents::End(const std::string& status) {
  writer_.AddEnd(status == "done");
  return writer_.Flush();
}

}  // namespace prunelab
