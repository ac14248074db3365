#include "ml/kernels/instruction_set.h"

#include "ml/base/check.h"

namespace prunelab {
namespace {

InstructionSet& Chosen() {
  static InstructionSet chosen = HasInstructionSet(InstructionSet::kAvx512) ? InstructionSet::kAvx512
                                 : HasInstructionSet(InstructionSet::kAvx2) ? InstructionSet::kAvx2
                                                                            : InstructionSet::kGeneric;
  return chosen;
}

bool& Bfloat16() {
  static bool has = HasInstructionSet(InstructionSet::kAvx512) && __builtin_cpu_supports("avx512bf16");
  return has;
}

bool ProcessorHasVnni() { return HasInstructionSet(InstructionSet::kAvx512) && __builtin_cpu_supports("avx512vnni"); }

bool& Vnni() {
  static bool has = ProcessorHasVnni();
  return has;
}

}  // namespace

InstructionSet BestInstructionSet() { return Chosen(); }

const char* Name(InstructionSet set) {
  constexpr const char* kNames[] = {"generic", "avx2", "avx512"};
  return kNames[static_cast<int>(set)];
}

bool HasInstructionSet(InstructionSet set) {
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (set == InstructionSet::kGeneric) return true;
  if (set == InstructionSet::kAvx2) return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}

void SetInstructionSet(InstructionSet set) {
  PRUNELAB_CHECK(HasInstructionSet(set)) << "this processor has no " << Name(set);
  Chosen() = set;
}

bool HasVnni() { return Vnni(); }

void SetHasVnni(bool has) {
  PRUNELAB_CHECK(!has || ProcessorHasVnni()) << "this processor has no avx512_vnni";
  Vnni() = has;
}

bool HasBfloat16() { return Bfloat16(); }

void SetHasBfloat16(bool has) { Bfloat16() = has; }

}  // namespace prunelab
