#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "tensor/matrix.h"

namespace tender::kernels {

/// How the rotary frequencies of a model are stretched beyond the context that it was trained with.
enum class RopeScaling : std::uint8_t {
  none,
  linear,  ///< every frequency divided by `factor`
  llama3,  ///< low frequencies divided by `factor`, high ones kept, a ramp between
};

struct RopeParameters {
  double theta = 10000;
  std::size_t rotary_width = 0;  ///< leading dimensions of a head that turn; even
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;
  double low_frequency_factor = 1;   ///< llama3 only
  double high_frequency_factor = 4;  ///< llama3 only
  double original_context = 8192;    ///< llama3 only
  /// Divides each frequency, [rotary_width / 2] or empty: the tensor `rope_freqs.weight` of GGUF
  /// files, which have the scaling of Llama 3 in it.
  std::vector<float> frequency_factors = {};
};

/// Cosines and sines of some positions, [positions, rotary_width / 2] each.
struct RopeAngles {
  Matrix cosines;
  Matrix sines;
};

/// Rotary position embedding in the split-half form of Hugging Face: in each head, dimension i
/// turns with dimension i + rotary_width / 2 by position * frequency[i].
///
/// Frequencies and angles are rounded to float32, as `transformers` does and models therefore
/// expect; powers, sines and cosines come from fixed double operations, so that every CPU has the
/// same bits.
class Rope {
 public:
  /// The parameters were checked by whoever read them: theta > 0, factors > 0, an even width.
  explicit Rope(const RopeParameters& parameters);

  std::size_t rotary_width() const { return 2 * frequencies_.size(); }
  /// Radians per position, [rotary_width / 2].
  std::span<const float> frequencies() const { return frequencies_; }
  /// Angles of these positions, once per batch for all layers; `angles` keeps its memory.
  void turn(std::span<const std::int32_t> positions, RopeAngles& angles, ThreadPool& pool) const;

 private:
  std::vector<float> frequencies_;
};

/// Rotates every head of q[tokens, heads * head_width] and k[tokens, kv_heads * head_width] in
/// place; token t by row t of the angles.
void apply_rope(const RopeAngles& angles, std::size_t head_width, MatrixView<float> q,
                MatrixView<float> k, ThreadPool& pool);

}  // namespace tender::kernels
