// Reads arbitrary text as an ablation file: it is refused with lines that name their place, or loaded to arms.
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "experiments/config/identity.h"
#include "experiments/config/load.h"
#include "ml/base/check.h"
#include "ml/base/files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string* path = new std::string("/tmp/config_fuzz_" + std::to_string(getpid()) + ".textproto");
  const std::string text(reinterpret_cast<const char*>(data), size);
  // Networks of any size may be requested; building huge ones is slow, not wrong.
  for (const char* digits : {"0000", "9999", "1111"}) {
    if (absl::StrContains(text, digits)) return 0;
  }
  PRUNELAB_CHECK(prunelab::WriteFileAtomically(*path, text).ok());
  const absl::StatusOr<prunelab::LoadedAblation> loaded = prunelab::LoadAblation(*path, "");
  if (!loaded.ok()) {
    PRUNELAB_CHECK(absl::StrContains(loaded.status().message(), *path)) << loaded.status();
    return 0;
  }
  PRUNELAB_CHECK(!loaded->arms.empty());
  for (const prunelab::Arm& arm : loaded->arms) {
    PRUNELAB_CHECK(prunelab::RunId(arm.config, 1, "data").size() == 64);
    PRUNELAB_CHECK(prunelab::ArmDifference(arm.config, arm.config).empty());
  }
  return 0;
}
