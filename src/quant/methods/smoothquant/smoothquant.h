#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quant/channel_maxima.h"
#include "quant/formats/symmetric.h"
#include "quant/integer/integer_linear.h"
#include "quant/integer/integer_rows.h"
#include "quant/integer/row_rounding.h"
#include "quant/method.h"
#include "quant/methods/smoothquant/factors.h"
#include "quant/row_sample.h"

namespace tender::quant {

/// token: a step per row, from the row itself (the paper's O1 and O2). tensor: one calibrated step
/// (O3).
enum class SmoothQuantSteps : std::uint8_t { token, tensor };
inline constexpr std::array<std::string_view, 2> kSmoothQuantSteps = {"token", "tensor"};
enum class SmoothQuantFactors : std::uint8_t { any, powers_of_two };
inline constexpr std::array<std::string_view, 2> kSmoothQuantFactors = {"any", "powers-of-two"};

struct SmoothQuantOptions {
  static constexpr int kSearched = -1;

  int weight_bits = 8;
  int activation_bits = 8;
  SmoothQuantSteps activation_granularity = SmoothQuantSteps::token;
  int alpha_percent = kSearched;
  SmoothQuantFactors factors = SmoothQuantFactors::any;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor& visit) {
    visit.bits("weight_bits", self.weight_bits, "bits of a weight code");
    visit.bits("activation_bits", self.activation_bits, "bits of an activation code");
    visit.choice("activation_granularity", self.activation_granularity, kSmoothQuantSteps,
                 "activations that share a step: those of a token, or all (calibrated maximum)");
    visit.integer("alpha_percent", self.alpha_percent, kSearched, 100,
                  "how far reach moves from activations to weights; -1: searched per site by the "
                  "error of its outputs");
    visit.choice("factors", self.factors, kSmoothQuantFactors,
                 "factors of channels as they come, or the nearest powers of two");
  }
};
inline void settle(SmoothQuantOptions&) {}

/// How a site's rows are rounded: u[k] = x[k] * (1 / s[k]), then per token or with one step.
///
///     part smoothquant_meta     int32 [5]      weight bits, activation bits, 1 if one step serves
///                                              all rows, alpha in percent (-1: not smoothed),
///                                              inputs
///     part smoothquant_factors  float32 [in]   s
///     part smoothquant_step     float32 [1]    of all rows; absent with a step per token
struct SmoothQuantInput {
  std::size_t in = 0;
  int weight_bits = 8;
  int activation_bits = 8;
  SmoothQuantSteps steps = SmoothQuantSteps::token;
  int alpha_percent = kNoSmoothing;  ///< that the factors were made with
  std::vector<float> factors;        ///< [in]
  float step = 0;                    ///< where one serves all

  IntegerRows rows;  ///< made by prepare()
};

/// One layer: parts smoothquant_codes and smoothquant_scales as in formats/symmetric.h, of weights
/// that were multiplied by the factors.
struct SmoothQuantPacked {
  SymmetricBytes weights;
  IntegerLinear integers;  ///< made by prepare()
};

/// The largest |x| per channel, and some rows where alpha is searched on them.
class SmoothQuantCalibration {
 public:
  static constexpr std::size_t kSampleRows = 64;

  SmoothQuantCalibration(std::size_t in, bool keeps_rows)
      : maxima_("smoothquant", in), sample_(in, keeps_rows ? kSampleRows : 0) {}
  /// @throws Error invalid_input (Q_NONFINITE)
  void observe(const Rows& x);
  void save(PartSink& sink) const;
  /// @throws Error corrupt_file
  void load(const PartSource& source);
  void merge(const SmoothQuantCalibration& other);
  std::span<const float> largest() const { return maxima_.largest(); }
  const RowSample& sample() const { return sample_; }
  std::int64_t rows() const { return maxima_.rows(); }

 private:
  ChannelMaxima maxima_;
  RowSample sample_;
};

/// SmoothQuant (Xiao, Lin, Seznec, Wu, Demouth, Han, ICML 2023): what is hard to round in
/// activations is moved into weights by a factor per channel. The paper folds the factors into the
/// norm before a site; here they are folded into its rounding, which also serves sites without a
/// norm.
class SmoothQuant {
 public:
  static constexpr std::string_view kName = "smoothquant";
  static constexpr std::string_view kSummary =
      "reach moved from activations into weights, a factor per channel (SmoothQuant, ICML 2023)";
  using Options = SmoothQuantOptions;
  using Calibration = SmoothQuantCalibration;
  using Input = SmoothQuantInput;
  using Codes = SymmetricCodes;
  using Packed = SmoothQuantPacked;
  using Rounded = IntegerCodes;

  SmoothQuant() = default;
  explicit SmoothQuant(const Options& options) : options_(options) {}
  MethodTraits traits() const;

  Calibration calibrate(const SiteShape& shape) const;
  Input input(const Calibration& seen, std::span<const MatrixView<const float>> weights) const;
  static void rounded(const Input& input, const Rows& x, MatrixView<float> out);
  Codes quantize(MatrixView<const float> w, const Input& input, const SecondMoment* moment,
                 ThreadPool& pool) const;
  static Packed pack(const Codes& codes) { return {pack_symmetric(codes), {}}; }
  static Codes unpack(const Packed& packed) { return unpack_symmetric(packed.weights); }
  static void dequantize(const Input& input, const Packed& packed, MatrixView<float> w);

  static void save_input(const Input& input, PartSink& sink);
  static Input load_input(const PartSource& source);
  static void save(const Packed& packed, PartSink& sink);
  static Packed load(const Input& input, const PartSource& source);
  static LinearShape shape(const Packed& packed) { return packed.weights.shape; }
  static std::size_t bytes(const Packed& packed) { return packed.weights.payload(); }
  static std::size_t input_bytes(const Input& input);
  static double activation_bits(const Input& input);

  static std::string describe(const Input& input);
  static InputRounding rounding(const Input& input);
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
  static std::size_t resident_bytes(const Packed& packed) { return packed.integers.bytes(); }

 private:
  /// The input with that alpha.
  Input smoothed(const ChannelReach& reach, int alpha_percent) const;

  Options options_;
};

/// The metadata as arithmetic.
RowRounding smoothquant_rounding(const SmoothQuantInput& input);

/// Sum over sample rows and outputs of the squared error of y = round(x) * W^T, in a stated order:
/// what alpha is chosen by.
/// @param exact  x * W^T of each layer, from the same rows
double smoothquant_error(const SmoothQuantInput& input, MatrixView<const float> x,
                         std::span<const MatrixView<const float>> weights,
                         std::span<const Matrix> exact);

}  // namespace tender::quant
