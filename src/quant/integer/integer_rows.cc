#include "quant/integer/integer_rows.h"

#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "base/contracts.h"
#include "base/kernel_choice.h"

namespace tender::quant {
namespace {

constexpr std::size_t kQuad = kernels::PanelsI8::kQuad;

std::uint32_t quads(std::size_t slots) { return static_cast<std::uint32_t>(slots / kQuad); }

/// Shifts that a code may take and still fit a word.
std::uint32_t word_shifts(const RowRounding& rounding) {
  std::uint32_t shift = 0;
  while ((rounding.high << (shift + 1)) <= 32767 && -rounding.low * (1 << (shift + 1)) <= 32768)
    ++shift;
  return shift;
}

/// The unit is the smallest step in use: groups that are empty at the bottom were dropped.
bool unit_is_used(const RowRounding& rounding) {
  return std::all_of(rounding.chunks.begin(), rounding.chunks.end(),
                     [](const ChunkRounding& chunk) {
                       return chunk.shift.empty() ||
                              *std::min_element(chunk.shift.begin(), chunk.shift.end()) == 0;
                     });
}

std::uint32_t largest_shift(const RowRounding& rounding) {
  std::uint8_t largest = 0;
  for (const ChunkRounding& chunk : rounding.chunks)
    for (const std::uint8_t shift : chunk.shift) largest = std::max(largest, shift);
  return largest;
}

/// A bias, multipliers or shifts would have to be the row's own, and operands have to fit a word.
bool fits_elements(const RowRounding& rounding) {
  const ChunkRounding& chunk = rounding.chunks[0];
  return rounding.by_row && rounding.chunks.size() == 1 && rounding.reach() <= 32767 &&
         chunk.bias.empty() && chunk.multiplier.empty() && chunk.shift.empty();
}

}  // namespace

IntegerRows::IntegerRows(RowRounding rounding, Isa isa, std::size_t stretch)
    : rounding_(std::move(rounding)), round_(&kernels::best_round_rows(isa)) {
  require(!rounding_.chunks.empty() && rounding_.in > 0, "rows are rounded by at least one chunk");
  require(unit_is_used(rounding_), "some channel of a chunk has the smallest step");
  const bool elements = rounding_.element_groups > 0;
  require(!elements || fits_elements(rounding_), "elements bring their shifts in words");
  const bool one_chunk = rounding_.chunks.size() == 1;
  shifted_ = elements || !one_chunk;
  kernel_ = &best_kernel(shifted_ ? kernels::gemm_i16_kernels() : kernels::gemm_i8_kernels(), isa);
  if (stretch != 0) {
    require(!shifted_ && largest_shift(rounding_) == 0,
            "weight groups meet one step for all channels");
    order_by_stretch(stretch);
  } else if (kernel_->width == kernels::CodeWidth::bytes) {
    order_by_group();
  } else {
    order_naturally();
  }
}

void IntegerRows::order_by_group() {
  const auto& shift = rounding_.chunks[0].shift;
  const auto in = static_cast<std::uint32_t>(rounding_.in);
  std::uint32_t before = 0;
  for (std::uint32_t s = largest_shift(rounding_) + 1; s-- > 0;) {
    const auto first = quads(slots_.size());
    for (std::uint32_t k = 0; k < in; ++k)
      if ((shift.empty() ? 0U : shift[k]) == s) slots_.push_back(k);
    slots_.resize(round_up(slots_.size(), kQuad), in);
    const auto count = quads(slots_.size()) - first;
    if (count == 0) continue;  // the next one that is not empty shifts by the difference
    segments_.push_back({first, first, count, segments_.empty() ? 0 : before - s});
    before = s;
  }
  stride_ = slots_.size();
}

void IntegerRows::order_by_stretch(std::size_t stretch) {
  const auto in = static_cast<std::uint32_t>(rounding_.in);
  for (std::size_t begin = 0; begin < in; begin += stretch) {
    const auto first = quads(slots_.size());
    for (std::size_t k = begin; k < std::min<std::size_t>(begin + stretch, in); ++k)
      slots_.push_back(static_cast<std::uint32_t>(k));
    slots_.resize(round_up(slots_.size(), kQuad), in);
    segments_.push_back({first, first, quads(slots_.size()) - first, 0});
  }
  stride_ = slots_.size();
}

void IntegerRows::order_naturally() {
  const auto in = static_cast<std::uint32_t>(rounding_.in);
  for (std::uint32_t k = 0; k < in; ++k) slots_.push_back(k);
  slots_.resize(round_up(in, kQuad), in);
  const std::uint32_t span = word_shifts(rounding_) + 1;  // shifts that share a plane
  const std::uint32_t planes = largest_shift(rounding_) / span + 1;
  const std::uint32_t count = quads(slots_.size());
  for (std::uint32_t p = 0; p < planes; ++p)
    segments_.push_back({p * count, 0, count, p == 0 ? 0 : span});
  stride_ = planes * slots_.size();
  if (rounding_.element_groups > 0) return;  // operands come shifted
  for (const ChunkRounding& chunk : rounding_.chunks) {
    auto& powers = powers_.emplace_back(stride_, std::int16_t{0});
    for (std::size_t k = 0; k < in; ++k) {
      const std::uint32_t shift = chunk.shift.empty() ? 0 : chunk.shift[k];
      const std::size_t plane = planes - 1 - shift / span;  // the largest steps come first
      powers[plane * slots_.size() + k] = static_cast<std::int16_t>(1 << (shift % span));
    }
  }
}

std::uint32_t IntegerRows::place_bytes(std::span<const std::int16_t> codes,
                                       std::uint8_t* row) const {
  std::uint32_t sum = 0;
  for (const kernels::Segment& segment : segments_) {
    const std::uint32_t* slot = slots_.data() + std::size_t{segment.panel} * kQuad;
    std::uint8_t* at = row + std::size_t{segment.codes} * kQuad;
    std::uint32_t part = 0;
    for (std::size_t s = 0; s < segment.quads * kQuad; ++s) {
      const std::int16_t code = codes[slot[s]];
      at[s] = static_cast<std::uint8_t>(code);
      part += static_cast<std::uint32_t>(code);
    }
    sum = (sum << segment.shift) + part;
  }
  return sum;
}

void IntegerRows::place_words(std::span<const std::int16_t> codes, std::size_t chunk,
                              std::int16_t* row) const {
  if (powers_.empty()) {
    for (std::size_t s = 0; s < stride_; ++s) row[s] = codes[slots_[s]];
    return;
  }
  const std::size_t plane = slots_.size();
  for (std::size_t at = 0; at < stride_; at += plane) {
    const std::int16_t* power = powers_[chunk].data() + at;
    for (std::size_t k = 0; k < plane; ++k)
      row[at + k] = static_cast<std::int16_t>(codes[k] * power[k]);
  }
}

std::int32_t IntegerRows::correction(const IntegerCodes& rows, std::size_t row,
                                     std::span<const kernels::Segment> segments) const {
  std::uint32_t sum = 0;
  for (const kernels::Segment& segment : segments) {
    const std::uint8_t* codes = rows.codes.data() + row * rows.stride + segment.codes * kQuad;
    std::int32_t part = 0;
    for (std::size_t s = 0; s < segment.quads * kQuad; ++s)
      part += static_cast<std::int8_t>(codes[s]);
    sum = (sum << segment.shift) + static_cast<std::uint32_t>(part);
  }
  return static_cast<std::int32_t>(sum * 128U);
}

IntegerCodes IntegerRows::round(const Rows& x, ThreadPool& pool) const {
  const std::size_t rows = x.values.rows();
  const std::size_t width = kernel_->width == kernels::CodeWidth::bytes ? 1 : sizeof(std::int16_t);
  IntegerCodes out;
  out.stride = stride_;
  out.codes = AlignedBuffer<std::uint8_t>(rows * stride_ * width);
  out.steps.resize(rows);
  out.chunks.resize(rows);
  if (offset_panels()) out.corrections.resize(rows);
  pool.for_each_part(rows, [&](std::size_t begin, std::size_t end) {
    std::vector<float> u(rounding_.in);
    std::vector<std::int16_t> codes(round_up(rounding_.in + 1, kQuad));  // what pads read is 0
    for (std::size_t m = begin; m < end; ++m) {
      const RoundedRow row =
          round_row(rounding_, *round_, x.values.row(m), x.positions[m], u, codes);
      out.steps[m] = row.step;
      out.chunks[m] = static_cast<std::uint32_t>(row.chunk);
      std::uint8_t* at = out.codes.data() + m * stride_ * width;
      if (kernel_->width == kernels::CodeWidth::words) {
        place_words(codes, row.chunk, reinterpret_cast<std::int16_t*>(at));
        continue;
      }
      const std::uint32_t sum = place_bytes(codes, at);
      if (offset_panels()) out.corrections[m] = static_cast<std::int32_t>(sum * 128U);
    }
  });
  return out;
}

}  // namespace tender::quant
