// Reserves cores of this machine for one worker, among all coordinators on it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace prunelab {

// A claim is an abstract socket with a core's name. It ends with its process, however that ends, leaves no files, and
// is visible to every process of this machine (of one network namespace, if there are several, as with containers). If
// there are no such sockets, others do not see a claim.
class CoreClaim {
 public:
  // The cores that this process may use, ascending.
  static std::vector<int> Allowed();

  // Claims the first `count` of `cores` that no process has claimed; none if fewer are left. `prefix` begins the
  // sockets' names (tests have their own).
  static CoreClaim Take(const std::vector<int>& cores, int64_t count, const std::string& prefix = "prunelab.core.");

  CoreClaim() = default;  // of none
  CoreClaim(CoreClaim&& other) noexcept;
  CoreClaim& operator=(CoreClaim&& other) noexcept;
  ~CoreClaim();

  const std::vector<int>& cores() const { return cores_; }

 private:
  void Release();

  std::vector<int> cores_, sockets_;
};

}  // namespace prunelab
