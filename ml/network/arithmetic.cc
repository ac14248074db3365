#include "ml/network/arithmetic.h"

#include <ATen/ATen.h>

#include "ml/base/check.h"

namespace prunelab {

at::Tensor ApplyArithmetic(const Arithmetic& arithmetic, const at::Tensor& a, const at::Tensor& b) {
  switch (arithmetic.function()) {
    case Arithmetic::MULTIPLY:
      return a * b;
    case Arithmetic::SUBTRACT:
      return a - b;
    case Arithmetic::DIVIDE:
      return a / b;
    case Arithmetic::UNSET:
      break;
  }
  PRUNELAB_CHECK(false) << "arithmetic without a function";
  return {};
}

}  // namespace prunelab
