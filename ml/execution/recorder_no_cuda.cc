#include "ml/base/check.h"
#include "ml/execution/recorder.h"

namespace prunelab {

std::unique_ptr<Recorder> MakeCudaGraphRecorder(c10::Device device) {
  PRUNELAB_CHECK(false) << "a recorder for " << device << " in a program that was built without --config=cuda";
  return nullptr;
}

}  // namespace prunelab
