// Cores of this machine for one worker alone, among all coordinators on it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace prunelab {

// A claim is known by an abstract socket of a core's name: it ends with its process, however that ends, leaves no
// files, and is seen by every process of this machine (of one network namespace, where there are several, as containers
// have). Where there are no such sockets a claim is not seen by others.
class CoreClaim {
 public:
  // The cores that this process may use, ascending.
  static std::vector<int> Allowed();

  // Claims the first `count` of `cores` that nobody has claimed; none where fewer are left. `prefix` begins the
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
