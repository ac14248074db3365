// Formulas that exporters write as several nodes, as the one node that they are.
#pragma once

#include "ml/onnx/graph.h"

namespace prunelab {

// Rewrites the last node of each formula that is known; the others stay, and are left out where nothing reads them.
// Known are, in every order of factors and with constants on either side:
//   x sigmoid(x): Swish;  clip(x + 3, 0, 6) / 6: HardSigmoid;  x hard_sigmoid(x): HardSwish;
//   x (1 + erf(x / sqrt 2)) / 2 and x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2: Gelu;
//   (x - mean) / sqrt(mean of (x - mean)^2 + epsilon): LayerNormalization without scale and bias.
//   means or maxima of slices, put together: AdaptivePool, an operator of this folder, with the attributes axis,
//   starts, ends, and max (0 or 1).
//   a Pad by -infinity before a MaxPool: the MaxPool with larger pads.
// Constants have to be folded (fold.h) before.
void RewritePatterns(OnnxGraph& graph);

}  // namespace prunelab
