#include "ml/regularizers/none.h"

namespace prunelab {
namespace {

class NoPenalty : public Regularizer {
 public:
  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override { return {}; }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Regularizer>> CreateNoRegularizer(const NoRegularizer& parameters,
                                                                 const NetworkInfo& network) {
  return std::make_unique<NoPenalty>();
}

}  // namespace prunelab
