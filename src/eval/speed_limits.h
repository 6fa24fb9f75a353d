#pragma once

#include <cstdint>

#include "base/json.h"
#include "base/thread_pool.h"
#include "eval/speed.h"
#include "kernels/limits/limits.h"
#include "model/model.h"

namespace tender::eval {

/// What a token costs at least.
struct TokenWork {
  double operations = 0;    ///< of its linear layers in prefill, a multiply and an add each; the
                            ///< head, which only the last token needs, and attention are left out
  std::uint64_t bytes = 0;  ///< of weights that decoding reads, as they lie in memory
};
TokenWork work_of(const model::Model& model);

/// What the machine does at most.
struct MachineLimits {
  kernels::IntegerPeak peak;
  double read_rate = 0;  ///< bytes per second
};

/// Probes the machine, before and after what is held against it, and keeps the better figures: one
/// that another program halved would flatter.
class LimitProbe {
 public:
  /// @param bytes  that the probe of memory reads: as many as decoding does, at most 1 GiB
  LimitProbe(std::uint64_t bytes, ThreadPool& pool) : bytes_(bytes), pool_(pool) {}
  void probe();
  const MachineLimits& limits() const { return limits_; }

 private:
  std::uint64_t bytes_;
  ThreadPool& pool_;
  MachineLimits limits_;
};

/// `prefill_gops`, `integer_peak_gops`, `integer_peak_instruction`, `prefill_share_of_peak`,
/// `decode_bytes`, `decode_gb_per_second`, `read_probe_gb_per_second`, `decode_share_of_probe`;
/// null where it was not measured.
OrderedJson to_json(const TokenWork& work, const MachineLimits& limits, const SpeedResult& result);

}  // namespace tender::eval
