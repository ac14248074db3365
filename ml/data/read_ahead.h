// Work that threads of their own do ahead of the time when its result is wanted.
//
//   ReadAhead ahead(/*threads=*/4);
//   const std::shared_ptr<ReadAhead::Task> task = ahead.Start(128, [=](int64_t image) { return Decode(image); });
//   ...
//   PRUNELAB_RETURN_IF_ERROR(ahead.Finish(*task));  // this thread helps with what is left
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"

namespace prunelab {

class ReadAhead {
 public:
  class Task;
  // At least one thread; they sleep while there is nothing to do.
  explicit ReadAhead(int64_t threads);
  // Tasks that are not finished are abandoned; waits for the items that are being worked on.
  ~ReadAhead();
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // Does work(0), ..., work(items - 1), in any order and by several threads at once. Tasks are taken up in the order in
  // which they were started. What `work` refers to must live until the task is finished or this object ends.
  std::shared_ptr<Task> Start(int64_t items, std::function<absl::Status(int64_t)> work);

  // Waits until the task is done. Of several errors, that of the first item.
  absl::Status Finish(Task& task);

  // Forgets all tasks; items that are being worked on come to their end first.
  void Clear();

 private:
  void Run();
  // Does one item of the task; `lock` is held before and after.
  void DoItem(Task& task, std::unique_lock<std::mutex>& lock);

  std::mutex mutex_;
  std::condition_variable work_, done_;
  std::deque<std::shared_ptr<Task>> tasks_;  // with items that nobody has taken up
  int64_t busy_ = 0;                         // threads at work on an item
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

class ReadAhead::Task {
 private:
  friend class ReadAhead;
  std::function<absl::Status(int64_t)> work;
  int64_t items = 0, next = 0, done = 0;
  int64_t failed_item = -1;
  absl::Status failure;
};

}  // namespace prunelab
