#include "compress/site_pipeline.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "base/contracts.h"
#include "base/error.h"

namespace tender::compress {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kSampleRows = 8;

/// Gives free heap pages back: what a layer needed and what is kept of it alternate on the heap,
/// which would come to hold both.
void trim_heap() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

/// Hands the rows of each site on and keeps kSampleRows of them, from windows and places that are
/// spread over the text.
class Observer : public model::SiteObserver {
 public:
  using Visit = std::function<void(std::size_t site, const Rows& rows)>;
  /// @param attention  takes what enters the attention, or null
  Observer(std::size_t windows, AttentionRanges* attention, Visit visit)
      : windows_(windows), attention_(attention), visit_(std::move(visit)) {}

  void begin_window(std::size_t window) { window_ = window; }
  void observe(std::size_t site, const Rows& rows) override {
    visit_(site, rows);
    for (std::size_t i = 0; i < kSampleRows; ++i)
      if (window_ == i * windows_ / kSampleRows)
        keep(samples_[site], rows, (2 * i + 1) * rows.values.rows() / (2 * kSampleRows));
  }
  void observe_attention(std::size_t, const model::AttentionRows& rows) override {
    if (attention_ != nullptr) attention_->observe(rows);
  }
  SampleRows take_sample(std::size_t site) { return std::move(samples_[site]); }

 private:
  static void keep(SampleRows& sample, const Rows& rows, std::size_t row) {
    if (sample.positions.empty()) sample.values = Matrix(kSampleRows, rows.values.cols());
    std::ranges::copy(rows.values.row(row), sample.values.row(sample.positions.size()).begin());
    sample.positions.push_back(rows.positions[row]);
  }

  std::size_t windows_;
  AttentionRanges* attention_;
  Visit visit_;
  std::size_t window_ = 0;
  std::map<std::size_t, SampleRows> samples_;
};

}  // namespace

class SitePipeline::Impl {
 public:
  Impl(const io::Checkpoint& checkpoint, const model::ModelSpec& spec,
       const model::WeightReader& weights, const quant::MethodEntry& method,
       const std::string& options, Isa isa, ThreadPool& pool, Progress& progress)
      : checkpoint_(checkpoint),
        spec_(spec),
        weights_(weights),
        method_(method),
        options_(Json::parse(options)),
        isa_(isa),
        pool_(pool),
        progress_(progress) {}

  void run(const CalibrationText* text, const StoredCalibration* stored, SiteKeeper& keeper) {
    stored_ = stored;
    keeper_ = &keeper;
    const quant::MethodTraits traits = method_.traits(options_);
    in_order_ = traits.wants_moment;
    ranges_ = traits.wants_inputs && stored == nullptr;
    const bool sees_attention = keeper.wants_attention() && stored == nullptr;
    const bool head = text != nullptr && keeper.wants_head_rows();
    const bool runs = text != nullptr && (in_order_ || ranges_ || sees_attention || head);
    const std::size_t steps = steps_of_layer(runs ? text->windows.size() : 0);
    total_ = spec_.info.layers * steps + (head ? text->windows.size() : 0);
    std::size_t end = spec_.info.layers;  // behind the last layer that lacks
    while (end > 0 && !head && keeper.has(end - 1)) --end;
    if (runs && end > 0) begin(*text);
    for (layer_ = 0; layer_ < end; ++layer_) {
      check_cancelled();
      attention_.reset();
      if (runs && sees_attention) attention_.emplace(spec_.info);
      if (keeper.has(layer_))
        skip_layer();
      else if (!runs)
        each_site([&](std::size_t s) { finish_site(s, ready_quantizer(s), {}); });
      else if (in_order_)
        quantize_layer_in_order();
      else
        quantize_at_once();
      if (runs && in_order_ && (head || layer_ + 1 < end)) advance();
      if (!keeper.has(layer_)) {
        finish_attention();
        keeper.end_layer(layer_);
      }
      done_ = (layer_ + 1) * steps;
      tell("layer is done");
      trim_heap();
    }
    if (head) show_head_rows();
    rows_.clear();
    model_.reset();
  }

 private:
  void show_head_rows() {
    for (Matrix& rows : rows_) {
      check_cancelled();
      model_->finish(rows.view(), pool_);
      std::vector<std::int32_t> positions(rows.rows());
      std::iota(positions.begin(), positions.end(), 0);
      keeper_->observe_head({rows.view(), positions});
      progress_.update(std::min(++done_, total_), total_, "calibrating " + spec_.head.name);
    }
  }

  template <class Body>
  void each_site(Body&& body) {
    const auto [first, end] = spec_.sites_of(layer_);
    for (std::size_t s = first; s < end; ++s)
      if (keeper_->wants(s)) body(s);
  }

  void check_cancelled() const {
    if (progress_.cancelled())
      fail(ErrorKind::io, {.code = "CANCELLED"}, "cancelled; the output was not written");
  }

  /// Units of progress: a window through a part of a layer, and a site.
  std::size_t steps_of_layer(std::size_t windows) const {
    std::size_t sites = 0;  // of the first layer, as of each
    const auto [first, end] = spec_.sites_of(0);
    for (std::size_t s = first; s < end; ++s) sites += keeper_->wants(s) ? 1U : 0U;
    if (!in_order_) return windows + sites;
    return windows * (sites * (ranges_ ? 2 : 1) + 2) + sites;  // 2: on through each part
  }

  void tell(const std::string& what) {
    progress_.update(std::min(done_, total_), total_,
                     fmt::format("{}, layer {} of {}", what, layer_ + 1, spec_.info.layers));
  }

  void begin(const CalibrationText& text) {
    model_ = model::load_layerwise(checkpoint_, spec_, weights_, isa_, progress_);
    if (text.asked.seqlen > spec_.info.context)
      progress_.note(
          fmt::format("windows of {} tokens are longer than the {} this model was made for",
                      text.asked.seqlen, spec_.info.context));
    for (const auto& window : text.windows) {
      rows_.emplace_back(window.size(), spec_.info.width);
      model_->embed(window, rows_.back().view(), pool_);
    }
    entered_.reset();
    behind_attention_ = false;
  }

  void enter() {
    if (entered_ == layer_) return;
    model_->enter(layer_);
    entered_ = layer_;
  }

  /// All windows through a part of the layer, in place.
  void pass(model::LayerPart part, Observer* observer) {
    enter();
    each_window(observer, [&](Matrix& rows) {
      model_->run(rows.view(), pool_, observer, std::nullopt, part);
    });
  }
  /// All windows from where they stand to a site at whose rows the passes end; they stay there.
  void show_rows_of(std::size_t site, Observer& observer) {
    enter();
    const bool behind = site >= spec_.first_mlp_site(layer_);
    require(behind == behind_attention_, "the rows stand before the part of the site");
    const auto part = behind ? model::LayerPart::mlp : model::LayerPart::attention;
    each_window(&observer, [&](const Matrix& rows) {
      Matrix copy = rows.copy();
      model_->run(copy.view(), pool_, &observer, site, part);
    });
  }
  template <class Body>
  void each_window(Observer* observer, Body&& body) {
    for (std::size_t w = 0; w < rows_.size(); ++w) {
      check_cancelled();
      if (observer != nullptr) observer->begin_window(w);
      body(rows_[w]);
      ++done_;
      tell("calibrating");
    }
  }

  /// What is left of the layer for rows where they stand.
  model::LayerPart remaining_part() const {
    return behind_attention_ ? model::LayerPart::mlp : model::LayerPart::whole;
  }
  /// The rows come to stand behind the attention, whose sites do not change any more: what looks at
  /// the MLP begins there.
  void advance_past_attention() {
    Observer observer(rows_.size(), attention(), [](std::size_t, const Rows&) {});
    pass(model::LayerPart::attention, attention() == nullptr ? nullptr : &observer);
    behind_attention_ = true;
  }
  void advance() {
    pass(remaining_part(), nullptr);
    behind_attention_ = false;
  }

  /// A layer that an interrupted run has left: its sites stand in for the float ones where the rows
  /// of the next layer come out of them.
  void skip_layer() {
    if (model_ == nullptr) return;
    if (!in_order_) return advance();
    enter();
    each_site([&](std::size_t s) {
      auto packed = keeper_->load(s);
      packed->prepare(isa_);
      model_->replace(s, std::move(packed));
    });
  }

  /// One that has seen what was stored, if anything was.
  std::unique_ptr<quant::SiteQuantizer> ready_quantizer(std::size_t site) const {
    auto quantizer = method_.quantizer(options_, spec_.sites[site].shape);
    if (stored_ != nullptr) stored_->load(spec_.sites[site].name, *quantizer);
    return quantizer;
  }

  void quantize_at_once() {
    std::map<std::size_t, std::unique_ptr<quant::SiteQuantizer>> quantizers;
    each_site([&](std::size_t s) { quantizers[s] = ready_quantizer(s); });
    Observer observer(rows_.size(), attention(), [&](std::size_t site, const Rows& rows) {
      if (ranges_ && keeper_->wants(site)) quantizers.at(site)->observe(rows);
    });
    pass(model::LayerPart::whole, &observer);
    each_site([&](std::size_t s) {
      if (ranges_) keeper_->keep_calibration(s, *quantizers[s]);
      finish_site(s, std::move(quantizers[s]), observer.take_sample(s));
    });
  }

  void quantize_layer_in_order() {
    each_site([&](std::size_t s) {
      if (s >= spec_.first_mlp_site(layer_) && !behind_attention_) advance_past_attention();
      quantize_in_order(s);
    });
    if (attention() != nullptr && !behind_attention_) advance_past_attention();
  }

  void quantize_in_order(std::size_t site) {
    auto quantizer = ready_quantizer(site);
    if (ranges_) {
      Observer ranges(rows_.size(), nullptr,
                      only(site, [&](const Rows& x) { quantizer->observe(x); }));
      show_rows_of(site, ranges);
      keeper_->keep_calibration(site, *quantizer);
    }
    const std::vector<Matrix> weights = weights_of(site);
    quantizer->settle(views_of(weights));
    Observer rounded(rows_.size(), nullptr, only(site, [&](const Rows& x) {
                       quantizer->observe_rounded(x, isa_, pool_);
                     }));
    show_rows_of(site, rounded);
    auto packed = finish_site(site, std::move(quantizer), rounded.take_sample(site));
    model_->replace(site, std::move(packed));
  }

  AttentionRanges* attention() { return attention_ ? &*attention_ : nullptr; }

  void finish_attention() {
    if (!keeper_->wants_attention()) return;
    if (stored_ != nullptr)
      attention_.emplace(spec_.info).load(stored_->parts(model::kv_owner(spec_, layer_)));
    if (attention_) keeper_->keep_attention(layer_, *attention_);
  }

  static Observer::Visit only(std::size_t wanted, std::function<void(const Rows&)> visit) {
    return [wanted, visit = std::move(visit)](std::size_t site, const Rows& rows) {
      if (site == wanted) visit(rows);
    };
  }

  std::vector<Matrix> weights_of(std::size_t site) const {
    std::vector<Matrix> weights;
    for (const std::string& linear : spec_.sites[site].linears)
      weights.push_back(weights_.matrix(linear + ".weight"));
    return weights;
  }
  static std::vector<MatrixView<const float>> views_of(const std::vector<Matrix>& weights) {
    std::vector<MatrixView<const float>> views;
    for (const Matrix& matrix : weights) views.push_back(matrix.view());
    return views;
  }

  /// @return the site, prepared where rows were seen
  std::unique_ptr<quant::PackedSite> finish_site(std::size_t site,
                                                 std::unique_ptr<quant::SiteQuantizer> quantizer,
                                                 const SampleRows& sample) {
    check_cancelled();
    tell("quantizing " + spec_.sites[site].name);
    const std::vector<Matrix> weights = weights_of(site);
    const auto views = views_of(weights);
    const auto start = Clock::now();
    auto packed = quantizer->quantize(views, pool_);
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    keeper_->keep({site, *packed, views, sample, seconds});
    if (!sample.positions.empty()) {
      packed->prepare(isa_);
      // A few rows from anywhere are no chunk: what they say of one would mislead.
      if (packed->inputs() != quant::InputRounding::by_chunk)
        keeper_->measure({site, *packed, views, sample, seconds});
    }
    for (const std::string& linear : spec_.sites[site].linears)
      weights_.release(linear + ".weight");
    ++done_;
    return packed;
  }

  const io::Checkpoint& checkpoint_;
  const model::ModelSpec& spec_;
  const model::WeightReader& weights_;
  const quant::MethodEntry& method_;
  Json options_;
  Isa isa_;
  ThreadPool& pool_;
  Progress& progress_;
  const StoredCalibration* stored_ = nullptr;
  SiteKeeper* keeper_ = nullptr;
  std::unique_ptr<model::LayerwiseModel> model_;
  /// Of each window, what enters the layer or stands behind its attention.
  std::vector<Matrix> rows_;
  bool in_order_ = false;  ///< a site sees rows of sites that are quantized already
  bool ranges_ = false;    ///< rows are shown before a site is settled as well
  std::optional<AttentionRanges> attention_;  ///< of the layer, where it is seen or stored
  std::size_t layer_ = 0;
  bool behind_attention_ = false;  ///< where rows_ stand
  std::optional<std::size_t> entered_;
  std::size_t done_ = 0;
  std::size_t total_ = 0;
};

SitePipeline::SitePipeline(const io::Checkpoint& checkpoint, const model::ModelSpec& spec,
                           const model::WeightReader& weights, const quant::MethodEntry& method,
                           const std::string& options, Isa isa, ThreadPool& pool,
                           Progress& progress)
    : impl_(std::make_unique<Impl>(checkpoint, spec, weights, method, options, isa, pool,
                                   progress)) {}
SitePipeline::~SitePipeline() = default;

void SitePipeline::run(const CalibrationText* text, const StoredCalibration* stored,
                       SiteKeeper& keeper) {
  impl_->run(text, stored, keeper);
}

}  // namespace tender::compress
