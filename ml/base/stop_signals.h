// The signals by which a program that trains is asked to write checkpoints and end: SIGINT (Ctrl-C), SIGTERM, SIGUSR1
// (Slurm) and SIGHUP (its terminal is closed). A SIGHUP that is ignored when the program starts stays so, as nohup
// wants it.
#pragma once

namespace prunelab {

// Calls `handler` with the signal's number when one comes. It may do only what is safe in a signal's handler. `flags`:
// of sigaction, e.g. SA_RESTART.
void HandleStopSignals(void (*handler)(int), int flags = 0);

// Back to what they do by default, but for a SIGHUP that is ignored. Safe between fork and exec.
void ResetStopSignals();

}  // namespace prunelab
