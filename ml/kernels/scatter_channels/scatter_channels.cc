#include "ml/kernels/scatter_channels/scatter_channels.h"

#include <algorithm>

#include "ml/kernels/parallel_for.h"

namespace prunelab {

template <typename T>
void ScatterChannels(int64_t rows, int64_t stored, int64_t channels, const int64_t* index, const T* x, T* out) {
  constexpr int64_t kNumbers = 32768;  // at a time
  const int64_t chunk = std::max<int64_t>(1, kNumbers / std::max<int64_t>(1, channels));
  ParallelFor((rows + chunk - 1) / chunk, [&](int64_t i) {
    for (int64_t row = i * chunk; row < std::min(rows, (i + 1) * chunk); ++row) {
      T* to = out + row * channels;
      const T* from = x + row * stored;
      std::fill(to, to + channels, T(0));
      for (int64_t k = 0; k < stored; ++k) to[index[k]] = from[k];
    }
  });
}

template void ScatterChannels<float>(int64_t, int64_t, int64_t, const int64_t*, const float*, float*);
template void ScatterChannels<double>(int64_t, int64_t, int64_t, const int64_t*, const double*, double*);

}  // namespace prunelab
