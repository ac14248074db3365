#include "ml/base/stop_signals.h"

#include <signal.h>

namespace prunelab {
namespace {

constexpr int kStopSignals[] = {SIGINT, SIGTERM, SIGUSR1, SIGHUP};

}  // namespace

void HandleStopSignals(void (*handler)(int), int flags) {
  for (const int signal : kStopSignals) {
    struct sigaction action = {};
    const bool ignored = sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
    if (signal == SIGHUP && ignored) continue;
    action = {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(signal, &action, nullptr);
  }
}

void ResetStopSignals() { HandleStopSignals(SIG_DFL); }

}  // namespace prunelab
