// Early return if an absl::Status is not OK.
//
//   PRUNELAB_RETURN_IF_ERROR(Validate(config));
//   PRUNELAB_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define PRUNELAB_RETURN_IF_ERROR(expression)           \
  do {                                                 \
    absl::Status prunelab_status = (expression);       \
    if (!prunelab_status.ok()) return prunelab_status; \
  } while (false)

#define PRUNELAB_ASSIGN_OR_RETURN(lhs, expression) \
  PRUNELAB_ASSIGN_OR_RETURN_IMPL(PRUNELAB_CONCAT(prunelab_status_or_, __LINE__), lhs, expression)
#define PRUNELAB_ASSIGN_OR_RETURN_IMPL(status_or, lhs, expression) \
  auto status_or = (expression);                                   \
  if (!status_or.ok()) return std::move(status_or).status();       \
  lhs = *std::move(status_or)
#define PRUNELAB_CONCAT(a, b) PRUNELAB_CONCAT_IMPL(a, b)
#define PRUNELAB_CONCAT_IMPL(a, b) a##b
