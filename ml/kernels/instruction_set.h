// The instruction set that the kernels of this folder use, chosen when the program runs.
#pragma once

namespace prunelab {

enum class InstructionSet { kGeneric, kAvx2, kAvx512 };

// The best that the processor has, or what was set.
InstructionSet BestInstructionSet();

// The one of the three arguments that belongs to the instruction set.
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

// Whether the processor has it.
bool HasInstructionSet(InstructionSet set);

// For tests: sets a lesser one (checked).
void SetInstructionSet(InstructionSet set);

// Whether the processor multiplies bfloat16 numbers itself, or what was set: avx512_bf16, which every processor with
// amx_bf16 has, too. On others the libraries emulate it.
bool HasBfloat16();

// Whether the processor multiplies 8-bit numbers and adds them in 32 bits by one instruction, avx512_vnni, or what was
// set. It has avx512, too.
bool HasVnni();
void SetHasVnni(bool has);  // for tests; true only where it has (checked)

// For tests: sets the result of HasBfloat16. The libraries ask the processor.
void SetHasBfloat16(bool has);

}  // namespace prunelab
