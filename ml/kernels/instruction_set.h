// The instruction set that the kernels below this folder use. It is chosen when the program runs.
#pragma once

namespace prunelab {

enum class InstructionSet { kGeneric, kAvx2, kAvx512 };

// The best that the processor has, or the one that a test has set.
InstructionSet BestInstructionSet();

// Of three choices, the one for the best instruction set.
template <typename Choice>
Choice ForBestInstructionSet(Choice avx512, Choice avx2, Choice generic) {
  switch (BestInstructionSet()) {
    case InstructionSet::kAvx512:
      return avx512;
    case InstructionSet::kAvx2:
      return avx2;
    case InstructionSet::kGeneric:
      break;
  }
  return generic;
}

// "generic", "avx2" or "avx512".
const char* Name(InstructionSet set);

// Whether the processor has `set`.
bool HasInstructionSet(InstructionSet set);

// For tests: a lesser one (checked).
void SetInstructionSet(InstructionSet set);

// Whether the processor multiplies bfloat16 numbers itself, or what was set: avx512_bf16, which every processor with
// amx_bf16 has too. On others the libraries emulate it.
bool HasBfloat16();

// For tests: what HasBfloat16 says. The libraries go by the processor.
void SetHasBfloat16(bool has);

}  // namespace prunelab
