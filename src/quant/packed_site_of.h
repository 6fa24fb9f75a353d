#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/contracts.h"
#include "base/error.h"
#include "quant/method.h"
#include "quant/options.h"
#include "quant/packed_site.h"
#include "quant/registry.h"

namespace tender::quant {

/// Any method behind the one face that models know; nobody writes an adapter.
template <Method M>
class PackedSiteOf final : public PackedSite {
 public:
  PackedSiteOf(typename M::Input input, std::vector<typename M::Packed> linears)
      : input_(std::move(input)), linears_(std::move(linears)) {}

  std::string_view method() const override { return M::kName; }
  InputRounding inputs() const override { return M::rounding(input_); }
  std::string describe() const override { return M::describe(input_); }
  std::size_t linears() const override { return linears_.size(); }
  LinearShape shape(std::size_t linear) const override { return M::shape(linears_.at(linear)); }

  std::size_t bytes() const override {
    std::size_t bytes = M::input_bytes(input_);
    for (const auto& packed : linears_) bytes += M::bytes(packed);
    return bytes;
  }

  std::size_t resident_bytes() const override {
    require(prepared_, "a site takes its memory with prepare()");
    std::size_t bytes = M::resident_bytes(input_);
    for (const auto& packed : linears_) bytes += M::resident_bytes(packed);
    return bytes;
  }

  double activation_bits() const override { return M::activation_bits(input_); }

  SiteCounts counts() const override {
    return {rows_.load(kRelaxed), values_.load(kRelaxed), clipped_.load(kRelaxed),
            beyond_.load(kRelaxed)};
  }

  /// Kernels of all layers, each named once.
  std::string kernel() const override {
    require(prepared_, "a site has a kernel after prepare()");
    std::string names;
    for (const auto& packed : linears_) {
      const std::string name = M::kernel(input_, packed);
      if (names.find(name) == std::string::npos) names += (names.empty() ? "" : "; ") + name;
    }
    return names;
  }

  bool makes_rows() const override {
    if constexpr (may_make_rows)
      return M::makes_rows(input_);
    else
      return false;
  }

  void matmul(const Rows& x, std::span<const SiteOutput> outputs, ThreadPool& pool) const override {
    require(prepared_, "a site is prepared before the first product");
    require(outputs.size() == linears_.size(), "one output for every layer of a site");
    check_rows(x);
    require(x.make == nullptr || makes_rows(), "rows are there unless a site makes them");
    for (std::size_t l = 0; l < outputs.size(); ++l) {
      const SiteOutput& output = outputs[l];
      require(output.y.rows() == x.values.rows() && output.y.cols() == shape(l).out,
              "y[tokens, out] = x[tokens, in] * W[out, in]^T");
      require(output.epilogue.bias.empty() || output.epilogue.bias.size() == shape(l).out,
              "bias is [out]");
    }
    if (x.values.rows() == 0) return;
    const typename M::Rounded rounded = M::round(input_, x, pool);
    if constexpr (counts_rows) add(M::counts(input_, x, rounded));
    const auto products = [&](ThreadPool& threads) {
      for (std::size_t l = 0; l < outputs.size(); ++l)
        M::matmul(input_, linears_[l], rounded, outputs[l].y, outputs[l].epilogue, threads);
    };
    if (outputs.size() > 1 && M::forks_apart(input_))
      pool.for_each_share(products);  // one fork for all layers
    else
      products(pool);
  }

  void reference(const Rows& x, std::size_t linear, MatrixView<double> y) const override {
    require(!prepared_, "the reference reads the bytes as stored, before prepare()");
    check_rows(x);
    require(x.make == nullptr, "the reference reads rows that are there");
    require(y.rows() == x.values.rows() && y.cols() == shape(linear).out,
            "y[tokens, out] = x[tokens, in] * W[out, in]^T");
    M::reference(input_, linears_.at(linear), x, y);
  }

  bool reads_rows() const override { return has_rows; }

  void read_row(std::size_t linear, std::size_t output, std::span<float> w) const override {
    require(prepared_, "rows are read after prepare()");
    if constexpr (has_rows)
      M::read_row(linears_.at(linear), output, w);
    else
      PackedSite::read_row(linear, output, w);
  }

  void dequantize(std::size_t linear, MatrixView<float> w) const override {
    require(!prepared_, "weights are read from the bytes as stored, before prepare()");
    require(LinearShape{w.rows(), w.cols()} == shape(linear), "w is [out, in]");
    M::dequantize(input_, linears_.at(linear), w);
  }

  void save(PartSink& site, std::span<PartSink* const> linears) const override {
    require(!prepared_, "a site is saved from the bytes as stored, before prepare()");
    require(linears.size() == linears_.size(), "one sink for every layer of a site");
    M::save_input(input_, site);
    for (std::size_t l = 0; l < linears.size(); ++l) M::save(linears_[l], *linears[l]);
  }

  void prepare(Isa isa) override {
    require(!prepared_, "a site is prepared once");
    M::prepare(input_, isa);
    for (auto& packed : linears_) M::prepare(input_, packed, isa);
    prepared_ = true;
  }

 private:
  /// A method with calibrated ranges may say what rows have met: M::counts(input, x, rounded).
  static constexpr bool counts_rows =
      requires(const typename M::Input& input, const Rows& x, const typename M::Rounded& rounded) {
    { M::counts(input, x, rounded) } -> std::same_as<SiteCounts>;
  };
  /// A method may make rows as it rounds them: M::makes_rows(input).
  static constexpr bool may_make_rows = requires(const typename M::Input& input) {
    { M::makes_rows(input) } -> std::same_as<bool>;
  };
  /// A method may give an output's weights back after prepare(): M::read_row(packed, output, w).
  static constexpr bool has_rows =
      requires(const typename M::Packed& packed, std::size_t output, std::span<float> w) {
    { M::read_row(packed, output, w) } -> std::same_as<void>;
  };
  static constexpr std::memory_order kRelaxed = std::memory_order_relaxed;

  // Products are const and may run at the same time: sums of atomics come out the same.
  void add(const SiteCounts& more) const {
    rows_.fetch_add(more.rows, kRelaxed);
    values_.fetch_add(more.values, kRelaxed);
    clipped_.fetch_add(more.clipped, kRelaxed);
    beyond_.fetch_add(more.beyond, kRelaxed);
  }
  void check_rows(const Rows& x) const {
    require(x.values.cols() == shape(0).in, "x is [tokens, in]");
    require(x.positions.size() == x.values.rows(), "every row has a position");
  }

  typename M::Input input_;
  std::vector<typename M::Packed> linears_;
  bool prepared_ = false;
  mutable std::atomic<std::uint64_t> rows_{0}, values_{0}, clipped_{0}, beyond_{0};
};

template <Method M>
class SiteQuantizerOf final : public SiteQuantizer {
 public:
  SiteQuantizerOf(M method, SiteShape shape)
      : method_(std::move(method)), shape_(std::move(shape)), seen_(method_.calibrate(shape_)) {}

  void observe(const Rows& rows) override {
    require(rows.values.cols() == shape_.in && rows.positions.size() == rows.values.rows(),
            "calibration rows are [tokens, in], each with a position");
    seen_.observe(rows);
  }
  void save_calibration(PartSink& sink) const override { seen_.save(sink); }
  void load_calibration(const PartSource& source) override {
    seen_ = method_.calibrate(shape_);
    seen_.load(source);
  }
  void merge_calibration(const PartSource& source) override {
    typename M::Calibration other = method_.calibrate(shape_);
    other.load(source);
    seen_.merge(other);
  }

  void settle(std::span<const MatrixView<const float>> weights) override {
    require(!input_, "a site is settled once");
    if (weights.size() != shape_.outs.size())
      fail(ErrorKind::invalid_argument, {.code = "Q_SHAPE"}, "{} matrices for a site of {} layers",
           weights.size(), shape_.outs.size());
    for (std::size_t l = 0; l < weights.size(); ++l)
      check_weights(weights[l], shape_.outs[l], shape_.in);
    input_ = method_.input(seen_, weights);
  }

  void observe_rounded(const Rows& rows, Isa isa, ThreadPool& pool) override {
    require(input_.has_value(), "rows are rounded after the site was settled");
    require(rows.values.cols() == shape_.in && rows.positions.size() == rows.values.rows(),
            "calibration rows are [tokens, in], each with a position");
    if (!moment_) moment_.emplace(shape_.in, isa);
    Matrix rounded(rows.values.rows(), shape_.in);
    // Rows that are rounded by their neighbours are not parted from them.
    const bool whole = M::rounding(*input_) == InputRounding::by_chunk;
    const std::size_t least = whole ? std::max<std::size_t>(rows.values.rows(), 1) : 1;
    pool.for_each_part(rows.values.rows(), least, [&](std::size_t begin, std::size_t end) {
      M::rounded(
          *input_,
          {rows.values.rows_from(begin, end - begin), rows.positions.subspan(begin, end - begin)},
          rounded.view().rows_from(begin, end - begin));
    });
    weigh_first_row(method_.traits().first_row_share, rows.positions, rounded.view());
    moment_->add(rounded.view(), pool);
  }

  std::unique_ptr<PackedSite> quantize(std::span<const MatrixView<const float>> weights,
                                       ThreadPool& pool) override {
    if (!input_) settle(weights);
    std::vector<typename M::Packed> linears;
    for (const MatrixView<const float> w : weights)
      linears.push_back(M::pack(method_.quantize(w, *input_, moment_ ? &*moment_ : nullptr, pool)));
    return std::make_unique<PackedSiteOf<M>>(std::move(*input_), std::move(linears));
  }

 private:
  M method_;
  SiteShape shape_;
  typename M::Calibration seen_;
  std::optional<typename M::Input> input_;  ///< after settle()
  std::optional<SecondMoment> moment_;
};

template <Method M>
MethodEntry entry_of() {
  using Options = typename M::Options;
  const auto options_of = [](const Json& json) { return read_options<Options>(M::kName, json); };
  return {
      .name = M::kName,
      .summary = M::kSummary,
      .options = describe_options<Options>(),
      .resolve = [=](const Json& json) { return write_options(options_of(json)); },
      .traits = [=](const Json& json) { return M(options_of(json)).traits(); },
      .quantizer = [=](const Json& json, const SiteShape& shape) -> std::unique_ptr<SiteQuantizer> {
        check_site(shape);
        return std::make_unique<SiteQuantizerOf<M>>(M(options_of(json)), shape);
      },
      .describe =
          [](const PartSource& site) { return std::string(M::describe(M::load_input(site))); },
      .load = [](const PartSource& site,
                 std::span<const PartSource* const> linears) -> std::unique_ptr<PackedSite> {
        typename M::Input input = M::load_input(site);
        std::vector<typename M::Packed> packed;
        for (const PartSource* linear : linears) packed.push_back(M::load(input, *linear));
        return std::make_unique<PackedSiteOf<M>>(std::move(input), std::move(packed));
      },
  };
}

}  // namespace tender::quant
