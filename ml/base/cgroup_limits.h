// The limits that Linux's control groups (containers, Slurm, systemd) set for this process. The cores that it may use
// are not among them: sched_getaffinity already takes the groups' cpusets into account.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace prunelab {

struct CgroupLimits {
  std::optional<double> cpus;     // seconds of CPU time per second, over all cores; no value: no quota
  std::optional<int64_t> memory;  // bytes; no value: no limit
};

// The narrowest limits among the process's groups and all groups that enclose them, of versions 1 and 2, even if both
// are mounted. A container may see its own group as the root, whatever path `self` gives. A file that cannot be read
// sets no limit. `root`: where the groups are mounted; `self`: the file that names the process's groups.
CgroupLimits ReadCgroupLimits(const std::string& root = "/sys/fs/cgroup",
                              const std::string& self = "/proc/self/cgroup");

}  // namespace prunelab
