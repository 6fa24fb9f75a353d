#include "compress/quantize.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/contracts.h"
#include "base/error.h"
#include "base/file_hash.h"
#include "base/hash.h"
#include "base/memory.h"
#include "compress/calibration.h"
#include "compress/float_tensors.h"
#include "compress/head.h"
#include "compress/journal.h"
#include "compress/measure.h"
#include "compress/site_pipeline.h"
#include "compress/source_name.h"
#include "compress/stored_parts.h"
#include "model/model.h"
#include "quant/options.h"
#include "quant/registry.h"
#include "text/tokenizer.h"

namespace tender::compress {
namespace {

using Clock = std::chrono::steady_clock;
// In a journal, whose layers hold what becomes of the output and what becomes of the calibration.
constexpr const char* kPartsPrefix = "parts/";
constexpr const char* kAttentionPrefix = "attention/";
constexpr const char* kSeenPrefix = "seen/";

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void check_cancelled(const Progress& progress) {
  if (progress.cancelled())
    fail(ErrorKind::io, {.code = "CANCELLED"}, "cancelled; nothing was written");
}

/// One run of quantize(): what it knows grows from step to step.
class Run : public SiteKeeper {
 public:
  Run(const io::Checkpoint& checkpoint, const QuantizeRequest& request, Isa isa, ThreadPool& pool,
      Progress& progress)
      : checkpoint_(checkpoint),
        request_(request),
        isa_(isa),
        pool_(pool),
        progress_(progress),
        method_(quant::method(request.recipe.method)),
        spec_(model::read_spec(checkpoint)),
        weights_(checkpoint, spec_) {}

  Report quantize() {
    prepare();
    journal_ = std::make_unique<Journal>(request_.output, run_fingerprint(), request_.restart);
    check_journal();
    if (journal_->layers() > 0)
      progress_.note(fmt::format("continuing an interrupted run: {} of {} layers are done",
                                 journal_->layers(), spec_.info.layers));
    if (const int bits = request_.recipe.head_bits; bits != 0)
      head_.emplace(spec_, weights_, bits, text_ && wants_head_rows());
    SitePipeline pipeline(checkpoint_, spec_, weights_, method_, report_.options, isa_, pool_,
                          progress_);
    pipeline.run(text_ && wants_text_ ? &*text_ : nullptr, stored_ ? &*stored_ : nullptr, *this);
    write();
    if (request_.save_calibration) {
      Fingerprint seen = fingerprint(&*text_);
      seen["options"] = report_.options;  // what is merged with it has the same
      save_calibration(*request_.save_calibration, request_.overwrite, journal_->list(kSeenPrefix),
                       seen);
    }
    journal_->discard();
    return std::move(report_);
  }

  /// Whole layers are used as they are, so they are looked at before anything is built on them.
  void check_journal() const {
    for (std::size_t layer = 0; layer < spec_.info.layers; ++layer) {
      if (!journal_->has(layer)) continue;
      try {
        layers_of_note(journal_->note(layer));
        const auto [first, end] = spec_.sites_of(layer);
        for (std::size_t s = first; s < end; ++s)
          if (wants(s)) load(s);
      } catch (const nlohmann::json::exception& error) {
        journal_->refuse(layer, error.what());
      } catch (const Error& error) {
        journal_->refuse(layer, error.sentence());
      }
    }
  }

  bool wants(std::size_t site) const override {
    return !float_sites_.contains(spec_.sites[site].name);
  }

  bool has(std::size_t layer) const override { return journal_->has(layer); }

  std::unique_ptr<quant::PackedSite> load(std::size_t site) const override {
    return model::load_packed(method_, journal_->parts(), spec_.sites[site], kPartsPrefix);
  }

  void keep_calibration(std::size_t site, const quant::SiteQuantizer& seen) override {
    if (!request_.save_calibration) return;
    StoredParts::Sink sink(parts_, kSeenPrefix + spec_.sites[site].name);
    seen.save_calibration(sink);
  }

  void keep(const QuantizedSite& quantized) override {
    const model::SiteSpec& site = spec_.sites[quantized.index];
    const std::vector<std::size_t> bytes = save_site(quantized.packed, site, parts_, kPartsPrefix);
    for (std::size_t l = 0; l < site.linears.size(); ++l)
      layers_.push_back(
          {.name = site.linears[l],
           .method = std::string(method_.name),
           .site = site.name,
           .rows = quantized.packed.describe(),
           .source = std::string(to_string(weights_.stored(site.linears[l] + ".weight").type)),
           .out = site.shape.outs[l],
           .in = site.shape.in,
           .bytes = bytes[l],
           .relative_error = relative_error(quantized.packed, l, quantized.weights[l]),
           .seconds = quantized.seconds / static_cast<double>(site.linears.size())});
  }

  void measure(const QuantizedSite& quantized) override {
    const auto& sample = quantized.sample;
    const std::size_t rows = sample.positions.size();
    const auto& weights = quantized.weights;
    std::vector<Matrix> got;
    std::vector<quant::SiteOutput> outputs;
    for (const auto& w : weights) got.emplace_back(rows, w.rows());
    for (Matrix& matrix : got) outputs.push_back({matrix.view(), {}});
    quantized.packed.matmul({sample.values.view().rows_from(0, rows), sample.positions}, outputs,
                            pool_);
    for (std::size_t l = 0; l < weights.size(); ++l)
      layers_[layers_.size() - weights.size() + l].sqnr_db =
          output_sqnr(sample, weights[l], got[l].view());
  }

  bool wants_attention() const override { return request_.recipe.attention.has_value(); }

  void keep_attention(std::size_t layer, const AttentionRanges& ranges) override {
    const std::string owner = model::kv_owner(spec_, layer);
    StoredParts::Sink sink(parts_, kAttentionPrefix + owner);
    model::save_kv_statics(ranges.settle(owner), spec_.info, sink);
    if (!request_.save_calibration) return;
    StoredParts::Sink seen(parts_, kSeenPrefix + owner);
    ranges.save(seen);
  }

  bool wants_head_rows() const override {
    return request_.recipe.head_bits != 0 && HeadQuantizer::wants_rows(request_.recipe.head_bits);
  }
  void observe_head(const Rows& rows) override { head_->observe(rows, isa_, pool_); }

  void end_layer(std::size_t layer) override {
    journal_->put(layer, parts_, layers_note(layers_));
    parts_ = {};
    layers_.clear();
  }

 private:
  void prepare() {
    report_.method = method_.name;
    report_.options = method_.resolve(Json::parse(request_.recipe.options)).dump();
    report_.attention = request_.recipe.attention;
    report_.float_type = std::string(to_string(request_.recipe.float_type));
    report_.threads = pool_.threads();
    refuse_quantized();
    choose_float_sites();
    read_tokenizer();
    if (request_.calibration)  // a wrong text is told before the weights are read
      text_ = read_calibration_text(*request_.calibration, *tokenizer_, windows(),
                                    request_.invalid_text, progress_);
    describe_source();
    find_calibration();
    check_weights(spec_, weights_, request_.recipe.float_type, quantized_, progress_);
  }

  void refuse_quantized() const {
    for (const model::SiteSpec& site : spec_.sites)
      if (weights_.is_quantized(site)) refuse_quantized(site.name);
    if (weights_.is_quantized(spec_.head)) refuse_quantized(spec_.head.name);
    if (model::stored_attention_bits(checkpoint_)) refuse_quantized("attention");
  }
  [[noreturn]] void refuse_quantized(const std::string& item) const {
    fail(ErrorKind::invalid_input,
         {.code = "Q_ALREADY",
          .file = checkpoint_.path().string(),
          .item = item,
          .found = "a quantized model",
          .expected = "a float model",
          .hint = "quantize the original; `tender convert` makes a float model of this one"},
         "is quantized already");
  }

  /// Each of the recipe's kinds has to be one of the model, and some site has to be left.
  void choose_float_sites() {
    std::set<std::string> kinds, kept;
    for (const model::SiteSpec& site : spec_.sites) kinds.insert(model::site_kind(site.name));
    for (const std::string& name : request_.recipe.keep_float) {
      auto kind = kinds.find(name);
      if (kind == kinds.end())
        kind = std::ranges::find_if(
            kinds, [&](const std::string& each) { return each.ends_with("." + name); });
      if (kind == kinds.end()) refuse_kinds(quote(name) + " is no kind of site of it", name, kinds);
      kept.insert(*kind);
    }
    if (kept == kinds) refuse_kinds("nothing is left to quantize", quant::listed(kept), kinds);
    for (const model::SiteSpec& site : spec_.sites)
      if (kept.contains(model::site_kind(site.name))) float_sites_.insert(site.name);
    quantized_ = quantized_weights(spec_, request_.recipe.head_bits != 0, float_sites_);
    report_.keep_float.assign(kept.begin(), kept.end());
  }
  [[noreturn]] void refuse_kinds(const std::string& why, const std::string& found,
                                 const std::set<std::string>& kinds) const {
    fail(ErrorKind::invalid_argument,
         {.code = "KEEP_FLOAT",
          .file = checkpoint_.path().string(),
          .item = "keep-float",
          .found = found,
          .expected = fmt::format("some of {}, not all", quant::listed(kinds)),
          .hint = "name kinds of sites, not layers: --keep-float down_proj"},
         "{}; sites that may stay float: some of {}, not all", why, quant::listed(kinds));
  }

  CalibrationWindows windows() const {
    return request_.fit_windows ? fitted(request_.windows, spec_.info.context) : request_.windows;
  }

  void describe_source() {
    report_.source_name = source_name(checkpoint_);
    report_.container = checkpoint_.container();
    report_.architecture = spec_.info.architecture;
    report_.model_type = spec_.info.model_type;
    report_.parameters = spec_.info.parameters;
    std::string all;
    for (const auto& path : checkpoint_.files()) {
      check_cancelled(progress_);
      report_.files.push_back(
          {path.filename().string(), std::filesystem::file_size(path), sha256_of_file(path)});
      all += report_.files.back().sha256 + "\n";
    }
    source_hash_ = sha256_hex(all);
    kept_ = remaining_float(spec_, weights_, quantized_);
    for (const model::TensorSpec& tensor : spec_.tensors)
      if (weights_.has(tensor.name))
        report_.source_bytes += weights_.stored(tensor.name).bytes.size();
    for (const std::string& name : kept_)
      ++report_.kept_from[std::string(to_string(weights_.stored(name).type))];
  }

  /// A model without tokenizer files can be quantized where no text is needed.
  void read_tokenizer() try {
    tokenizer_ = text::open_tokenizer(checkpoint_);
    files_ = text::tokenizer_files(checkpoint_);
  } catch (const Error& error) {
    if (request_.calibration || error.code() != "TK_MISSING") throw;
    progress_.note("the model has no tokenizer; the result will have none either");
  }

  Fingerprint fingerprint(const CalibrationText* text) const {
    Fingerprint fingerprint = {{"model", source_hash_}, {"method", std::string(method_.name)}};
    if (text == nullptr) return fingerprint;
    const OrderedJson described = text->describe();
    for (const auto& item : described.items())
      fingerprint["calibration." + item.key()] = item.value().dump();
    return fingerprint;
  }

  /// Where ranges and rows come from.
  void find_calibration() {
    const quant::MethodTraits traits = method_.traits(Json::parse(report_.options));
    wants_text_ =
        traits.wants_moment || traits.wants_inputs || wants_attention() || wants_head_rows();
    if (request_.load_calibration) {
      Fingerprint expected = fingerprint(text_ ? &*text_ : nullptr);
      expected.erase("calibration.file");  // the text counts, not its name
      stored_.emplace(*request_.load_calibration, expected);
      report_.calibration = calibration_of(stored_->fingerprint()).dump();
      if (wants_attention() && !stored_->parts(model::kv_owner(spec_, 0)).find("key_low"))
        fail(ErrorKind::invalid_input,
             {.code = "CK_CALIBRATION",
              .file = request_.load_calibration->string(),
              .found = "a calibration without the ranges of attention",
              .expected = "one that was saved with --attention-bits",
              .hint = "calibrate again with --attention-bits, or leave it out"},
             "holds no ranges of attention");
    } else if (text_ && !wants_text_) {
      progress_.note(fmt::format(
          "{} with these options looks at weights alone; the calibration text is not used",
          method_.name));
    } else if (text_) {
      report_.calibration = text_->describe().dump();
    } else if (wants_attention()) {
      progress_.note(
          "attention is not calibrated: a text (--calibration) gives it biases and groups of "
          "channels");
    }
    if (!text_ && wants_head_rows())
      progress_.note(
          "the head's weights are rounded to nearest: a text (--calibration) lets their codes make "
          "up for the rounding");
  }

  /// What a run must share with the one that it continues.
  Fingerprint run_fingerprint() const {
    Fingerprint run = fingerprint(text_ && wants_text_ ? &*text_ : nullptr);
    run["options"] = report_.options;
    if (!report_.keep_float.empty()) run["float sites"] = quant::listed(report_.keep_float);
    run["head bits"] = std::to_string(request_.recipe.head_bits);
    if (const auto& attention = request_.recipe.attention)
      run["attention"] = fmt::format("{} bits, KV {} bits", attention->rows, attention->cache);
    run["tender"] = request_.tool_version;  // another version may choose other codes
    if (request_.load_calibration)
      run["stored calibration"] = sha256_of_file(*request_.load_calibration);
    if (request_.save_calibration) run["keeps its calibration"] = "yes";
    return run;
  }

  void write() {
    OutputDirectory directory(request_.output, request_.overwrite);
    std::vector<io::TensorToWrite> tensors;
    collect_layers(tensors);
    StoredParts head;
    if (head_) {
      progress_.update(1, 1, "quantizing " + spec_.head.name);
      check_cancelled(progress_);
      report_.head = head_->quantize(head, pool_);
    }
    head.list(tensors);
    for (const std::string& name : kept_)
      tensors.push_back(float_tensor(weights_, name, request_.recipe.float_type));
    const auto written = io::write_safetensors(directory.path(), std::move(tensors),
                                               {{"tender_source", source_hash_}});
    report_.stored_bytes = written.bytes;
    report_.tensors = written.xxh3;
    files_["config.json"] = config();
    if (const auto generation = generation_config()) files_["generation_config.json"] = *generation;
    files_["README.md"] = model_card(report_);
    report_.seconds = seconds_since(start_);
    report_.peak_resident_bytes = peak_resident_bytes();
    files_["tender_report.json"] = to_text(report_json(report_, request_.tool_version), 2) + "\n";
    for (const auto& [name, content] : files_) {
      OutputFile file(directory.path() / name, Overwrite::refuse);
      file.write(content);
      file.commit();
    }
    directory.commit();
  }

  /// Parts and reports of all layers, as the journal has them.
  void collect_layers(std::vector<io::TensorToWrite>& tensors) {
    for (std::size_t layer = 0; layer < spec_.info.layers; ++layer)
      for (LayerReport& each : layers_of_note(journal_->note(layer))) {
        ++report_.quantized_from[each.source];
        report_.layers.push_back(std::move(each));
      }
    for (const char* prefix : {kPartsPrefix, kAttentionPrefix})
      for (io::TensorToWrite& part : journal_->list(prefix)) tensors.push_back(std::move(part));
    report_.quantized_bytes = journal_->bytes(kPartsPrefix);
  }

  std::string config() const {
    const DType type = request_.recipe.float_type;
    OrderedJson config = OrderedJson::object();
    const OrderedJson original = OrderedJson::parse(spec_.config_json);
    for (const auto& item : original.items())
      if (item.key() != "dtype")
        config[item.key()] = item.value();  // the newer name of torch_dtype
    config["torch_dtype"] = type == DType::f32   ? "float32"
                            : type == DType::f16 ? "float16"
                                                 : "bfloat16";
    config["quantization_config"] = {{"quant_method", method_.name},
                                     {"format_version", 1},
                                     {"options", OrderedJson::parse(report_.options)},
                                     {"layers", OrderedJson::object()},
                                     {"ignore", OrderedJson::array()}};
    OrderedJson& quantization = config["quantization_config"];
    for (const model::SiteSpec& site : spec_.sites)
      if (float_sites_.contains(site.name)) quantization["ignore"].push_back(site.name);
    if (head_)
      quantization["layers"][spec_.head.name] = head_->config();
    else
      quantization["ignore"].push_back(spec_.head.name);
    if (const auto& attention = request_.recipe.attention)
      quantization["attention"] = {{"bits", attention->rows}, {"kv_bits", attention->cache}};
    return to_text(config, 2) + "\n";
  }

  /// As read, or what the tokenizer of a GGUF file says of the ends of a text.
  std::optional<std::string> generation_config() const {
    if (auto given = checkpoint_.read("generation_config.json")) return given;
    if (!tokenizer_ || checkpoint_.gguf() == nullptr) return std::nullopt;
    const text::SpecialTokens& special = tokenizer_->special();
    OrderedJson json = OrderedJson::object();
    if (special.bos) json["bos_token_id"] = *special.bos;
    if (special.end_of_text.size() == 1) json["eos_token_id"] = special.end_of_text.front();
    if (special.end_of_text.size() > 1) json["eos_token_id"] = special.end_of_text;
    if (special.padding) json["pad_token_id"] = *special.padding;
    if (json.empty()) return std::nullopt;
    return to_text(json, 2) + "\n";
  }

  const io::Checkpoint& checkpoint_;
  const QuantizeRequest& request_;
  const Isa isa_;
  ThreadPool& pool_;
  Progress& progress_;
  const Clock::time_point start_ = Clock::now();
  const quant::MethodEntry& method_;
  const model::ModelSpec spec_;
  const model::WeightReader weights_;
  std::string source_hash_;            ///< of all files of the source
  std::set<std::string> float_sites_;  ///< names
  std::set<std::string> quantized_;    ///< names of weights
  std::vector<std::string> kept_;      ///< float tensors of the result
  std::unique_ptr<text::Tokenizer> tokenizer_;
  std::optional<CalibrationText> text_;
  std::map<std::string, std::string> files_;  ///< small files of the result by name
  bool wants_text_ = false;
  std::optional<StoredCalibration> stored_;
  std::optional<HeadQuantizer> head_;
  std::unique_ptr<Journal> journal_;
  StoredParts parts_;                ///< of the layer at hand
  std::vector<LayerReport> layers_;  ///< of the layer at hand
  Report report_;
};

}  // namespace

Report quantize(const io::Checkpoint& checkpoint, const QuantizeRequest& request, Isa isa,
                ThreadPool& pool, Progress& progress) {
  validate(request);
  refuse_source(request.output, checkpoint);
  check_writable(request.output, request.overwrite);
  if (request.save_calibration) check_writable(*request.save_calibration, request.overwrite);
  return Run(checkpoint, request, isa, pool, progress).quantize();
}

}  // namespace tender::compress
