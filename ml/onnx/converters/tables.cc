#include "ml/onnx/converters/tables.h"

namespace prunelab {

const ConvertTable& Converters() {
  static const ConvertTable* const table = [] {
    auto* made = new ConvertTable;
    AddArithmetic(*made);
    AddArrangements(*made);
    AddFunctions(*made);
    AddLayers(*made);
    AddNorms(*made);
    AddReductions(*made);
    AddResampling(*made);
    AddWindows(*made);
    return made;
  }();
  return *table;
}

}  // namespace prunelab
