#include "ml/base/flags.h"

#include <fcntl.h>
#include <gflags/gflags.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "ml/base/spelling.h"

namespace prunelab {
namespace {

using gflags::CommandLineFlagInfo;

// The program's flags, without those that gflags itself defines.
std::vector<CommandLineFlagInfo> Flags() {
  std::vector<CommandLineFlagInfo> flags;
  gflags::GetAllFlags(&flags);
  flags.erase(std::remove_if(flags.begin(), flags.end(),
                             [](const CommandLineFlagInfo& flag) {
                               return absl::StrContains(flag.filename.substr(flag.filename.rfind('/') + 1), "gflags");
                             }),
              flags.end());
  return flags;
}

const CommandLineFlagInfo* Find(const std::vector<CommandLineFlagInfo>& flags, const std::string& name) {
  const auto found =
      std::find_if(flags.begin(), flags.end(), [&](const CommandLineFlagInfo& flag) { return flag.name == name; });
  return found == flags.end() ? nullptr : &*found;
}

// "; did you mean --seeds?", or all flags if none is similar. A flag that begins with the typed word counts as similar.
std::string FlagChoices(const std::string& name, const std::vector<CommandLineFlagInfo>& flags) {
  std::vector<std::string> names;
  for (const CommandLineFlagInfo& flag : flags) {
    names.push_back(flag.name);
    if (absl::StartsWith(name, "no") && flag.type == "bool") names.push_back("no" + flag.name);
  }
  const std::string hint = DidYouMean(name, names);
  if (!hint.empty()) return absl::StrReplaceAll(hint, {{" \"", " --"}, {"\"", ""}});
  for (const std::string& each : names) {
    if (name.size() > 2 && absl::StartsWith(each, name)) return absl::StrCat("; did you mean --", each, "?");
  }
  for (std::string& each : names) each = "--" + each;
  return absl::StrCat("; there are ", absl::StrJoin(names, ", "), "; --help explains them");
}

std::string ValueRule(const CommandLineFlagInfo& flag, const std::string& value) {
  if (flag.type == "bool") return "must be true or false";
  const bool whole = flag.type != "double";
  std::string rule = absl::StrCat("must be a ", whole ? "whole number" : "number", ", e.g. ", flag.default_value);
  if (!whole && absl::StrContains(value, ',')) {
    const std::string with_point = absl::StrReplaceAll(value, {{",", "."}});
    absl::StrAppend(&rule, "; with a decimal point, e.g. ", with_point);
  }
  return rule;
}

bool IsTruthValue(const std::string& text) {
  for (const char* value : {"true", "false", "yes", "no", "t", "f", "y", "n", "0", "1", "on", "off"}) {
    if (absl::EqualsIgnoreCase(text, value)) return true;
  }
  return false;
}

void PrintHelp(const char* usage, const char* program) {
  std::cout << absl::string_view(program).substr(absl::string_view(program).rfind('/') + 1) << ": " << usage << "\n\n";
  for (const CommandLineFlagInfo& flag : Flags()) std::cout << gflags::DescribeOneFlag(flag);
}

// If a standard stream is closed, the next file that is opened takes its number, and would receive what is printed.
void OpenStandardStreams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    // open returns the lowest free number, which is this one. Using it fails, just like using a closed stream.
    if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

// Whether everything that was printed has been written; prints an error if not.
bool StandardOutputWritten() {
  errno = 0;
  std::cout.flush();
  bool written = std::cout.good() && std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (written) {
    // Some file systems report errors only when a file is closed.
    const int copy = dup(STDOUT_FILENO);
    written = copy < 0 || close(copy) == 0;
  }
  if (written) return true;
  std::cerr << "standard output cannot be written" << (errno != 0 ? ": " : "")
            << (errno != 0 ? std::strerror(errno) : "") << "; what was printed is incomplete\n";
  return false;
}

}  // namespace

int ExitStatus(const absl::Status& status) {
  if (status.ok()) return 0;
  std::cerr << status.message() << "\n";
  return kRefused;
}

absl::Status ParseFlags(const std::vector<std::string>& arguments) {
  const auto refuse = [](auto... text) { return absl::InvalidArgumentError(absl::StrCat(text...)); };
  const std::vector<CommandLineFlagInfo> flags = Flags();
  std::string last_switch;  // the bool flag without a value right before this argument
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    absl::string_view text = argument;
    if (text.size() < 2 || text[0] != '-' || argument == "--") {
      if (!last_switch.empty() && IsTruthValue(argument)) {
        return refuse("\"", argument, "\" is not a flag; write --", last_switch, "=", argument);
      }
      return refuse("\"", argument, "\" is not a flag; flags begin with --, and a value with spaces needs quotes");
    }
    last_switch.clear();
    text.remove_prefix(absl::StartsWith(text, "--") ? 2 : 1);
    const size_t equals = text.find('=');
    const std::string written(text.substr(0, equals));
    const std::string name = absl::StrReplaceAll(written, {{"-", "_"}});
    for (const char* help : {"help", "helpfull", "helpshort", "h"}) {
      if (name == help) return absl::CancelledError("help");
    }
    const CommandLineFlagInfo* flag = Find(flags, name);
    std::optional<std::string> value;
    if (equals != absl::string_view::npos) value = std::string(text.substr(equals + 1));
    if (flag == nullptr && absl::StartsWith(name, "no") && !value) {
      flag = Find(flags, std::string(absl::StripPrefix(name, "no")));
      if (flag != nullptr && flag->type != "bool") flag = nullptr;
      if (flag != nullptr) value = "false";
    }
    if (flag == nullptr) return refuse("--", written, " is not a flag", FlagChoices(name, flags));
    const std::string given = absl::StrCat("--", flag->name);
    if (!value && flag->type == "bool") {
      last_switch = flag->name;
      value = "true";
    }
    if (!value) {
      // A word that looks like the next flag is hardly meant as a value.
      const bool there = i + 1 < arguments.size();
      const std::string next = there ? arguments[i + 1] : "";
      const bool like_a_flag = next.size() > 1 && next[0] == '-' && (next[1] == '-' || absl::ascii_isalpha(next[1]));
      if (!there || like_a_flag) return refuse(given, " has no value; write ", given, "=VALUE");
      value = next;
      ++i;
    }
    if (value->empty()) return refuse(given, "= has no value; write one, or leave the flag out");
    if (gflags::SetCommandLineOption(flag->name.c_str(), value->c_str()).empty()) {
      return refuse(given, "=", *value, ": ", ValueRule(*flag, *value));
    }
  }
  return absl::OkStatus();
}

int RunMain(const char* usage, int argc, char** argv, const std::function<int()>& run) {
  OpenStandardStreams();
  std::signal(SIGXFSZ, SIG_IGN);
  const absl::Status parsed = ParseFlags(std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
  int status = 0;
  if (absl::IsCancelled(parsed)) {
    PrintHelp(usage, argc > 0 ? argv[0] : "");
  } else {
    status = parsed.ok() ? run() : ExitStatus(parsed);
  }
  return !StandardOutputWritten() && status == 0 ? kNotAllDone : status;
}

}  // namespace prunelab
