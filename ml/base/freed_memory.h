// What becomes of freed memory.
#pragma once

namespace prunelab {

// From now on the process keeps what it frees for its next allocations, and tensors on the CPU fit into the holes that
// tensors of their size left. A training step allocates and frees the same hundreds of megabytes as the one before;
// given back to the system, each of their pages would come as a page fault again, which cost a sixth of a step, and
// where they did not fit again a dense ResNet-56 step held 825 MB, not 463 (measured). Call at the start of main.
// Nothing where the C library is not glibc.
void KeepFreedMemory();

}  // namespace prunelab
