#include "ml/base/check.h"
#include "ml/distributed/nccl.h"

namespace prunelab {

c10::intrusive_ptr<c10d::Backend> MakeNcclGroup(const c10::intrusive_ptr<c10d::Store>&, int, int,
                                                std::chrono::milliseconds) {
  PRUNELAB_CHECK(false) << "this program is built without CUDA";
}

}  // namespace prunelab
