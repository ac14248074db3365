#include "ml/base/training_process.h"

#include <stdlib.h>
#include <unistd.h>

#include "ml/base/freed_memory.h"

namespace prunelab {

void SetUpTrainingProcess(char** arguments) {
  if (getenv("OMP_WAIT_POLICY") == nullptr && getenv("GOMP_SPINCOUNT") == nullptr) {
    setenv("OMP_WAIT_POLICY", "PASSIVE", 1);
    setenv("GOMP_SPINCOUNT", "20000", 1);
    execv("/proc/self/exe", arguments);  // if this fails, the program continues, only slower
  }
  KeepFreedMemory();
}

}  // namespace prunelab
