#include "tools/run_program.h"

#include <sys/wait.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "ml/base/check.h"
#include "ml/base/files.h"

namespace prunelab {

ProgramResult RunProgram(const std::string& program, const std::vector<std::string>& arguments) {
  const char* folder = std::getenv("TEST_TMPDIR");
  PRUNELAB_CHECK(folder != nullptr) << "TEST_TMPDIR is not set";
  const std::string out = absl::StrCat(folder, "/program.out"), err = absl::StrCat(folder, "/program.err");
  std::string command = program;
  for (const std::string& argument : arguments) {
    absl::StrAppend(&command, " '", absl::StrReplaceAll(argument, {{"'", "'\\''"}}), "'");
  }
  const int status = std::system(absl::StrCat(command, " >'", out, "' 2>'", err, "'").c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, *ReadFile(out), *ReadFile(err)};
}

}  // namespace prunelab
