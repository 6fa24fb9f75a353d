#include "eval/compare.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/contracts.h"
#include "base/error.h"
#include "eval/log_probability.h"
#include "eval/window_runner.h"
#include "kernels/math.h"

namespace tender::eval {
namespace {

constexpr std::size_t kLeastForPercentiles = 100;
constexpr std::array kDivergenceFractions = {0.0, 0.001, 0.01, 0.05,  0.1, 0.5,
                                             0.9, 0.95,  0.99, 0.999, 1.0};
constexpr std::array kChangeFractions = {0.0,  0.001, 0.01, 0.05, 0.1,   0.25, 0.5,
                                         0.75, 0.9,   0.95, 0.99, 0.999, 1.0};

std::vector<Percentile> percentiles(std::vector<double> values, std::span<const double> fractions) {
  std::vector<Percentile> found;
  if (values.size() < kLeastForPercentiles) return found;
  std::sort(values.begin(), values.end());
  for (const double fraction : fractions) {
    const double place = fraction * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    const double share = place - static_cast<double>(below);
    found.push_back({fraction, values[below] + share * (values[above] - values[below])});
  }
  return found;
}

/// e^mean; by the delta method its error is that of the mean times the value.
Estimate exponential(const Estimate& mean) {
  const double value = kernels::fixed_exp(mean.value);
  return {value, mean.error ? std::optional(value * *mean.error) : std::nullopt};
}

Estimate root(const Estimate& square) {
  const double value = std::sqrt(square.value);
  if (!square.error) return {value, std::nullopt};
  return {value, value > 0 ? 0.5 / value * *square.error : 0.0};
}

/// What is gathered of one model.
class Tally {
 public:
  explicit Tally(bool means_of_windows)
      : loss_(means_of_windows),
        difference_(means_of_windows),
        divergence_(means_of_windows),
        same_top_(means_of_windows),
        change_(means_of_windows),
        square_(means_of_windows) {}

  void add(const RowComparison& row) {
    const double change = kernels::fixed_exp(-row.loss) - kernels::fixed_exp(-row.base_loss);
    loss_.add(row.loss);
    difference_.add(row.loss - row.base_loss);
    divergence_.add(row.divergence);
    same_top_.add(row.same_top ? 1 : 0);
    change_.add(change);
    square_.add(change * change);
    divergences_.push_back(row.divergence);
    changes_.push_back(change);
  }
  void end_window() {
    for (ScoredMean* mean : {&loss_, &difference_, &divergence_, &same_top_, &change_, &square_})
      mean->end_window();
  }

  double excess_percent() const {
    return 100 * (kernels::fixed_exp(difference_.estimate().value) - 1);
  }

  Agreement agreement(const Estimate& base_loss) const {
    Agreement found;
    found.cross_entropy = loss_.estimate();
    found.perplexity = exponential(found.cross_entropy);
    found.cross_entropy_difference = difference_.estimate();
    found.perplexity_ratio = exponential(found.cross_entropy_difference);
    found.excess_percent = found.perplexity_ratio.times(100);
    found.excess_percent.value = excess_percent();
    found.divergence = divergence_.estimate();
    found.divergences = percentiles(divergences_, kDivergenceFractions);
    found.same_top = same_top_.estimate();
    found.change = change_.estimate();
    found.rms_change = root(square_.estimate());
    found.changes = percentiles(changes_, kChangeFractions);
    relate(base_loss, found);
    return found;
  }

 private:
  /// What follows from the covariance of both losses, which the errors of the losses and of their
  /// difference tell: var(d) = var(p) + var(q) - 2 cov.
  static void relate(const Estimate& base, Agreement& found) {
    const double p = kernels::fixed_exp(base.value);
    const double q = found.perplexity.value;
    found.perplexity_difference.value = q - p;
    if (!base.error) return;
    const double var_p = *base.error * *base.error;
    const double var_q = *found.cross_entropy.error * *found.cross_entropy.error;
    const double var_d =
        *found.cross_entropy_difference.error * *found.cross_entropy_difference.error;
    const double covariance = (var_p + var_q - var_d) / 2;
    found.perplexity_difference.error =
        std::sqrt(std::max(0.0, q * q * var_q + p * p * var_p - 2 * q * p * covariance));
    if (var_p > 0 && var_q > 0)
      found.correlation = std::clamp(covariance / std::sqrt(var_p * var_q), -1.0, 1.0);
  }

  ScoredMean loss_;
  ScoredMean difference_;
  ScoredMean divergence_;
  ScoredMean same_top_;
  ScoredMean change_;
  ScoredMean square_;
  std::vector<double> divergences_;
  std::vector<double> changes_;
};

/// All models over one window after the other.
class Lockstep {
 public:
  Lockstep(const NamedModel& base, std::span<const NamedModel> models, const PerplexityPlan& plan,
           ThreadPool& pool)
      : models_(models),
        pool_(pool),
        base_(*base.model, plan),
        base_loss_(plan.protocol->means_of_windows),
        rows_(models.size()) {
    for (const NamedModel& each : models) {
      runners_.emplace_back(*each.model, plan);
      tallies_.emplace_back(plan.protocol->means_of_windows);
    }
  }

  /// All models over some windows. @return false if it was ended
  bool run(std::span<const std::vector<text::TokenId>> windows, AfterStep after) {
    if (!base_.run(windows, pool_, after)) return false;
    for (WindowRunner& runner : runners_)
      if (!runner.run(windows, pool_, after)) return false;
    return true;
  }

  /// One of them. @param number  of the window in the plan
  void compare(std::size_t index, const std::vector<text::TokenId>& tokens, std::size_t number) {
    for (auto& rows : rows_) rows.resize(base_.rows());
    for (std::size_t begin = 0; begin < base_.rows(); begin += base_.slice())
      compare_slice(index, begin, std::min(base_.slice(), base_.rows() - begin),
                    std::span(tokens).subspan(base_.first() + 1));
    tally(number);
  }

  std::size_t rows() const { return base_.rows(); }
  Estimate base_loss() const { return base_loss_.estimate(); }
  const std::vector<Tally>& tallies() const { return tallies_; }

 private:
  /// @param targets  the token that row r of the window predicts is targets[r]
  void compare_slice(std::size_t index, std::size_t begin, std::size_t count,
                     std::span<const text::TokenId> targets) {
    base_.logits(index, begin, count, base_logits_, pool_);
    for (std::size_t m = 0; m < models_.size(); ++m) {
      runners_[m].logits(index, begin, count, logits_, pool_);
      pool_.for_each_part(count, [&](std::size_t from, std::size_t to) {
        for (std::size_t r = from; r < to; ++r)
          rows_[m][begin + r] = compare_rows(base_logits_.row(r), logits_.row(r),
                                             static_cast<std::size_t>(targets[begin + r]));
      });
    }
  }

  void tally(std::size_t window) {
    for (std::size_t m = 0; m < models_.size(); ++m) {
      for (std::size_t t = 0; t < rows_[m].size(); ++t) {
        const RowComparison& row = rows_[m][t];
        check_loss(row.base_loss, window, t, kTheBase);
        check_loss(row.loss, window, t, models_[m].name);
        check_loss(row.divergence, window, t, models_[m].name);
        tallies_[m].add(row);
        if (m == 0) base_loss_.add(row.base_loss);
      }
      tallies_[m].end_window();
    }
    base_loss_.end_window();
  }

  std::span<const NamedModel> models_;
  ThreadPool& pool_;
  WindowRunner base_;
  std::vector<WindowRunner> runners_;
  ScoredMean base_loss_;
  std::vector<Tally> tallies_;
  std::vector<std::vector<RowComparison>> rows_;  ///< [models], each [scored positions]
  Matrix base_logits_;                            ///< [slice, vocabulary]
  Matrix logits_;                                 ///< likewise
};

void check_vocabulary(const NamedModel& base, const NamedModel& other) {
  const std::size_t expected = base.model->info().vocabulary;
  const std::size_t found = other.model->info().vocabulary;
  if (found == expected) return;
  fail(ErrorKind::invalid_input,
       {.code = "COMPARE_VOCABULARY",
        .file = other.name,
        .found = std::to_string(found),
        .expected = std::to_string(expected),
        .hint = "one of both embeddings is padded; distributions over different tokens have no "
                "divergence"},
       "it predicts {} tokens, {} predicts {}", found, quote(base.name), expected);
}

std::string excesses(const std::vector<Tally>& tallies) {
  std::string text = "excess";
  for (const Tally& tally : tallies) text += fmt::format(" {:+.2f} %", tally.excess_percent());
  return text;
}

OrderedJson json_of(const Estimate& estimate) {
  return {{"value", estimate.value},
          {"error", estimate.error ? OrderedJson(*estimate.error) : OrderedJson()}};
}

/// "0.5" → value; null where there are too few positions.
OrderedJson json_of(const std::vector<Percentile>& percentiles) {
  OrderedJson json;
  for (const Percentile& each : percentiles) json[fmt::format("{}", each.fraction)] = each.value;
  return json;
}

}  // namespace

ComparisonResult run_comparison(const NamedModel& base, std::span<const NamedModel> models,
                                const PerplexityPlan& plan, ThreadPool& pool, Progress& progress) {
  require(!models.empty(), "there is a model to compare with the base");
  const auto start = std::chrono::steady_clock::now();
  note_unusual_context(base.model->info(), plan, base.name, progress);
  std::vector<EvaluatedModel*> all = {base.model};
  for (const NamedModel& each : models) {
    check_vocabulary(base, each);
    note_unusual_context(each.model->info(), plan, each.name, progress);
    all.push_back(each.model);
  }
  Lockstep lockstep(base, models, plan, pool);
  ComparisonResult result;
  WindowLoop loop(all, plan, progress);
  for (auto windows = loop.next(); !windows.empty(); windows = loop.next()) {
    if (!lockstep.run(windows, [&] { return loop.step(); })) break;
    for (std::size_t w = 0; w < windows.size(); ++w) {
      lockstep.compare(w, windows[w], result.windows);
      ++result.windows;
      result.scored_tokens += lockstep.rows();
      loop.end_window(excesses(lockstep.tallies()));
    }
  }
  if (result.windows == 0)
    fail(ErrorKind::invalid_input, {.code = "CANCELLED", .hint = "run again"},
         "cancelled before the first window was done");
  result.interrupted = result.windows < plan.windows;
  result.partial = result.windows < plan.available_windows;
  result.base_cross_entropy = lockstep.base_loss();
  result.base_perplexity = exponential(result.base_cross_entropy);
  for (const Tally& tally : lockstep.tallies())
    result.models.push_back(tally.agreement(result.base_cross_entropy));
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

OrderedJson to_json(const Agreement& agreement) {
  return {
      {"perplexity", json_of(agreement.perplexity)},
      {"cross_entropy", json_of(agreement.cross_entropy)},
      {"cross_entropy_difference", json_of(agreement.cross_entropy_difference)},
      {"perplexity_ratio", json_of(agreement.perplexity_ratio)},
      {"perplexity_difference", json_of(agreement.perplexity_difference)},
      {"excess_percent", json_of(agreement.excess_percent)},
      {"correlation", agreement.correlation ? OrderedJson(*agreement.correlation) : OrderedJson()},
      {"kl_divergence", json_of(agreement.divergence)},
      {"kl_divergence_percentiles", json_of(agreement.divergences)},
      {"same_top", json_of(agreement.same_top)},
      {"delta_p", json_of(agreement.change)},
      {"rms_delta_p", json_of(agreement.rms_change)},
      {"delta_p_percentiles", json_of(agreement.changes)}};
}

OrderedJson to_json(const PerplexityPlan& plan, const ComparisonResult& result) {
  OrderedJson json;
  json["scored_tokens"] = result.scored_tokens;
  json["windows"] = result.windows;
  json["partial"] = result.partial;
  json["interrupted"] = result.interrupted;
  json.update(to_json(plan));
  json["seconds"] = result.seconds;
  json["base"] = {{"perplexity", json_of(result.base_perplexity)},
                  {"cross_entropy", json_of(result.base_cross_entropy)}};
  return json;
}

}  // namespace tender::eval
