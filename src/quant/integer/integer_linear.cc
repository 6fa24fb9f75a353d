#include "quant/integer/integer_linear.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <numeric>

#include "base/contracts.h"

namespace tender::quant {
namespace {

constexpr std::size_t kWidth = kernels::PanelsI8::kWidth;
constexpr std::size_t kQuad = kernels::PanelsI8::kQuad;
constexpr std::int64_t kMostOf32 = std::numeric_limits<std::int32_t>::max();
// Rows whose partial sums are held at a time.
constexpr std::size_t kBlockRows = 32;
// Unpacked panels that a thread holds at a time: with the codes of a block of rows they stay in L2.
constexpr std::size_t kSlabBytes = std::size_t{384} << 10U;
// Threads meet at whole groups of panels of the widest tile.
constexpr std::size_t kPanelsAtOnce = 3;
constexpr std::size_t kPackedPanelsAtOnce = 2;

/// Rows [first, first + count) of a job, as far as it has them. @param width  bytes of a code
kernels::GemmI8Job rows_of(const kernels::GemmI8Job& job, std::size_t first, std::size_t count,
                           std::size_t width) {
  kernels::GemmI8Job some = job;
  some.rows = std::min(count, job.rows - first);
  some.codes = static_cast<const std::uint8_t*>(job.codes) + first * job.stride * width;
  some.steps += first;
  if (some.corrections != nullptr) some.corrections += first;
  if (some.addends != nullptr) some.addends += first;
  some.y += first * job.y_stride;
  return some;
}

/// [rows, out] into [rows, columns], columns a multiple of the panel width, padded with 0.
AlignedBuffer<float> padded(std::span<const float> values, std::size_t out, std::size_t columns) {
  const std::size_t rows = values.size() / out;
  AlignedBuffer<float> wide(rows * columns);
  wide.fill(0);
  for (std::size_t r = 0; r < rows; ++r)
    std::copy_n(values.data() + r * out, out, wide.data() + r * columns);
  return wide;
}

/// [out, stretches] into [stretches, out].
std::vector<float> transposed(std::span<const float> scales, std::size_t out) {
  const std::size_t stretches = scales.size() / out;
  std::vector<float> turned(scales.size());
  for (std::size_t n = 0; n < out; ++n)
    for (std::size_t s = 0; s < stretches; ++s) turned[s * out + n] = scales[n * stretches + s];
  return turned;
}

/// What a quad of slots can add to the sum of each [chunk, output]; with several orders a chunk
/// has its own.
void bound_quad(const IntegerRows& rows, const IntegerWeights& weights, std::size_t order,
                const kernels::Segment& segment, std::uint32_t quad, std::span<std::int64_t> sums) {
  const auto [out, in] = weights.shape;
  std::fill(sums.begin(), sums.end(), 0);
  for (std::size_t t = 0; t < kQuad; ++t) {
    const std::size_t slot = (segment.panel + quad) * kQuad + t;
    const std::size_t k = rows.orders()[order].slots[slot];
    if (k == in) continue;
    for (std::size_t c = 0; c * out < sums.size(); ++c) {
      const std::size_t chunk = rows.orders().size() > 1 ? order : c;
      const std::int64_t reach = rows.reach(order, chunk, (segment.codes + quad) * kQuad + t, slot);
      for (std::size_t n = 0; n < out; ++n)
        sums[c * out + n] += std::abs(weights.weight(n, k)) * reach;
    }
  }
}

}  // namespace

bool sums_fit_32_bits(const RowRounding& rounding, const IntegerWeights& weights) {
  const std::size_t in = weights.shape.in;
  std::vector<unsigned> most;  // shift of each chunk
  for (const ChunkRounding& chunk : rounding.chunks)
    most.push_back(chunk.shift.empty() ? 0 : *std::ranges::max_element(chunk.shift));
  // Weights are bytes: with the largest of them and the largest shift everywhere most layers are
  // seen to have room.
  if (std::ranges::all_of(most, [&](unsigned shift) {
        return (static_cast<std::int64_t>(in) * 128 << shift) * rounding.reach() <= kMostOf32;
      }))
    return true;
  const std::size_t width = weights.group == 0 ? in : weights.group;
  std::vector<std::int32_t> magnitudes(in);
  for (std::size_t n = 0; n < weights.shape.out; ++n) {
    for (std::size_t first = 0, g = 0; first < in; first += width, ++g) {
      const int by = weights.group == 0 ? 1 : weights.multipliers[n * weights.groups() + g];
      for (std::size_t k = first; k < std::min(in, first + width); ++k)
        magnitudes[k] = std::abs(weights.codes.at(n, k)) * by;
    }
    const std::int64_t sum = std::accumulate(magnitudes.begin(), magnitudes.end(), std::int64_t{0});
    for (std::size_t c = 0; c < rounding.chunks.size(); ++c) {
      // With the largest shift for all inputs most outputs are, too.
      if ((sum << most[c]) * rounding.reach() <= kMostOf32) continue;
      const ChunkRounding& chunk = rounding.chunks[c];
      std::int64_t exact = 0;
      for (std::size_t k = 0; k < in; ++k)
        exact += std::int64_t{magnitudes[k]} << (chunk.shift.empty() ? 0U : chunk.shift[k]);
      if (exact * rounding.reach() > kMostOf32) return false;
    }
  }
  return true;
}

IntegerLinear::IntegerLinear(const IntegerRows& rows, const IntegerWeights& weights)
    : out_(weights.shape.out) {
  const LinearShape shape = weights.shape;
  require(weights.codes.rows() == shape.out && weights.codes.in() == shape.in,
          "codes are [out, in]");
  require(weights.group == rows.weights().group &&
              weights.multipliers.size() == shape.out * weights.groups(),
          "every group of inputs has a multiplier");
  pack(rows, weights);
  by_stretch_ = rows.weights().stretch != 0;
  scales_ = padded(transposed(weights.scales, shape.out), shape.out, columns());
  if (!weights.addends.empty()) addends_ = padded(weights.addends, shape.out, columns());

  fits_ = by_stretch_ || sums_fit_32_bits(rows.rounding(), weights);
  for (std::size_t order = 0; order < rows.orders().size(); ++order) {
    const auto& segments = rows.orders()[order].segments;
    Parts& parts = orders_.emplace_back();
    if (by_stretch_) {
      require(weights.scales.size() == shape.out * segments.size(), "scales are [out, stretches]");
      for (const kernels::Segment& segment : segments) parts.push_back({{segment}, 0});
    } else if (fits_) {
      parts.push_back({segments, 0});
    } else {
      cut_where_32_bits_are_few(rows, weights, order);
    }
  }
}

void IntegerLinear::pack(const IntegerRows& rows, const IntegerWeights& weights) {
  const auto [out, in] = weights.shape;
  if (rows.packed()) {
    packed_ = kernels::PanelsI4(weights.shape, weights.group);
    for (std::size_t n = 0; n < out; ++n)
      packed_.put(n, weights.codes.row(n),
                  weights.multipliers.subspan(n * weights.groups(), weights.groups()));
    return;
  }
  panels_ = kernels::PanelsI8(out, rows.slots().size() / kQuad, rows.offset_panels());
  std::vector<std::int8_t> row(in);
  for (std::size_t n = 0; n < out; ++n) {
    if (weights.group == 0 && !weights.codes.pairs())
      std::ranges::copy(weights.codes.row(n), row.begin());
    else
      for (std::size_t k = 0; k < in; ++k) row[k] = static_cast<std::int8_t>(weights.weight(n, k));
    panels_.put(n, row, rows.slots());
  }
}

// Walks the quads in the order of the kernel with the bound of every output and chunk, and begins a
// new part before the quad that would break one. A quad alone always fits: 4 * 128 * 32768 < 2^31.
void IntegerLinear::cut_where_32_bits_are_few(const IntegerRows& rows,
                                              const IntegerWeights& weights, std::size_t order) {
  const std::size_t chunks = rows.orders().size() > 1 ? 1 : rows.rounding().chunks.size();
  const std::size_t bounds = chunks * weights.shape.out;
  Parts& parts = orders_[order];
  std::vector<std::int64_t> bound(bounds, 0);
  std::vector<std::int64_t> sum(bounds);
  std::uint32_t shifted = 0;
  Part part;
  for (const kernels::Segment& segment : rows.orders()[order].segments) {
    kernels::Segment piece = segment;
    piece.quads = 0;
    for (std::uint32_t q = 0; q < segment.quads; ++q) {
      const std::uint32_t shift = q == 0 ? segment.shift : 0;
      bound_quad(rows, weights, order, segment, q, sum);
      bool fits = true;
      for (std::size_t i = 0; i < bounds; ++i)
        fits = fits && (bound[i] << shift) + sum[i] <= kMostOf32;
      if (!fits) {
        if (piece.quads != 0) part.segments.push_back(piece);
        part.shift_after = shifted;  // so far: of the segments up to here
        parts.push_back(std::move(part));
        part = {};
        piece = {segment.codes + q, segment.panel + q, 0, 0};
        std::fill(bound.begin(), bound.end(), 0);
      }
      for (std::size_t i = 0; i < bounds; ++i) bound[i] = (bound[i] << shift) + sum[i];
      shifted += shift;
      ++piece.quads;
    }
    part.segments.push_back(piece);
  }
  part.shift_after = shifted;
  parts.push_back(std::move(part));
  for (Part& each : parts) each.shift_after = shifted - each.shift_after;
}

void IntegerLinear::matmul(const IntegerRows& rows, const IntegerCodes& codes, MatrixView<float> y,
                           const Epilogue& epilogue, ThreadPool& pool) const {
  std::vector<const float*> addends;
  for (std::size_t m = 0; !addends_.empty() && m < y.rows(); ++m)
    addends.push_back(addends_.data() + codes.chunks[m] * columns());
  const kernels::GemmI8Job job{
      .codes = codes.codes.data(),
      .stride = codes.stride,
      .rows = y.rows(),
      .codes_signed = rows.codes_signed(),
      .corrections = codes.corrections.empty() ? nullptr : codes.corrections.data(),
      .steps = codes.steps.data(),
      .addends = addends.empty() ? nullptr : addends.data(),
      .out = out_,
      .scales = scales_.data(),
      .bias = epilogue.bias.empty() ? nullptr : epilogue.bias.data(),
      .y = y.data(),
      .y_stride = y.stride(),
  };
  if (codes.few) return run_few(rows, codes, job, pool);
  for (const IntegerCodes::Run& run : codes.runs) run_many(rows, codes, run, job, pool);
}

void IntegerLinear::run_few(const IntegerRows& rows, const IntegerCodes& codes,
                            const kernels::GemmI8Job& job, ThreadPool& pool) const {
  kernels::GemmI4Job few{.common = job,
                         .planes = rows.planes(),
                         .plane_stride = rows.plane_stride(),
                         .corrections = codes.corrections.data(),
                         .multipliers = packed_.multipliers(),
                         .lines = packed_.lines(),
                         .group_lines = packed_.group_lines(),
                         .groups = packed_.groups()};
  few.common.panels = packed_.data();
  few.common.panel_bytes = packed_.panel_bytes();
  few.common.corrections = nullptr;
  pool.for_each_part(panels(), kPackedPanelsAtOnce, [&](std::size_t begin, std::size_t end) {
    if (fits_)
      rows.few_kernel()->run(few, begin, end);
    else
      run_planes(rows, few, {begin, end});
  });
}

// Every plane of digits by itself fits 32 bits: 128 * 127 * in. They are added in 64.
void IntegerLinear::run_planes(const IntegerRows& rows, const kernels::GemmI4Job& job,
                               Slab slab) const {
  const kernels::GemmI8Job& all = job.common;
  const std::size_t planes = job.planes;
  AlignedBuffer<std::int32_t> sums(planes * kBlockRows * columns());
  std::vector<std::int32_t> corrections(kBlockRows * job.groups);
  std::vector<std::uint32_t> shifts;
  for (std::size_t p = 0; p < planes; ++p) shifts.push_back(static_cast<std::uint32_t>(8 * p));
  for (std::size_t first = 0; first < all.rows; first += kBlockRows) {
    const kernels::GemmI8Job block = rows_of(all, first, kBlockRows, 1);
    for (std::size_t p = 0; p < planes; ++p) {
      kernels::GemmI4Job plane = job;
      plane.planes = 1;
      plane.common = block;
      const auto* digits = static_cast<const std::int8_t*>(block.codes) + p * job.plane_stride;
      plane.common.codes = digits;
      for (std::size_t m = 0; m < block.rows; ++m)
        for (std::size_t g = 0; g < job.groups; ++g) {
          const std::size_t width = job.group_lines * kernels::PanelsI4::kLineInputs;
          const std::int8_t* at = digits + m * block.stride + g * width;
          const std::size_t count = std::min(width, job.plane_stride - g * width);
          corrections[m * job.groups + g] =
              kernels::PanelsI4::kOffset * std::accumulate(at, at + count, std::int32_t{0});
        }
      plane.corrections = corrections.data();
      plane.common.sums = sums.data() + p * kBlockRows * columns();
      plane.common.sums_stride = columns();
      rows.few_kernel()->run(plane, slab.begin, slab.end);
    }
    combine(block, slab, shifts, sums.span());
  }
}

void IntegerLinear::run_many(const IntegerRows& rows, const IntegerCodes& codes,
                             const IntegerCodes::Run& run, const kernels::GemmI8Job& job,
                             ThreadPool& pool) const {
  const std::size_t width =
      rows.kernel().width == kernels::CodeWidth::bytes ? 1 : sizeof(std::int16_t);
  kernels::GemmI8Job many = rows_of(job, run.first, run.count, width);
  many.segments = orders_[run.order][0].segments.data();
  many.segment_count = orders_[run.order][0].segments.size();
  if (!rows.packed()) {
    many.panels = panels_.data();
    many.panel_bytes = panels_.panel_bytes();
    pool.for_each_part(panels(), kPanelsAtOnce, [&](std::size_t begin, std::size_t end) {
      run_slab(rows, codes, run, many, {begin, end});
    });
    return;
  }
  const CodeOrder& order = rows.orders()[run.order];
  many.panel_bytes = order.slots.size() * kWidth;
  const std::size_t at_once =
      std::max(kSlabBytes / many.panel_bytes / kPanelsAtOnce, std::size_t{1}) * kPanelsAtOnce;
  kernels::UnpackI4Job unpack{.panels = packed_.data(),
                              .panel_bytes = packed_.panel_bytes(),
                              .multipliers = packed_.multipliers(),
                              .groups = packed_.groups(),
                              .quads = order.quads.data(),
                              .quad_count = order.quads.size(),
                              .flip = static_cast<std::uint8_t>(rows.offset_panels() ? 0x80 : 0)};
  pool.for_each_part(panels(), kPanelsAtOnce, [&](std::size_t begin, std::size_t end) {
    thread_local AlignedBuffer<std::uint8_t> scratch;
    if (scratch.size() < at_once * many.panel_bytes)
      scratch = AlignedBuffer<std::uint8_t>(at_once * many.panel_bytes);
    kernels::UnpackI4Job own = unpack;
    own.out = scratch.data();
    kernels::GemmI8Job part = many;
    part.panels = scratch.data();
    for (std::size_t p = begin; p < end; p += at_once) {
      const Slab slab{p, std::min(p + at_once, end)};
      rows.unpack_kernel().run(own, slab.begin, slab.end);
      part.first_panel = slab.begin;
      run_slab(rows, codes, run, part, slab);
    }
  });
}

void IntegerLinear::run_slab(const IntegerRows& rows, const IntegerCodes& codes,
                             const IntegerCodes::Run& run, const kernels::GemmI8Job& job,
                             Slab slab) const {
  const Parts& parts = orders_[run.order];
  if (parts.size() == 1 && !by_stretch_) return rows.kernel().run(job, slab.begin, slab.end);
  const std::size_t width =
      rows.kernel().width == kernels::CodeWidth::bytes ? 1 : sizeof(std::int16_t);
  const std::size_t block_rows = std::min(kBlockRows, job.rows);
  AlignedBuffer<std::int32_t> sums(parts.size() * kBlockRows * columns());
  std::vector<std::int32_t> corrections(block_rows);
  std::vector<std::uint32_t> shifts;
  for (const Part& part : parts) shifts.push_back(part.shift_after);
  for (std::size_t first = 0; first < job.rows; first += kBlockRows) {
    const kernels::GemmI8Job block = rows_of(job, first, kBlockRows, width);
    for (std::size_t p = 0; p < parts.size(); ++p) {
      kernels::GemmI8Job part = block;
      part.segments = parts[p].segments.data();
      part.segment_count = parts[p].segments.size();
      for (std::size_t m = 0; job.corrections != nullptr && m < block.rows; ++m)
        corrections[m] = rows.correction(codes, run.first + first + m, parts[p].segments);
      if (job.corrections != nullptr) part.corrections = corrections.data();
      part.sums = sums.data() + p * kBlockRows * columns();
      part.sums_stride = columns();
      rows.kernel().run(part, slab.begin, slab.end);
    }
    combine(block, slab, shifts, sums.span());
  }
}

void IntegerLinear::combine(const kernels::GemmI8Job& job, Slab slab,
                            std::span<const std::uint32_t> shifts,
                            std::span<const std::int32_t> sums) const {
  const std::size_t begin = slab.begin * kWidth, end = std::min(slab.end * kWidth, out_);
  for (std::size_t m = 0; m < job.rows; ++m) {
    const std::int32_t* sum = sums.data() + m * columns();
    float* y = job.y + m * job.y_stride;
    const float step = job.steps[m];
    const auto part = [&](std::size_t p) { return sum + p * kBlockRows * columns(); };
    if (by_stretch_) {
      std::fill(y + begin, y + end, 0.0F);
      for (std::size_t p = 0; p < shifts.size(); ++p)
        for (std::size_t n = begin; n < end; ++n)
          y[n] += static_cast<float>(part(p)[n]) * scales_[p * columns() + n];
      for (std::size_t n = begin; n < end; ++n) y[n] *= step;
    } else {
      for (std::size_t n = begin; n < end; ++n) {
        std::int64_t exact = 0;
        for (std::size_t p = 0; p < shifts.size(); ++p)
          exact += std::int64_t{part(p)[n]} * (std::int64_t{1} << shifts[p]);
        y[n] = static_cast<float>(exact) * (scales_[n] * step);
      }
    }
    for (std::size_t n = begin; job.addends != nullptr && n < end; ++n) y[n] += job.addends[m][n];
    for (std::size_t n = begin; job.bias != nullptr && n < end; ++n) y[n] += job.bias[n];
  }
}

std::string IntegerLinear::kernel(const IntegerRows& rows) const {
  std::string name = (rows.shifted() ? "gemm_i16 " : "gemm_i8 ") + std::string(rows.kernel().name);
  if (rows.packed()) {
    if (rows.folds()) name += fmt::format(" with {} groups in one", rows.groups_at_once());
    if (rows.few_kernel() == nullptr)
      name += fmt::format(" on panels unpacked in {}", rows.unpack_kernel().name);
  } else if (rows.weights().bits <= 4 && rows.rounding().chunk_groups > 0) {
    name += " on codes widened to 8 bits, since chunks bring their shifts with the rows";
  } else if (rows.weights().bits <= 4) {
    name += fmt::format(
        " on codes widened to 8 bits, since {} inputs to a multiplier are not whole "
        "lines of 8",
        rows.weights().group);
  }
  if (rows.few_kernel() != nullptr)
    name = fmt::format("gemm_i4 {} up to {} rows, then {}", rows.few_kernel()->name,
                       rows.most_few_rows(), name);
  if (by_stretch_) return name + ", one sum per weight group";
  if (!fits_) name += fmt::format(", {} accumulators since 32 bits might overflow", parts());
  return name;
}

std::size_t IntegerLinear::bytes() const {
  return panels_.bytes() + packed_.bytes() + (scales_.size() + addends_.size()) * sizeof(float);
}

}  // namespace tender::quant
