#include "cli/generation.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <future>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "base/error.h"
#include "base/memory.h"
#include "cli/run_options.h"
#include "eval/model_facts.h"
#include "text/stream.h"

namespace tender::cli {
namespace {

/// Rows of one pass over the prompt: large enough for the matrix products to run at full speed,
/// small enough for Ctrl-C to be heard soon and for the activations to stay small.
constexpr std::size_t kPrefillSlice = 512;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::size_t common_prefix(std::span<const text::TokenId> a, std::span<const text::TokenId> b) {
  const auto end = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first;
  return static_cast<std::size_t>(end - a.begin());
}

}  // namespace

void refuse_evaluation_methods(const model::Model& model) {
  for (std::size_t i = 0; i < model.sites().size(); ++i)
    if (model.site(i).inputs() == quant::InputRounding::by_chunk)
      fail(ErrorKind::unsupported,
           {.code = "METHOD_EVAL_ONLY",
            .item = model.sites()[i].name,
            .hint = "`tender eval perplexity` runs it; quantize again in a mode that rounds rows "
                    "one by one"},
           "the method '{}' rounds several rows at once, so it cannot generate token by token",
           model.site(i).method());
}

void declare_generation(CLI::App& app, GenerationOptions& options,
                        const std::string& most_tokens_help, const std::string& context_help) {
  model::SamplerOptions& s = options.sampler;
  app.add_option("-n,--tokens", options.most_tokens, most_tokens_help)
      ->check(CLI::Range(1, 1 << 24));
  app.add_option("--context", options.context, context_help)->check(CLI::Range(1, 1 << 24));
  declare_run_options(app, options.run);
  app.add_option("--temperature", s.temperature,
                 "0 takes the likeliest token (default); 1 samples as trained");
  app.add_option("--top-k", s.top_k,
                 "Sample from the so many likeliest tokens only; 0 is off (default)");
  app.add_option("--top-p", s.top_p,
                 "… from the fewest that hold this probability; 1 is off (default)");
  app.add_option("--min-p", s.min_p,
                 "… from those this likely beside the likeliest; 0 is off (default)");
  app.add_option("--repetition-penalty", s.repetition_penalty,
                 "Lower the logits of tokens that were there already; 1 is off (default)");
  app.add_option("--repetition-last", s.repetition_last,
                 "Tokens that the penalty looks back on; 0 is all (default)");
  app.add_option("--seed", s.seed, "Of the random numbers (default 0)");
  app.add_option("--stop", options.stops, "End before this text; may be given several times")
      ->allow_extra_args(false);
  app.add_flag("--ignore-eos", options.ignore_end, "Go on after the token that ends a text");
}

std::string_view finish_name(Finish finish) {
  switch (finish) {
    case Finish::end_of_text:
    case Finish::stop_string:
      return "stop";
    case Finish::length:
      return "length";
    case Finish::context:
      return "context";
    case Finish::interrupted:
      return "interrupted";
  }
  return "";
}

std::optional<double> Generation::decode_tokens_per_second() const {
  if (decoded() == 0 || decode_seconds <= 0) return std::nullopt;
  return static_cast<double>(decoded()) / decode_seconds;
}

Generator::Generator(const std::string& path, const model::RunOptions& run, Context& context)
    : context_(context) {
  const auto start = Clock::now();
  checkpoint_ = io::open_checkpoint(path);
  for (const std::string& note : checkpoint_->notes()) context.progress().note(note);
  // Beside the weights: a third of the time that a small model takes to load. Where both fail, it
  // is the weights that are reported.
  auto tokenizer =
      std::async(std::launch::async, [&] { return text::open_tokenizer(*checkpoint_); });
  model::RunOptions options = run;
  prefer_packed(*checkpoint_, options);
  model_ = model::load_model(*checkpoint_, host_isa(), context.pool(), context.progress(), options);
  context.end_progress();
  tokenizer_ = tokenizer.get();
  for (const std::string& note : tokenizer_->notes()) context.progress().note(note);
  refuse_evaluation_methods(*model_);
  weights_ = eval::weights_of(eval::facts_of(*model_));
  allowed_.assign(info().vocabulary, 0);
  for (std::size_t id = 0; id < allowed_.size(); ++id)
    allowed_[id] = static_cast<std::uint8_t>(tokenizer_->exists(static_cast<text::TokenId>(id)));
  load_seconds_ = seconds_since(start);
  keep_freed_memory();
}

OrderedJson Generator::counts() const { return eval::counts_of(eval::facts_of(*model_)); }

void Generator::reserve(std::size_t context) {
  sequence_.reset();
  held_.clear();
  sequence_ = model_->sequence(context);
  if (context > info().context)
    context_.progress().note(fmt::format(
        "the model was made for {} tokens; past them its text may be worthless", info().context));
}

bool Generator::ends_text(text::TokenId id) const {
  const auto& ends = tokenizer_->special().end_of_text;
  return std::find(ends.begin(), ends.end(), id) != ends.end();
}

void Generator::feed(std::span<const text::TokenId> tokens) {
  const model::BatchItem item{sequence_.get(), tokens, tokens.size() - 1};
  model_->forward({&item, 1}, hidden_, context_.pool());
  held_.insert(held_.end(), tokens.begin(), tokens.end());
}

void Generator::prefill(std::span<const text::TokenId> prompt, Generation& result) {
  if (prompt.empty())
    fail(ErrorKind::invalid_input,
         {.code = "PROMPT_EMPTY",
          .hint = "this tokenizer puts no token in front of a text; give at least a word"},
         "the prompt has no tokens");
  if (prompt.size() > sequence_->capacity())
    fail(ErrorKind::invalid_input,
         {.code = "CONTEXT_FULL",
          .found = fmt::format("{} tokens", prompt.size()),
          .expected = fmt::format("at most {}", sequence_->capacity()),
          .hint = "give a longer --context, or less text"},
         "the prompt of {} tokens does not fit into the context of {}", prompt.size(),
         sequence_->capacity());
  // The last token is always computed: its row gives the first logits.
  result.reused_tokens = std::min(common_prefix(held_, prompt), prompt.size() - 1);
  sequence_->truncate(result.reused_tokens);
  held_.resize(result.reused_tokens);
  const std::size_t total = prompt.size() - result.reused_tokens;
  while (held_.size() < prompt.size() && !InterruptGuard::raised()) {
    feed(prompt.subspan(held_.size(), std::min(kPrefillSlice, prompt.size() - held_.size())));
    if (total > kPrefillSlice)
      context_.progress().update(total - (prompt.size() - held_.size()), total,
                                 "tokens of the prompt read");
  }
  context_.end_progress();
}

Generation Generator::run(std::span<const text::TokenId> prompt, const GenerationOptions& options,
                          FunctionRef<void(std::string_view)> show) {
  Generation result;
  result.prompt_tokens = prompt.size();
  model::Sampler sampler(options.sampler);
  text::StreamDecoder decoder;
  text::StopMatcher stops(options.stops);
  const auto put = [&](const std::string& text) {
    if (!text.empty()) show(text);
    result.text += text;
  };
  std::vector<text::TokenId> seen(prompt.begin(), prompt.end());
  logits_.resize(1, info().vocabulary);

  auto start = Clock::now();
  prefill(prompt, result);
  while (true) {
    if (InterruptGuard::raised()) {
      result.finish = Finish::interrupted;
      break;
    }
    model_->logits(hidden_.view(), logits_.view(), context_.pool());
    const text::TokenId id = sampler.sample(logits_.span(), seen, allowed_);
    if (result.ids.empty()) {
      result.prefill_seconds = seconds_since(start);
      start = Clock::now();
    }
    result.ids.push_back(id);
    seen.push_back(id);
    result.decode_seconds = seconds_since(start);
    if (!options.ignore_end && ends_text(id)) {
      result.finish = Finish::end_of_text;
      break;
    }
    put(stops.push(decoder.push(tokenizer_->piece(id, false))));
    if (stops.stopped()) {
      result.finish = Finish::stop_string;
      break;
    }
    if (options.most_tokens && result.ids.size() >= *options.most_tokens) break;
    if (sequence_->tokens() == sequence_->capacity()) {
      result.finish = Finish::context;
      break;
    }
    feed({&id, 1});
  }
  if (result.ids.empty()) result.prefill_seconds = seconds_since(start);
  if (!stops.stopped()) {
    put(stops.push(decoder.finish()));
    if (!stops.stopped()) put(stops.finish());
  }
  return result;
}

std::string statistics_line(const Generation& r, const Generator& generator) {
  const std::size_t read = r.prompt_tokens - r.reused_tokens;
  std::string line = fmt::format("prompt {} tokens", r.prompt_tokens);
  if (r.reused_tokens > 0) line += fmt::format(" ({} from the cache)", r.reused_tokens);
  line += fmt::format(" in {:.2f} s ({:.1f} tokens/s) · {} generated", r.prefill_seconds,
                      static_cast<double>(read) / std::max(r.prefill_seconds, 1e-9), r.ids.size());
  if (const auto speed = r.decode_tokens_per_second())
    line += fmt::format(", {:.1f} tokens/s", *speed);
  line += fmt::format(" · weights {} · cache {:.1f} MiB · peak memory {:.0f} MiB",
                      generator.weights(), static_cast<double>(generator.cache_bytes()) / (1 << 20),
                      static_cast<double>(peak_resident_bytes()) / (1 << 20));
  return line + (r.finish == Finish::interrupted ? " · interrupted" : "");
}

OrderedJson generation_json(const Generation& r) {
  const auto speed = r.decode_tokens_per_second();
  return {{"text", r.text},
          {"ids", r.ids},
          {"finish_reason", finish_name(r.finish)},
          {"prompt_tokens", r.prompt_tokens},
          {"reused_tokens", r.reused_tokens},
          {"generated_tokens", r.ids.size()},
          {"prefill_seconds", r.prefill_seconds},
          {"decode_seconds", r.decode_seconds},
          {"decode_tokens_per_second", speed ? OrderedJson(*speed) : OrderedJson()}};
}

}  // namespace tender::cli
