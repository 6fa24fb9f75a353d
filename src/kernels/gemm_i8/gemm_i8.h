#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu.h"
#include "tensor/matrix.h"

namespace tender::kernels {

/// How the codes of rounded rows stand in memory: bytes in [-128, 127] or, unsigned, [0, 255];
/// words in [-32768, 32767].
enum class CodeWidth : std::uint8_t { bytes, words };

/// A stretch of the sum over k, in quads of four slots.
struct Segment {
  std::uint32_t codes = 0;  ///< first quad in a row of codes
  std::uint32_t panel = 0;  ///< first quad in a panel
  std::uint32_t quads = 0;
  std::uint32_t shift =
      0;  ///< the accumulator is shifted left by so much before the stretch; below 32
};

/// 8-bit weights of a linear layer, rearranged for vectors over outputs with four slots side by
/// side.
///
///     panel p holds outputs 16p … 16p + 15
///     byte [p][q][j][t] = code of output 16p + j for the channel in slot 4q + t, zero past `out`
///
/// 64 bytes are one quad of a panel. "Offset" panels hold code + 128 instead, as unsigned bytes:
/// vpdpbusd multiplies unsigned by signed. One layout for every ISA.
class PanelsI8 {
 public:
  static constexpr std::size_t kWidth = 16;
  static constexpr std::size_t kQuad = 4;
  static constexpr std::size_t kQuadBytes = kWidth * kQuad;

  PanelsI8() = default;
  /// Not to be read before every output was put().
  PanelsI8(std::size_t out, std::size_t quads, bool offset);

  std::size_t out() const { return out_; }
  std::size_t quads() const { return quads_; }
  std::size_t panels() const { return (out_ + kWidth - 1) / kWidth; }
  bool offset() const { return offset_; }
  std::size_t panel_bytes() const { return quads_ * kQuadBytes; }
  const std::uint8_t* data() const { return data_.data(); }
  std::size_t bytes() const { return data_.size(); }

  /// Sets one output. @param codes [in]; @param slots [4 * quads], the channel of each slot, or
  /// `in` for a slot that holds none
  void put(std::size_t output, std::span<const std::int8_t> codes,
           std::span<const std::uint32_t> slots);

 private:
  std::size_t out_ = 0;
  std::size_t quads_ = 0;
  bool offset_ = false;
  AlignedBuffer<std::uint8_t> data_;
};

/// One product of rounded rows and panels. Plain pointers: the ISA files read it.
///
///     A[m, n] = (… (P_1 << shift_2) + P_2 …),  P_s = sum of codes * weights over stretch s, modulo
///     2^32 y[m, n] = ((float(A) * (scales[n] * steps[m])) + addends[m][n]) + bias[n]
///
/// in float32, rounded after every operation, each addition left out where its array is null.
struct GemmI8Job {
  const void* codes = nullptr;  ///< [rows, stride], bytes or words
  std::size_t stride = 0;       ///< codes from row to row
  std::size_t rows = 0;
  bool codes_signed = true;
  const std::int32_t* corrections =
      nullptr;                   ///< [rows], taken from every accumulator of the row; or null
  const float* steps = nullptr;  ///< [rows]
  const float* const* addends = nullptr;  ///< [rows], each [panels * 16]; or null

  const std::uint8_t* panels = nullptr;  ///< from panel `first_panel` on
  std::size_t first_panel = 0;
  std::size_t panel_bytes = 0;
  std::size_t out = 0;
  const float* scales = nullptr;  ///< [panels * 16]
  const float* bias = nullptr;    ///< [out]; or null
  const Segment* segments = nullptr;
  std::size_t segment_count = 0;

  float* y = nullptr;  ///< [rows, out]
  std::size_t y_stride = 0;
  std::int32_t* sums =
      nullptr;  ///< [rows, panels * 16]: takes A itself and leaves y alone; or null
  std::size_t sums_stride = 0;
};

/// All rows of the job and the outputs of panels [begin, end).
using GemmI8Fn = void (*)(const GemmI8Job& job, std::size_t begin, std::size_t end);

struct GemmI8Kernel {
  std::string_view name;
  Isa needs;
  CodeWidth width;     ///< of the codes that it reads
  bool offset_panels;  ///< signed codes meet offset panels, and the job has corrections
  GemmI8Fn run;
};

/// Best first, the scalar one last: rows whose channels stand in group order, a shift between
/// groups.
std::span<const GemmI8Kernel> gemm_i8_kernels();
/// The same for rows in natural order whose codes were shifted beforehand: what several sets of
/// groups in one batch need, since they share one panel. All read words.
std::span<const GemmI8Kernel> gemm_i16_kernels();

namespace isa {
void gemm_i8_amx(const GemmI8Job& job, std::size_t begin, std::size_t end);
void gemm_i8_vnni(const GemmI8Job& job, std::size_t begin, std::size_t end);
void gemm_i16_vnni(const GemmI8Job& job, std::size_t begin, std::size_t end);
void gemm_i16_avx512(const GemmI8Job& job, std::size_t begin, std::size_t end);
void gemm_i16_avx2(const GemmI8Job& job, std::size_t begin, std::size_t end);
}  // namespace isa

}  // namespace tender::kernels
