// Event files that TensorBoard reads: scalars, histograms and hyperparameters.
//
//   PRUNELAB_ASSIGN_OR_RETURN(TensorboardWriter writer, TensorboardWriter::Create("runs/digits/none/cov/1", 0));
//   writer.AddScalar("test_top1", 0.91, epoch);
//   PRUNELAB_RETURN_IF_ERROR(writer.Flush());
//
// `tensorboard --logdir runs/digits` shows every run of the ablation. TensorBoard keeps values as float32; epochs.jsonl
// has them exactly. The format: TFRecord frames (length, masked CRC-32C of it, bytes, masked CRC-32C of them) of Event
// protos.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prunelab {

// How the files' names begin.
inline constexpr char kEventsPrefix[] = "events.out.tfevents.";

class TensorboardWriter {
 public:
  // Begins a new file in the folder, next to those of earlier attempts. `first_step`: the first step that will be
  // written; readers drop what earlier files have from it on. If it is 0, files of earlier attempts are removed. `now`
  // is the clock, in seconds since 1970.
  static absl::StatusOr<TensorboardWriter> Create(const std::string& folder, int64_t first_step,
                                                  std::function<double()> now = nullptr);

  // NaN and infinities are written as they are.
  void AddScalar(const std::string& tag, double value, int64_t step);
  // `buckets` ranges of equal width between the smallest and the largest finite value; others are left out.
  void AddHistogram(const std::string& tag, const std::vector<double>& values, int64_t step, int64_t buckets = 30);
  // The values by which the HPARAMS page sorts runs; call it once, before the first scalar. `group` joins runs that
  // differ in their seed.
  void AddHyperparameters(const std::map<std::string, std::string>& texts, const std::map<std::string, double>& numbers,
                          const std::string& group);
  void AddEnd(bool success);

  // Appends what was added since the last call.
  absl::Status Flush();

  const std::string& path() const { return path_; }

 private:
  TensorboardWriter(std::string path, std::function<double()> now) : path_(std::move(path)), now_(std::move(now)) {}
  void Append(const std::string& event);

  std::string path_;
  std::function<double()> now_;
  std::string pending_;
};

// `bytes` as a TFRecord frame.
std::string TensorboardFrame(absl::string_view bytes);

}  // namespace prunelab
