// A folder for a test.
#pragma once

#include <string>

namespace prunelab {

// An empty folder of this name under the test's temporary folder: made, and emptied of what an earlier test left.
std::string FreshFolder(const std::string& name);

}  // namespace prunelab
