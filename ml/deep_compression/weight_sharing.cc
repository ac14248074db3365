#include "ml/deep_compression/weight_sharing.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ml/base/check.h"

namespace prunelab {
namespace {

// The limits of the groups of `sorted` whose centres are given, ascending: group k is [limits[k], limits[k + 1]).
std::vector<size_t> LimitsOf(const std::vector<float>& sorted, const std::vector<double>& centres) {
  std::vector<size_t> limits = {0};
  for (size_t k = 0; k + 1 < centres.size(); ++k) {
    const double halfway = centres[k] + (centres[k + 1] - centres[k]) / 2;
    const auto above = std::upper_bound(sorted.begin() + static_cast<std::ptrdiff_t>(limits[k]), sorted.end(), halfway,
                                        [](double limit, float value) { return limit < value; });
    limits.push_back(static_cast<size_t>(above - sorted.begin()));
  }
  limits.push_back(sorted.size());
  return limits;
}

// Where Lloyd's iterations end: the mean of each group that has members, ascending.
std::vector<double> Centres(const std::vector<float>& sorted, int64_t clusters) {
  std::vector<double> sums(sorted.size() + 1, 0.0);
  for (size_t i = 0; i < sorted.size(); ++i) sums[i + 1] = sums[i] + sorted[i];
  const double least = sorted.front(), greatest = sorted.back();
  std::vector<double> centres(static_cast<size_t>(clusters));
  for (size_t k = 0; k < centres.size(); ++k) {
    centres[k] = clusters == 1
                     ? least + (greatest - least) / 2
                     : least + (greatest - least) * static_cast<double>(k) / static_cast<double>(clusters - 1);
  }
  std::vector<size_t> limits = LimitsOf(sorted, centres), before;
  // Each iteration lessens the sum of squares, so the groups of one never return; the bound is against rounding.
  constexpr int kMostIterations = 1000000;
  for (int iteration = 0; iteration < kMostIterations && limits != before; ++iteration) {
    for (size_t k = 0; k < centres.size(); ++k) {
      const size_t begin = limits[k], end = limits[k + 1];
      if (begin == end) continue;  // it stays where it is, and may have members again
      const double mean = (sums[end] - sums[begin]) / static_cast<double>(end - begin);
      // A difference of sums is rounded; a mean lies between its members all the same.
      centres[k] = std::clamp<double>(mean, sorted[begin], sorted[end - 1]);
    }
    before = limits;
    limits = LimitsOf(sorted, centres);
  }
  std::vector<double> with_members;
  for (size_t k = 0; k < centres.size(); ++k) {
    if (limits[k] < limits[k + 1]) with_members.push_back(centres[k]);
  }
  return with_members;
}

}  // namespace

SharedWeights ShareWeights(const at::Tensor& weight, int64_t clusters) {
  PRUNELAB_CHECK(weight.scalar_type() == at::kFloat) << weight.scalar_type();
  PRUNELAB_CHECK(clusters >= 1) << clusters;
  const at::Tensor values = weight.detach().cpu().contiguous();
  const float* const value = values.data_ptr<float>();
  std::vector<float> sorted;
  for (int64_t i = 0; i < values.numel(); ++i) {
    PRUNELAB_CHECK(std::isfinite(value[i])) << "element " << i << " is " << value[i];
    if (value[i] != 0) sorted.push_back(value[i]);
  }
  std::sort(sorted.begin(), sorted.end());

  std::vector<float> codebook = sorted;
  codebook.erase(std::unique(codebook.begin(), codebook.end()), codebook.end());
  std::vector<double> centres(codebook.begin(), codebook.end());
  if (centres.size() > static_cast<size_t>(clusters)) {
    centres = Centres(sorted, clusters);
    codebook.assign(centres.begin(), centres.end());
    codebook.erase(std::unique(codebook.begin(), codebook.end()), codebook.end());
  }
  // Of centres that are one float32, the first one's place in the codebook is that of all.
  std::vector<int32_t> places;
  int32_t place = 0;
  for (const double centre : centres) {
    while (codebook[static_cast<size_t>(place)] != static_cast<float>(centre)) ++place;
    places.push_back(place);
  }
  std::vector<double> halfway;
  for (size_t k = 0; k + 1 < centres.size(); ++k) halfway.push_back(centres[k] + (centres[k + 1] - centres[k]) / 2);

  SharedWeights shared;
  shared.indices = at::full(values.sizes(), -1, at::kInt);
  int32_t* const index = shared.indices.data_ptr<int32_t>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    if (value[i] == 0) continue;
    const auto group = std::lower_bound(halfway.begin(), halfway.end(), static_cast<double>(value[i]));
    index[i] = places[static_cast<size_t>(group - halfway.begin())];
  }
  // A centre that cancels out exactly is stored as +0.0, like any other zero.
  for (float& centre : codebook) centre += 0.0F;
  shared.codebook = at::tensor(codebook, at::kFloat);
  return shared;
}

at::Tensor ValuesOf(const SharedWeights& shared) {
  at::Tensor values = at::zeros(shared.indices.sizes(), at::kFloat);
  const at::Tensor indices = shared.indices.contiguous(), codebook = shared.codebook.contiguous();
  const int32_t* const index = indices.data_ptr<int32_t>();
  const float* const centre = codebook.data_ptr<float>();
  float* const value = values.data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    if (index[i] >= 0) value[i] = centre[index[i]];
  }
  return values;
}

at::Tensor CentroidGradients(const at::Tensor& gradient, const at::Tensor& indices, int64_t clusters) {
  PRUNELAB_CHECK(gradient.sizes() == indices.sizes()) << gradient.sizes() << " and " << indices.sizes();
  const at::Tensor wide = gradient.detach().cpu().to(at::kDouble).contiguous(), places = indices.contiguous();
  at::Tensor sums = at::zeros({clusters}, at::kDouble);
  const double* const of_weight = wide.data_ptr<double>();
  const int32_t* const index = places.data_ptr<int32_t>();
  double* const sum = sums.data_ptr<double>();
  for (int64_t i = 0; i < wide.numel(); ++i) {
    PRUNELAB_CHECK(index[i] >= -1 && index[i] < clusters) << index[i] << " of " << clusters;
    if (index[i] >= 0) sum[index[i]] += of_weight[i];
  }
  return sums.to(gradient.scalar_type());
}

}  // namespace prunelab
