// kill_test loads this before the C library. It kills the process by SIGKILL in the middle of its n-th operation on a
// file of the output folder, after half of the bytes of a write.
//
//   KILL_FOLDER   the output folder: only operations on files below it count
//   KILL_ROLE     "worker" or "coordinator": which of the two processes
//   KILL_NAME     if set, only operations on files of this name and on their temporaries count, and removing one is an
//                 operation too
//   KILL_AT       n, from 1
//   KILL_TOKEN    a file that the one who dies removes: whoever comes when it is gone lives on
//   KILL_LOG      a file that gets a line for each process killed so
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <string>

namespace {

struct Plan {
  std::string folder, name, token, log;
  long at = 0;  // 0: never

  Plan() {
    const char *f = getenv("KILL_FOLDER"), *role = getenv("KILL_ROLE"), *n = getenv("KILL_AT"), *l = getenv("KILL_LOG");
    const char* t = getenv("KILL_TOKEN");
    if (f == nullptr || role == nullptr || n == nullptr || l == nullptr || t == nullptr) return;
    char command[4096];
    const int fd = open("/proc/self/cmdline", O_RDONLY);
    const ssize_t size = read(fd, command, sizeof(command));
    close(fd);
    const std::string text(command, size > 0 ? size : 0);
    const bool worker = text.find("--worker") != std::string::npos;
    if (worker != (strcmp(role, "worker") == 0)) return;
    folder = f;
    if (const char* file = getenv("KILL_NAME")) name = std::string("/") + file;
    token = t;
    log = l;
    at = atol(n);
  }
};

Plan& ThePlan() {
  static Plan* plan = new Plan;
  return *plan;
}

// Whether this operation on `path` is the one to kill at.
bool Strikes(const std::string& path) {
  Plan& plan = ThePlan();
  if (plan.at <= 0 || path.compare(0, plan.folder.size(), plan.folder) != 0) return false;
  const std::string whole = path.substr(0, path.rfind(".tmp."));  // what a temporary file becomes
  const size_t name_start = whole.size() - std::min(whole.size(), plan.name.size());
  if (whole.compare(name_start, std::string::npos, plan.name) != 0) return false;
  return --plan.at == 0 && syscall(SYS_unlink, plan.token.c_str()) == 0;
}

std::string PathOf(int fd) {
  if (ThePlan().at == 0) return "";
  char link[64], path[4096];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, sizeof(path));
  return std::string(path, size > 0 ? size : 0);
}

[[noreturn]] void Die(const char* what, const std::string& path) {
  const std::string line = std::string(what) + " " + path + "\n";
  const int fd = open(ThePlan().log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
  if (syscall(SYS_write, fd, line.data(), line.size()) < 0) _exit(99);
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

}  // namespace

extern "C" ssize_t write(int fd, const void* bytes, size_t size) {
  const std::string path = PathOf(fd);
  if (Strikes(path)) {
    if (syscall(SYS_write, fd, bytes, size / 2) < 0) _exit(99);
    Die("write", path);
  }
  return syscall(SYS_write, fd, bytes, size);
}

extern "C" int fsync(int fd) {
  const std::string path = PathOf(fd);
  if (Strikes(path)) Die("fsync", path);
  return static_cast<int>(syscall(SYS_fsync, fd));
}

extern "C" int rename(const char* from, const char* to) noexcept {
  if (Strikes(to)) Die("rename", to);
  return static_cast<int>(syscall(SYS_rename, from, to));
}

extern "C" int unlink(const char* path) noexcept {
  const long result = syscall(SYS_unlink, path);
  if (!ThePlan().name.empty() && Strikes(path)) Die("unlink", path);
  return static_cast<int>(result);
}
