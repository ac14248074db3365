// The operators' functions, in groups; what each group is for is said in its file.
#pragma once

#include "ml/onnx/converter.h"

namespace prunelab {

void AddArithmetic(ConvertTable& table);
void AddArrangements(ConvertTable& table);
void AddFunctions(ConvertTable& table);
void AddLayers(ConvertTable& table);
void AddNorms(ConvertTable& table);
void AddReductions(ConvertTable& table);
void AddResampling(ConvertTable& table);
void AddWindows(ConvertTable& table);

}  // namespace prunelab
