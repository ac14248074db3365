#include "experiments/sweep/progress.h"

#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "ml/base/steady_seconds.h"

namespace prunelab {
namespace {

// "45 s", "12:05 min", "3:20 h".
std::string DurationText(double seconds) {
  const int64_t s = static_cast<int64_t>(seconds + 0.5);
  if (s < 60) return absl::StrCat(s, " s");
  if (s < 3600) return absl::StrFormat("%d:%02d min", s / 60, s % 60);
  return absl::StrFormat("%d:%02d h", s / 3600, s / 60 % 60);
}

}  // namespace

ProgressDisplay::ProgressDisplay(bool terminal, int64_t runs, int64_t done, double images_to_train)
    : terminal_(terminal),
      runs_(runs),
      done_(done),
      waiting_images_(images_to_train),
      start_(SteadySeconds()),
      last_(start_) {}

void ProgressDisplay::Start(const std::string& name, double images) {
  InProgress& run = in_progress_[name];
  run.start = SteadySeconds();
  run.images = images;
  waiting_images_ -= images;
}

void ProgressDisplay::Update(const std::string& name, const RunProgress& progress) {
  InProgress& run = in_progress_[name];
  run.progress = progress;
  run.heard = true;
}

void ProgressDisplay::End(const std::string& name, const std::string& text, bool done) {
  const auto found = in_progress_.find(name);
  const bool begun = found != in_progress_.end();  // else it failed before
  const InProgress run = begun ? found->second : InProgress();
  if (begun) in_progress_.erase(found);
  trained_images_ += static_cast<double>(run.progress.images());
  done_ += done;
  if (!done) waiting_images_ += run.heard ? static_cast<double>(run.progress.images_left()) : run.images;
  Say(absl::StrFormat("[%d/%d] %s  %s  %s", done_, runs_, name, text,
                      DurationText(begun ? SteadySeconds() - run.start : 0)));
}

void ProgressDisplay::Say(const std::string& text) {
  Clear();
  std::cerr << text << "\n" << std::flush;
}

void ProgressDisplay::Refresh() {
  const double now = SteadySeconds();
  if (in_progress_.empty() || now - last_ < (terminal_ ? 0.2 : 10)) return;
  last_ = now;
  if (!terminal_) {
    for (const auto& [name, run] : in_progress_) {
      if (run.heard) std::cerr << RunText(name, run) << "  ";
    }
    std::cerr << WholeText() << "\n" << std::flush;
    return;
  }
  Clear();
  std::string text;
  for (const auto& [name, run] : in_progress_) absl::StrAppend(&text, RunText(name, run), "\n");
  absl::StrAppend(&text, WholeText(), "\n");
  lines_ = static_cast<int>(std::count(text.begin(), text.end(), '\n'));
  std::cerr << text << std::flush;
}

void ProgressDisplay::Clear() {
  for (; lines_ > 0; --lines_) std::cerr << "\033[A\r\033[K";
}

std::string ProgressDisplay::RunText(const std::string& name, const InProgress& run) const {
  if (!run.heard) return absl::StrCat(name, "  starting");
  const RunProgress& p = run.progress;
  return absl::StrFormat("%s  epoch %d/%d  step %d/%d%s", name, p.epoch() + 1, p.epochs(), p.iteration(),
                         p.iterations_per_epoch(),
                         p.has_test_top1() ? absl::StrFormat("  test %.2f %%", 100 * p.test_top1()) : "");
}

std::string ProgressDisplay::WholeText() const {
  double trained = trained_images_, left = waiting_images_;
  for (const auto& [name, run] : in_progress_) {
    trained += static_cast<double>(run.progress.images());
    left += run.heard ? static_cast<double>(run.progress.images_left()) : run.images;
  }
  const double rate = trained / std::max(SteadySeconds() - start_, 1e-3);
  return absl::StrFormat("%d of %d runs done  %.0f images/s  %s left", done_, runs_, rate,
                         trained > 0 ? DurationText(std::max(0.0, left) / rate) : "?");
}

}  // namespace prunelab
