#pragma once

// Sites and rows for the tests of tender; the numbers of its checks are those of tender.md
// section 9.

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/rng.h"
#include "quant/memory_parts.h"
#include "quant/methods/tender/tender.h"
#include "quant/options.h"
#include "quant/packed_site_of.h"

namespace tender::quant::tender_test {

inline constexpr std::array<Isa, 4> kMasks = {Isa::scalar, Isa::avx2, Isa::avx2 | Isa::avx512,
                                              Isa::avx2 | Isa::avx512 | Isa::vnni};
inline Isa usable(Isa mask) {
  return static_cast<Isa>(static_cast<std::uint32_t>(mask) &
                          static_cast<std::uint32_t>(detected_isa()));
}

inline std::vector<std::int32_t> positions(std::size_t rows, std::int32_t first = 0) {
  std::vector<std::int32_t> positions(rows);
  std::iota(positions.begin(), positions.end(), first);
  return positions;
}

inline TenderOptions options(int bits, TenderMode mode, int groups, int chunk_rows) {
  TenderOptions options;
  options.weight_bits = options.activation_bits = bits;
  options.mode = mode;
  options.groups = groups;
  options.chunk_rows = chunk_rows;
  return options;
}

/// A site of one layer, calibrated on x.
struct Quantized {
  Quantized(const TenderOptions& o, const Matrix& x, const Matrix& weights, bool centre,
            bool nonnegative = false)
      : w(weights.copy()) {
    SiteShape shape;
    shape.in = x.cols();
    shape.outs = {w.rows()};
    shape.centre = centre;
    shape.nonnegative = nonnegative;
    const Tender method(o);
    auto seen = method.calibrate(shape);
    seen.observe({x.view(), positions(x.rows())});
    const std::array<MatrixView<const float>, 1> weights_of_site = {w.view()};
    input = method.input(seen, weights_of_site);
    rounding = tender_rounding(input);
    ThreadPool pool(1);
    codes = method.quantize(w.view(), input, nullptr, pool);
  }
  std::vector<std::int16_t> codes_of(std::span<const float> row, std::int32_t position = 0) const {
    std::vector<std::int16_t> q(input.in);
    round_row(rounding, row, position, q);
    return q;
  }
  float step_of(std::span<const float> row, std::int32_t position = 0) const {
    std::vector<std::int16_t> q(input.in);
    return round_row(rounding, row, position, q).step;
  }
  /// Rounded rows as numbers, bias included.
  std::vector<double> rounded(std::span<const float> row, std::int32_t position = 0) const {
    std::vector<std::int16_t> q(input.in);
    const RoundedRow r = round_row(rounding, row, position, q);
    const ChunkRounding& chunk = rounding.chunks[r.chunk];
    std::vector<double> x(input.in);
    for (std::size_t k = 0; k < x.size(); ++k) {
      x[k] =
          q[k] * std::exp2(chunk.shift.empty() ? 0 : chunk.shift[k]) * static_cast<double>(r.step);
      if (!chunk.bias.empty()) x[k] += static_cast<double>(chunk.bias[k]);
    }
    return x;
  }
  Matrix matmul(const Matrix& x, Isa isa, std::int32_t first = 0) const {
    PackedSiteOf<Tender> site(copy_of(input), packed());
    site.prepare(usable(isa));
    Matrix y(x.rows(), w.rows());
    const std::array outputs = {SiteOutput{y.view(), {}}};
    ThreadPool pool(2);
    const auto at = positions(x.rows(), first);
    site.matmul({x.view(), at}, outputs, pool);
    return y;
  }
  std::vector<TenderPacked> packed() const {
    std::vector<TenderPacked> packed;
    packed.push_back(Tender::pack(codes));
    return packed;
  }
  static TenderInput copy_of(const TenderInput& input) {
    MemoryParts parts;
    save_tender_input(input, parts);
    return load_tender_input(parts);
  }

  Matrix w;
  TenderInput input;
  RowRounding rounding;
  TenderCodes codes;
};

inline Matrix matrix(std::size_t rows, std::size_t cols, std::initializer_list<float> values) {
  Matrix m(rows, cols);
  std::copy(values.begin(), values.end(), m.span().begin());
  return m;
}

/// Rows with `outliers` channels that are 50 times larger, each channel with an offset of its own.
inline Matrix outlier_rows(std::size_t rows, std::size_t in, std::uint64_t seed,
                           bool offsets = true) {
  Rng rng(seed, "outliers");
  std::vector<float> offset(in);
  for (float& value : offset) value = rng.normal();
  Matrix x(rows, in);
  for (std::size_t m = 0; m < rows; ++m)
    for (std::size_t k = 0; k < in; ++k) {
      const float reach = k % 16 == 5 ? 50.0F : 0.25F * static_cast<float>(1 + k % 8);
      x(m, k) = reach * (rng.normal() + (offsets ? 2 * offset[k] : 0.0F));
    }
  return x;
}

inline Matrix random_weights(std::size_t out, std::size_t in, std::uint64_t seed = 3) {
  Rng rng(seed, "weights");
  Matrix w(out, in);
  for (float& value : w.span()) value = 0.05F * rng.normal();
  return w;
}

}  // namespace tender::quant::tender_test
