#include "tools/run_program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/files.h"

namespace prunelab {
namespace {

// Opens `path` as the standard stream `fd`. It uses only calls that are safe between fork and exec.
void Redirect(const char* path, int fd) {
  const int opened = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (opened < 0 || dup2(opened, fd) != fd) _exit(126);
  close(opened);
}

}  // namespace

ProgramResult RunProgram(const std::string& program, const std::vector<std::string>& arguments,
                         const ProgramSetting& setting) {
  const char* folder = std::getenv("TEST_TMPDIR");
  PRUNELAB_CHECK(folder != nullptr) << "TEST_TMPDIR is not set";
  const std::string out = absl::StrCat(folder, "/program.out"), err = absl::StrCat(folder, "/program.err");
  unlink(out.c_str());
  const std::string to = setting.standard_output.empty() ? out : setting.standard_output;
  std::vector<char*> command = {const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) command.push_back(const_cast<char*>(argument.c_str()));
  command.push_back(nullptr);
  const pid_t child = fork();
  PRUNELAB_CHECK(child >= 0) << "cannot fork";
  if (child == 0) {
    Redirect(err.c_str(), STDERR_FILENO);
    if (to == "-") {
      close(STDOUT_FILENO);
    } else {
      Redirect(to.c_str(), STDOUT_FILENO);
    }
    if (setting.most_file_bytes) {
      const struct rlimit limit = {*setting.most_file_bytes, *setting.most_file_bytes};
      if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(126);
    }
    execv(command[0], command.data());
    _exit(127);
  }
  int status = 0;
  PRUNELAB_CHECK(waitpid(child, &status, 0) == child) << "cannot wait for " << program;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadFile(out).value_or(""), ReadFile(err).value_or("")};
}

std::string After(const std::string& text, const std::string& what) {
  const size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what << " in " << text;
  return at == std::string::npos ? "" : text.substr(at + what.size(), text.find('\n', at) - at - what.size());
}

}  // namespace prunelab
