#include "ml/base/cgroup_limits.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "ml/base/files.h"

namespace prunelab {
namespace {

using Words = std::vector<std::string>;

// The words of a file; none where it cannot be read.
Words WordsOf(const std::string& path) {
  const std::string text = ReadFile(path).value_or("");
  return absl::StrSplit(text, absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
}

// The number that is a file's word at `index`; none for "max", for what is no number and for those below 0.
std::optional<double> Number(const Words& words, size_t index) {
  double number = 0;
  if (index >= words.size() || !absl::SimpleAtod(words[index], &number) || !std::isfinite(number) || number < 0) {
    return std::nullopt;
  }
  return number;
}

template <typename T>
void Narrow(std::optional<T>& limit, T other) {
  limit = limit ? std::min(*limit, other) : other;
}

void NarrowMemory(std::optional<double> bytes, CgroupLimits& limits) {
  // Version 1 says "none" by the largest number of pages.
  constexpr double kNone = 1e18;
  if (bytes && *bytes > 0 && *bytes < kNone) Narrow(limits.memory, static_cast<int64_t>(*bytes));
}

void NarrowCpus(std::optional<double> quota, std::optional<double> period, CgroupLimits& limits) {
  if (quota && period && *quota > 0 && *period > 0) Narrow(limits.cpus, *quota / *period);
}

// Of one group, by the files of its version.
void NarrowByGroup(const std::string& folder, bool version_2, CgroupLimits& limits) {
  const auto words = [&](const char* name) { return WordsOf(JoinPath(folder, name)); };
  if (version_2) {
    const Words cpu = words("cpu.max");
    NarrowCpus(Number(cpu, 0), Number(cpu, 1), limits);
    NarrowMemory(Number(words("memory.max"), 0), limits);
    NarrowMemory(Number(words("memory.high"), 0), limits);
  } else {
    NarrowCpus(Number(words("cpu.cfs_quota_us"), 0), Number(words("cpu.cfs_period_us"), 0), limits);
    NarrowMemory(Number(words("memory.limit_in_bytes"), 0), limits);
  }
}

// The group at `path` of the hierarchy mounted at `mount`, and all that it is in.
void NarrowByGroups(const std::string& mount, const std::string& path, bool version_2, CgroupLimits& limits) {
  if (!IsFolder(mount)) return;
  Words parts;
  for (const absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part != "..") parts.emplace_back(part);
  }
  // A mount may begin at one of the path's groups: what is below that is the path's end.
  const auto folder = [&](size_t begin, size_t end) {
    const auto at = [&](size_t i) { return parts.begin() + static_cast<std::ptrdiff_t>(i); };
    return JoinPath(mount, absl::StrJoin(at(begin), at(end), "/"));
  };
  size_t begin = 0;
  while (begin < parts.size() && !IsFolder(folder(begin, parts.size()))) ++begin;
  for (size_t end = parts.size(); end > begin; --end) NarrowByGroup(folder(begin, end), version_2, limits);
  NarrowByGroup(mount, version_2, limits);
}

}  // namespace

CgroupLimits ReadCgroupLimits(const std::string& root, const std::string& self) {
  CgroupLimits limits;
  for (const absl::string_view line : absl::StrSplit(ReadFile(self).value_or(""), '\n', absl::SkipEmpty())) {
    // "0::/path" for version 2, "4:cpu,cpuacct:/path" for a hierarchy of version 1.
    const Words parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    if (parts[0] == "0" && parts[1].empty()) {
      for (const std::string& mount : {root, JoinPath(root, "unified")}) NarrowByGroups(mount, parts[2], true, limits);
      continue;
    }
    // Mounted under the names of all its controllers, or of each.
    Words names = absl::StrSplit(parts[1], ',', absl::SkipEmpty());
    if (names.size() > 1) names.push_back(parts[1]);
    for (const std::string& name : names) NarrowByGroups(JoinPath(root, name), parts[2], false, limits);
  }
  return limits;
}

}  // namespace prunelab
