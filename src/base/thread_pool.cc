#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <utility>

#include "base/contracts.h"

namespace tender {
namespace {

// About 30 us on a 3.7 GHz core: longer than the gaps between the layers of a decode step.
constexpr int kSpins = 4000;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

struct ThreadPool::Job {
  std::size_t units;
  std::size_t unit;
  std::size_t count;
  std::size_t parts;
  FunctionRef<void(std::size_t, std::size_t)> body;

  std::pair<std::size_t, std::size_t> part(std::size_t index) const {
    return {std::min(count, units * index / parts * unit),
            std::min(count, units * (index + 1) / parts * unit)};
  }
};

ThreadPool::ThreadPool(std::size_t threads) {
  require(threads >= 1 && threads <= 4096, "a pool has 1 to 4096 threads");
  workers_.reserve(threads - 1);
  for (std::size_t i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
}

ThreadPool::~ThreadPool() {
  stopping_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
}

void ThreadPool::run_part(const Job& job, std::size_t index) {
  const auto [begin, end] = job.part(index);
  if (begin == end) return;
  try {
    job.body(begin, end);
  } catch (...) {
    const std::lock_guard lock(failure_mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

void ThreadPool::work(std::size_t index) {
  std::uint32_t seen = 0;
  while (true) {
    for (int spin = 0; spin < kSpins && generation_.load(std::memory_order_acquire) == seen; ++spin)
      pause();
    generation_.wait(seen, std::memory_order_acquire);
    seen = generation_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_relaxed)) return;
    run_part(*job_, index);
    if (remaining_.fetch_sub(1, std::memory_order_acq_rel) == 1) remaining_.notify_one();
  }
}

void ThreadPool::for_each_part(std::size_t count,
                               FunctionRef<void(std::size_t, std::size_t)> body) {
  for_each_part(count, 1, body);
}

void ThreadPool::for_each_part(std::size_t count, std::size_t unit,
                               FunctionRef<void(std::size_t, std::size_t)> body) {
  if (count == 0) return;
  const std::size_t units = (count + unit - 1) / unit;
  const Job job{units, unit, count, threads(), body};
  if (share_of_ != 0) {
    const auto [begin, end] = job.part(share_index_);
    share_index_ = (share_index_ + 1) % share_of_;
    if (begin != end) body(begin, end);
    return;
  }
  if (workers_.empty() || units == 1) {
    body(0, count);
    return;
  }
  job_ = &job;
  remaining_.store(static_cast<std::uint32_t>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  run_part(job, 0);
  for (int spin = 0; spin < kSpins && remaining_.load(std::memory_order_acquire) != 0; ++spin)
    pause();
  for (std::uint32_t left = remaining_.load(std::memory_order_acquire); left != 0;
       left = remaining_.load(std::memory_order_acquire))
    remaining_.wait(left, std::memory_order_acquire);
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::for_each_item(std::size_t count, FunctionRef<void(std::size_t)> body) {
  require(share_of_ == 0, "a share has no items of its own");
  std::atomic<std::size_t> next{0};
  std::atomic<bool> failed{false};
  std::mutex mutex;
  std::size_t lowest = count;
  std::exception_ptr failure;
  for_each_part(std::min(count, threads()), [&](std::size_t, std::size_t) {
    // An item that was taken is run: all below one that fails were, so the lowest is always found.
    while (!failed) {
      const std::size_t item = next++;
      if (item >= count) return;
      try {
        body(item);
      } catch (...) {
        failed = true;
        const std::lock_guard lock(mutex);
        if (item < lowest) failure = std::current_exception();
        lowest = std::min(lowest, item);
      }
    }
  });
  if (failure) std::rethrow_exception(failure);
}

void ThreadPool::for_each_share(FunctionRef<void(ThreadPool&)> body) {
  if (threads() == 1 || share_of_ != 0) return body(*this);
  for_each_part(threads(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t index = begin; index < end; ++index) {
      ThreadPool share(index, threads());
      body(share);
    }
  });
}

std::size_t default_threads() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  std::set<std::string> cores;
  std::size_t usable = 0;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    ++usable;
    const std::string path =
        "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list";
    std::ifstream siblings(path);
    std::string line;
    cores.insert(std::getline(siblings, line) ? line : std::to_string(cpu));
  }
  return std::clamp<std::size_t>(cores.size(), 1, std::max<std::size_t>(usable, 1));
}

}  // namespace tender
