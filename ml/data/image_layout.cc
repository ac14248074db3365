#include "ml/data/image_layout.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace prunelab {

bool LooksChannelsLast(const std::array<int64_t, 3>& axes) {
  constexpr int64_t kMostOfAPicture = 4;  // red, green, blue, alpha
  const auto [a, b, c] = axes;
  if (a <= kMostOfAPicture || b <= kMostOfAPicture) return false;
  return c <= kMostOfAPicture || (a == b && c < a);
}

std::string ChannelsLastText(const std::array<int64_t, 3>& axes) {
  return absl::StrCat("[", absl::StrJoin(axes, ", "),
                      "] looks like height, width, channels; transpose the images to [N, ", axes[2], ", ", axes[0],
                      ", ", axes[1],
                      "], in numpy numpy.ascontiguousarray(images.transpose(0, 3, 1, 2)), in PyTorch "
                      "images.permute(0, 3, 1, 2).contiguous()");
}

}  // namespace prunelab
