// The commonest kind of strategy: its scores, and parameters that say by the names of their fields what is done with
// them. An author writes the function of the scores and the message:
//
//   // oscillation.cc
//   at::Tensor Score(const Oscillation& parameters, const at::Tensor& weight, const at::Tensor& gradient) {
//     return (weight * gradient).abs().pow(parameters.power());
//   }
//   const bool registered = RegisterScoredPruning(Granularity::kFilter, &Score);
//
// Fields, all optional but `rate`; those of other names are the scores' own:
//
//   rate         double, the fraction masked in the end
//   epoch        int64: ranked once, before this epoch's first step, then masks are fixed and masked weights learn
//                nothing
//   period       int64, steps: ranked again before iteration i of an epoch if (i + 1) % period == 0, so that what is
//                masked may return; it learns by its own gradient. first_epoch, last_epoch (-1: no limit): only in
//                these
//   begin_epoch  int64, with period: the rate rises along the curve of cubic_schedule.h, from initial_rate, up to
//                end_epoch. With last_epoch the ranking goes on at the full rate, and what is masked may return;
//                without it the masks are fixed then
//   granularity  MaskUnit.Kind: where FILTER, scores of single weights are averaged over the filter
//   gradient     MaskGradient.Policy: what masked weights learn
//   dead_gradient  DeadGradientScale: what of it, where it is straight-through
//   on_return    OnReturn.Kind: what becomes of the weights of filters that return; KEEP without it
//   importance   Importance.Kind: which scores
//   layers       LayerSelection: which convolutions; every one without it
//   ranking      Ranking: scope and limits; GLOBAL without it
//
// One of `epoch` and `period` says when.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "google/protobuf/message.h"
#include "ml/network/masks.h"
#include "ml/pruning/layer_ranking.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

// `options` have what no field of `parameters` says. Field errors of the fields above; also if scores that need
// gradients would be ranked before the first step.
absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateScoredPruning(const google::protobuf::Message& parameters,
                                                                     const PruningSetup& setup,
                                                                     LayerRankingOptions options = {});

namespace internal {

template <typename Parameters, typename Score>
bool RegisterScores(Granularity granularity, bool needs_gradients, Score score) {
  PruningStrategies().Register(Parameters::descriptor(),
                               [=](const google::protobuf::Message& message, const PruningSetup& setup) {
                                 LayerRankingOptions options;
                                 options.granularity = granularity;
                                 options.scores.needs_gradients = needs_gradients;
                                 options.scores.of = [score, parameters = static_cast<const Parameters&>(message)](
                                                         const at::Tensor& weight, const at::Tensor& gradient) {
                                   return score(parameters, weight, gradient);
                                 };
                                 return CreateScoredPruning(message, setup, std::move(options));
                               });
  return true;
}

}  // namespace internal

// Registers a strategy that consists of its scores: one for each weight, in the weight's shape, or for each filter,
// [out, 1, 1, 1]; not negative. The lowest scores are masked. `granularity` is used if the message has no such field.
template <typename Parameters>
bool RegisterScoredPruning(Granularity granularity, at::Tensor (*score)(const Parameters&, const at::Tensor& weight,
                                                                        const at::Tensor& gradient)) {
  return internal::RegisterScores<Parameters>(granularity, /*needs_gradients=*/true, score);
}

// The same, of the weights alone.
template <typename Parameters>
bool RegisterScoredPruning(Granularity granularity, at::Tensor (*score)(const Parameters&, const at::Tensor& weight)) {
  return internal::RegisterScores<Parameters>(granularity, /*needs_gradients=*/false,
                                              [score](const Parameters& parameters, const at::Tensor& weight,
                                                      const at::Tensor&) { return score(parameters, weight); });
}

}  // namespace prunelab
