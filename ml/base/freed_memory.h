// How the process treats freed memory.
#pragma once

namespace prunelab {

// From this call on, the process keeps memory that it frees for its next allocations, and a tensor on the CPU fits into
// the hole that a tensor of its size left. A training step allocates and frees the same hundreds of megabytes as the
// one before. If that memory went back to the system, each of its pages would cost a page fault again, which took a
// sixth of a step; and when tensors did not fit into the holes, a dense ResNet-56 step held 825 MB instead of 463
// (measured). Call it at the start of main. It does nothing if the C library is not glibc.
void KeepFreedMemory();

}  // namespace prunelab
