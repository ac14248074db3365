#include "ml/kernels/integer_elementwise/integer_elementwise.h"

#include "ml/base/check.h"
#include "ml/kernels/instruction_set.h"
#include "ml/kernels/integer_elementwise/loops.h"

namespace prunelab {
namespace {

PlacesLoops Loops() {
  return ForBestInstructionSet(&avx512::FindPlacesLoops, &avx2::FindPlacesLoops, &generic::FindPlacesLoops)();
}

}  // namespace

void AddPlaces(const PlacesSum& sum, int64_t count, const uint8_t* const* x, uint8_t* y) {
  PRUNELAB_CHECK(sum.inputs >= 1 && sum.inputs <= PlacesSum::kMostInputs) << sum.inputs << " inputs";
  Loops().add(sum, count, x, y);
}

void TakeLargerPlaces(int64_t count, const uint8_t* x, uint8_t* y) { Loops().take_larger(count, x, y); }

void LookUpPlaces(int64_t count, const uint8_t* table, const uint8_t* x, uint8_t* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = table[x[i]];
}

void GatePlaces(const PlacesProduct& product, int64_t pixels, int64_t channels, int64_t stride, const uint8_t* x,
                const uint8_t* gate, uint8_t* y) {
  Loops().gate(product, pixels, channels, stride, x, gate, y);
}

}  // namespace prunelab
