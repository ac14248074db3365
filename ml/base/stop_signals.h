// The signals that ask a program that trains to write checkpoints and end: SIGINT (Ctrl-C), SIGTERM, SIGUSR1 (Slurm)
// and SIGHUP (its terminal was closed). A SIGHUP that is ignored when the program starts stays ignored, which is what
// nohup is for.
#pragma once

namespace prunelab {

// Calls `handler` with the signal's number when a signal arrives. The handler may only do what is safe in signal
// handlers. `flags`: those of sigaction, e.g. SA_RESTART.
void HandleStopSignals(void (*handler)(int), int flags = 0);

// Restores the default action of these signals, except for a SIGHUP that is ignored. Safe between fork and exec.
void ResetStopSignals();

}  // namespace prunelab
