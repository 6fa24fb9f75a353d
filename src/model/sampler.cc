#include "model/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/contracts.h"
#include "base/error.h"
#include "kernels/math.h"

namespace tender::model {
namespace {

constexpr double kLeftOut = -std::numeric_limits<double>::infinity();

void check(bool good, const char* option, double value, const char* expected) {
  if (!good)
    fail(ErrorKind::invalid_argument,
         {.code = "OPTION_RANGE",
          .item = option,
          .found = fmt::format("{}", value),
          .expected = expected,
          .hint = "see --help"},
         "{} = {}: expected {}", option, value, expected);
}

/// Heavier first; among equals the lower id.
bool heavier(const Sampler::Candidate& a, const Sampler::Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.id < b.id;
}

}  // namespace

void validate(const SamplerOptions& o) {
  // Written so that NaN is refused as well.
  check(o.temperature >= 0 && std::isfinite(o.temperature), "temperature", o.temperature,
        "a number from 0 on");
  check(o.top_p >= 0 && o.top_p <= 1, "top_p", o.top_p, "a share in [0, 1]");
  check(o.min_p >= 0 && o.min_p <= 1, "min_p", o.min_p, "a share in [0, 1]");
  check(o.repetition_penalty > 0 && std::isfinite(o.repetition_penalty), "repetition_penalty",
        o.repetition_penalty, "a number above 0");
}

Sampler::Sampler(const SamplerOptions& options) : options_(options), rng_(options.seed, "sampler") {
  validate(options);
}

void Sampler::read(std::span<const float> logits, std::span<const TokenId> seen,
                   std::span<const std::uint8_t> allowed) {
  require(allowed.empty() || allowed.size() == logits.size(), "one permission for each logit");
  logits_.resize(logits.size());
  best_ = kLeftOut;
  for (std::size_t id = 0; id < logits.size(); ++id) {
    logits_[id] = allowed.empty() || allowed[id] != 0 ? static_cast<double>(logits[id]) : kLeftOut;
    if (!(logits_[id] < std::numeric_limits<double>::infinity()))
      fail(ErrorKind::invalid_input,
           {.code = "LOGITS_NAN",
            .item = std::to_string(id),
            .hint = "the weights hold NaN or numbers too large for float32; try `tender inspect "
                    "--verify`"},
           "the model gives token {} the logit {}", id, logits[id]);
  }
  if (options_.repetition_penalty != 1) {
    if (options_.repetition_last != 0 && seen.size() > options_.repetition_last)
      seen = seen.last(options_.repetition_last);
    penalized_.assign(logits.size(), 0);
    for (const TokenId id : seen) {
      const auto at = static_cast<std::size_t>(id);
      if (id < 0 || at >= logits.size() || penalized_[at] != 0) continue;
      penalized_[at] = 1;
      double& logit = logits_[at];
      logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
    }
  }
  for (const double logit : logits_) best_ = std::max(best_, logit);
  if (best_ == kLeftOut)
    fail(ErrorKind::invalid_input,
         {.code = "LOGITS_NAN", .hint = "the model or its vocabulary is damaged"},
         "no token may come next: every logit is -infinity or not allowed");
}

TokenId Sampler::sample(std::span<const float> logits, std::span<const TokenId> seen,
                        std::span<const std::uint8_t> allowed) {
  if (options_.temperature == 0) {
    read(logits, seen, allowed);
    return static_cast<TokenId>(std::find(logits_.begin(), logits_.end(), best_) - logits_.begin());
  }
  candidates(logits, seen, allowed);
  double total = 0;
  for (const Candidate& one : candidates_) total += one.weight;
  double left = rng_.uniform() * total;
  TokenId chosen = candidates_.front().id;
  for (const Candidate& one : candidates_) {
    if (one.weight == 0) continue;
    chosen = one.id;  // should rounding leave a rest, the last of any weight takes it
    left -= one.weight;
    if (left < 0) break;
  }
  return chosen;
}

std::span<const Sampler::Candidate> Sampler::candidates(std::span<const float> logits,
                                                        std::span<const TokenId> seen,
                                                        std::span<const std::uint8_t> allowed) {
  read(logits, seen, allowed);
  candidates_.clear();
  for (std::size_t id = 0; id < logits_.size(); ++id)
    if (logits_[id] != kLeftOut)
      candidates_.push_back({static_cast<TokenId>(id),
                             kernels::fixed_exp((logits_[id] - best_) / options_.temperature)});
  if (options_.top_k != 0 && options_.top_k < candidates_.size()) keep_top_k();
  if (options_.top_p < 1) keep_top_p();
  if (options_.min_p > 0)
    std::erase_if(candidates_, [&](const Candidate& one) { return one.weight < options_.min_p; });
  return candidates_;
}

void Sampler::keep_top_k() {
  // The last one kept decides; a pass in order of ids then makes the result independent of how the
  // standard library partitions. By logit, since weights may have underflowed to equal zeros.
  const auto above = [&](TokenId a, TokenId b) {
    const double x = logits_[static_cast<std::size_t>(a)];
    const double y = logits_[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  order_.clear();
  for (const Candidate& one : candidates_) order_.push_back(one.id);
  const auto last = order_.begin() + static_cast<std::ptrdiff_t>(options_.top_k - 1);
  std::nth_element(order_.begin(), last, order_.end(), above);
  const TokenId worst = *last;
  std::erase_if(candidates_, [&](const Candidate& one) { return above(worst, one.id); });
}

void Sampler::keep_top_p() {
  double total = 0;
  for (const Candidate& one : candidates_) total += one.weight;
  const auto lighter = [](const Candidate& a, const Candidate& b) { return heavier(b, a); };
  // A heap gives up the heaviest one by one: no more are put in order than are kept.
  std::make_heap(candidates_.begin(), candidates_.end(), lighter);
  double held = 0;
  auto end = candidates_.end();
  do {
    std::pop_heap(candidates_.begin(), end, lighter);
    held += (--end)->weight;
  } while (held < options_.top_p * total && end != candidates_.begin());
  candidates_.erase(candidates_.begin(), end);
  std::reverse(candidates_.begin(), candidates_.end());  // heaviest first
}

}  // namespace tender::model
