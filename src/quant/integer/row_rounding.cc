#include "quant/integer/row_rounding.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/contracts.h"
#include "kernels/round_rows/round_rows.h"
#include "quant/integer/integer_rows.h"

namespace tender::quant {

std::size_t RowRounding::chunk_of(std::int32_t position) const {
  if (chunk_rows == 0 || position < 0) return 0;
  return std::min(static_cast<std::size_t>(position) / chunk_rows, chunks.size() - 1);
}

namespace {

/// Values that rounding would take past the codes there are. Most rows have none, and their reach,
/// which is known, says so.
std::uint32_t clipped_of(std::span<const float> u, const kernels::RowReach& reach, float low,
                         float high) {
  if (low < 0 && std::bit_cast<float>(reach.magnitude) < high + 0.5F) return 0;
  std::uint32_t clipped = 0;
  for (const float value : u)
    clipped += static_cast<std::uint32_t>((value >= high + 0.5F) | (value < low - 0.5F));
  return clipped;
}

}  // namespace

RoundedRow round_row(const RowRounding& rounding, std::span<const float> x, std::int32_t position,
                     std::span<std::int16_t> codes) {
  require(x.size() == rounding.in && codes.size() == rounding.in, "a row and its codes are [in]");
  std::vector<float> u(rounding.in);
  return round_row(rounding, kernels::best_round_rows(Isa::scalar), x, position, u, codes);
}

RoundedRow round_row(const RowRounding& rounding, const kernels::RoundRowsKernel& kernel,
                     std::span<const float> x, std::int32_t position, std::span<float> u,
                     std::span<std::int16_t> codes) {
  const std::size_t index = rounding.chunk_of(position);
  const ChunkRounding& chunk = rounding.chunks[index];
  const kernels::RowReach reach = kernel.scale(
      x.data(), chunk.bias.empty() ? nullptr : chunk.bias.data(),
      chunk.multiplier.empty() ? nullptr : chunk.multiplier.data(), rounding.in, u.data());
  if (reach.magnitude >= kernels::kNotFinite) {
    std::fill_n(codes.begin(), rounding.in, std::int16_t{0});
    return {std::numeric_limits<float>::quiet_NaN(), index, 0};
  }
  const auto low = static_cast<float>(rounding.low);
  const auto high = static_cast<float>(rounding.high);
  if (!rounding.by_row) {
    kernel.round(u.data(), 1, low, high, rounding.in, codes.data());
    return {chunk.unit, index, clipped_of(u.first(rounding.in), reach, low, high)};
  }
  const float peak = rounding.low < 0 ? std::bit_cast<float>(reach.magnitude) : reach.largest;
  if (peak < RowRounding::kTinyPeak) {
    std::fill_n(codes.begin(), rounding.in, std::int16_t{0});
    return {chunk.unit, index, 0};
  }
  if (rounding.element_groups > 0)
    kernel.elements(u.data(), peak, high / peak, low, high, rounding.element_groups, rounding.in,
                    codes.data());
  else
    kernel.round(u.data(), high / peak, low, high, rounding.in, codes.data());
  return {chunk.unit * (peak / high), index, 0};
}

void expand_row(const RowRounding& rounding, const RoundedRow& row,
                std::span<const std::int16_t> codes, std::span<float> values) {
  require(codes.size() == rounding.in && values.size() == rounding.in,
          "codes and their values are [in]");
  const auto& shift = rounding.chunks[row.chunk].shift;
  for (std::size_t k = 0; k < values.size(); ++k)
    values[k] =
        static_cast<float>(std::int32_t{codes[k]} << (shift.empty() ? 0U : shift[k])) * row.step;
}

}  // namespace tender::quant
