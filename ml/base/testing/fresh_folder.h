// An empty folder for a test.
#pragma once

#include <string>

namespace prunelab {

// Creates a folder of this name under the test's temporary folder, or empties it if an earlier test left something
// there.
std::string FreshFolder(const std::string& name);

}  // namespace prunelab
