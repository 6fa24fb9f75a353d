#include "evidence/runner.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "base/contracts.h"
#include "base/error.h"
#include "base/file_hash.h"
#include "base/hash.h"
#include "base/mapped_file.h"
#include "base/output.h"
#include "compress/quantize.h"
#include "compress/signature.h"
#include "compress/source_name.h"
#include "eval/compare.h"
#include "eval/evaluated_model.h"
#include "eval/model_facts.h"
#include "io/checkpoint.h"
#include "quant/options.h"
#include "quant/registry.h"
#include "text/tokenizer.h"

namespace tender::evidence {
namespace {

namespace fs = std::filesystem;

/// Models that are compared at once: their results are kept when all of them are through.
constexpr std::size_t kModelsAtOnce = 6;
/// Of what is kept of a result: 2 has counts.
constexpr int kResultFormat = 2;

std::string hash_of_files(const io::Checkpoint& checkpoint) {
  std::string all;
  for (const auto& path : checkpoint.files()) all += sha256_of_file(path) + "\n";
  return sha256_hex(all);
}

/// A variant with its options settled for one model.
struct Recipe {
  const Variant* variant;
  std::string options;  ///< resolved
  fs::path place;       ///< of the quantized model
};

/// One model of the request.
class ModelRun {
 public:
  ModelRun(const ReproduceRequest& request, const fs::path& path, Isa isa, ThreadPool& pool,
           Progress& progress, std::set<std::string>& missing)
      : request_(request),
        isa_(isa),
        pool_(pool),
        progress_(progress),
        checkpoint_(io::open_checkpoint(path)),
        tokenizer_(text::open_tokenizer(*checkpoint_)),
        info_(model::read_spec(*checkpoint_).info),
        windows_(request.fit_windows ? compress::fitted(request.windows, info_.context)
                                     : request.windows),
        sites_(model::read_spec(*checkpoint_).sites),
        model_hash_(hash_of_files(*checkpoint_)),
        calibration_hash_(sha256_of_file(request.calibration)) {
    for (const compress::Signature& signature : compress::signatures(Isa::scalar))
      signatures_[signature.method] = signature.hash;
    for (const Variant& variant : request.experiment->variants)
      if (auto recipe = recipe_of(variant))
        recipes_.push_back(std::move(*recipe));
      else
        missing.insert(variant.method);
  }

  /// Lengths of the windows that are evaluated, a table for each: nothing longer than what the
  /// model was made for, unless the request asks for it.
  std::vector<std::size_t> lengths() const {
    if (request_.seqlen) return {*request_.seqlen};
    std::vector<std::size_t> lengths;
    for (const std::size_t asked : request_.experiment->seqlens) {
      const std::size_t length = std::min(asked, std::max<std::size_t>(2, info_.context));
      if (std::ranges::find(lengths, length) == lengths.end()) lengths.push_back(length);
    }
    return lengths;
  }

  void note_cut(std::string_view what, std::size_t asked) const {
    if (asked > info_.context)
      progress_.note(fmt::format("{} was made for {} tokens: {} of {} are cut to that",
                                 compress::source_name(*checkpoint_), info_.context, what, asked));
  }

  /// Reads and cuts all texts, so that what is wrong with one is told before hours of work.
  void check_texts() const {
    const std::size_t longest = std::ranges::max(request_.experiment->seqlens);
    if (!request_.seqlen) note_cut("windows", longest);
    if (request_.fit_windows) note_cut("calibration windows", request_.windows.seqlen);
    for (const std::size_t seqlen : lengths())
      for (const NamedText& text : request_.texts) plan_of(text, seqlen);
  }

  void quantize_all() {
    for (const Recipe& recipe : recipes_) {
      if (fs::exists(recipe.place)) continue;
      progress_.note(fmt::format("quantizing {}: {} {}", compress::source_name(*checkpoint_),
                                 recipe.variant->group, recipe.variant->name));
      compress::QuantizeRequest request;
      request.output = recipe.place;
      request.recipe = {.method = recipe.variant->method,
                        .options = recipe.options,
                        .attention = recipe.variant->attention};
      request.recipe.keep_float = kept_float(*recipe.variant);
      request.calibration = request_.calibration;
      request.windows = windows_;
      request.tool_version = request_.tool_version;
      compress::quantize(*checkpoint_, request, isa_, pool_, progress_);
    }
  }

  OrderedJson table(std::size_t seqlen) {
    OrderedJson table = {{"model", compress::source_name(*checkpoint_)},
                         {"architecture", info_.architecture},
                         {"parameters", info_.parameters},
                         {"seqlen", seqlen},
                         {"calibration_seqlen", windows_.seqlen},
                         {"base", OrderedJson::object()},
                         {"rows", OrderedJson::array()}};
    for (const Recipe& recipe : recipes_)
      table["rows"].push_back({{"group", recipe.variant->group},
                               {"name", recipe.variant->name},
                               {"method", recipe.variant->method},
                               {"options", OrderedJson::parse(recipe.options)},
                               {"attention", attention_json(recipe.variant->attention)},
                               {"remark", recipe.variant->remark},
                               {"x", recipe.variant->x}});
    for (const NamedText& text : request_.texts) fill(table, seqlen, text);
    return table;
  }

 private:
  /// Null in float.
  static OrderedJson attention_json(const std::optional<model::AttentionBits>& attention) {
    if (!attention) return {};
    return {{"bits", attention->rows}, {"kv_bits", attention->cache}};
  }

  /// The kinds of this model's sites that a variant does not name.
  std::vector<std::string> kept_float(const Variant& variant) const {
    std::set<std::string> kinds;
    if (!variant.only.empty())
      for (const model::SiteSpec& site : sites_) kinds.insert(model::site_kind(site.name));
    std::erase_if(kinds, [&](const std::string& kind) {
      return std::ranges::find(variant.only, kind.substr(kind.rfind('.') + 1)) !=
             variant.only.end();
    });
    return {kinds.begin(), kinds.end()};
  }

  std::optional<Recipe> recipe_of(const Variant& variant) const {
    const auto methods = quant::all_methods();
    const auto method = std::ranges::find(methods, variant.method, &quant::MethodEntry::name);
    if (method == methods.end()) return std::nullopt;
    Json options = Json::parse(variant.options);
    for (const auto& item : options.items())
      if (std::ranges::find(method->options, item.key(), &quant::OptionInfo::name) ==
          method->options.end())
        return std::nullopt;
    if (variant.paper_bits != 0)
      if (const auto groups = published_groups(info_, variant.paper_bits))
        options["groups"] = *groups;
    const std::string resolved = method->resolve(options).dump();
    // What a method computes may change from build to build under the same options.
    const std::string name =
        sha256_hex(request_.tool_version + signatures_.at(variant.method) + model_hash_ +
                   variant.method + resolved + to_text(attention_json(variant.attention)) +
                   quant::listed(kept_float(variant)) + calibration_hash_ +
                   fmt::format(" {} {} {}", windows_.samples, windows_.seqlen, windows_.seed))
            .substr(0, 16);
    return Recipe{&variant, resolved, request_.work / "models" / name};
  }

  eval::PerplexityPlan plan_of(const NamedText& text, std::size_t seqlen) const {
    const eval::PerplexityOptions options{
        .protocol = &eval::protocol(request_.protocol), .seqlen = seqlen, .limit = request_.limit};
    const eval::TextInput input =
        eval::read_text(text.path, std::nullopt, options.protocol->known_join,
                        compress::InvalidText::refuse, progress_);
    return eval::plan_perplexity(input, *tokenizer_, options);
  }

  void fill(OrderedJson& table, std::size_t seqlen, const NamedText& text) {
    const eval::PerplexityPlan plan = plan_of(text, seqlen);
    std::vector<std::size_t> wanted;
    for (std::size_t i = 0; i < recipes_.size(); ++i)
      if (!fs::exists(result_place(recipes_[i], plan))) wanted.push_back(i);
    std::size_t most = at_once();
    while (!wanted.empty()) {
      const std::size_t count = std::min(most, wanted.size());
      try {
        compare_some(std::span(wanted).first(count), plan, text);
      } catch (const Error& error) {
        if (error.code() != "LOGITS_NAN" || error.details().item.ends_with(quote(eval::kTheBase)))
          throw;
        if (count > 1) {  // one of these; the others have numbers
          most = count / 2;
          continue;
        }
        keep_failure(recipes_[wanted.front()], plan, error);
      }
      most = at_once();
      wanted.erase(wanted.begin(), wanted.begin() + static_cast<std::ptrdiff_t>(count));
    }
    for (std::size_t i = 0; i < recipes_.size(); ++i) {
      const fs::path place = result_place(recipes_[i], plan);
      OrderedJson result = OrderedJson::parse(read_file(place));
      OrderedJson& row = table["rows"][i];
      if (result.contains("failed")) {
        row["texts"][text.name] = result;
        if (!table["base"].contains(text.name))
          table["base"][text.name] = {{"failed", "not measured"}};
        continue;
      }
      table["base"][text.name] = result.at("base");
      if (const auto printed =
              published(request_.experiment->name, info_, seqlen, text.name, "float"))
        table["base"][text.name]["published"] = *printed;
      row.update(result.at("size"));
      row["texts"][text.name] = result.at("agreement");
      if (const auto printed =
              published(request_.experiment->name, info_, seqlen, text.name,
                        recipes_[i].variant->group + " " + recipes_[i].variant->name))
        row["texts"][text.name]["published"] = *printed;
    }
  }

  fs::path result_place(const Recipe& recipe, const eval::PerplexityPlan& plan) const {
    const std::string key =
        fmt::format("{} {} {} {}", kResultFormat, recipe.place.filename().string(), plan.windows,
                    eval::to_json(plan).dump());
    return request_.work / "results" / (sha256_hex(key).substr(0, 16) + ".json");
  }

  /// How many models are compared with the base at once: as many as are in memory whole with it;
  /// where that is none, since all go layer by layer, those whose embeddings and heads fit in half
  /// of it.
  std::size_t at_once() const {
    const std::uint64_t ends = 2 * info_.vocabulary * info_.width * sizeof(float);
    const auto fit = [&](bool whole) {
      std::size_t models = kModelsAtOnce;
      while (models > 0 &&
             !(whole ? eval::fits_whole((1 + models) * info_.parameters, request_.memory)
                     : (1 + models) * ends <= request_.memory / 2))
        --models;
      return models;
    };
    const std::size_t whole = fit(true);
    return whole > 0 ? whole : std::max<std::size_t>(1, fit(false));
  }

  void keep_failure(const Recipe& recipe, const eval::PerplexityPlan& plan, const Error& error) {
    progress_.note(fmt::format("{} {}: {}", recipe.variant->group, recipe.variant->name,
                               std::string_view(error.what())));
    write_result(recipe, plan, {{"failed", error.code()}});
  }

  void write_result(const Recipe& recipe, const eval::PerplexityPlan& plan,
                    const OrderedJson& json) const {
    OutputFile file(result_place(recipe, plan), Overwrite::replace);
    file.write(to_text(json, 2) + "\n");
    file.commit();
  }

  /// Compares these models with the base and keeps their results.
  void compare_some(std::span<const std::size_t> wanted, const eval::PerplexityPlan& plan,
                    const NamedText& text) {
    const std::size_t count = wanted.size();
    std::vector<std::unique_ptr<io::Checkpoint>> owned;
    std::vector<const io::Checkpoint*> checkpoints = {checkpoint_.get()};
    for (std::size_t m = 0; m < count; ++m) {
      owned.push_back(io::open_checkpoint(recipes_[wanted[m]].place));
      checkpoints.push_back(owned.back().get());
    }
    const auto models = eval::open_evaluated(checkpoints, request_.memory, isa_, pool_, progress_);
    std::vector<eval::NamedModel> named;
    for (std::size_t m = 0; m < count; ++m) {
      const Variant& variant = *recipes_[wanted[m]].variant;
      named.push_back({variant.group + " " + variant.name, models[1 + m].get()});
    }
    progress_.note(fmt::format("evaluating {} models on {}", named.size(), text.name));
    const eval::ComparisonResult result =
        eval::run_comparison({"float", models.front().get()}, named, plan, pool_, progress_);
    if (result.interrupted)
      fail(ErrorKind::io, {.code = "CANCELLED"},
           "cancelled; what was finished before is kept for the next run");
    for (std::size_t m = 0; m < named.size(); ++m) {
      OrderedJson json = {{"base", eval::to_json(plan, result).at("base")},
                          {"windows", result.windows},
                          {"scored_tokens", result.scored_tokens},
                          {"size", eval::to_json(eval::size_of(*owned[m], models[1 + m]->facts()))},
                          {"agreement", eval::to_json(result.models[m])}};
      if (OrderedJson counts = eval::counts_of(models[1 + m]->facts()); !counts.empty())
        json["agreement"]["counts"] = std::move(counts);
      json["size"].erase("file_bytes");  // reports are among the files, and hold times
      json["agreement"]["windows"] = result.windows;
      json["agreement"]["scored_tokens"] = result.scored_tokens;
      write_result(recipes_[wanted[m]], plan, json);
    }
  }

  const ReproduceRequest& request_;
  Isa isa_;
  ThreadPool& pool_;
  Progress& progress_;
  std::unique_ptr<io::Checkpoint> checkpoint_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  model::ModelInfo info_;
  compress::CalibrationWindows windows_;
  std::vector<model::SiteSpec> sites_;
  std::string model_hash_;
  std::string calibration_hash_;
  std::map<std::string, std::string> signatures_;  ///< method → what it computes
  std::vector<Recipe> recipes_;
};

void make_directories(const fs::path& work) {
  for (const char* part : {"models", "results"}) {
    std::error_code error;
    fs::create_directories(work / part, error);
    if (error)
      fail(ErrorKind::io,
           {.code = "IO_WRITE",
            .file = (work / part).string(),
            .found = error.message(),
            .hint = "choose a --work directory that can be written"},
           "cannot be made: {}", error.message());
  }
}

}  // namespace

void validate(const ReproduceRequest& request) {
  compress::validate(request.windows);
  eval::validate({.protocol = &eval::protocol(request.protocol),
                  .seqlen = request.seqlen,
                  .limit = request.limit});
  std::set<std::string> names;
  for (const NamedText& text : request.texts)
    if (text.name.empty() || !names.insert(text.name).second)
      fail(ErrorKind::invalid_argument,
           {.code = "USAGE",
            .item = "--text",
            .found = text.name + "=" + text.path.string(),
            .expected = "NAME=FILE, every name once",
            .hint = "for example --text wiki=wiki.test.raw --text ptb=ptb.valid.txt"},
           "--text {}: expected NAME=FILE, every name once",
           quote(text.name + "=" + text.path.string()));
}

OrderedJson reproduce(const ReproduceRequest& request, Isa isa, ThreadPool& pool,
                      Progress& progress) {
  validate(request);
  OrderedJson document = {{"experiment", request.experiment->name},
                          {"summary", request.experiment->summary},
                          {"protocol", request.protocol},
                          {"calibration",
                           {{"file", request.calibration.filename().string()},
                            {"sha256", sha256_of_file(request.calibration)},
                            {"samples", request.windows.samples},
                            {"seqlen", request.windows.seqlen},
                            {"seed", request.windows.seed}}},
                          {"limit", request.limit ? OrderedJson(*request.limit) : OrderedJson()},
                          {"tables", OrderedJson::array()}};
  std::set<std::string> missing;
  std::vector<std::unique_ptr<ModelRun>> runs;
  for (const fs::path& path : request.models) {
    runs.push_back(std::make_unique<ModelRun>(request, path, isa, pool, progress, missing));
    runs.back()->check_texts();
  }
  make_directories(request.work);
  for (const auto& run : runs) {
    run->quantize_all();
    for (const std::size_t seqlen : run->lengths())
      document["tables"].push_back(run->table(seqlen));
  }
  document["missing"] = missing;
  return document;
}

}  // namespace tender::evidence
