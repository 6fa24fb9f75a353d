#include "eval/perplexity.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "eval/find_named.h"
#include "eval/log_probability.h"
#include "eval/running_mean.h"
#include "eval/window_runner.h"
#include "kernels/math.h"

namespace tender::eval {
namespace {

std::size_t from_the_start(std::size_t) { return 0; }
std::size_t second_half(std::size_t seqlen) { return seqlen / 2; }

constexpr std::array kProtocols = {
    Protocol{.name = "gptq",
             .summary = "as GPTQ, AWQ, SmoothQuant and Tender do: windows of 2048, all but the "
                        "first token scored",
             .seqlen = 2048,
             .least_seqlen = 2,
             .least_windows = 1,
             .known_join = "wikitext",
             .drops_final_newline = false,
             .parses_special = true,
             .bos_in_each_window = false,
             .refuses_eos = false,
             .means_of_windows = true,
             .first_scored = from_the_start},
    Protocol{
        .name = "llama.cpp",
        .summary =
            "as llama-perplexity does: windows of 512 that begin with BOS, the second half scored",
        .seqlen = 512,
        .least_seqlen = 3,
        .least_windows = 2,
        .known_join = "none",
        .drops_final_newline = true,
        .parses_special = false,
        .bos_in_each_window = true,
        .refuses_eos = true,
        .means_of_windows = false,
        .first_scored = second_half},
};

constexpr std::size_t kMostSeqlen = std::size_t{1} << 24U;

std::size_t seqlen_of(const PerplexityOptions& options) {
  return options.seqlen.value_or(options.protocol->seqlen);
}

}  // namespace

std::span<const Protocol> all_protocols() { return kProtocols; }

const Protocol& protocol(std::string_view name) {
  return find_named(all_protocols(), name, "protocol", "PROTOCOL_UNKNOWN");
}

void validate(const PerplexityOptions& options) {
  const std::size_t seqlen = seqlen_of(options);
  if (seqlen < options.protocol->least_seqlen || seqlen > kMostSeqlen)
    fail(ErrorKind::invalid_argument, {.code = "SEQLEN", .item = "seqlen"},
         "seqlen = {}: expected {} to {}", seqlen, options.protocol->least_seqlen, kMostSeqlen);
  if (options.limit == std::size_t{0})
    fail(ErrorKind::invalid_argument, {.code = "LIMIT", .item = "limit"},
         "limit = 0: expected at least 1 window");
}

PerplexityPlan plan_perplexity(const TextInput& input, const text::Tokenizer& tokenizer,
                               const PerplexityOptions& options) {
  validate(options);
  const Protocol& rules = *options.protocol;
  if (rules.refuses_eos && tokenizer.special().adds_eos)
    fail(ErrorKind::invalid_input,
         {.code = "PROTOCOL_EOS",
          .found = "a tokenizer that adds EOS",
          .expected = "one that does not",
          .hint = "use --protocol gptq"},
         "protocol {} has no place for a tokenizer that adds EOS", rules.name);

  PerplexityPlan plan;
  plan.protocol = &rules;
  plan.text_name = input.name;
  plan.join = input.joined->name;
  std::string_view text = input.text;
  if (rules.drops_final_newline && text.ends_with('\n')) text.remove_suffix(1);
  plan.text_sha256 = sha256_hex(text);
  plan.tokens =
      tokenizer.encode(text, {.add_special = true, .parse_special = rules.parses_special});
  if (rules.bos_in_each_window && tokenizer.special().adds_bos) plan.bos = tokenizer.special().bos;

  plan.seqlen = seqlen_of(options);
  plan.available_windows = plan.tokens.size() / plan.seqlen;
  if (plan.available_windows < rules.least_windows)
    fail(ErrorKind::invalid_input,
         {.code = "TXT_TOO_SHORT",
          .file = input.name,
          .found = fmt::format("{} tokens", plan.tokens.size()),
          .expected = fmt::format("at least {} tokens", rules.least_windows * plan.seqlen),
          .hint = "give a longer text or a smaller --seqlen"},
         "{} tokens are too few: protocol {} needs {} {} of {}", plan.tokens.size(), rules.name,
         rules.least_windows, rules.least_windows == 1 ? "window" : "windows", plan.seqlen);
  plan.windows = std::min(options.limit.value_or(plan.available_windows), plan.available_windows);
  return plan;
}

std::vector<text::TokenId> PerplexityPlan::window(std::size_t index) const {
  require(index < available_windows, "the window lies in the text");
  const auto begin = tokens.begin() + static_cast<std::ptrdiff_t>(index * seqlen);
  std::vector<text::TokenId> window(begin, begin + static_cast<std::ptrdiff_t>(seqlen));
  if (bos) window.front() = *bos;
  return window;
}

namespace {

/// -ln P of the scored tokens of a window, in order. @param index  among those of the last run
void score(const WindowRunner& runner, std::size_t index, std::span<const text::TokenId> window,
           ThreadPool& pool, Matrix& logits, std::vector<double>& values) {
  values.resize(runner.rows());
  const auto targets = window.subspan(runner.first() + 1);
  for (std::size_t begin = 0; begin < values.size(); begin += runner.slice()) {
    const std::size_t count = std::min(runner.slice(), values.size() - begin);
    runner.logits(index, begin, count, logits, pool);
    pool.for_each_part(count, [&](std::size_t from, std::size_t to) {
      for (std::size_t r = from; r < to; ++r)
        values[begin + r] =
            negative_log_probability(logits.row(r), static_cast<std::size_t>(targets[begin + r]));
    });
  }
}

}  // namespace

PerplexityResult run_perplexity(EvaluatedModel& model, const PerplexityPlan& plan, ThreadPool& pool,
                                Progress& progress) {
  const auto start = std::chrono::steady_clock::now();
  note_unusual_context(model.info(), plan, {}, progress);
  WindowRunner runner(model, plan);
  EvaluatedModel* const models[] = {&model};
  WindowLoop loop(models, plan, progress);
  ScoredMean loss(plan.protocol->means_of_windows);
  Matrix logits;
  std::vector<double> values;
  PerplexityResult result;
  for (auto windows = loop.next(); !windows.empty(); windows = loop.next()) {
    if (!runner.run(windows, pool, [&] { return loop.step(); })) break;
    for (std::size_t w = 0; w < windows.size(); ++w) {
      score(runner, w, windows[w], pool, logits, values);
      for (std::size_t t = 0; t < values.size(); ++t) {
        check_loss(values[t], result.windows, t);
        loss.add(values[t]);
      }
      result.cross_entropies.push_back(loss.end_window());
      result.scored_tokens += values.size();
      ++result.windows;
      loop.end_window(fmt::format("perplexity {:.4f}", kernels::fixed_exp(loss.estimate().value)));
    }
  }
  result.interrupted = result.windows < plan.windows;
  result.partial = result.windows < plan.available_windows;
  if (result.windows == 0)
    fail(ErrorKind::invalid_input, {.code = "CANCELLED", .hint = "run again"},
         "cancelled before the first window was done");
  const Estimate mean = loss.estimate();
  result.perplexity = kernels::fixed_exp(mean.value);
  if (mean.error) result.standard_error = result.perplexity * *mean.error;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

PerplexityResult run_perplexity(const model::Model& model, const PerplexityPlan& plan,
                                ThreadPool& pool, Progress& progress) {
  return run_perplexity(*evaluate_whole(model), plan, pool, progress);
}

OrderedJson to_json(const PerplexityPlan& plan) {
  OrderedJson json;
  json["uncertainty_of"] = plan.protocol->means_of_windows ? "window means" : "tokens";
  json["tokens"] = plan.tokens.size();
  json["windows_in_text"] = plan.available_windows;
  json["protocol"] = plan.protocol->name;
  json["seqlen"] = plan.seqlen;
  json["join"] = plan.join;
  json["text"] = plan.text_name;
  json["text_sha256"] = plan.text_sha256;
  return json;
}

OrderedJson to_json(const PerplexityPlan& plan, const PerplexityResult& result) {
  OrderedJson json;
  json["perplexity"] = result.perplexity;
  json["standard_error"] =
      result.standard_error ? OrderedJson(*result.standard_error) : OrderedJson();
  json["scored_tokens"] = result.scored_tokens;
  json["windows"] = result.windows;
  json["partial"] = result.partial;
  json["interrupted"] = result.interrupted;
  json.update(to_json(plan));
  json["seconds"] = result.seconds;
  return json;
}

}  // namespace tender::eval
