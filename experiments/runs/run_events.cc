#include "experiments/runs/run_events.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
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
    texts["seed"] = absl::StrCat(seed);  // a number would be another one
  }
  writer.AddHyperparameters(texts, numbers, arm);
  PRUNELAB_RETURN_IF_ERROR(writer.Flush());
  return RunEvents(std::move(writer), epochs);
}

absl::Status RunEvents::AddEpoch(const EpochRecord& record, const Model& model) {
  const auto scalar = [&](const char* tag, double value) { writer_.AddScalar(tag, value, record.epoch); };
  scalar("learning_rate", record.learning_rate);
  scalar("train_loss", record.train_loss);
  scalar("train_top1", record.train_top1);
  if (record.test) {
    scalar("test_loss", record.test->loss);
    scalar("test_top1", record.test->top1);
    scalar("test_top5", record.test->top5);
  }
  if (record.validation) {
    scalar("validation_loss", record.validation->loss);
    scalar("validation_top1", record.validation->top1);
  }
  scalar("penalty", record.penalty);
  scalar("penalty_gradient_ratio", record.penalty_gradient_ratio);
  if (record.mean_abs_rho) scalar("mean_abs_rho", *record.mean_abs_rho);
  scalar("mask_updates", static_cast<double>(record.mask_updates));
  scalar("mask_changes", static_cast<double>(record.mask_changes));
  scalar("returned_filters", static_cast<double>(record.returned_filters));
  scalar("filter_sparsity", record.filter_sparsity);
  scalar("weight_sparsity", record.weight_sparsity);
  scalar("paper_sparsity", record.paper_sparsity);
  scalar("live_parameters", static_cast<double>(record.live_parameters));
  scalar("live_macs", static_cast<double>(record.live_macs));
  for (const auto& [layer, count] : record.live_filters) {
    writer_.AddScalar(absl::StrCat("live_filters/", layer), static_cast<double>(count), record.epoch);
  }
  const int64_t period = std::max<int64_t>(1, epochs_ / kHistograms);
  if (record.epoch % period == 0 || record.epoch + 1 == epochs_ || record.diverged) {
    const at::NoGradGuard no_gradient;
    for (const auto& [layer, count] : record.live_filters) {
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
