// What a mask stands for and how gradients pass it: shared words of those who make masks and those who apply them.
#pragma once

namespace prunelab {

// What one entry of a mask stands for: a filter ([out, 1, 1, 1]) or a weight (the weight's shape).
enum class Granularity { kFilter, kWeight };

// What the dense weight receives in the backward pass, where m is the mask and g the gradient of the masked weight:
// kStraightThrough g (masked weights go on learning and may return), kMasked g * m.
enum class GradientPolicy { kStraightThrough, kMasked };

}  // namespace prunelab
