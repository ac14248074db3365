#include "experiments/sweep/allotment.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "experiments/sweep/core_claim.h"

namespace prunelab {

int64_t Machine::Threads() const {
  // A fraction of another core would only make all threads wait.
  return cpus ? std::max<int64_t>(1, std::min(cores, static_cast<int64_t>(*cpus + 1e-6))) : cores;
}

Machine MachineWithin(int64_t cores, int64_t memory, const CgroupLimits& limits) {
  Machine machine;
  machine.cores = std::max<int64_t>(1, cores);
  if (limits.cpus && *limits.cpus < static_cast<double>(machine.cores)) machine.cpus = limits.cpus;
  machine.memory_is_limited = limits.memory && *limits.memory < memory;
  machine.memory = machine.memory_is_limited ? *limits.memory : memory;
  return machine;
}

Machine ThisMachine() {
  const int64_t memory = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
  return MachineWithin(static_cast<int64_t>(CoreClaim::Allowed().size()), memory, ReadCgroupLimits());
}

Allotment Allot(const Machine& machine, int64_t jobs, int64_t threads_per_run, int64_t gpus, int64_t runs,
                int64_t ranks) {
  Allotment allotment;
  allotment.ranks = ranks;
  allotment.jobs = jobs;
  allotment.gpus = gpus;
  if (jobs == 0) {
    // One-thread processes train more images per second than one process with as many threads. Each needs some memory
    // for libraries, data and activations. Several runs on one GPU would wait for each other.
    constexpr int64_t kMemoryOfARun = int64_t{2} << 30;
    const int64_t by_cores = machine.Threads() / (ranks * std::max<int64_t>(1, threads_per_run));
    allotment.jobs =
        gpus > 0 ? std::min(gpus / ranks, runs) : std::min({by_cores, machine.memory / (ranks * kMemoryOfARun), runs});
  }
  allotment.jobs = std::max<int64_t>(1, allotment.jobs);
  allotment.threads =
      threads_per_run > 0 ? threads_per_run : std::max<int64_t>(1, machine.Threads() / (allotment.jobs * ranks));
  return allotment;
}

std::string AllotmentText(const Machine& machine, const Allotment& allotment) {
  const auto count = [](int64_t n, const char* what) { return absl::StrCat(n, " ", what, n == 1 ? "" : "s"); };
  std::string text = absl::StrCat("Machine: ", count(machine.cores, "core"));
  if (machine.cpus) {
    absl::StrAppendFormat(&text, " (the control group's quota: the time of %.4g)", *machine.cpus);
  }
  absl::StrAppendFormat(&text, ", %.1f GiB of memory%s; ", static_cast<double>(machine.memory) / (int64_t{1} << 30),
                        machine.memory_is_limited ? " (the control group's limit)" : "");
  absl::StrAppend(&text, count(allotment.jobs, "run"), " at once, with ");
  if (allotment.ranks > 1) absl::StrAppend(&text, allotment.ranks, " processes each, of ");
  absl::StrAppend(&text, "up to ", count(allotment.threads, "thread"),
                  allotment.jobs * allotment.ranks == 1 ? "" : " each");
  if (allotment.gpus > 0) absl::StrAppend(&text, ", on ", count(allotment.gpus, "GPU"));
  return text;
}

}  // namespace prunelab
