#include "ml/regularizers/none.pb.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {
namespace {

class NoPenalty : public Regularizer {
 public:
  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override { return {}; }
};

absl::StatusOr<std::unique_ptr<Regularizer>> CreateNoRegularizer(const NoRegularizer& parameters,
                                                                 const NetworkInfo& network) {
  return std::make_unique<NoPenalty>();
}
const bool registered = RegisterRegularizer(&CreateNoRegularizer);

}  // namespace
}  // namespace prunelab
