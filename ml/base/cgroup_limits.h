// The limits that Linux's control groups (containers, Slurm, systemd) set for this process. Which cores it may use is
// not among them: the affinity that sched_getaffinity tells has their cpusets in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace prunelab {

struct CgroupLimits {
  std::optional<double> cpus;     // seconds of CPU time in a second, over all cores; none: no quota
  std::optional<int64_t> memory;  // bytes; none: no limit
};

// The narrowest limits of the process's groups and of all groups that these are in, of versions 1 and 2, also mixed. A
// container may see its own group as the root, under whatever path `self` has. What cannot be read limits nothing.
// `root`: where the groups are mounted; `self`: the file that names the process's.
CgroupLimits ReadCgroupLimits(const std::string& root = "/sys/fs/cgroup",
                              const std::string& self = "/proc/self/cgroup");

}  // namespace prunelab
