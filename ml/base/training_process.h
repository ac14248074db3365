// What a process that trains sets up before anything else.
#pragma once

namespace prunelab {

// Call it at the start of main with main's arguments, before any other thread exists. Waiting threads then spin for
// about ten microseconds, the gap between two operators, and then sleep. Longer spinning slows down everything else on
// the machine, and then the threads themselves (25 times, measured on a busy machine); sleeping at once costs a tenth
// of a step. OpenMP reads this setting when it is loaded, so the program starts itself once more, unless
// OMP_WAIT_POLICY or GOMP_SPINCOUNT is set. It also keeps freed memory (freed_memory.h).
void SetUpTrainingProcess(char** arguments);

}  // namespace prunelab
