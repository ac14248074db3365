// Compares a regularizer with the committed values of reference_values.h.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "ml/regularizers/example_layers.h"
#include "ml/regularizers/reference_values.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {

// Expects value and gradients of the example layers as `reference` has them, within 1e-12 relatively.
void ExpectReference(const Regularizer& regularizer, const ReferenceCase& reference);

// ExpectReference on every case of the message `Parameters`, with regularizers made by `create`.
template <typename Parameters, typename Create>
void ExpectReferenceCases(Create create) {
  int count = 0;
  for (const ReferenceCase& reference : ReferenceCases()) {
    if (reference.message != Parameters::descriptor()->name()) continue;
    SCOPED_TRACE(reference.parameters);
    Parameters parameters;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(reference.parameters, &parameters));
    const absl::StatusOr<std::unique_ptr<Regularizer>> regularizer = create(parameters, ExampleNetwork());
    ASSERT_TRUE(regularizer.ok()) << regularizer.status();
    ExpectReference(**regularizer, reference);
    ++count;
  }
  EXPECT_GT(count, 0);
}

}  // namespace prunelab
