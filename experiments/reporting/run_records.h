// The records of one run, read back and compared with each other.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "experiments/records/records.h"
#include "experiments/records/results_folder.h"
#include "experiments/reporting/epoch_curves.h"

namespace prunelab {

struct RunRecords {
  RunResult result;    // with the status "missing" if there is no usable one
  std::string folder;  // where the run's records are
  EpochCurves epochs;  // none if there are no usable lines
  std::map<std::string, std::string> provenance;
};

struct ReadRun {
  RunRecords records;
  std::string config;              // the text of config.textproto, "" if there is none
  bool finished = false;           // there is a result.json
  std::string left_out;            // why the run is not used, or ""
  std::string unfinished;          // what exists of a run without a result, or ""
  std::vector<std::string> notes;  // on a run that is used
};

// "none/cov seed 3".
std::string RunName(const std::string& arm, int64_t seed);

ReadRun ReadRunRecords(const FoundRun& found);

}  // namespace prunelab
