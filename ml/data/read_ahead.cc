#include "ml/data/read_ahead.h"

#include <algorithm>
#include <utility>

#include "ml/base/check.h"

namespace prunelab {

ReadAhead::ReadAhead(int64_t threads) {
  PRUNELAB_CHECK(threads >= 1) << threads << " threads";
  for (int64_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
}

ReadAhead::~ReadAhead() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    tasks_.clear();
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

std::shared_ptr<ReadAhead::Task> ReadAhead::Start(int64_t items, std::function<absl::Status(int64_t)> work) {
  PRUNELAB_CHECK(items >= 0) << items << " items";
  auto task = std::make_shared<Task>();
  task->items = items;
  task->work = std::move(work);
  if (items == 0) return task;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    tasks_.push_back(task);
  }
  work_.notify_all();
  return task;
}

void ReadAhead::DoItem(Task& task, std::unique_lock<std::mutex>& lock) {
  const int64_t item = task.next++;
  if (task.next == task.items) {
    const auto at = std::find_if(tasks_.begin(), tasks_.end(), [&](const auto& t) { return t.get() == &task; });
    if (at != tasks_.end()) tasks_.erase(at);
  }
  ++busy_;
  lock.unlock();
  absl::Status status = task.work(item);
  lock.lock();
  --busy_;
  ++task.done;
  if (!status.ok() && (task.failed_item < 0 || item < task.failed_item)) {
    task.failed_item = item;
    task.failure = std::move(status);
  }
  done_.notify_all();
}

void ReadAhead::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    work_.wait(lock, [this] { return stop_ || !tasks_.empty(); });
    if (stop_) return;
    const std::shared_ptr<Task> task = tasks_.front();  // kept while its item is done
    DoItem(*task, lock);
  }
}

absl::Status ReadAhead::Finish(Task& task) {
  std::unique_lock<std::mutex> lock(mutex_);
  while (task.next < task.items) DoItem(task, lock);
  done_.wait(lock, [&] { return task.done == task.items; });
  return task.failure;
}

void ReadAhead::Clear() {
  std::unique_lock<std::mutex> lock(mutex_);
  tasks_.clear();
  done_.wait(lock, [this] { return busy_ == 0; });
}

}  // namespace prunelab
