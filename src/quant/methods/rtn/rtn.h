#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/gemm_f32/gemm_f32.h"
#include "quant/channel_maxima.h"
#include "quant/formats/symmetric.h"
#include "quant/integer/integer_linear.h"
#include "quant/integer/integer_rows.h"
#include "quant/method.h"
#include "quant/weight_search.h"

namespace tender::quant {

/// Which values of a site's rows share a scale. `tensor` and `channel` are calibrated maxima.
enum class ActivationGranularity : std::uint8_t { none, tensor, token, channel };

inline constexpr std::array<std::string_view, 4> kWeightGranularities = {"tensor", "channel",
                                                                         "group", "multiplier"};
inline constexpr std::array<std::string_view, 4> kActivationGranularities = {"none", "tensor",
                                                                             "token", "channel"};

struct RtnOptions {
  int weight_bits = 8;
  WeightGranularity weight_granularity = WeightGranularity::channel;
  int group_size = 128;
  WeightScale weight_scale = WeightScale::max;
  int activation_bits = 8;
  ActivationGranularity activation_granularity = ActivationGranularity::token;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor& visit) {
    visit.bits("weight_bits", self.weight_bits, "bits of a weight code");
    visit.choice(
        "weight_granularity", self.weight_granularity, kWeightGranularities,
        "weights that share a scale: all, those of an output channel, groups of its inputs, or "
        "those of a channel with an integer multiplier per group (4 bits)");
    visit.integer("group_size", self.group_size, 1, 1 << 20,
                  "inputs that share a scale or multiplier, for groups");
    visit.choice("weight_scale", self.weight_scale, kWeightScales,
                 "scales of weights: from the largest, or of the least squared error");
    visit.bits("activation_bits", self.activation_bits, "bits of an activation code");
    visit.choice(
        "activation_granularity", self.activation_granularity, kActivationGranularities,
        "activations that share a scale: none are rounded, all (calibrated maximum), those of a "
        "token, or of an input channel (calibrated maxima; evaluated in float32)");
  }
};
void settle(RtnOptions& options);

/// How a site's rows are rounded.
///
///     part rtn_meta            int32 [5]   weight bits, inputs per weight scale (0: all of a row),
///                                          1 if one scale serves the whole matrix, 2 if groups
///                                          have multipliers; activation bits (32: not rounded),
///                                          inputs of the site
///     part rtn_tensor_scale    float32 [1]   the activation step, where one serves all
///     part rtn_channel_scales  float32 [in]  the steps, where every input channel has one
struct RtnInput {
  std::size_t in = 0;
  int weight_bits = 8;
  WeightGranularity weight_granularity = WeightGranularity::channel;
  std::size_t group = 0;
  int activation_bits = 32;
  ActivationGranularity granularity = ActivationGranularity::none;
  std::vector<float> scales;  ///< [1] for tensor, [in] for channel, else empty

  IntegerRows rows;                                ///< made by prepare()
  const kernels::GemmF32Kernel* floats = nullptr;  ///< made by prepare()
};

/// One layer: parts rtn_codes, rtn_scales, rtn_multipliers as in formats/symmetric.h.
struct RtnPacked {
  SymmetricBytes weights;
  IntegerLinear integers;     ///< made by prepare() where rows become integers with one step
  kernels::PanelsF32 floats;  ///< made by prepare() elsewhere: dequantized weights, 4 bytes each
};

/// Rows after rounding: integers, or float32 rows (rounded per channel, or as they came).
struct RtnRounded {
  IntegerCodes codes;
  Matrix rounded;
  MatrixView<const float> rows;
};

/// Round to nearest: the baseline. Symmetric codes, scales from maxima, nothing learned.
class Rtn {
 public:
  static constexpr std::string_view kName = "rtn";
  static constexpr std::string_view kSummary = "round to nearest, the baseline";
  using Options = RtnOptions;
  using Calibration = ChannelMaxima;
  using Input = RtnInput;
  using Codes = SymmetricCodes;
  using Packed = RtnPacked;
  using Rounded = RtnRounded;

  Rtn() = default;
  explicit Rtn(const Options& options) : options_(options) {}
  MethodTraits traits() const;

  static Calibration calibrate(const SiteShape& shape) { return {kName, shape.in}; }
  Input input(const Calibration& seen, std::span<const MatrixView<const float>> weights) const;
  static void rounded(const Input& input, const Rows& x, MatrixView<float> out);
  Codes quantize(MatrixView<const float> w, const Input& input, const SecondMoment* moment,
                 ThreadPool& pool) const;
  static Packed pack(const Codes& codes);
  static Codes unpack(const Packed& packed);
  static void dequantize(const Input& input, const Packed& packed, MatrixView<float> w);

  static void save_input(const Input& input, PartSink& sink);
  static Input load_input(const PartSource& source);
  static void save(const Packed& packed, PartSink& sink);
  static Packed load(const Input& input, const PartSource& source);
  static LinearShape shape(const Packed& packed) { return packed.weights.shape; }
  static std::size_t bytes(const Packed& packed) { return packed.weights.payload(); }
  static std::size_t input_bytes(const Input& input);
  static double activation_bits(const Input& input);

  static InputRounding rounding(const Input& input);
  static std::string describe(const Input& input);
  static void reference(const Input& input, const Packed& packed, const Rows& x,
                        MatrixView<double> y);
  static void prepare(Input& input, Isa isa);
  static void prepare(const Input& input, Packed& packed, Isa isa);
  static Rounded round(const Input& input, const Rows& x, ThreadPool& pool);
  static SiteCounts counts(const Input& input, const Rows& x, const Rounded& rounded);
  static void matmul(const Input& input, const Packed& packed, const Rounded& rounded,
                     MatrixView<float> y, const Epilogue& epilogue, ThreadPool& pool);
  static bool forks_apart(const Input&) { return true; }
  static std::string kernel(const Input& input, const Packed& packed);
  static std::size_t resident_bytes(const Input& input) {
    return input_bytes(input) + input.rows.bytes();
  }
  static std::size_t resident_bytes(const Packed& packed) {
    return packed.integers.bytes() + packed.floats.bytes();
  }

 protected:
  /// Codes in the granularity of the site. @param search  of which the scales are as in the options
  static Codes quantize(MatrixView<const float> w, const Input& input,
                        const WeightSearchOptions& search, const SecondMoment* moment,
                        ThreadPool& pool);

 private:
  Options options_;
};

}  // namespace tender::quant
