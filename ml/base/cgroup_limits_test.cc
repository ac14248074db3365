#include "ml/base/cgroup_limits.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"

namespace prunelab {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

// Of a process that is in the groups of `self`, where the groups' files are `files`.
CgroupLimits Limits(const std::string& name, const std::string& self, const std::map<std::string, std::string>& files) {
  const std::string folder = FreshFolder("cgroup_limits_" + name), root = JoinPath(folder, "cgroup");
  EXPECT_TRUE(CreateFolders(root).ok());
  for (const auto& [path, text] : files) {
    const std::string file = JoinPath(root, path);
    EXPECT_TRUE(CreateFolders(file.substr(0, file.rfind('/'))).ok());
    EXPECT_TRUE(WriteFileAtomically(file, text).ok());
  }
  EXPECT_TRUE(WriteFileAtomically(JoinPath(folder, "self"), self).ok());
  return ReadCgroupLimits(root, JoinPath(folder, "self"));
}

TEST(CgroupLimitsTest, VersionTwo) {
  const CgroupLimits limits = Limits("two", "0::/job\n",
                                     {{"cgroup.controllers", "cpu memory\n"},
                                      {"job/cpu.max", "150000 100000\n"},
                                      {"job/memory.max", "3221225472\n"},
                                      {"job/memory.high", "max\n"}});
  EXPECT_EQ(limits.cpus, 1.5);
  EXPECT_EQ(limits.memory, 3 * kGiB);
}

TEST(CgroupLimitsTest, WithoutLimitsThereAreNone) {
  const CgroupLimits two = Limits("none_two", "0::/a\n", {{"a/cpu.max", "max 100000\n"}, {"a/memory.max", "max\n"}});
  EXPECT_FALSE(two.cpus.has_value());
  EXPECT_FALSE(two.memory.has_value());
  const CgroupLimits one = Limits("none_one", "2:memory:/a\n1:cpu:/a\n",
                                  {{"cpu/a/cpu.cfs_quota_us", "-1\n"},
                                   {"cpu/a/cpu.cfs_period_us", "100000\n"},
                                   {"memory/a/memory.limit_in_bytes", "9223372036854771712\n"}});
  EXPECT_FALSE(one.cpus.has_value());
  EXPECT_FALSE(one.memory.has_value());
  const CgroupLimits absent = ReadCgroupLimits("/nonexistent/cgroup", "/nonexistent/self");
  EXPECT_FALSE(absent.cpus.has_value());
  EXPECT_FALSE(absent.memory.has_value());
}

TEST(CgroupLimitsTest, TheNarrowestOfNestedGroupsCounts) {
  const CgroupLimits limits = Limits("nested", "0::/slice/job/step\n",
                                     {{"slice/cpu.max", "800000 100000\n"},
                                      {"slice/memory.max", "2147483648\n"},
                                      {"slice/job/cpu.max", "100000 50000\n"},
                                      {"slice/job/memory.max", "8589934592\n"},
                                      {"slice/job/step/cpu.max", "max 100000\n"},
                                      {"slice/job/step/memory.high", "4294967296\n"},
                                      {"slice/other/cpu.max", "10000 100000\n"}});
  EXPECT_EQ(limits.cpus, 2);
  EXPECT_EQ(limits.memory, 2 * kGiB);
}

TEST(CgroupLimitsTest, VersionOneWithControllersTogetherAndNested) {
  const CgroupLimits limits = Limits("one", "11:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n",
                                     {{"cpu,cpuacct/docker/cpu.cfs_quota_us", "250000\n"},
                                      {"cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n"},
                                      {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "400000\n"},
                                      {"cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n"},
                                      {"memory/docker/abc/memory.limit_in_bytes", "1073741824\n"}});
  EXPECT_EQ(limits.cpus, 2.5);
  EXPECT_EQ(limits.memory, kGiB);
}

// Without its own namespace, a container's process gets the host's path and sees its group as the mount's root.
TEST(CgroupLimitsTest, AContainersGroupMayBeTheRoot) {
  const CgroupLimits one = Limits("container_one", "4:cpu,cpuacct:/docker/abc/inner\n",
                                  {{"cpu/cpu.cfs_quota_us", "200000\n"},
                                   {"cpu/cpu.cfs_period_us", "100000\n"},
                                   {"cpu/inner/cpu.cfs_quota_us", "50000\n"},
                                   {"cpu/inner/cpu.cfs_period_us", "100000\n"}});
  EXPECT_EQ(one.cpus, 0.5);
  const CgroupLimits two = Limits("container_two", "0::/../../elsewhere\n", {{"cpu.max", "300000 100000\n"}});
  EXPECT_EQ(two.cpus, 3);
}

TEST(CgroupLimitsTest, BothVersionsAtOnce) {
  const CgroupLimits limits = Limits("both", "3:memory:/m\n2:cpu:/c\n0::/u\n",
                                     {{"cpu/c/cpu.cfs_quota_us", "400000\n"},
                                      {"cpu/c/cpu.cfs_period_us", "100000\n"},
                                      {"memory/m/memory.limit_in_bytes", "2147483648\n"},
                                      {"unified/u/cpu.max", "100000 100000\n"},
                                      {"unified/u/memory.max", "1073741824\n"}});
  EXPECT_EQ(limits.cpus, 1);
  EXPECT_EQ(limits.memory, kGiB);
}

TEST(CgroupLimitsTest, WhatIsNoNumberLimitsNothing) {
  const CgroupLimits limits =
      Limits("strange", "0::/a\n:::\nx\n", {{"a/cpu.max", "\n"}, {"a/memory.max", "lots\n"}, {"cpu.max", "0 0\n"}});
  EXPECT_FALSE(limits.cpus.has_value());
  EXPECT_FALSE(limits.memory.has_value());
}

}  // namespace
}  // namespace prunelab
