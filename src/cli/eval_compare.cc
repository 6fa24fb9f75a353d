#include "cli/eval_compare.h"

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/cpu.h"
#include "cli/run_options.h"
#include "compress/source_name.h"
#include "eval/compare.h"
#include "eval/evaluated_model.h"
#include "eval/model_facts.h"
#include "io/checkpoint.h"
#include "text/tokenizer.h"

namespace tender::cli {
namespace {

/// One column of the comparison, from the file to its facts.
struct Entry {
  std::string name;
  std::unique_ptr<io::Checkpoint> checkpoint;
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::unique_ptr<eval::EvaluatedModel> model;
  eval::ModelSize size;
};

/// Names of folders and files, or the paths as given where two have one name.
std::vector<Entry> open_all(const std::vector<std::string>& paths) {
  std::vector<Entry> entries;
  for (const std::string& path : paths) {
    Entry& entry = entries.emplace_back();
    entry.checkpoint = io::open_checkpoint(path);
    entry.name = compress::source_name(*entry.checkpoint);
    entry.tokenizer = text::open_tokenizer(*entry.checkpoint);
  }
  std::vector<std::string> names;
  for (const Entry& entry : entries) names.push_back(entry.name);
  for (std::size_t i = 0; i < entries.size(); ++i)
    if (std::ranges::count(names, names[i]) > 1) entries[i].name = paths[i];
  return entries;
}

/// How a checkpoint says it was quantized: {"method", "options"}, or null.
OrderedJson recipe_of(const io::Checkpoint& checkpoint) {
  const Json* config = checkpoint.config();
  if (config == nullptr || !config->contains("quantization_config")) return {};
  const Json& quantization = (*config)["quantization_config"];
  return {{"method", quantization.value("quant_method", Json())},
          {"options", quantization.value("options", Json())},
          {"layers", quantization.value("layers", Json())}};
}

OrderedJson facts_of(const Entry& entry) {
  OrderedJson json = eval::model_facts(entry.model->facts(), entry.name);
  json["counts"] = eval::counts_of(entry.model->facts());
  json["quantization"] = recipe_of(*entry.checkpoint);
  json.update(eval::to_json(entry.size));
  return json;
}

std::string text_of(const eval::Estimate& estimate, int digits) {
  const std::string value = fmt::format("{:.{}f}", estimate.value, digits);
  return estimate.error ? fmt::format("{} ± {:.{}f}", value, *estimate.error, digits) : value;
}

std::string percentile_text(const std::vector<eval::Percentile>& list, double fraction) {
  for (const eval::Percentile& each : list)
    if (each.fraction == fraction) return fmt::format("{:.5f}", each.value);
  return "–";
}

using Rows = std::vector<std::vector<std::string>>;

/// Columns as wide as their widest cell; the first to the left, the others to the right.
std::string table(const Rows& rows) {
  std::vector<std::size_t> widths(rows.front().size(), 0);
  const auto width_of = [](const std::string& cell) {  // code points: names may hold any
    return static_cast<std::size_t>(
        std::ranges::count_if(cell, [](char c) { return (c & '\xC0') != '\x80'; }));
  };
  for (const auto& row : rows)
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], width_of(row[c]));
  std::string out;
  for (const auto& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string gap(widths[c] - width_of(row[c]), ' ');
      out += (c == 0 ? "" : "  ") + (c == 0 ? row[c] + gap : gap + row[c]);
    }
    out += '\n';
  }
  return out;
}

std::string sizes_text(const std::vector<Entry>& entries, const eval::ComparisonResult& result) {
  Rows rows = {{"model", "method", "bits/weight", "bits/activation", "MiB", "perplexity",
                "excess over the base, %"}};
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    const eval::Estimate& perplexity =
        i == 0 ? result.base_perplexity : result.models[i - 1].perplexity;
    rows.push_back({entry.name, eval::method_of(entry.model->facts()),
                    fmt::format("{:.3f}", entry.size.bits_per_weight),
                    fmt::format("{:.3f}", entry.size.bits_per_activation),
                    fmt::format("{:.1f}", static_cast<double>(entry.size.file_bytes) / (1U << 20U)),
                    text_of(perplexity, 4),
                    i == 0 ? "base" : text_of(result.models[i - 1].excess_percent, 3)});
  }
  return table(rows);
}

std::string agreement_text(const std::vector<Entry>& entries,
                           const eval::ComparisonResult& result) {
  Rows rows = {{"model", "mean KLD, nats", "median KLD", "99% KLD", "maximum KLD", "same top p, %",
                "RMS Δp, %"}};
  for (std::size_t i = 1; i < entries.size(); ++i) {
    const eval::Agreement& found = result.models[i - 1];
    rows.push_back(
        {entries[i].name, text_of(found.divergence, 5), percentile_text(found.divergences, 0.5),
         percentile_text(found.divergences, 0.99), percentile_text(found.divergences, 1),
         text_of(found.same_top.times(100), 2), text_of(found.rms_change.times(100), 3)});
  }
  return table(rows);
}

}  // namespace

void EvalCompare::declare(CLI::App& app) {
  app.add_option("base", base_, "Model that the others are held against: GGUF file or directory")
      ->required();
  app.add_option("models", models_, "Models of the same tokenizer")->required();
  text_.declare(app);
  memory_.declare(app);
  declare_run_options(app, run_, " Of the models, not of the base.");
  app.footer(
      "Every ± of a difference is paired: that of the differences at the same tokens.\n"
      "Example: tender eval compare model.gguf model-w8a8 --text wiki.test.raw --protocol "
      "llama.cpp");
}

void EvalCompare::run(Context& context) const {
  const eval::PerplexityOptions options = text_.validated();
  model::validate(run_);
  const InterruptGuard guard;
  std::vector<std::string> paths = {base_};
  paths.insert(paths.end(), models_.begin(), models_.end());
  std::vector<Entry> entries = open_all(paths);
  std::vector<eval::NamedTokenizer> tokenizers;
  for (const Entry& entry : entries) tokenizers.push_back({entry.name, entry.tokenizer.get()});
  const eval::PerplexityPlan plan =
      eval::plan_comparison(text_.read(options, context.progress()), tokenizers, options);

  std::vector<eval::NamedModel> models;
  std::vector<const io::Checkpoint*> checkpoints;
  std::vector<model::RunOptions> runs;
  for (Entry& entry : entries) {
    const bool base = &entry == &entries.front();
    if (!base && run_.weights == model::BlockWeights::packed) entry.name += ", packed";
    if (!base && run_.kv_bits) entry.name += fmt::format(", KV {} bits", *run_.kv_bits);
    runs.push_back(base ? model::RunOptions{} : run_);
    checkpoints.push_back(entry.checkpoint.get());
  }
  auto opened = eval::open_evaluated(checkpoints, memory_.bytes(), host_isa(), context.pool(),
                                     context.progress(), runs);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    entries[i].model = std::move(opened[i]);
    models.push_back({entries[i].name, entries[i].model.get()});
  }
  const eval::ComparisonResult result = eval::run_comparison(
      models.front(), std::span(models).subspan(1), plan, context.pool(), context.progress());
  context.end_progress();
  for (Entry& entry : entries) entry.size = eval::size_of(*entry.checkpoint, entry.model->facts());
  context.print(fmt::format(
      "{}\n{}\nprotocol {}, {} of {} windows of {} tokens, {} tokens scored, join {}; ± of {}{}\n",
      sizes_text(entries, result), agreement_text(entries, result), plan.protocol->name,
      result.windows, plan.available_windows, plan.seqlen, result.scored_tokens, plan.join,
      plan.protocol->means_of_windows ? "window means" : "tokens",
      interrupted_text(result.interrupted)));
  for (const Entry& entry : entries)
    if (const std::string counts = eval::counts_line(entry.model->facts()); !counts.empty())
      context.print(fmt::format("{}: {}", entry.name, counts));

  OrderedJson json = eval::to_json(plan, result);
  json["base"].update(facts_of(entries.front()));
  json["models"] = OrderedJson::array();
  for (std::size_t i = 1; i < entries.size(); ++i) {
    OrderedJson entry = eval::to_json(result.models[i - 1]);
    entry.update(facts_of(entries[i]));
    json["models"].push_back(std::move(entry));
  }
  json.update(eval::machine_facts(context.pool()));
  context.emit(json);
  if (result.interrupted) context.mark_failed();
}

}  // namespace tender::cli
