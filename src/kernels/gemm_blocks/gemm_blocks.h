#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/cpu.h"
#include "tensor/matrix.h"
#include "tensor/rows.h"

namespace tender::kernels {

/// In what form the scales of weights stand beside their codes.
enum class BlockScales : std::uint8_t {
  floats,             ///< a float32 for each block
  halves,             ///< a float16 (Q8_0, Q4_0)
  halves_and_minima,  ///< a float16 scale and a float16 minimum (Q4_1)
  superblocks,        ///< float16 scale and minimum of eight blocks, and a byte of each for every
                      ///< block (Q4_K, Q5_K)
  half_blocks,        ///< a float16 of eight blocks, and a signed byte for each half of a block
                      ///< (Q6_K)
};
/// Scales in a block: of its halves, or one.
constexpr std::size_t scales_in_block(BlockScales form) {
  return form == BlockScales::half_blocks ? 2 : 1;
}

/// A block's scale and minimum as the file has them.
struct BlockScale {
  float scale = 0;             ///< d; of the superblock with BlockScales::superblocks
  float minimum = 0;           ///< m, or dmin of the superblock, which is taken off
  std::uint8_t times = 1;      ///< `superblocks`: the block's scale is scale * times
  std::uint8_t min_times = 0;  ///< and its minimum -minimum * min_times
  // `half_blocks`: the two are signed, and a half's scale is scale * times or scale * min_times
};

/// Weights of a linear layer in blocks of 32 input channels that share a scale (and a minimum), as
/// GGUF has them, rearranged for vectors over outputs.
///
///     panel p holds outputs 16p … 16p + 15
///     8 bits: byte [p][q][j][t] = u of output 16p + j, channel 4q + t, 64 bytes a quad
///     4 bits: byte [p][l][j][t] = u of channel 8l + t + 16 * u of channel 8l + 4 + t, 64 bytes a
///             line of two quads
///     scales  [p][block][16 outputs] in their form: float32; float16; float16 scales, then float16
///             minima; or for each eight blocks 16 float16 scales, 16 float16 minima, then for
///             every one of the eight 16 bytes of the scale and 16 bytes of the minimum; or for
///             each eight 16 float16 scales, then for every one 16 bytes of its first half and 16
///             of its second
///
/// with u = code + zero unsigned. Past `out`, and past `in` in its last block, weights are 0.
class PanelsBlocks {
 public:
  static constexpr std::size_t kWidth = 16;
  static constexpr std::size_t kBlock = 32;
  static constexpr std::size_t kSuper = 8;  ///< blocks of a superblock

  PanelsBlocks() = default;
  /// @param bits  4 or 8
  /// @param zero  u of code 0: 128 at 8 bits; 8 or 0 at 4
  PanelsBlocks(LinearShape shape, int bits, int zero, BlockScales form);

  LinearShape shape() const { return shape_; }
  int bits() const { return bits_; }
  int zero() const { return zero_; }
  BlockScales form() const { return form_; }
  std::size_t panels() const { return (shape_.out + kWidth - 1) / kWidth; }
  std::size_t blocks() const { return (shape_.in + kBlock - 1) / kBlock; }
  std::size_t block_bytes() const { return kBlock * kWidth * static_cast<std::size_t>(bits_) / 8; }
  std::size_t panel_bytes() const { return blocks() * block_bytes(); }
  std::size_t panel_scale_bytes() const { return panel_scale_bytes_; }
  const std::uint8_t* data() const { return data_.data(); }
  const std::uint8_t* scales() const { return scales_.data(); }
  std::size_t bytes() const { return data_.size() + scales_.size(); }

  /// Sets one output. @param u  [in], each below 2^bits   @param scales  [blocks]
  void put(std::size_t output, std::span<const std::uint8_t> u, std::span<const BlockScale> scales);
  /// The weights of one output: scale * (u - zero), a minimum added in the same rounding.
  /// @param w  [in]
  void take(std::size_t output, std::span<float> w) const;

 private:
  LinearShape shape_;
  int bits_ = 8;
  int zero_ = 128;
  BlockScales form_ = BlockScales::halves;
  std::size_t panel_scale_bytes_ = 0;
  AlignedBuffer<std::uint8_t> data_;
  AlignedBuffer<std::uint8_t> scales_;
};

/// Rows in blocks times weights in blocks. Plain pointers: the ISA files read it.
///
///     A[b]    = sum over k in block b of x[m, k] * (u[n, k] - zero)             exact
///               (half a block where halves have scales: then b counts halves, d and A are theirs)
///     y[m, n] = fma chain over rising b, from 0, of float(A[b]) * (d[n, b] * step[m, b]), each one
///               followed, where there are minima, by
///               m[n, b] * (step[m, b] * float(sum of x[m, k] over the block))
///               then + bias[n]
///
/// with d and m exact in float32 and every product in brackets rounded to it: the same bits in
/// every kernel, for any number of rows and panels at once.
struct GemmBlocksJob {
  const std::int8_t* codes = nullptr;  ///< [rows, stride], in [-127, 127], 0 past `in`
  std::size_t stride = 0;              ///< bytes from row to row, a multiple of 64
  std::size_t rows = 0;
  const float* steps = nullptr;        ///< [rows, blocks]
  const std::int32_t* sums = nullptr;  ///< [rows, blocks, 2]: of the codes of half a block

  const std::uint8_t* panels = nullptr;
  std::size_t panel_bytes = 0;
  const std::uint8_t* scales = nullptr;
  std::size_t panel_scale_bytes = 0;
  std::size_t blocks = 0;
  int bits = 8;
  int zero = 128;
  BlockScales form = BlockScales::halves;
  std::size_t out = 0;
  const float* bias = nullptr;  ///< [out]; or null

  float* y = nullptr;  ///< [rows, out]
  std::size_t y_stride = 0;
};

/// All rows of the job and the outputs of panels [begin, end).
using GemmBlocksFn = void (*)(const GemmBlocksJob& job, std::size_t begin, std::size_t end);

struct GemmBlocksKernel {
  std::string_view name;
  Isa needs;
  GemmBlocksFn run;
};

/// Best first, the scalar one last.
std::span<const GemmBlocksKernel> gemm_blocks_kernels();

/// A row into blocks of codes:
///
///     step[b] = max |x| of the block / qmax, 0 for a block below 2^-100 in magnitude
///     code[k] = clamp(rne(x[k] / step[b]), -qmax, qmax)          0 where the step is 0
///     sum[b]  = sums of the codes of the block's first and second half
///
/// A block whose values are not all finite has step NaN and codes 0.
/// @param x  [in]; the last block may be short, as if zeros followed
/// @param codes  [blocks * 32]  @param steps  [blocks]  @param sums  [blocks, 2]  @param qmax  1 …
/// 127
using RoundBlocksFn = void (*)(const float* x, std::size_t in, int qmax, std::int8_t* codes,
                               float* steps, std::int32_t* sums);

struct RoundBlocksKernel {
  std::string_view name;
  Isa needs;
  RoundBlocksFn run;
};

/// Best first, the scalar one last.
std::span<const RoundBlocksKernel> round_blocks_kernels();

namespace isa {
void gemm_blocks_vnni(const GemmBlocksJob& job, std::size_t begin, std::size_t end);
void gemm_blocks_avxvnni(const GemmBlocksJob& job, std::size_t begin, std::size_t end);
void gemm_blocks_avx2(const GemmBlocksJob& job, std::size_t begin, std::size_t end);
void round_blocks_avx512(const float* x, std::size_t in, int qmax, std::int8_t* codes, float* steps,
                         std::int32_t* sums);
void round_blocks_avx2(const float* x, std::size_t in, int qmax, std::int8_t* codes, float* steps,
                       std::int32_t* sums);
}  // namespace isa

}  // namespace tender::kernels
