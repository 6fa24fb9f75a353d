#include "eval/speed_limits.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

namespace tender::eval {
namespace {

constexpr std::uint64_t kMostProbed = std::uint64_t{1} << 30U;  // no cache is larger

OrderedJson number_or_null(bool there, double value) {
  return there ? OrderedJson(value) : OrderedJson();
}

}  // namespace

TokenWork work_of(const model::Model& model) {
  TokenWork work;
  for (std::size_t s = 0; s < model.sites().size(); ++s) {
    const quant::PackedSite& site = model.site(s);
    work.bytes += site.resident_bytes();
    for (std::size_t l = 0; l < site.linears(); ++l)
      work.operations +=
          2.0 * static_cast<double>(site.shape(l).out) * static_cast<double>(site.shape(l).in);
  }
  const model::ModelInfo& info = model.info();
  work.bytes += model.head() != nullptr
                    ? model.head()->resident_bytes()
                    : std::uint64_t{info.vocabulary} * info.width * sizeof(float);
  return work;
}

void LimitProbe::probe() {
  AlignedBuffer<std::uint8_t> memory(std::min(bytes_, kMostProbed));
  memory.fill(1);
  const kernels::IntegerPeak peak = kernels::integer_peak(host_isa(), pool_);
  if (limits_.peak.operations <= peak.operations) limits_.peak = peak;
  limits_.read_rate = std::max(limits_.read_rate, kernels::read_rate(memory.span(), pool_));
}

OrderedJson to_json(const TokenWork& work, const MachineLimits& limits, const SpeedResult& result) {
  const bool prefill = !result.prefill.values.empty();
  const bool decode = !result.decode.values.empty();
  const bool peak = limits.peak.operations > 0;
  const double operations = prefill ? result.prefill.median() * work.operations : 0;
  const double read = decode ? result.decode.median() * static_cast<double>(work.bytes) : 0;
  return {
      {"prefill_gops", number_or_null(prefill, operations / 1e9)},
      {"integer_peak_gops", number_or_null(peak, limits.peak.operations / 1e9)},
      {"integer_peak_instruction",
       peak ? OrderedJson(std::string(limits.peak.instruction)) : OrderedJson()},
      {"prefill_share_of_peak",
       number_or_null(prefill && peak, peak ? operations / limits.peak.operations : 0)},
      {"decode_bytes", work.bytes},
      {"decode_gb_per_second", number_or_null(decode, read / 1e9)},
      {"read_probe_gb_per_second", limits.read_rate / 1e9},
      {"decode_share_of_probe", number_or_null(decode, read / limits.read_rate)},
  };
}

}  // namespace tender::eval
