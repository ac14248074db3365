#include "ml/compression/fastest_layout.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/status_macros.h"
#include "ml/compression/compressed_model.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

class Search {
 public:
  Search(const WeightedNetwork& network, const CompressionOptions& options, const NetworkTimer& timer)
      : network_(network), options_(options), timer_(timer) {}

  absl::StatusOr<FastestLayout> Run() {
    std::vector<ChannelLayout> uniform;
    for (const ChannelLayout::Widths& widths : All()) uniform.push_back({widths, {}});
    PRUNELAB_ASSIGN_OR_RETURN(std::vector<TriedLayout> tried, Time(uniform));
    std::vector<ChannelLayout> finalists = {ChannelLayout()};
    ChannelLayout best = tried[Fastest(tried)].layout;
    const auto add = [&](const ChannelLayout& layout) {
      if (layout.Text() != finalists.back().Text()) finalists.push_back(layout);
    };
    add(tried[ChooseLayout(tried)].layout);
    add(best);
    for (const int64_t pixels : MapSizes()) {
      std::vector<ChannelLayout> layouts = {best};
      for (const ChannelLayout::Widths& widths : All()) {
        layouts.push_back(best);
        layouts.back().by_pixels[pixels] = widths;
      }
      PRUNELAB_ASSIGN_OR_RETURN(tried, Time(layouts));
      // A difference that is smaller is noise, and would cost a layout of its own.
      constexpr double kGain = 0.99;
      const TriedLayout& fastest = tried[Fastest(tried)];
      if (fastest.latency.median < kGain * tried[0].latency.median) best = fastest.layout;
      add(best);
    }
    FastestLayout result;
    PRUNELAB_ASSIGN_OR_RETURN(result.tried, Time(finalists));
    result.layout = result.tried[ChooseLayout(result.tried)].layout;
    return result;
  }

 private:
  static std::vector<ChannelLayout::Widths> All() {
    std::vector<ChannelLayout::Widths> all;
    for (const Streams streams : {Streams::kScattered, Streams::kFull, Streams::kConvolved}) {
      for (const int64_t multiple : {1, 4, 8, 16}) all.push_back({multiple, streams});
    }
    return all;
  }

  static size_t Fastest(const std::vector<TriedLayout>& tried) {
    const auto less = [](const TriedLayout& a, const TriedLayout& b) { return a.latency.median < b.latency.median; };
    return std::min_element(tried.begin(), tried.end(), less) - tried.begin();
  }

  // The sizes of the maps of convolutions and linear layers, in pixels, those with most multiplications first.
  std::vector<int64_t> MapSizes() const {
    const NetworkInfo info = network_.Info();
    std::map<int64_t, int64_t> macs;
    for (int i = 0; i < info.network().node_size(); ++i) {
      if (info.op(i).Channels(info.View(i)).kind != ChannelRelation::Kind::kMixed) continue;
      macs[info.shape(i).height * info.shape(i).width] += info.MacCount(i);
    }
    std::vector<std::pair<int64_t, int64_t>> sorted;
    for (const auto& [pixels, count] : macs) sorted.emplace_back(-count, pixels);
    std::sort(sorted.begin(), sorted.end());
    std::vector<int64_t> sizes;
    for (const auto& [count, pixels] : sorted) sizes.push_back(pixels);
    // Where all maps have one size, layouts by size say nothing new.
    return sizes.size() > 1 ? sizes : std::vector<int64_t>();
  }

  // Layouts that lead to the same network are timed once, as the first of them.
  absl::StatusOr<std::vector<TriedLayout>> Time(const std::vector<ChannelLayout>& layouts) const {
    std::vector<TriedLayout> tried;
    std::vector<WeightedNetwork> networks;
    std::set<std::string> seen;
    for (const ChannelLayout& layout : layouts) {
      WeightedNetwork removed = network_;
      CompressionOptions options = options_;
      options.layout = layout;
      ChannelLayout used;
      Compress(removed, options, &used);
      if (!seen.insert(removed.network.SerializeAsString()).second) continue;
      const NetworkInfo info = removed.Info();
      tried.push_back({used, info.ParameterCount() + info.StoredConstantCount(), info.MacCount(), {}});
      networks.push_back(std::move(removed));
    }
    std::vector<const WeightedNetwork*> pointers;
    for (const WeightedNetwork& network : networks) pointers.push_back(&network);
    PRUNELAB_ASSIGN_OR_RETURN(const std::vector<Latency> latencies, timer_(pointers));
    PRUNELAB_CHECK(latencies.size() == tried.size()) << latencies.size() << " times of " << tried.size();
    for (size_t i = 0; i < latencies.size(); ++i) tried[i].latency = latencies[i];
    return tried;
  }

  const WeightedNetwork& network_;
  const CompressionOptions& options_;
  const NetworkTimer& timer_;
};

}  // namespace

absl::StatusOr<FastestLayout> FindFastestLayout(const WeightedNetwork& network, const CompressionOptions& options,
                                                const NetworkTimer& timer) {
  return Search(network, options, timer).Run();
}

size_t ChooseLayout(const std::vector<TriedLayout>& tried) {
  constexpr double kNoFaster = 1.02;
  PRUNELAB_CHECK(!tried.empty()) << "nothing was tried";
  double fastest = tried[0].latency.median;
  for (const TriedLayout& each : tried) fastest = std::min(fastest, each.latency.median);
  size_t chosen = tried.size();
  for (size_t i = 0; i < tried.size(); ++i) {
    if (tried[i].latency.median > kNoFaster * fastest) continue;
    if (chosen == tried.size() || tried[i].parameters < tried[chosen].parameters) chosen = i;
  }
  return chosen;
}

}  // namespace prunelab
