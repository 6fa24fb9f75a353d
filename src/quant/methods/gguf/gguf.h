#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/gemm_blocks/gemm_blocks.h"
#include "kernels/gemm_f32/gemm_f32.h"
#include "quant/channel_maxima.h"
#include "quant/formats/blocks.h"
#include "quant/method.h"
#include "quant/weight_search.h"

namespace tender::quant {

/// Those that weights are quantized to, in the order of block_types().
enum class GgufType : std::uint8_t { q8_0, q4_0, q4_1, symmetric_8, symmetric_4 };
inline constexpr std::array<std::string_view, 5> kGgufTypes = {"q8_0", "q4_0", "q4_1",
                                                               "symmetric-8", "symmetric-4"};

/// Which values of a row share a step.
enum class BlockSteps : std::uint8_t { none, block };
inline constexpr std::array<std::string_view, 2> kBlockSteps = {"none", "block"};

struct GgufOptions : WeightSearchOptions {
  GgufType weight_type = GgufType::q4_0;
  int activation_bits = 8;
  BlockSteps activation_granularity = BlockSteps::block;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor& visit) {
    visit.choice("weight_type", self.weight_type, kGgufTypes,
                 "blocks of 32 weights with a float16 scale (q4_1: and a minimum), as GGUF has "
                 "them; or with a float32 scale");
    visit.bits("activation_bits", self.activation_bits, "bits of an activation code");
    visit.choice("activation_granularity", self.activation_granularity, kBlockSteps,
                 "activations that share a step: none are rounded, or blocks of 32");
    WeightSearchOptions::fields(self, visit);
  }
};
/// @throws Error invalid_argument (OPTION_VALUE) where scales are ggml's and others are asked for
void settle(GgufOptions& options);

/// How a site's rows are rounded.
///
///     part gguf_meta   int32 [2]   activation bits (32: not rounded), inputs of the site
struct GgufInput {
  std::size_t in = 0;
  int activation_bits = 32;
  const kernels::RoundBlocksKernel* round = nullptr;  ///< made by prepare()
  const kernels::GemmBlocksKernel* gemm = nullptr;    ///< made by prepare()
  const kernels::GemmF32Kernel* floats = nullptr;     ///< made by prepare()

  bool rounds() const { return activation_bits != 32; }
};

/// One layer.
///
///     part gguf_type     int32 [2]               BlockType::id, inputs
///     part gguf_blocks   uint8 [out, row bytes]  blocks as their type has them
struct GgufPacked {
  BlockMatrix weights;
  kernels::PanelsBlocks panels;  ///< made by prepare() where rows are rounded
  kernels::PanelsF32 floats;     ///< made by prepare() elsewhere: dequantized weights
};

/// Rows after rounding: codes in blocks of 32, or as they came.
struct GgufRounded {
  AlignedBuffer<std::int8_t> codes;  ///< [rows, stride]
  std::size_t stride = 0;
  AlignedBuffer<float> steps;        ///< [rows, blocks]
  AlignedBuffer<std::int32_t> sums;  ///< [rows, blocks, 2]
  MatrixView<const float> rows;
};

/// The block types of GGUF, multiplied as they are stored (codes of five and six bits as bytes)
/// with rows in blocks of 32.
class Gguf {
 public:
  static constexpr std::string_view kName = "gguf";
  static constexpr std::string_view kSummary =
      "blocks of 32 weights (GGUF's Q8_0, Q4_0, Q4_1; float32 scales), rows in blocks of 32";
  using Options = GgufOptions;
  using Calibration = ChannelMaxima;
  using Input = GgufInput;
  using Codes = BlockMatrix;
  using Packed = GgufPacked;
  using Rounded = GgufRounded;

  Gguf() = default;
  explicit Gguf(const Options& options) : options_(options) {}
  MethodTraits traits() const;

  static Calibration calibrate(const SiteShape& shape) { return {kName, shape.in}; }
  Input input(const Calibration& seen, std::span<const MatrixView<const float>> weights) const;
  static void rounded(const Input& input, const Rows& x, MatrixView<float> out);
  Codes quantize(MatrixView<const float> w, const Input& input, const SecondMoment* moment,
                 ThreadPool& pool) const;
  static Packed pack(const Codes& codes) { return {codes, {}, {}}; }
  static Codes unpack(const Packed& packed) { return packed.weights; }
  static void dequantize(const Input& input, const Packed& packed, MatrixView<float> w);

  static void save_input(const Input& input, PartSink& sink);
  static Input load_input(const PartSource& source);
  static void save(const Packed& packed, PartSink& sink);
  static Packed load(const Input& input, const PartSource& source);
  static LinearShape shape(const Packed& packed) { return packed.weights.shape(); }
  static std::size_t bytes(const Packed& packed);
  static std::size_t input_bytes(const Input&) { return 2 * sizeof(std::int32_t); }
  static double activation_bits(const Input& input);

  static InputRounding rounding(const Input& input);
  static std::string describe(const Input& input);
  static void reference(const Input& input, const Packed& packed, const Rows& x,
                        MatrixView<double> y);
  static void prepare(Input& input, Isa isa);
  static void prepare(const Input& input, Packed& packed, Isa isa);
  static Rounded round(const Input& input, const Rows& x, ThreadPool& pool);
  static void matmul(const Input& input, const Packed& packed, const Rounded& rounded,
                     MatrixView<float> y, const Epilogue& epilogue, ThreadPool& pool);
  static bool forks_apart(const Input&) { return true; }
  static bool makes_rows(const Input& input) { return input.rounds(); }
  static std::string kernel(const Input& input, const Packed& packed);
  static std::size_t resident_bytes(const Input& input) { return input_bytes(input); }
  static std::size_t resident_bytes(const Packed& packed) {
    return packed.panels.bytes() + packed.floats.bytes();
  }
  /// One output's weights after prepare(), as dequantize() gives them before. @param w  [in]
  static void read_row(const Packed& packed, std::size_t output, std::span<float> w);

 private:
  Options options_;
};

/// A site out of matrices that a file holds in such blocks; rows that are not their own are read
/// until prepare() is done. @param activation_bits  8 or 4
std::unique_ptr<PackedSite> site_of_blocks(std::vector<BlockMatrix> layers, int activation_bits);

}  // namespace tender::quant
