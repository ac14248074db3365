// What a mask stands for and how gradients pass through it: the terms shared by the code that makes masks and the code
// that applies them.
#pragma once

namespace prunelab {

// What one entry of a mask covers: a filter ([out, 1, 1, 1]) or a weight (the weight's shape).
enum class Granularity { kFilter, kWeight };

// The gradient that the dense weight gets in the backward pass, where m is the mask and g the gradient of the masked
// weight. kStraightThrough: g, so masked weights keep learning and may return. kMasked: g * m.
enum class GradientPolicy { kStraightThrough, kMasked };

}  // namespace prunelab
