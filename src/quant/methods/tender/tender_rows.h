#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "kernels/gemm_f32/gemm_f32.h"
#include "quant/integer/integer_rows.h"
#include "quant/integer/row_rounding.h"
#include "quant/method.h"
#include "quant/rotation/rotation.h"
#include "quant/weight_search.h"

namespace tender::quant {

/// static: scales as calibrated, values beyond them are clipped (the paper). row_scaled: every row
/// is divided by its own factor first, so nothing is clipped (tender.md 8.2). one_row: groups from
/// the row itself, so every element has a step of its own: an exponent per element, fixed-point
/// operands of b + G - 1 bits, no metadata (tender.md 8.1 with chunks of one row). dynamic: TMax,
/// CMax and groups from the rows of the chunk itself (the paper without calibration), so that a row
/// depends on its neighbours: for evaluation. automatic: each site has one of the first three.
enum class TenderMode : std::uint8_t { static_scales, row_scaled, one_row, dynamic, automatic };
inline constexpr std::array<std::string_view, 5> kTenderModes = {"static", "row-scaled", "one-row",
                                                                 "dynamic", "auto"};

/// What is taken off each channel of a centred site first. by_mode: the calibrated mid-range in
/// static and row-scaled mode, nothing in the others. none: nothing. dynamic: in dynamic mode the
/// mid-range of the chunk itself, whose product with the weights takes the unquantized ones at run
/// time (tender.md 2.10), so that they are stored.
enum class TenderBias : std::uint8_t { by_mode, none, dynamic };
inline constexpr std::array<std::string_view, 3> kTenderBiases = {"by-mode", "none", "dynamic"};

/// Which scale a channel of static mode gets (tender.md 3.4). up: that of the group that holds it.
/// down: the next smaller one, so that its step is half and values beyond it are clipped. choose:
/// for each site the one of the smaller error on sample rows.
enum class TenderRounding : std::uint8_t { up, down, choose };
inline constexpr std::array<std::string_view, 3> kTenderRoundings = {"up", "down", "choose"};

/// clean: float32 throughout. compat: what the paper's released code does (tender_compat.h), to
/// compare with its numbers; evaluated in float.
enum class TenderNumerics : std::uint8_t { clean, compat };
inline constexpr std::array<std::string_view, 2> kTenderNumerics = {"clean", "compat"};

class TenderCalibration;

/// The basis in which rows meet weights: that of the model, or one in which channels are alike.
/// automatic: each site has the one of the smaller error.
enum class TenderRotation : std::uint8_t { none, hadamard, automatic };
inline constexpr std::array<std::string_view, 3> kTenderRotations = {"none", "hadamard", "auto"};

struct TenderOptions {
  static constexpr int kMaxGroups = 20;
  static constexpr int kByMode = -1;
  static constexpr int kLeastActivationBits = 4;

  int weight_bits = 8;
  int activation_bits = 8;
  TenderMode mode = TenderMode::automatic;
  double error_share = 5e-4;
  int groups = 0;
  int chunk_rows = kByMode;
  TenderBias bias = TenderBias::by_mode;
  TenderRounding rounding = TenderRounding::up;
  TenderNumerics numerics = TenderNumerics::clean;
  int multiplier_group = 0;
  TenderRotation rotation = TenderRotation::none;
  WeightSearchOptions weights;

  /// Sets what pays with these weights (README.md of this folder: measured): at 4 bits integer
  /// multipliers and compensated codes. Defaults of JSON and flags, not of the struct.
  void recommend_for_bits();
  /// The same of rotation: everywhere, with activations below 8 bits only where it makes the error
  /// smaller (everywhere again in the modes that measure nothing), and nowhere with the numerics of
  /// the released code, which knows none.
  void recommend_rotation();

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor& visit) {
    visit.bits("weight_bits", self.weight_bits, "bits of a weight code");
    visit.integer("activation_bits", self.activation_bits, kLeastActivationBits, 8,
                  "bits of an activation code. Kernels are of bytes: what lies between 4 and 8 is "
                  "for comparisons at equal bits");
    // What follows has defaults that depend on the bits; what is named after them wins.
    if constexpr (!std::is_const_v<Self>) self.recommend_for_bits();
    visit.choice("mode", self.mode, kTenderModes,
                 "scales as calibrated, with a factor of each row's own on top, an exponent for "
                 "every element of a row (operands of up to 16 bits), scales of the rows of a "
                 "chunk themselves (evaluation only), or for each site static or row-scaled, "
                 "whichever errs less, and one-row where neither keeps the error share (with 8-bit "
                 "activations only)");
    visit.real("error_share", self.error_share, 0, 1,
               "part of the energy of a site's outputs that rounding its rows may take before "
               "mode auto chooses one-row");
    visit.integer("groups", self.groups, 0, kMaxGroups,
                  "channel groups, a factor 2 apart; 0: 8 with 8-bit activations, else 14, or in "
                  "mode one-row as many as 16-bit operands hold: 12 at 4 bits. quantize takes the "
                  "paper's number in modes static and dynamic of its models");
    visit.integer("chunk_rows", self.chunk_rows, kByMode, 1 << 20,
                  "positions that share metadata; 0: all; -1: 256 in static and dynamic mode, "
                  "else all");
    visit.choice("bias", self.bias, kTenderBiases,
                 "what is taken off the channels of centred sites: the calibrated mid-range where "
                 "the mode has one, nothing, or in dynamic mode the mid-range of the chunk itself "
                 "(the unquantized weights are stored for its product)");
    visit.choice("rounding", self.rounding, kTenderRoundings,
                 "in static mode, the scale that holds a channel, the next smaller one with "
                 "clipping, or for each site the one of the smaller error on sample rows");
    visit.choice("numerics", self.numerics, kTenderNumerics,
                 "in static and dynamic mode: float32 scales made under the bias that is taken "
                 "off, or as the paper's released code does it, in float16 and under each "
                 "sequence's own bias (evaluated in float32)");
    visit.integer("multiplier_group", self.multiplier_group, 0, 128,
                  "with 4-bit weights: inputs of an output that share an integer multiplier, 32, "
                  "64 or 128; 0: none do. At 4 bits: 64 by default");
    if constexpr (!std::is_const_v<Self>) self.recommend_rotation();
    visit.choice("rotation", self.rotation, kTenderRotations,
                 "rows and weights as they are, multiplied by a Hadamard matrix that spreads "
                 "outliers over all channels, or for each site whichever errs less on calibration "
                 "rows, weights included. Default: hadamard; with activations below 8 bits auto "
                 "(but in modes one-row and dynamic, whose rows nothing is known of before); none "
                 "with compat numerics");
    WeightSearchOptions::fields(self.weights, visit);
  }
};
/// @throws Error invalid_argument (OPTION_VALUE)
void settle(TenderOptions& options);

inline void TenderOptions::recommend_for_bits() {
  if (weight_bits != 4) return;
  multiplier_group = 64;
  weights.weight_search = WeightSearch::gptq;
  weights.weight_scale = WeightScale::mse;
  if (activation_bits == 8) weights.first_row_share = kFirstRowShare;
  weights.sweep_order = SweepOrder::natural;
}

inline void TenderOptions::recommend_rotation() {
  const bool measures = mode != TenderMode::one_row && mode != TenderMode::dynamic;
  rotation = numerics == TenderNumerics::compat  ? TenderRotation::none
             : activation_bits == 8 || !measures ? TenderRotation::hadamard
                                                 : TenderRotation::automatic;
}

/// How a site's rows are rounded: the calibrated metadata of C row chunks.
///
///     part tender_meta    int32 [9 or 11]  weight bits, activation bits, groups G, positions per
///                                          chunk (0: one chunk), mode (0 static, 1 row-scaled,
///                                          2 one-row, 3 dynamic), 1 if codes are unsigned,
///                                          inputs, inputs per weight multiplier (0: none), 1 if
///                                          rotated; 1 if, in dynamic mode, the chunk's own
///                                          mid-range is taken off, then 1 if numerics are
///                                          compat: in dynamic mode and with compat numerics only;
///                                          older files have the first six
///     part tender_tmax    float32 [C]      largest magnitude of the chunk (TMax)
///     part tender_bias    float32 [C, in]  what is taken off each channel; absent where nothing is
///     part tender_groups  uint8 [C, in]    group index i of each channel, 0 the smallest scale
///
/// Scale of group i = TMax / qmax / 2^(G - 1 - i), derived by exact halving, never stored. One-row
/// and dynamic sites have tender_meta alone (C = 0).
struct TenderInput {
  std::size_t in = 0;
  int weight_bits = 8;
  int activation_bits = 8;
  int groups = 8;
  std::size_t chunk_rows = 0;
  TenderMode mode = TenderMode::row_scaled;
  bool is_unsigned = false;
  std::size_t multiplier_group = 0;  ///< inputs that share a multiplier of the weights; 0: none do
  bool rotated = false;              ///< rows and weights stand in the basis of rotation/rotation.h
  bool dynamic_bias = false;         ///< the chunk's own mid-range is taken off, in dynamic mode
  bool compat = false;               ///< numerics of tender_compat.h
  std::vector<float> tmax;
  std::vector<float> bias;
  std::vector<std::uint8_t> group;

  IntegerRows rows;                                ///< made by prepare(), but with compat numerics
  const kernels::GemmF32Kernel* floats = nullptr;  ///< made by prepare() with compat numerics
  Rotation rotation;                               ///< made by prepare() where `rotated`

  std::size_t chunks() const { return tmax.size(); }
  /// Whether what is calibrated stands in the file.
  bool calibrated() const {
    return mode == TenderMode::static_scales || mode == TenderMode::row_scaled;
  }
  std::size_t bytes() const;
};

/// Group index of a channel whose largest centred magnitude is `cmax` (tender.md 2.5): thresholds
/// are tmax / 2^(groups - 1 - i), a value on a threshold belongs to it, and 0 takes everything
/// below.
std::uint8_t tender_group(float cmax, float tmax, int groups);

/// Groups whose operands fit 16 bits in one-row mode: 8 with 8-bit codes, 12 with 4-bit codes.
int tender_most_element_groups(int activation_bits);

/// Bias, TMax and groups from what was seen.
/// @param options  of which rounding is up or down, and rotation not automatic
/// @param mode     not automatic
/// @throws Error invalid_input (Q_CALIBRATION) if it is nothing and the mode needs something
TenderInput tender_input_of(const TenderCalibration& seen, const TenderOptions& options,
                            TenderMode mode);

WeightFormat tender_weight_format(const TenderInput& input);

/// 2^(b-1) - 1, or 2^b - 1 where codes are unsigned.
int tender_highest_code(const TenderInput& input);

/// Metadata of one chunk from the extremes of its channels (tender.md 2.4, 2.5).
struct TenderChunk {
  float tmax = 0;
  std::vector<float> bias;          ///< [in], or empty
  std::vector<std::uint8_t> group;  ///< [in]
};
TenderChunk tender_chunk(const TenderInput& input, std::span<const float> least,
                         std::span<const float> largest, bool centred);
/// @param bias  [in], or empty
ChunkRounding tender_chunk_rounding(const TenderInput& input, float tmax,
                                    std::span<const float> bias,
                                    std::span<const std::uint8_t> group);

/// The metadata as arithmetic, for clean numerics; in dynamic mode without that of the chunks
/// (tender_dynamic.h). Groups that are empty at the bottom are dropped (tender.md 5.4), so the
/// smallest occupied scale is the unit.
RowRounding tender_rounding(const TenderInput& input);

/// "row-scaled, 8 groups".
std::string describe_tender_input(const TenderInput& input);

void save_tender_input(const TenderInput& input, PartSink& sink);
/// @throws Error corrupt_file (CK_PART_MISSING, CK_PART_SHAPE, QC_RANGE, QC_SCALE, QC_GIDX)
TenderInput load_tender_input(const PartSource& source);

}  // namespace tender::quant
