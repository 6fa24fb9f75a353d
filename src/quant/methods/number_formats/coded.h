#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/gemm_f32/gemm_f32.h"
#include "quant/formats/number_format.h"
#include "quant/formats/symmetric.h"
#include "quant/method.h"
#include "quant/row_sample.h"

namespace tender::quant {

/// none: rows stay float32. tensor: one calibrated step for all rows (as published).
enum class CodedSteps : std::uint8_t { none, tensor };
inline constexpr std::array<std::string_view, 2> kCodedSteps = {"none", "tensor"};

struct CodedOptions {
  int weight_bits = 4;
  int activation_bits = 4;
  CodedSteps activation_granularity = CodedSteps::tensor;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor& visit) {
    visit.bits("weight_bits", self.weight_bits, "bits of a weight");
    visit.bits("activation_bits", self.activation_bits, "bits of an activation");
    visit.choice("activation_granularity", self.activation_granularity, kCodedSteps,
                 "activations that share a step: none are rounded, or all (calibrated)");
  }
};
inline void settle(CodedOptions&) {}

/// How a site's rows are rounded. <name> is the method's:
///
///     part <name>_meta  int32 [4]     weight bits, activation bits (32: not rounded), format of
///                                     rows (NumberFormat::Kind), inputs
///     part <name>_step  float32 [1]   absent where rows are not rounded
struct CodedInput {
  std::size_t in = 0;
  int weight_bits = 4;
  int activation_bits = 32;
  NumberFormat::Kind format = NumberFormat::Kind::integer;
  float step = 1;

  const kernels::GemmF32Kernel* floats = nullptr;  ///< made by prepare()
  bool rounds() const { return activation_bits != 32; }
};

/// Codes of one layer: signed indices of a format, a scale per output.
struct CodedCodes {
  NumberFormat::Kind format = NumberFormat::Kind::integer;
  SymmetricCodes codes;
  friend bool operator==(const CodedCodes&, const CodedCodes&) = default;
};

/// One layer as stored:
///
///     part <name>_codes, <name>_scales  formats/symmetric.h
///     part <name>_format                int32 [1]   NumberFormat::Kind
struct CodedPacked {
  NumberFormat::Kind format = NumberFormat::Kind::integer;
  SymmetricBytes weights;
  kernels::PanelsF32 floats;  ///< made by prepare(): dequantized, 4 bytes each
};

struct CodedRounded {
  Matrix rounded;
  MatrixView<const float> rows;
};

/// Rows on which format and step are chosen: some, and the loudest. What it holds costs most where
/// it is clipped, and in language models it is one of the few first tokens that no sample finds.
class CodedCalibration {
 public:
  static constexpr std::size_t kSampleRows = 64;

  CodedCalibration(std::string_view method, std::size_t in, bool wanted)
      : method_(method), in_(in), wanted_(wanted), sample_(in, kSampleRows) {}
  /// @throws Error invalid_input (Q_NONFINITE)
  void observe(const Rows& x);
  void save(PartSink& sink) const;
  /// @throws Error corrupt_file
  void load(const PartSource& source);
  void merge(const CodedCalibration& other);
  std::size_t in() const { return in_; }
  float largest() const { return largest_; }
  /// The sample, then the loudest row; nothing where no rows were seen.
  Matrix rows() const;

 private:
  void keep_if_loudest(std::span<const float> row);

  std::string method_;
  std::size_t in_;
  bool wanted_;
  float largest_ = 0;
  std::vector<float> loudest_;  ///< holds largest_; of several the first in lexicographic order
  RowSample sample_;
};

/// A method of numbers that are not evenly spaced, for weights and rows. It is evaluated: rows and
/// weights are rounded as they say, and the product is the float32 one; hardware for them does not
/// exist here.
///
/// Family::kName, kSummary, and kinds(bits): the formats it may choose from, the one of the least
/// squared error for each matrix and each site's rows.
template <class Family>
class Coded {
 public:
  static constexpr std::string_view kName = Family::kName;
  static constexpr std::string_view kSummary = Family::kSummary;
  using Options = CodedOptions;
  using Calibration = CodedCalibration;
  using Input = CodedInput;
  using Codes = CodedCodes;
  using Packed = CodedPacked;
  using Rounded = CodedRounded;

  Coded() = default;
  explicit Coded(const Options& options) : options_(options) {}
  MethodTraits traits() const;

  Calibration calibrate(const SiteShape& shape) const;
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
  static std::size_t bytes(const Packed& packed);
  static std::size_t input_bytes(const Input& input);
  static double activation_bits(const Input& input) { return input.activation_bits; }

  static std::string describe(const Input& input);
  static InputRounding rounding(const Input& input);
  static void reference(const Input& input, const Packed& packed, const Rows& x,
                        MatrixView<double> y);
  static void prepare(Input& input, Isa isa);
  static void prepare(const Input& input, Packed& packed, Isa isa);
  static Rounded round(const Input& input, const Rows& x, ThreadPool& pool);
  static void matmul(const Input& input, const Packed& packed, const Rounded& rounded,
                     MatrixView<float> y, const Epilogue& epilogue, ThreadPool& pool);
  static bool forks_apart(const Input&) { return true; }
  static std::string kernel(const Input& input, const Packed& packed);
  static std::size_t resident_bytes(const Input& input) { return input_bytes(input); }
  static std::size_t resident_bytes(const Packed& packed) { return packed.floats.bytes(); }

 private:
  Options options_;
};

/// ANT (Guo et al., MICRO 2022): each tensor takes the type that fits it best.
struct AntFamily {
  static constexpr std::string_view kName = "ant";
  static constexpr std::string_view kSummary =
      "each tensor in the number type that fits it best (ANT, MICRO 2022), evaluated in float";
  static std::span<const NumberFormat::Kind> kinds(int bits);
};
using Ant = Coded<AntFamily>;

/// OliVe (Guo et al., ISCA 2023): an outlier takes the code of its neighbour, which becomes 0.
struct OliveFamily {
  static constexpr std::string_view kName = "olive";
  static constexpr std::string_view kSummary =
      "outliers take the place of their neighbours (OliVe, ISCA 2023), evaluated in float";
  static std::span<const NumberFormat::Kind> kinds(int bits);
};
using Olive = Coded<OliveFamily>;

extern template class Coded<AntFamily>;
extern template class Coded<OliveFamily>;

}  // namespace tender::quant
