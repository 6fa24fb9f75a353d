#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "kernels/gemm_i8/gemm_i8.h"

namespace tender::kernels::testing {

/// A random product with a 64-bit oracle. Slots are channels here: order is the caller's affair.
struct Product {
  /// @param bits  of weights, and of codes that are bytes
  Product(std::uint64_t seed, std::size_t outputs, std::size_t rows_,
          std::vector<Segment> segments_, CodeWidth width_, bool is_signed_, bool offset,
          bool extreme, int bits = 8)
      : rows(rows_), width(width_), is_signed(is_signed_), segments(std::move(segments_)) {
    Rng rng(seed, "gemm_i8");
    std::size_t panel_quads = 0;
    for (const Segment& s : segments) {
      stride = std::max<std::size_t>(stride, std::size_t{4} * (s.codes + s.quads));
      panel_quads = std::max<std::size_t>(panel_quads, s.panel + s.quads);
    }
    const int half = 1 << (bits - 1);
    const int low = width == CodeWidth::words ? -32768 : is_signed ? -half : 0;
    const int high = width == CodeWidth::words ? 32767 : is_signed ? half - 1 : 2 * half - 1;
    const auto draw = [&](int least, int most) {
      if (extreme) return rng.below(2) == 0 ? least : most;
      return least + static_cast<int>(rng.below(static_cast<std::uint64_t>(most - least + 1)));
    };
    codes.resize(rows * stride);
    for (int& code : codes) code = draw(low, high);
    weights.resize(outputs * panel_quads * 4);
    for (std::int8_t& w : weights) w = static_cast<std::int8_t>(draw(-half, half - 1));
    in = panel_quads * 4;

    panels = PanelsI8(outputs, panel_quads, offset);
    std::vector<std::uint32_t> slots(in);
    for (std::size_t s = 0; s < in; ++s) slots[s] = static_cast<std::uint32_t>(s);
    for (std::size_t n = 0; n < outputs; ++n)
      panels.put(n, std::span(weights).subspan(n * in, in), slots);
    for (const int code : codes) {
      bytes.push_back(static_cast<std::uint8_t>(code));
      words.push_back(static_cast<std::int16_t>(code));
    }
    for (std::size_t m = 0; offset && m < rows; ++m) {
      std::uint32_t sum = 0;
      for (const Segment& s : segments) {
        sum <<= s.shift;
        for (std::size_t i = 0; i < 4 * s.quads; ++i)
          sum += static_cast<std::uint32_t>(codes[m * stride + 4 * s.codes + i]);
      }
      corrections.push_back(static_cast<std::int32_t>(sum * 128));
    }
    const std::size_t columns = panels.panels() * 16;
    for (std::size_t n = 0; n < columns; ++n) {
      scales.push_back(0.001F * static_cast<float>(1 + rng.uniform()));
      bias.push_back(rng.normal());
    }
    for (std::size_t m = 0; m < rows; ++m) {
      steps.push_back(0.01F * static_cast<float>(1 + rng.uniform()));
      addend_values.emplace_back();
      for (std::size_t n = 0; n < columns; ++n) addend_values.back().push_back(rng.normal());
    }
    for (const auto& values : addend_values) addends.push_back(values.data());
  }

  /// Modulo 2^32.
  std::int32_t oracle(std::size_t m, std::size_t n) const {
    std::uint64_t sum = 0;
    for (const Segment& s : segments) {
      sum <<= s.shift;
      for (std::size_t i = 0; i < 4 * s.quads; ++i)
        sum += static_cast<std::uint64_t>(std::int64_t{codes[m * stride + 4 * s.codes + i]} *
                                          weights[n * in + 4 * s.panel + i]);
    }
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(sum));
  }

  GemmI8Job job() const {
    GemmI8Job job;
    job.codes = width == CodeWidth::bytes ? static_cast<const void*>(bytes.data()) : words.data();
    job.stride = stride;
    job.rows = rows;
    job.codes_signed = is_signed;
    job.corrections = corrections.empty() ? nullptr : corrections.data();
    job.steps = steps.data();
    job.panels = panels.data();
    job.panel_bytes = panels.panel_bytes();
    job.out = panels.out();
    job.scales = scales.data();
    job.segments = segments.data();
    job.segment_count = segments.size();
    return job;
  }

  std::size_t rows, stride = 0, in = 0;
  CodeWidth width;
  bool is_signed;
  std::vector<Segment> segments;
  std::vector<int> codes;
  std::vector<std::int8_t> weights;
  PanelsI8 panels;
  std::vector<std::uint8_t> bytes;
  std::vector<std::int16_t> words;
  std::vector<std::int32_t> corrections;
  std::vector<float> scales, bias, steps;
  std::vector<std::vector<float>> addend_values;
  std::vector<const float*> addends;
};

/// Random groups: empty ones, single quads, shifts up to 4 at a time.
inline std::vector<Segment> random_segments(Rng& rng) {
  std::vector<Segment> segments;
  std::uint32_t at = 0;
  for (std::uint64_t count = 1 + rng.below(20); count > 0; --count) {
    const auto quads = static_cast<std::uint32_t>(rng.below(3) == 0 ? 0 : rng.below(9));
    segments.push_back({at, at, quads, static_cast<std::uint32_t>(rng.below(5))});
    at += quads;
  }
  if (at == 0) segments.push_back({0, 0, 1, 1});
  return segments;
}

}  // namespace tender::kernels::testing
