#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/function_ref.h"

namespace tender {

/// Workers that live as long as the pool; the calling thread is one of them.
///
/// Work is cut by arithmetic alone, so the same parts are made in every run. Workers spin for some
/// tens of microseconds before they sleep: a decode step forks a few hundred times.
/// A pool serves one caller at a time; parts must not call back into it.
class ThreadPool {
 public:
  explicit ThreadPool(std::size_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  std::size_t threads() const { return share_of_ == 0 ? workers_.size() + 1 : share_of_; }

  /// Runs body(begin, end) over [0, count) cut into threads() parts at count * i / threads(); empty
  /// parts are skipped. Returns when all are done; the first exception of a part is thrown here.
  void for_each_part(std::size_t count, FunctionRef<void(std::size_t, std::size_t)> body);

  /// As above, but cut only at multiples of `unit` (panel widths, cache lines).
  void for_each_part(std::size_t count, std::size_t unit,
                     FunctionRef<void(std::size_t, std::size_t)> body);

  /// Runs body(item) for all of [0, count), rising; whoever is free takes the next one. For items
  /// that differ in length and whose results do not depend on who makes them. None is begun after
  /// one has failed; of those that fail the lowest one's exception is thrown.
  void for_each_item(std::size_t count, FunctionRef<void(std::size_t)> body);

  /// Makes one fork of several: runs body(share) on all threads at once, and what they fork on
  /// their shares is cut as it would be here, each thread running a part of its own without waiting
  /// for the others. Every thread makes the same forks in the same order, and none reads what
  /// another of them has written. Which thread runs which part goes around, so that uneven cuts add
  /// up.
  void for_each_share(FunctionRef<void(ThreadPool&)> body);

 private:
  ThreadPool(std::size_t index, std::size_t of) : share_index_(index), share_of_(of) {}
  struct Job;
  void work(std::size_t index);
  void run_part(const Job& job, std::size_t index);

  std::atomic<std::uint32_t> generation_{0};
  std::atomic<std::uint32_t> remaining_{0};
  std::atomic<bool> stopping_{false};
  const Job* job_ = nullptr;
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
  std::vector<std::jthread> workers_;
  std::size_t share_index_ = 0;  ///< of the part that the next fork on this share runs
  std::size_t share_of_ = 0;     ///< threads of the pool that this is a share of; 0: it is none
};

/// Number of physical cores that this process may use.
std::size_t default_threads();

}  // namespace tender
