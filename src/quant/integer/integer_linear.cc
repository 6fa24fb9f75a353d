#include "quant/integer/integer_linear.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "base/contracts.h"

namespace tender::quant {
namespace {

constexpr std::size_t kWidth = kernels::PanelsI8::kWidth;
constexpr std::size_t kQuad = kernels::PanelsI8::kQuad;
constexpr std::int64_t kMostOf32 = std::numeric_limits<std::int32_t>::max();
// Rows whose partial sums are held at a time.
constexpr std::size_t kBlockRows = 32;
// Threads meet at whole groups of panels of the widest tile.
constexpr std::size_t kPanelsAtOnce = 3;

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

/// What a quad of slots can add to the sum of each [chunk, output].
void bound_quad(const IntegerRows& rows, const IntegerWeights& weights,
                const kernels::Segment& segment, std::uint32_t quad, std::span<std::int64_t> sums) {
  const auto [out, in] = weights.shape;
  std::fill(sums.begin(), sums.end(), 0);
  for (std::size_t t = 0; t < kQuad; ++t) {
    const std::size_t k = rows.slots()[(segment.panel + quad) * kQuad + t];
    if (k == in) continue;
    for (std::size_t c = 0; c * out < sums.size(); ++c) {
      const std::int64_t reach =
          std::int64_t{rows.power(c, (segment.codes + quad) * kQuad + t)} * rows.rounding().reach();
      for (std::size_t n = 0; n < out; ++n)
        sums[c * out + n] += std::abs(int{weights.codes[n * in + k]}) * reach;
    }
  }
}

}  // namespace

bool sums_fit_32_bits(const RowRounding& rounding, const IntegerWeights& weights) {
  const std::size_t in = weights.shape.in;
  for (const ChunkRounding& chunk : rounding.chunks)
    for (std::size_t n = 0; n < weights.shape.out; ++n) {
      const std::int8_t* codes = weights.codes.data() + n * in;
      std::int64_t sum = 0;
      if (chunk.shift.empty())
        for (std::size_t k = 0; k < in; ++k) sum += std::abs(int{codes[k]});
      else
        for (std::size_t k = 0; k < in; ++k)
          sum += std::int64_t{std::abs(int{codes[k]})} << chunk.shift[k];
      if (sum * rounding.reach() > kMostOf32) return false;
    }
  return true;
}

IntegerLinear::IntegerLinear(const IntegerRows& rows, const IntegerWeights& weights) {
  const LinearShape shape = weights.shape;
  require(weights.codes.size() == shape.out * shape.in, "codes are [out, in]");
  panels_ = kernels::PanelsI8(shape.out, rows.slots().size() / kQuad, rows.offset_panels());
  for (std::size_t n = 0; n < shape.out; ++n)
    panels_.put(n, weights.codes.subspan(n * shape.in, shape.in), rows.slots());
  const std::size_t columns = panels_.panels() * kWidth;
  by_stretch_ = weights.scales.size() != shape.out;
  scales_ = padded(transposed(weights.scales, shape.out), shape.out, columns);
  if (!weights.addends.empty()) addends_ = padded(weights.addends, shape.out, columns);

  const auto segments = rows.segments();
  if (by_stretch_) {
    require(weights.scales.size() == shape.out * segments.size(), "scales are [out, stretches]");
    for (const kernels::Segment& segment : segments) parts_.push_back({{segment}, 0});
  } else if (sums_fit_32_bits(rows.rounding(), weights)) {
    parts_.push_back({{segments.begin(), segments.end()}, 0});
  } else {
    cut_where_32_bits_are_few(rows, weights);
  }
}

// Walks the quads in the order of the kernel with the bound of every output and chunk, and begins a
// new part before the quad that would break one. A quad alone always fits: 4 * 128 * 32768 < 2^31.
void IntegerLinear::cut_where_32_bits_are_few(const IntegerRows& rows,
                                              const IntegerWeights& weights) {
  const std::size_t bounds = rows.rounding().chunks.size() * weights.shape.out;
  std::vector<std::int64_t> bound(bounds, 0);
  std::vector<std::int64_t> sum(bounds);
  std::uint32_t shifted = 0;
  Part part;
  for (const kernels::Segment& segment : rows.segments()) {
    kernels::Segment piece = segment;
    piece.quads = 0;
    for (std::uint32_t q = 0; q < segment.quads; ++q) {
      const std::uint32_t shift = q == 0 ? segment.shift : 0;
      bound_quad(rows, weights, segment, q, sum);
      bool fits = true;
      for (std::size_t i = 0; i < bounds; ++i)
        fits = fits && (bound[i] << shift) + sum[i] <= kMostOf32;
      if (!fits) {
        if (piece.quads != 0) part.segments.push_back(piece);
        part.shift_after = shifted;  // so far: of the segments up to here
        parts_.push_back(std::move(part));
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
  parts_.push_back(std::move(part));
  for (Part& each : parts_) each.shift_after = shifted - each.shift_after;
}

void IntegerLinear::matmul(const IntegerRows& rows, const IntegerCodes& codes, MatrixView<float> y,
                           const Epilogue& epilogue, ThreadPool& pool) const {
  const std::size_t columns = panels_.panels() * kWidth;
  std::vector<const float*> addends;
  for (std::size_t m = 0; !addends_.empty() && m < y.rows(); ++m)
    addends.push_back(addends_.data() + codes.chunks[m] * columns);
  kernels::GemmI8Job job{
      .codes = codes.codes.data(),
      .stride = codes.stride,
      .rows = y.rows(),
      .codes_signed = rows.codes_signed(),
      .corrections = codes.corrections.empty() ? nullptr : codes.corrections.data(),
      .steps = codes.steps.data(),
      .addends = addends.empty() ? nullptr : addends.data(),
      .panels = panels_.data(),
      .panel_bytes = panels_.panel_bytes(),
      .out = panels_.out(),
      .scales = scales_.data(),
      .bias = epilogue.bias.empty() ? nullptr : epilogue.bias.data(),
      .segments = parts_[0].segments.data(),
      .segment_count = parts_[0].segments.size(),
      .y = y.data(),
      .y_stride = y.stride(),
  };
  if (parts_.size() > 1 || by_stretch_) return run_parts(rows, codes, job, pool);
  pool.for_each_part(panels_.panels(), kPanelsAtOnce, [&](std::size_t begin, std::size_t end) {
    rows.kernel().run(job, begin, end);
  });
}

void IntegerLinear::run_parts(const IntegerRows& rows, const IntegerCodes& codes,
                              kernels::GemmI8Job job, ThreadPool& pool) const {
  const std::size_t columns = panels_.panels() * kWidth;
  const std::size_t width =
      rows.kernel().width == kernels::CodeWidth::bytes ? 1 : sizeof(std::int16_t);
  const std::size_t all = job.rows;
  AlignedBuffer<std::int32_t> sums(parts_.size() * kBlockRows * columns);
  std::vector<std::int32_t> corrections(parts_.size() * kBlockRows, 0);
  for (std::size_t first = 0; first < all; first += kBlockRows) {
    kernels::GemmI8Job block = job;
    block.rows = std::min(kBlockRows, all - first);
    block.codes = static_cast<const std::uint8_t*>(job.codes) + first * job.stride * width;
    block.steps += first;
    if (block.addends != nullptr) block.addends += first;
    block.y += first * job.y_stride;
    for (std::size_t i = 0; job.corrections != nullptr && i < parts_.size() * block.rows; ++i) {
      const std::size_t part = i / block.rows, m = i % block.rows;
      corrections[part * kBlockRows + m] = rows.correction(codes, first + m, parts_[part].segments);
    }
    pool.for_each_part(panels_.panels(), kPanelsAtOnce, [&](std::size_t begin, std::size_t end) {
      for (std::size_t p = 0; p < parts_.size(); ++p) {
        kernels::GemmI8Job part = block;
        part.segments = parts_[p].segments.data();
        part.segment_count = parts_[p].segments.size();
        if (job.corrections != nullptr) part.corrections = corrections.data() + p * kBlockRows;
        part.sums = sums.data() + p * kBlockRows * columns;
        part.sums_stride = columns;
        rows.kernel().run(part, begin, end);
      }
      combine(block, begin * kWidth, std::min(end * kWidth, panels_.out()), sums.span());
    });
  }
}

void IntegerLinear::combine(const kernels::GemmI8Job& job, std::size_t begin, std::size_t end,
                            std::span<const std::int32_t> sums) const {
  const std::size_t columns = panels_.panels() * kWidth;
  for (std::size_t m = 0; m < job.rows; ++m) {
    const std::int32_t* sum = sums.data() + m * columns;
    float* y = job.y + m * job.y_stride;
    const float step = job.steps[m];
    const auto part = [&](std::size_t p) { return sum + p * kBlockRows * columns; };
    if (by_stretch_) {
      std::fill(y + begin, y + end, 0.0F);
      for (std::size_t p = 0; p < parts_.size(); ++p)
        for (std::size_t n = begin; n < end; ++n)
          y[n] += static_cast<float>(part(p)[n]) * scales_[p * columns + n];
      for (std::size_t n = begin; n < end; ++n) y[n] *= step;
    } else {
      for (std::size_t n = begin; n < end; ++n) {
        std::int64_t exact = 0;
        for (std::size_t p = 0; p < parts_.size(); ++p)
          exact += std::int64_t{part(p)[n]} << parts_[p].shift_after;
        y[n] = static_cast<float>(exact) * (scales_[n] * step);
      }
    }
    for (std::size_t n = begin; job.addends != nullptr && n < end; ++n) y[n] += job.addends[m][n];
    for (std::size_t n = begin; job.bias != nullptr && n < end; ++n) y[n] += job.bias[n];
  }
}

std::string IntegerLinear::kernel(const IntegerRows& rows) const {
  std::string name = (rows.shifted() ? "gemm_i16 " : "gemm_i8 ") + std::string(rows.kernel().name);
  if (by_stretch_) return name + ", one sum per weight group";
  if (parts_.size() > 1)
    name += fmt::format(", {} accumulators since 32 bits might overflow", parts_.size());
  return name;
}

}  // namespace tender::quant
