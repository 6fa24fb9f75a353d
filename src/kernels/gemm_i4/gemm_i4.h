#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "kernels/gemm_i8/gemm_i8.h"
#include "tensor/matrix.h"
#include "tensor/rows.h"

namespace tender::kernels {

/// Weights of a linear layer in codes of 4 bits, two to a byte, in vectors over outputs; channels
/// stand in natural order.
///
///     panel p holds outputs 16p … 16p + 15, line l of a panel channels 8l … 8l + 7, 64 bytes
///     byte [p][l][j][t] = (code of output 16p + j, channel 8l + t) + 8
///                       + 16 * ((code of the same output, channel 8l + 4 + t) + 8)
///
/// with code 0 past `out` and past `in`. So a line is two quads of PanelsI8 in unsigned bytes: its
/// low nibbles and its high nibbles. Multipliers, where there are any, are bytes [p][group][j]:
/// inputs of `group` channels share one.
class PanelsI4 {
 public:
  static constexpr std::size_t kWidth = PanelsI8::kWidth;
  static constexpr std::size_t kLineInputs = 8;
  static constexpr std::size_t kLineBytes = 64;
  static constexpr int kOffset = 8;

  PanelsI4() = default;
  /// Not to be read before every output was put().
  /// @param group  channels that share a multiplier, a multiple of 8; 0 where there are none
  PanelsI4(LinearShape shape, std::size_t group);

  LinearShape shape() const { return shape_; }
  std::size_t panels() const { return (shape_.out + kWidth - 1) / kWidth; }
  std::size_t lines() const { return (shape_.in + kLineInputs - 1) / kLineInputs; }
  std::size_t panel_bytes() const { return lines() * kLineBytes; }
  /// Lines and number of the groups; all lines are one group where there are no multipliers.
  std::size_t group_lines() const { return group_ == 0 ? lines() : group_ / kLineInputs; }
  std::size_t groups() const { return (lines() + group_lines() - 1) / group_lines(); }
  const std::uint8_t* data() const { return data_.data(); }
  const std::uint8_t* multipliers() const { return group_ == 0 ? nullptr : multipliers_.data(); }
  std::size_t bytes() const { return data_.size() + multipliers_.size(); }

  /// Sets one output. @param pairs  [(in + 1) / 2]: codes in two's complement, two to a byte, the
  /// first in the low nibble; @param multipliers  [groups], or empty
  void put(std::size_t output, std::span<const std::uint8_t> pairs,
           std::span<const std::uint8_t> multipliers);

 private:
  LinearShape shape_;
  std::size_t group_ = 0;
  AlignedBuffer<std::uint8_t> data_;
  AlignedBuffer<std::uint8_t> multipliers_;
};

/// Few rows times packed panels. Plain pointers: the ISA files read it.
///
///     x[m, k] = sum over planes p of digit[m][p][k] * 256^p
///     A[m, n] = sum over groups g of multiplier[n][g] * (sum over k in g of x[m, k] * code[n, k])
///
/// modulo 2^32, 1 where there are no multipliers; then as GemmI8Job does it.
struct GemmI4Job {
  /// Rows of digits ([rows, stride] bytes), panels and everything from the sum on; codes_signed,
  /// corrections and segments say nothing here.
  GemmI8Job common;
  std::size_t planes = 1;
  std::size_t plane_stride = 0;               ///< bytes from plane to plane of a row, lines * 8
  const std::int32_t* corrections = nullptr;  ///< [rows, groups], 8 * the sum of x over the group
  const std::uint8_t* multipliers = nullptr;  ///< [panels, groups, 16]; or null
  std::size_t lines = 0;
  std::size_t group_lines = 0;
  std::size_t groups = 1;
};

/// All rows of the job and the outputs of panels [begin, end).
using GemmI4Fn = void (*)(const GemmI4Job& job, std::size_t begin, std::size_t end);

struct GemmI4Kernel {
  std::string_view name;
  Isa needs;
  GemmI4Fn run;
};

/// Best first, the scalar one last.
std::span<const GemmI4Kernel> gemm_i4_kernels();

/// Where the four slots of a quad of an 8-bit panel come from.
struct UnpackQuad {
  std::uint32_t at[4] = {};      ///< first byte of the line in the packed panel
  std::uint32_t rotate[4] = {};  ///< left, of every 4 bytes: brings the nibble to its place
  std::uint32_t mask[4] = {};    ///< of the nibble in its place; 0 for a slot that holds none
  std::uint32_t group[4] = {};   ///< whose multiplier the slot takes
  std::uint32_t subtract = 0;    ///< 8 << shift in every byte
  bool one_line = false;         ///< all slots have the same line and the same rotation
  bool one_group = false;        ///< and the same multiplier
};

/// Slot s holds channel slots[s] (or none, from `in` on) with its code shifted left by shifts[s],
/// below 5; shifts may be empty. @param group  channels that share a multiplier; 0: none
std::vector<UnpackQuad> plan_unpacking(std::size_t in, std::span<const std::uint32_t> slots,
                                       std::span<const std::uint8_t> shifts, std::size_t group);

/// Packed panels into those of gemm_i8.h, code * multiplier << shift in every slot (modulo 2^8; the
/// caller sees to it that it fits).
struct UnpackI4Job {
  const std::uint8_t* panels = nullptr;
  std::size_t panel_bytes = 0;
  const std::uint8_t* multipliers = nullptr;  ///< [panels, groups, 16]; or null
  std::size_t groups = 1;
  const UnpackQuad* quads = nullptr;
  std::size_t quad_count = 0;
  std::uint8_t flip = 0;        ///< 0x80 makes offset panels
  std::uint8_t* out = nullptr;  ///< [panels of the call, quad_count, 64]
};

/// Panels [begin, end) into out, from its start.
using UnpackI4Fn = void (*)(const UnpackI4Job& job, std::size_t begin, std::size_t end);

struct UnpackI4Kernel {
  std::string_view name;
  Isa needs;
  UnpackI4Fn run;
};

/// Best first, the scalar one last.
std::span<const UnpackI4Kernel> unpack_i4_kernels();

namespace isa {
void gemm_i4_vnni(const GemmI4Job& job, std::size_t begin, std::size_t end);
void gemm_i4_avxvnni(const GemmI4Job& job, std::size_t begin, std::size_t end);
void gemm_i4_avx2(const GemmI4Job& job, std::size_t begin, std::size_t end);
void unpack_i4_avx512(const UnpackI4Job& job, std::size_t begin, std::size_t end);
void unpack_i4_avx2(const UnpackI4Job& job, std::size_t begin, std::size_t end);
}  // namespace isa

}  // namespace tender::kernels
