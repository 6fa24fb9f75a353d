#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/gemm_f32/gemm_f32.h"
#include "quant/channel_maxima.h"
#include "quant/formats/symmetric.h"
#include "quant/integer/integer_linear.h"
#include "quant/integer/integer_rows.h"
#include "quant/integer/row_rounding.h"
#include "quant/method.h"

namespace tender::quant {

struct LlmInt8Options {
  int weight_bits = 8;
  int activation_bits = 8;
  int threshold = 6;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor& visit) {
    visit.bits("weight_bits", self.weight_bits, "bits of a weight code");
    visit.bits("activation_bits", self.activation_bits, "bits of an activation code");
    visit.integer("threshold", self.threshold, 1, 1 << 20,
                  "channels whose calibrated magnitude reaches it stay float16");
  }
};
inline void settle(LlmInt8Options&) {}

/// How a site's rows are split and rounded.
///
///     part llm_int8_meta      int32 [4]   weight bits, activation bits, regular channels, outlier
///                                         channels n
///     part llm_int8_outliers  int32 [n]   their places, rising; absent where there are none
struct LlmInt8Input {
  std::size_t in = 0;
  int weight_bits = 8;
  int activation_bits = 8;
  std::vector<std::int32_t> outliers;

  IntegerRows rows;                                ///< made by prepare()
  const kernels::GemmF32Kernel* floats = nullptr;  ///< made by prepare()

  std::size_t regular() const { return in - outliers.size(); }
};

/// One layer: the weights of regular channels as integers, those of outlier channels as float16.
struct LlmInt8Codes {
  SymmetricCodes regular;              ///< [out, in - n], a scale per output
  std::vector<std::uint16_t> outlier;  ///< float16 [out, n], or empty
  friend bool operator==(const LlmInt8Codes&, const LlmInt8Codes&) = default;
};

/// The same as stored:
///
///     part llm_int8_codes, llm_int8_scales   formats/symmetric.h, regular channels in their order
///     part llm_int8_outlier_weights          float16 [out, n]; absent where there are none
struct LlmInt8Packed {
  SymmetricBytes regular;
  std::vector<std::uint16_t> outlier;
  IntegerLinear integers;     ///< made by prepare(): outlier channels have the code 0
  kernels::PanelsF32 floats;  ///< made by prepare(), where there are outliers
};

struct LlmInt8Rounded {
  IntegerCodes codes;
  Matrix outliers;  ///< [tokens, n], rounded to float16
};

/// LLM.int8() (Dettmers, Lewis, Belkada, Zettlemoyer, NeurIPS 2022): a few channels of large
/// activations stay float16, the rest is a step per row times a scale per output in integers. The
/// paper looks for such channels in every batch; here calibration does, so that a row's result
/// depends on that row alone.
class LlmInt8 {
 public:
  static constexpr std::string_view kName = "llm_int8";
  static constexpr std::string_view kSummary =
      "channels of large activations stay float16, the rest integers (LLM.int8(), NeurIPS 2022)";
  using Options = LlmInt8Options;
  using Calibration = ChannelMaxima;
  using Input = LlmInt8Input;
  using Codes = LlmInt8Codes;
  using Packed = LlmInt8Packed;
  using Rounded = LlmInt8Rounded;

  LlmInt8() = default;
  explicit LlmInt8(const Options& options) : options_(options) {}
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
  static LinearShape shape(const Packed& packed);
  static std::size_t bytes(const Packed& packed);
  static std::size_t input_bytes(const Input& input);
  static double activation_bits(const Input& input);

  static std::string describe(const Input& input);
  static InputRounding rounding(const Input&) { return InputRounding::by_row; }
  static void reference(const Input& input, const Packed& packed, const Rows& x,
                        MatrixView<double> y);
  static void prepare(Input& input, Isa isa);
  static void prepare(const Input& input, Packed& packed, Isa isa);
  static Rounded round(const Input& input, const Rows& x, ThreadPool& pool);
  static void matmul(const Input& input, const Packed& packed, const Rounded& rounded,
                     MatrixView<float> y, const Epilogue& epilogue, ThreadPool& pool);
  /// The product of the outliers is added to the other one.
  static bool forks_apart(const Input& input) { return input.outliers.empty(); }
  static std::string kernel(const Input& input, const Packed& packed);
  static std::size_t resident_bytes(const Input& input) {
    return input_bytes(input) + input.rows.bytes();
  }
  static std::size_t resident_bytes(const Packed& packed) {
    return packed.integers.bytes() + packed.floats.bytes();
  }

 private:
  Options options_;
};

}  // namespace tender::quant
