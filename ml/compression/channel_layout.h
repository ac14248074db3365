// How wide the layers of a removed network are. Exact removal computes the same in every layout; which is the fastest
// depends on the engine, the processor and the batch (fastest_layout.h).
//
//   ChannelLayout layout;                             // the fewest channels
//   layout.all = {8, Streams::kScattered};            // multiples of 8 everywhere
//   layout.by_pixels[16 * 16] = {1, Streams::kFull};  // but for layers whose maps have 16 x 16 pixels
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "ml/network/network.h"

namespace prunelab {

// How what is added to a residual stream, which keeps its width, gets there. Engines run a convolution and the sum
// after it as one only where nothing is between them.
enum class Streams {
  kScattered,  // its live channels are computed and scattered into their places: the fewest multiplications
  kFull,       // it keeps as many channels as the stream, dead ones with weights of zero: no node in between
  kConvolved,  // its live channels are put into their places by a 1x1 convolution of zeros and ones
};

struct ChannelLayout {
  struct Widths {
    // The number of kept channels is rounded up to a multiple of this by keeping dead ones, which some processors
    // compute faster; 1 keeps exactly the live channels.
    int64_t multiple = 1;
    Streams streams = Streams::kScattered;

    bool operator==(const Widths& other) const { return multiple == other.multiple && streams == other.streams; }
    std::string Text() const {
      const char* const with = streams == Streams::kScattered ? ""
                               : streams == Streams::kFull    ? ", full streams"
                                                              : ", streams by 1x1 convolutions";
      return absl::StrCat(multiple == 1 ? "live channels" : absl::StrCat("multiples of ", multiple), with);
    }
  };

  Widths all;
  std::map<int64_t, Widths> by_pixels;  // of layers whose maps have so many pixels (height times width)

  const Widths& Of(const NodeShape& shape) const {
    const auto found = by_pixels.find(shape.height * shape.width);
    return found == by_pixels.end() ? all : found->second;
  }
  bool IsPlain() const {
    for (const auto& [pixels, widths] : by_pixels) {
      if (!(widths == Widths())) return false;
    }
    return all == Widths();
  }
  // The same with scatters in the place of 1x1 convolutions.
  ChannelLayout WithoutConvolutions() const {
    ChannelLayout layout = *this;
    const auto scatter = [](Widths& widths) {
      if (widths.streams == Streams::kConvolved) widths.streams = Streams::kScattered;
    };
    scatter(layout.all);
    for (auto& [pixels, widths] : layout.by_pixels) scatter(widths);
    return layout;
  }
  bool operator==(const ChannelLayout& other) const { return all == other.all && by_pixels == other.by_pixels; }
  // "live channels", or "multiples of 8, full streams; at 1024 pixels live channels".
  std::string Text() const {
    std::string text = all.Text();
    for (const auto& [pixels, widths] : by_pixels) {
      if (!(widths == all)) absl::StrAppend(&text, "; at ", pixels, " pixels ", widths.Text());
    }
    return text;
  }
};

}  // namespace prunelab
