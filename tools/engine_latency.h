// tools/engine_latency.py, which programs hand to Python wherever they are installed.
#pragma once

#include "absl/strings/string_view.h"

namespace prunelab {

absl::string_view EngineLatencyScript();

}  // namespace prunelab
