#include "experiments/sweep/core_claim.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace prunelab {
namespace {

// Not the cores of other tests. (Sandboxes number their own processes, but share sockets' names.)
std::string Prefix() {
  std::random_device random;
  return absl::StrCat("prunelab.test.", random(), ".", random(), ".");
}

TEST(CoreClaimTest, ThisProcessMayUseACoreAtLeast) {
  const std::vector<int> allowed = CoreClaim::Allowed();
  ASSERT_FALSE(allowed.empty());
  EXPECT_GE(allowed[0], 0);
}

TEST(CoreClaimTest, EachGetsCoresOfItsOwn) {
  const std::string prefix = Prefix();
  const std::vector<int> cores = {0, 1, 2, 5, 7};
  const CoreClaim first = CoreClaim::Take(cores, 2, prefix);
  EXPECT_EQ(first.cores(), (std::vector<int>{0, 1}));
  const CoreClaim second = CoreClaim::Take({1, 2, 5}, 2, prefix);
  EXPECT_EQ(second.cores(), (std::vector<int>{2, 5}));
  EXPECT_EQ(CoreClaim::Take(cores, 2, prefix).cores(), std::vector<int>());  // only 7 is left
  EXPECT_EQ(CoreClaim::Take(cores, 1, prefix).cores(), std::vector<int>{7}) << "a claim that failed keeps nothing";
}

TEST(CoreClaimTest, AClaimEndsWithItsOwnerAndMovesWithIt) {
  const std::string prefix = Prefix();
  CoreClaim moved;
  {
    CoreClaim first = CoreClaim::Take({3, 4}, 1, prefix);
    moved = std::move(first);
  }
  EXPECT_EQ(moved.cores(), std::vector<int>{3});
  EXPECT_EQ(CoreClaim::Take({3}, 1, prefix).cores(), std::vector<int>());
  moved = CoreClaim();
  EXPECT_EQ(CoreClaim::Take({3}, 1, prefix).cores(), std::vector<int>{3});
}

TEST(CoreClaimTest, AClaimEndsWithItsProcessThoughThatIsKilled) {
  const std::string prefix = Prefix();
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const CoreClaim claim = CoreClaim::Take({0}, 1, prefix);
    const char claimed = claim.cores().size() == 1 ? 'y' : 'n';
    if (write(pipe_ends[1], &claimed, 1) != 1) _exit(1);
    for (;;) pause();
  }
  close(pipe_ends[1]);
  char claimed = 0;
  ASSERT_EQ(read(pipe_ends[0], &claimed, 1), 1);
  EXPECT_EQ(claimed, 'y');
  EXPECT_EQ(CoreClaim::Take({0}, 1, prefix).cores(), std::vector<int>()) << "another process's";
  kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(CoreClaim::Take({0}, 1, prefix).cores(), std::vector<int>{0});
  close(pipe_ends[0]);
}

}  // namespace
}  // namespace prunelab
