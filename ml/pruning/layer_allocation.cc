#include "ml/pruning/layer_allocation.h"

#include <coin/Cbc_C_Interface.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"

namespace prunelab {
namespace {

// All that the layers can save.
double Most(const std::vector<LayerChoices>& layers) {
  double sum = 0;
  for (const LayerChoices& layer : layers) sum += *std::max_element(layer.savings.begin(), layer.savings.end());
  return sum;
}

absl::Status CheckReachable(const std::vector<LayerChoices>& layers, double savings) {
  const double most = Most(layers);
  if (savings <= most) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("the layers save ", most,
                                            " at most, by what was measured of each of them, and ", savings,
                                            " is asked for; measure higher rates, or ask for less"));
}

}  // namespace

absl::StatusOr<std::vector<size_t>> LeastLoss(const std::vector<LayerChoices>& layers, double savings) {
  const absl::Status reachable = CheckReachable(layers, savings);
  if (!reachable.ok()) return reachable;
  const std::unique_ptr<Cbc_Model, void (*)(Cbc_Model*)> model(Cbc_newModel(), &Cbc_deleteModel);
  Cbc_setLogLevel(model.get(), 0);
  Cbc_setParameter(model.get(), "logLevel", "0");
  Cbc_setObjSense(model.get(), 1);  // minimize
  // One variable for each choice, 0 or 1.
  std::vector<int> columns;
  std::vector<double> saved;
  int column = 0;
  for (const LayerChoices& layer : layers) {
    for (size_t k = 0; k < layer.rates.size(); ++k) {
      Cbc_addCol(model.get(), absl::StrCat("x", column).c_str(), 0, 1, layer.losses[k], /*isInteger=*/1, 0, nullptr,
                 nullptr);
      columns.push_back(column++);
      saved.push_back(layer.savings[k]);
    }
  }
  Cbc_addRow(model.get(), "savings", column, columns.data(), saved.data(), 'G', savings);
  const std::vector<double> ones(column, 1);
  int first = 0;
  for (size_t l = 0; l < layers.size(); ++l) {
    const auto count = static_cast<int>(layers[l].rates.size());
    Cbc_addRow(model.get(), absl::StrCat("layer", l).c_str(), count, &columns[first], ones.data(), 'E', 1);
    first += count;
  }
  Cbc_solve(model.get());
  PRUNELAB_CHECK(Cbc_isProvenOptimal(model.get()))
      << "Cbc has not solved the integer program of " << layers.size() << " layers; status " << Cbc_status(model.get());
  const double* solution = Cbc_getColSolution(model.get());
  std::vector<size_t> choices;
  for (const LayerChoices& layer : layers) {
    choices.push_back(std::max_element(solution, solution + layer.rates.size()) - solution);
    solution += layer.rates.size();
  }
  return choices;
}

absl::StatusOr<std::vector<size_t>> EqualLoss(const std::vector<LayerChoices>& layers, double savings) {
  const absl::Status reachable = CheckReachable(layers, savings);
  if (!reachable.ok()) return reachable;
  std::vector<double> thresholds;
  for (const LayerChoices& layer : layers)
    thresholds.insert(thresholds.end(), layer.losses.begin(), layer.losses.end());
  std::sort(thresholds.begin(), thresholds.end());
  const auto at = [&](double threshold) {
    std::vector<size_t> choices;
    for (const LayerChoices& layer : layers) {
      size_t k = 0;
      while (k + 1 < layer.rates.size() && layer.losses[k + 1] <= threshold) ++k;
      choices.push_back(k);
    }
    return choices;
  };
  // What is saved rises with the threshold.
  const auto found = std::partition_point(thresholds.begin(), thresholds.end(),
                                          [&](double threshold) { return SavedBy(layers, at(threshold)) < savings; });
  return at(found == thresholds.end() ? std::numeric_limits<double>::infinity() : *found);
}

double SavedBy(const std::vector<LayerChoices>& layers, const std::vector<size_t>& choices) {
  double sum = 0;
  for (size_t l = 0; l < layers.size(); ++l) sum += layers[l].savings[choices[l]];
  return sum;
}

double LostBy(const std::vector<LayerChoices>& layers, const std::vector<size_t>& choices) {
  double sum = 0;
  for (size_t l = 0; l < layers.size(); ++l) sum += layers[l].losses[choices[l]];
  return sum;
}

}  // namespace prunelab
