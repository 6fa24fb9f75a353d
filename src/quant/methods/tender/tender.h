#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "quant/formats/symmetric.h"
#include "quant/integer/integer_linear.h"
#include "quant/method.h"
#include "quant/methods/tender/tender_calibration.h"
#include "quant/methods/tender/tender_modes.h"
#include "quant/methods/tender/tender_rows.h"

namespace tender::quant {

/// One layer: symmetric codes with a scale per output channel, and what the bias of the rows adds
/// back, per row chunk c: compensation[c][n] = sum over k of bias[c][k] * w[n][k] with the weights
/// before they were quantized, in double and rising k, rounded once to float32.
///
/// Where the bias is that of the chunk at hand, its product needs the unquantized weights at run
/// time: `original`, in the basis in which rows are rounded.
struct TenderCodes {
  SymmetricCodes weights;
  std::vector<float> compensation;  ///< [C, out], or empty
  std::vector<float> original{};    ///< [out, in], or empty
  friend bool operator==(const TenderCodes&, const TenderCodes&) = default;
};

/// The same as stored, per layer:
///
///     part tender_codes, tender_scales   formats/symmetric.h, one scale per output channel
///     part tender_compensation           float32 [C, out]; absent where the site has no bias
///     part tender_original               float32 [out, in]; only with the bias of the chunk itself
struct TenderPacked {
  SymmetricBytes weights;
  std::vector<float> compensation;
  std::vector<float> original;
  IntegerLinear integers;     ///< made by prepare()
  kernels::PanelsF32 floats;  ///< made by prepare() instead, with compat numerics
};

/// Rows after rounding: integers, or floats with compat numerics.
struct TenderRounded {
  IntegerCodes codes;  ///< of which compat numerics have the chunks and counts alone
  Matrix values;       ///< [rows, in] with compat numerics, else empty
  Matrix bias;         ///< [chunks of these rows, in], what was taken off in dynamic mode, or empty
};

/// Tender (Lee, Lee, Sim, ISCA 2024): channels in groups whose scales are powers of two apart, so
/// that the integer sum runs through all of them with a shift between groups and one
/// dequantization.
class Tender {
 public:
  static constexpr std::string_view kName = "tender";
  static constexpr std::string_view kSummary =
      "channel groups a factor 2 apart, summed in integers with shifts (Tender, ISCA 2024)";
  using Options = TenderOptions;
  using Calibration = TenderCalibration;
  using Input = TenderInput;
  using Codes = TenderCodes;
  using Packed = TenderPacked;
  using Rounded = TenderRounded;

  Tender() { settle(options_); }
  explicit Tender(const Options& options) : options_(options) { settle(options_); }
  MethodTraits traits() const;

  Calibration calibrate(const SiteShape& shape) const;
  Input input(const Calibration& seen, std::span<const MatrixView<const float>> weights) const;
  static void rounded(const Input& input, const Rows& x, MatrixView<float> out);
  Codes quantize(MatrixView<const float> w, const Input& input, const SecondMoment* moment,
                 ThreadPool& pool) const;
  static Packed pack(const Codes& codes);
  static Codes unpack(const Packed& packed);
  static void dequantize(const Input& input, const Packed& packed, MatrixView<float> w);

  static void save_input(const Input& input, PartSink& sink) { save_tender_input(input, sink); }
  static Input load_input(const PartSource& source) { return load_tender_input(source); }
  static void save(const Packed& packed, PartSink& sink);
  static Packed load(const Input& input, const PartSource& source);
  static LinearShape shape(const Packed& packed) { return packed.weights.shape; }
  static std::size_t bytes(const Packed& packed);
  static std::size_t input_bytes(const Input& input) { return input.bytes(); }
  static double activation_bits(const Input& input);

  static InputRounding rounding(const Input& input);
  static std::string describe(const Input& input) { return describe_tender_input(input); }
  static void reference(const Input& input, const Packed& packed, const Rows& x,
                        MatrixView<double> y);
  static void prepare(Input& input, Isa isa);
  static void prepare(const Input& input, Packed& packed, Isa isa);
  static Rounded round(const Input& input, const Rows& x, ThreadPool& pool);
  static SiteCounts counts(const Input& input, const Rows& x, const Rounded& rounded);
  static void matmul(const Input& input, const Packed& packed, const Rounded& rounded,
                     MatrixView<float> y, const Epilogue& epilogue, ThreadPool& pool);
  static bool makes_rows(const Input& input) {
    return input.mode != TenderMode::dynamic && !input.compat;
  }
  /// What is added back in float comes after the product.
  static bool forks_apart(const Input& input) { return !input.dynamic_bias && !input.compat; }
  static std::string kernel(const Input& input, const Packed& packed);
  static std::size_t resident_bytes(const Input& input) {
    return input.bytes() + input.rows.bytes();
  }
  static std::size_t resident_bytes(const Packed& packed) {
    return packed.integers.bytes() + packed.floats.bytes() + packed.original.size() * sizeof(float);
  }

 private:
  /// What the bias of the rows adds back, then the epilogue, each rounded: as the kernels do it.
  static void add_back(const Input& input, const Packed& packed, const Rounded& rounded,
                       MatrixView<float> y, const Epilogue& epilogue, ThreadPool& pool);
  /// Weights and moment in the basis in which rows are rounded.
  Codes quantize_in_basis(MatrixView<const float> w, const Input& input, const SecondMoment* moment,
                          ThreadPool& pool) const;

  Options options_;
};

}  // namespace tender::quant
