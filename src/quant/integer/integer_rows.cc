#include "quant/integer/integer_rows.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "base/checked.h"
#include "base/contracts.h"
#include "base/kernel_choice.h"

namespace tender::quant {
namespace {

constexpr std::size_t kQuad = kernels::PanelsI8::kQuad;
constexpr std::size_t kLineInputs = kernels::PanelsI4::kLineInputs;
constexpr std::uint32_t kWordChannels = kernels::kChannelsOfWord;
constexpr std::uint32_t kDigitBits = 8;
// |w| * 2^4 of a 4-bit code is 128 at most, and -128 is a byte.
constexpr std::uint32_t kFoldedGroups = 5;
// The sum of a plane of digits with expanded weights, 128 * 128 each, fits 32 bits.
constexpr std::size_t kMostDigits = (std::size_t{1} << 17U) - 1;

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

std::uint32_t largest_shift(const ChunkRounding& chunk) {
  std::uint8_t largest = 0;
  for (const std::uint8_t shift : chunk.shift) largest = std::max(largest, shift);
  return largest;
}

std::uint32_t largest_shift(const RowRounding& rounding) {
  std::uint32_t largest = 0;
  for (const ChunkRounding& chunk : rounding.chunks)
    largest = std::max(largest, largest_shift(chunk));
  return largest;
}

/// A bias, multipliers or shifts would have to be the row's own, and operands have to fit a word.
bool fits_elements(const RowRounding& rounding) {
  const ChunkRounding& chunk = rounding.chunks[0];
  return rounding.by_row && rounding.chunks.size() == 1 && rounding.reach() <= 32767 &&
         chunk.bias.empty() && chunk.multiplier.empty() && chunk.shift.empty();
}

/// Balanced digits of base 256 that every shifted code needs.
std::size_t digits_of(const RowRounding& rounding) {
  const bool elements = rounding.element_groups > 0;
  const std::uint32_t shift = elements ? 0 : largest_shift(rounding);
  const std::int64_t high = std::int64_t{elements ? rounding.reach() : rounding.high} << shift;
  const std::int64_t low = elements ? high : std::int64_t{-rounding.low} << shift;
  std::size_t digits = 1;
  for (std::int64_t ones = 1; high > 127 * ones || low > 128 * ones; ones = 256 * ones + 1)
    ++digits;
  return digits;
}

/// Where windows of `span` shifts begin so that one of them holds the most channels; windows lie
/// span apart.
std::uint32_t best_window(const ChunkRounding& chunk, std::uint32_t span) {
  std::vector<std::size_t> channels(largest_shift(chunk) + span, 0);
  for (const std::uint8_t shift : chunk.shift) ++channels[shift];
  std::uint32_t best = 0;
  std::size_t most = 0;
  for (std::uint32_t first = 0; first + span <= channels.size(); ++first) {
    std::size_t inside = 0;
    for (std::uint32_t s = first; s < first + span; ++s) inside += channels[s];
    if (inside > most) {
      most = inside;
      best = first;
    }
  }
  return best;
}

}  // namespace

IntegerRows::IntegerRows(RowRounding rounding, Isa isa, WeightLayout weights)
    : rounding_(std::move(rounding)),
      weights_(weights),
      round_(&kernels::best_round_rows(isa)),
      compress_(&kernels::best_compress_codes(isa)) {
  require(!rounding_.chunks.empty() && rounding_.in > 0, "rows are rounded by at least one chunk");
  require(rounding_.chunk_groups > 0 || unit_is_used(rounding_),
          "some channel of a chunk has the smallest step");
  require(rounding_.element_groups == 0 || fits_elements(rounding_),
          "elements bring their shifts in words");
  choose(isa);
  if (weights.stretch != 0) {
    require(!shifted_ && largest_shift(rounding_) == 0 && form_ != Form::digits,
            "weight groups meet one step for all channels");
    order_by_stretch(weights.stretch);
  } else if (form_ == Form::digits) {
    order_digits();
  } else if (form_ == Form::words) {
    order_naturally();
  } else {
    for (const ChunkRounding& chunk : rounding_.chunks) order_by_group(chunk);
  }
  for (CodeOrder& order : orders_) {
    if (form_ == Form::groups) note_channels(order);
    if (packed_)
      order.quads = kernels::plan_unpacking(rounding_.in, order.slots, order.folds, weights_.group);
  }
}

void IntegerRows::choose(Isa isa) {
  const bool elements = rounding_.element_groups > 0;
  const bool brought = rounding_.chunk_groups > 0;
  shifted_ = elements || brought || rounding_.chunks.size() > 1;
  packed_ = !brought && weights_.bits <= 4 && weights_.group % kLineInputs == 0;
  const kernels::GemmI8Kernel& bytes = best_kernel(kernels::gemm_i8_kernels(), isa);
  const bool unpacks = packed_ && bytes.offset_panels;  // into any order, of any chunk
  kernel_ = !shifted_ || unpacks ? &bytes : &best_kernel(kernels::gemm_i16_kernels(), isa);
  form_ = kernel_->width == kernels::CodeWidth::words ? Form::words
          : elements                                  ? Form::digits
                                                      : Form::groups;
  if (!packed_) return;
  unpack_ = &best_kernel(kernels::unpack_i4_kernels(), isa);
  if (weights_.fold && weights_.group == 0) fold_span_ = kFoldedGroups;
  planes_ = digits_of(rounding_);
  plane_stride_ = round_up(rounding_.in, kLineInputs);
  if (weights_.stretch == 0 && rounding_.in <= kMostDigits)
    few_ = &best_kernel(kernels::gemm_i4_kernels(), isa);
  if (planes_ <= 2 && (few_ != nullptr || form_ == Form::digits))
    for (const ChunkRounding& chunk : rounding_.chunks) {
      std::vector<std::int16_t>& factors = factors_.emplace_back(rounding_.in, std::int16_t{1});
      for (std::size_t k = 0; k < chunk.shift.size(); ++k)
        factors[k] = static_cast<std::int16_t>(1 << chunk.shift[k]);
    }
}

void IntegerRows::order_by_group(const ChunkRounding& chunk) {
  CodeOrder& order = orders_.emplace_back();
  const auto in = static_cast<std::uint32_t>(rounding_.in);
  const std::uint32_t span = fold_span_, largest = largest_shift(chunk);
  // Windows [base, base + span), the lowest one cut off at 0, which some channel has.
  const std::uint32_t anchor = best_window(chunk, span) % span;
  const auto window_of = [&](std::uint32_t shift) { return (shift + span - anchor) / span; };
  const auto base_of = [&](std::uint32_t window) {
    return window == 0 ? 0 : window * span + anchor - span;
  };
  std::uint32_t before = 0;
  for (std::uint32_t window = window_of(largest) + 1; window-- > 0;) {
    const auto first = quads(order.slots.size());
    for (std::uint32_t k = 0; k < in; ++k) {
      const std::uint32_t shift = chunk.shift.empty() ? 0U : chunk.shift[k];
      if (window_of(shift) != window) continue;
      order.slots.push_back(k);
      if (span > 1) order.folds.push_back(static_cast<std::uint8_t>(shift - base_of(window)));
    }
    order.slots.resize(round_up(order.slots.size(), kQuad), in);
    if (span > 1) order.folds.resize(order.slots.size(), 0);
    const auto count = quads(order.slots.size()) - first;
    if (count == 0) continue;  // the next one that is not empty shifts by the difference
    const std::uint32_t base = base_of(window);
    order.segments.push_back({first, first, count, order.segments.empty() ? 0 : before - base});
    before = base;
  }
  stride_ = std::max(stride_, order.slots.size());
}

void IntegerRows::order_by_stretch(std::size_t stretch) {
  CodeOrder& order = orders_.emplace_back();
  const auto in = static_cast<std::uint32_t>(rounding_.in);
  for (std::size_t begin = 0; begin < in; begin += stretch) {
    const auto first = quads(order.slots.size());
    for (std::size_t k = begin; k < std::min<std::size_t>(begin + stretch, in); ++k)
      order.slots.push_back(static_cast<std::uint32_t>(k));
    order.slots.resize(round_up(order.slots.size(), kQuad), in);
    order.segments.push_back({first, first, quads(order.slots.size()) - first, 0});
  }
  stride_ = order.slots.size();
}

void IntegerRows::order_naturally() {
  CodeOrder& order = orders_.emplace_back();
  const auto in = static_cast<std::uint32_t>(rounding_.in);
  for (std::uint32_t k = 0; k < in; ++k) order.slots.push_back(k);
  order.slots.resize(round_up(in, kQuad), in);
  const std::uint32_t span = word_shifts(rounding_) + 1;  // shifts that share a plane
  const std::uint32_t planes = largest_shift(rounding_) / span + 1;
  const std::uint32_t count = quads(order.slots.size());
  for (std::uint32_t p = 0; p < planes; ++p)
    order.segments.push_back({p * count, 0, count, p == 0 ? 0 : span});
  stride_ = planes * order.slots.size();
  if (rounding_.element_groups > 0) return;  // operands come shifted
  if (rounding_.chunk_groups > 0) powers_.push_back(largest_powers());
  for (const ChunkRounding& chunk : rounding_.chunks)
    if (rounding_.chunk_groups == 0) powers_.push_back(powers_of(chunk));
}

std::vector<std::int16_t> IntegerRows::powers_of(const ChunkRounding& chunk) const {
  const std::uint32_t span = word_shifts(rounding_) + 1;
  const std::size_t planes = stride_ / slots().size();
  std::vector<std::int16_t> powers(stride_, 0);
  for (std::size_t k = 0; k < rounding_.in; ++k) {
    const std::uint32_t shift = chunk.shift.empty() ? 0 : chunk.shift[k];
    const std::size_t plane = planes - 1 - shift / span;  // the largest steps come first
    powers[plane * slots().size() + k] = static_cast<std::int16_t>(1 << (shift % span));
  }
  return powers;
}

// Of every plane: a chunk has each channel in one of them, so this is more than any chunk has.
std::vector<std::int16_t> IntegerRows::largest_powers() const {
  const std::uint32_t span = word_shifts(rounding_) + 1;
  std::vector<std::int16_t> powers(stride_, static_cast<std::int16_t>(1 << (span - 1)));
  std::fill_n(powers.begin(), slots().size(),
              static_cast<std::int16_t>(1 << (largest_shift(rounding_) % span)));
  return powers;
}

void IntegerRows::order_digits() {
  CodeOrder& order = orders_.emplace_back();
  const auto in = static_cast<std::uint32_t>(rounding_.in);
  for (std::uint32_t k = 0; k < in; ++k) order.slots.push_back(k);
  order.slots.resize(plane_stride_, in);
  const std::uint32_t count = quads(plane_stride_);
  for (auto p = static_cast<std::uint32_t>(planes_); p-- > 0;)
    order.segments.push_back({p * count, 0, count, order.segments.empty() ? 0 : kDigitBits});
  stride_ = planes_ * plane_stride_;
}

// Every order of bytes takes the channels of a segment as they rise.
void IntegerRows::note_channels(CodeOrder& order) const {
  for (const kernels::Segment& segment : order.segments) {
    const std::uint32_t* slot = order.slots.data() + std::size_t{segment.panel} * kQuad;
    const std::uint32_t* end = slot + std::size_t{segment.quads} * kQuad;
    while (end[-1] == rounding_.in) --end;
    const std::uint32_t first = slot[0] / kWordChannels;
    const std::size_t at = order.channels.size();
    order.sets.push_back({first, end[-1] / kWordChannels - first + 1});
    order.channels.resize(at + order.sets.back().words, 0);
    for (; slot < end; ++slot)
      order.channels[at + *slot / kWordChannels - first] |= std::uint64_t{1}
                                                            << (*slot % kWordChannels);
  }
}

std::uint32_t IntegerRows::place_bytes(const CodeOrder& order, std::span<const std::int16_t> codes,
                                       std::uint8_t* row) const {
  const ChannelSet* set = order.sets.data();
  const std::uint64_t* channels = order.channels.data();
  std::uint32_t sum = 0;
  for (const kernels::Segment& segment : order.segments) {
    const std::size_t begin = std::size_t{segment.codes} * kQuad;
    const std::int32_t part =
        compress_->compress(codes.data() + std::size_t{set->first_word} * kWordChannels, channels,
                            set->words, row + begin, stride_ - begin);
    sum = (sum << segment.shift) + static_cast<std::uint32_t>(part);
    channels += set++->words;
  }
  return sum;
}

void IntegerRows::place_words(std::span<const std::int16_t> codes,
                              std::span<const std::int16_t> powers, std::int16_t* row) const {
  const std::span<const std::uint32_t> slots = orders_[0].slots;
  if (powers.empty()) {
    for (std::size_t s = 0; s < stride_; ++s) row[s] = codes[slots[s]];
    return;
  }
  const std::size_t plane = slots.size();
  for (std::size_t at = 0; at < stride_; at += plane) {
    const std::int16_t* power = powers.data() + at;
    for (std::size_t k = 0; k < plane; ++k)
      row[at + k] = static_cast<std::int16_t>(codes[k] * power[k]);
  }
}

// The same as below for at most two digits, in 16 bits and without branches: a row alone waits for
// it. A sum of two digits is at most 127 * 257, so that 128 more still fit.
std::uint32_t IntegerRows::place_two_digits(std::span<const std::int16_t> codes,
                                            std::span<const std::int16_t> factors,
                                            std::size_t begin, std::size_t end,
                                            std::int8_t* row) const {
  std::uint32_t sum = 0;
  const auto value = [&](std::size_t k) {
    return static_cast<std::int16_t>(codes[k] * factors[k]);
  };
  for (std::size_t k = begin; k < end; ++k) {
    sum += static_cast<std::uint32_t>(value(k));
    row[k] = static_cast<std::int8_t>(value(k));
  }
  if (planes_ == 2) {
    std::int8_t* upper = row + plane_stride_;
    for (std::size_t k = begin; k < end; ++k)
      upper[k] = static_cast<std::int8_t>((value(k) + 128) >> kDigitBits);
  }
  return sum;
}

void IntegerRows::place_digits(std::span<const std::int16_t> codes, std::size_t chunk,
                               std::int8_t* row, std::size_t group,
                               std::int32_t* corrections) const {
  const std::vector<std::uint8_t>& shift = rounding_.chunks[chunk].shift;
  const std::size_t in = rounding_.in;
  for (std::size_t begin = 0; begin < in; begin += group) {
    const std::size_t end = std::min(in, begin + group);
    std::uint32_t sum = 0;
    if (!factors_.empty()) {
      sum = place_two_digits(codes, factors_[chunk], begin, end, row);
      *corrections++ = static_cast<std::int32_t>(sum * std::uint32_t{kernels::PanelsI4::kOffset});
      continue;
    }
    for (std::size_t k = begin; k < end; ++k) {
      std::int32_t rest = std::int32_t{codes[k]} * (1 << (shift.empty() ? 0 : shift[k]));
      sum += static_cast<std::uint32_t>(rest);
      for (std::size_t p = 0; p < planes_; ++p) {
        const auto digit = static_cast<std::int8_t>(rest);
        row[p * plane_stride_ + k] = digit;
        rest = (rest - digit) >> kDigitBits;
      }
    }
    *corrections++ = static_cast<std::int32_t>(sum * std::uint32_t{kernels::PanelsI4::kOffset});
  }
  for (std::size_t p = 0; p < planes_; ++p)
    std::fill(row + p * plane_stride_ + in, row + (p + 1) * plane_stride_, std::int8_t{0});
}

void IntegerRows::place(std::span<const std::int16_t> codes, std::size_t chunk, std::uint8_t* row,
                        bool few, std::int32_t* corrections) const {
  if (few || form_ == Form::digits) {
    const std::size_t group = few && weights_.group != 0 ? weights_.group : rounding_.in;
    place_digits(codes, chunk, reinterpret_cast<std::int8_t*>(row), group, corrections);
    if (!few)
      *corrections = static_cast<std::int32_t>(static_cast<std::uint32_t>(*corrections) *
                                               (128U / kernels::PanelsI4::kOffset));
    return;
  }
  if (form_ == Form::words)
    return place_words(codes, powers_.empty() ? std::span<const std::int16_t>() : powers_[chunk],
                       reinterpret_cast<std::int16_t*>(row));
  const std::uint32_t sum = place_bytes(orders_[orders_.size() > 1 ? chunk : 0], codes, row);
  if (offset_panels()) *corrections = static_cast<std::int32_t>(sum * 128U);
}

std::size_t IntegerRows::bytes() const {
  std::size_t bytes = 0;
  for (const CodeOrder& order : orders_)
    bytes += order.slots.size() * sizeof(std::uint32_t) + order.folds.size() +
             order.segments.size() * sizeof(kernels::Segment) +
             order.sets.size() * sizeof(ChannelSet) +
             order.channels.size() * sizeof(std::uint64_t) +
             order.quads.size() * sizeof(kernels::UnpackQuad);
  for (const auto& powers : powers_) bytes += powers.size() * sizeof(std::int16_t);
  for (const auto& factors : factors_) bytes += factors.size() * sizeof(std::int16_t);
  return bytes;
}

bool IntegerRows::folds() const {
  return std::any_of(orders_.begin(), orders_.end(), [](const CodeOrder& order) {
    return std::any_of(order.folds.begin(), order.folds.end(), [](auto fold) { return fold != 0; });
  });
}

std::int64_t IntegerRows::reach(std::size_t order, std::size_t chunk, std::size_t code_slot,
                                std::size_t panel_slot) const {
  const std::int64_t most = rounding_.reach();
  if (form_ == Form::digits) {
    const std::size_t plane = code_slot / plane_stride_;
    return plane + 1 < planes_ ? 128 : (most >> (kDigitBits * plane)) + 1;
  }
  if (form_ == Form::words) return powers_.empty() ? most : most * powers_[chunk][code_slot];
  const std::vector<std::uint8_t>& folds = orders_[order].folds;
  return folds.empty() ? most : most << folds[panel_slot];
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

std::vector<IntegerCodes::Run> IntegerRows::runs_of(std::span<const std::int32_t> positions) const {
  if (orders_.size() == 1) return {{0, positions.size(), 0}};
  std::vector<IntegerCodes::Run> runs;
  for (std::size_t m = 0; m < positions.size(); ++m) {
    const std::size_t chunk = rounding_.chunk_of(positions[m]);
    if (runs.empty() || runs.back().order != chunk) runs.push_back({m, 0, chunk});
    ++runs.back().count;
  }
  return runs;
}

std::size_t IntegerRows::correction_count(bool few) const {
  if (few && weights_.group != 0) return (rounding_.in + weights_.group - 1) / weights_.group;
  return few || offset_panels() ? 1 : 0;
}

IntegerCodes IntegerRows::round(const Rows& x, std::span<const ChunkOfRows> chunks,
                                ThreadPool& pool) const {
  require(rounding_.chunk_groups > 0, "these rows bring no chunks");
  require(x.make == nullptr, "chunks are made of rows that are there");
  const std::size_t rows = x.values.rows();
  IntegerCodes out;
  out.runs = {{0, rows, 0}};
  out.stride = stride_;
  out.codes = AlignedBuffer<std::uint8_t>(rows * stride_ * sizeof(std::int16_t));
  out.steps.resize(rows);
  out.chunks.resize(rows);
  auto* const words = reinterpret_cast<std::int16_t*>(out.codes.data());
  pool.for_each_part(chunks.size(), [&](std::size_t first, std::size_t last) {
    std::vector<float> u(rounding_.in);
    std::vector<std::int16_t> codes(round_up(rounding_.in + 1, kQuad));  // what pads read is 0
    for (std::size_t c = first; c < last; ++c) {
      const ChunkOfRows& chunk = chunks[c];
      const std::vector<std::int16_t> powers = powers_of(chunk.rounding.chunks.at(0));
      for (std::size_t m = chunk.begin; m < chunk.end; ++m) {
        out.steps[m] = round_row(chunk.rounding, *round_, x.values.row(m), 0, u, codes).step;
        out.chunks[m] = static_cast<std::uint32_t>(c);
        place_words(codes, powers, words + m * stride_);
      }
    }
  });
  return out;
}

IntegerCodes IntegerRows::round(const Rows& x, ThreadPool& pool, const Rotation* rotation) const {
  require(rounding_.chunk_groups == 0, "these rows bring their chunks");
  const std::size_t rows = x.values.rows();
  IntegerCodes out;
  out.runs = runs_of(x.positions);
  out.few = few_ != nullptr && rows <= most_few_rows() * out.runs.size();
  out.stride = out.few ? planes_ * plane_stride_ : stride_;
  const std::size_t width = form_ == Form::words && !out.few ? sizeof(std::int16_t) : 1;
  const std::size_t corrections = correction_count(out.few);
  out.codes = AlignedBuffer<std::uint8_t>(rows * out.stride * width);
  out.steps.resize(rows);
  out.chunks.resize(rows);
  out.corrections.resize(rows * corrections);
  std::atomic<std::uint64_t> clipped{0};
  pool.for_each_part(rows, [&](std::size_t begin, std::size_t end) {
    // Aligned, since a load that crosses a line of the cache is two.
    AlignedBuffer<float> u(rounding_.in);
    AlignedBuffer<float> made(x.make == nullptr ? 0 : rounding_.in);
    AlignedBuffer<float> turned(rotation == nullptr ? 0 : rounding_.in);
    AlignedBuffer<float> scratch(rotation == nullptr ? 0 : rotation->block());
    AlignedBuffer<std::int16_t> codes(round_up(rounding_.in + 1, kWordChannels));
    codes.fill(0);  // what pads read
    for (std::size_t m = begin; m < end; ++m) {
      std::span<const float> values = x.row(m, made.span());
      if (rotation != nullptr) {
        rotation->rotate(values, scratch.span(), turned.span());
        values = turned.span();
      }
      const RoundedRow row =
          round_row(rounding_, *round_, values, x.positions[m], u.span(), codes.span());
      out.steps[m] = row.step;
      out.chunks[m] = static_cast<std::uint32_t>(row.chunk);
      if (row.clipped != 0) clipped.fetch_add(row.clipped, std::memory_order_relaxed);
      place(codes.span(), row.chunk, out.codes.data() + m * out.stride * width, out.few,
            out.corrections.data() + m * corrections);
    }
  });
  out.clipped = clipped.load(std::memory_order_relaxed);
  return out;
}

}  // namespace tender::quant
