// How the runs share the part of the machine that an ablation may use.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ml/base/cgroup_limits.h"

namespace prunelab {

struct Machine {
  int64_t cores = 1;           // that the process may use, by its affinity and cpuset
  std::optional<double> cpus;  // the control groups' quota of CPU time, if it is lower
  int64_t memory = 0;          // bytes: the machine's, or the control groups' limit
  bool memory_is_limited = false;
  // How many threads may compute at once; at least 1.
  int64_t Threads() const;
};

// What `limits` leave of `cores` cores and `memory` bytes.
Machine MachineWithin(int64_t cores, int64_t memory, const CgroupLimits& limits);

// For this process.
Machine ThisMachine();

// This is a function of the machine, the options and the whole ablation, not of what is left of it, so that a run has
// the same number of threads whenever it is trained.
struct Allotment {
  int64_t jobs = 1, threads = 1;  // runs at once, and threads of each of their processes
  int64_t gpus = 0;               // that the runs share; 0: they compute on the CPU
  int64_t ranks = 1;              // processes of each run here, each with so many threads
};

// `jobs`, `threads_per_run`: as requested, 0: not set; `gpus`: to compute on, 0: the CPU; `runs`: of the whole
// ablation; `ranks`: processes of a run on this machine.
Allotment Allot(const Machine& machine, int64_t jobs, int64_t threads_per_run, int64_t gpus, int64_t runs,
                int64_t ranks = 1);

// A sentence on what was found and what follows: "Machine: 8 cores, of which a quota leaves 2.5 ...".
std::string AllotmentText(const Machine& machine, const Allotment& allotment);

}  // namespace prunelab
