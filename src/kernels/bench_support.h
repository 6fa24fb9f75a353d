#pragma once

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>

#include "base/thread_pool.h"
#include "tensor/matrix.h"

namespace tender::kernels::bench {

/// Multiply-adds per second, times two, that this many threads reach out of registers; the widest
/// vectors of the CPU, some 3 ms. The highest figure of the run so far.
double fma_peak(ThreadPool& pool);

/// Bytes per second that the threads read from 256 MiB of memory.
double read_bandwidth(ThreadPool& pool);

Matrix noise(std::size_t rows, std::size_t cols);

/// Takes a limit before and after the loop of a benchmark and reports rate and share of it.
class Share {
 public:
  using Probe = double (*)(ThreadPool&);
  Share(Probe probe, ThreadPool& pool);
  /// @param work  operations or bytes of one iteration
  void report(benchmark::State& state, double work, const char* rate, const char* share);

 private:
  Probe probe_;
  ThreadPool& pool_;
  double before_;
  double start_;
};

}  // namespace tender::kernels::bench
