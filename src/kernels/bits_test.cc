// The bits of the float path, pinned: a hash that every compiler, library and CPU must reproduce.
// The tests beside the kernels hold them to one another; this one holds all of them to last year's.

#include <array>
#include <vector>

#include "base/hash.h"
#include "kernels/attention_f32/attention_f32.h"
#include "kernels/attention_i8/attention_i8.h"
#include "kernels/float_kernels.h"
#include "kernels/gemm_f32/gemm_f32.h"
#include "kernels/kernel_testing.h"
#include "kernels/math.h"
#include "kernels/rope/rope.h"
#include "kernels/rows/rows.h"

namespace tender::kernels {
namespace {

std::string hash(const Matrix& m) { return xxh3_hex(std::as_bytes(m.span())); }

/// One layer of a small model, without its meaning: every kernel once.
Matrix layer(Isa isa) {
  const FloatKernels kernels = best_float_kernels(isa);
  Rng rng(11, "bits");
  const std::size_t tokens = 40, width = 72;
  ThreadPool pool(2);
  const Matrix x = testing::random_matrix(tokens, width, rng);
  const Matrix weight = testing::random_matrix(width, width, rng);
  PanelsF32 panels({width, width});
  panels.put(0, weight.view());
  std::vector<std::int32_t> positions(tokens);
  for (std::size_t t = 0; t < tokens; ++t) positions[t] = static_cast<std::int32_t>(3000 + t);

  Matrix normed(tokens, width), q(tokens, width), attended(tokens, width), y(tokens, width);
  rms_norm(*kernels.rows, x.view(), weight.row(0), 1e-5F, normed.view(), pool);
  gemm_f32(*kernels.gemm, normed.view(), panels, weight.row(1), q.view(), pool);
  RopeAngles angles;
  Rope({.theta = 500'000, .rotary_width = 24, .scaling = RopeScaling::llama3, .factor = 8})
      .turn(positions, angles, pool);
  apply_rope(angles, 24, q.view().cols_from(0, 48), q.view().cols_from(48, 24), pool);
  KvF32 cache({3, 1, 24}, tokens);
  cache.append(q.view().cols_from(0, 24), normed.view().cols_from(24, 24), pool);
  attend(best_attention(isa), cache, {.q = q.view(), .scale = 0.2F}, attended.view(), pool);
  layer_norm(*kernels.rows, attended.view(), weight.row(2), weight.row(3), 1e-5F, y.view(), pool);
  for (std::size_t t = 0; t < tokens; ++t)
    kernels.rows->silu_mul(y.row(t).data(), q.row(t).data(), y.row(t).data(), width);
  add(*kernels.rows, y.view(), x.view(), y.view(), pool);
  return y;
}

TEST(Bits, OfEveryKernelAreTheSameForever) {
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx2 | Isa::avx512})
    if (contains(detected_isa(), isa)) {
      EXPECT_EQ(hash(layer(isa)), "92d6cf09296aa37a") << to_string(isa);
    }
}

/// Attention over a cache of so many bits, in pieces.
Matrix in_integers(Isa isa, int bits) {
  Rng rng(13, "bits");
  ThreadPool pool(2);
  const Matrix x = testing::random_matrix(150, 96, rng);
  const MatrixView<const float> q = x.view().cols_from(0, 48);
  KvStatics statics{std::vector<float>(24, 0.25F), std::vector<std::uint8_t>(24, 1),
                    std::vector<std::uint8_t>(24, 0)};
  for (std::size_t d = 0; d < 24; d += 2) statics.key_groups[d] = statics.value_groups[d + 1] = 3;
  KvI8 cache({2, 1, 24}, 150, {8, bits}, &statics, best_round_rows(isa));
  Matrix out(150, 48);
  for (const std::size_t first : {0U, 100U}) {
    const std::size_t count = first == 0 ? 100 : 50;
    const auto rows = x.view().rows_from(first, count);
    cache.append(rows.cols_from(48, 24), rows.cols_from(72, 24), pool);
    attend(best_attention_i8(isa), cache,
           {.q = q.rows_from(first, count), .first_position = first, .scale = 0.2F},
           out.view().rows_from(first, count), pool);
  }
  return out;
}

TEST(Bits, OfIntegerAttentionAreTheSameForever) {
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx2 | Isa::avx512 | Isa::vnni})
    if (contains(detected_isa(), isa)) {
      EXPECT_EQ(hash(in_integers(isa, 8)), "c8c56696ebc19912") << to_string(isa);
      EXPECT_EQ(hash(in_integers(isa, 4)), "7d2f430d6c380969") << to_string(isa);
    }
}

TEST(Bits, OfTheFixedFunctionsAreTheSameForever) {
  AlignedBuffer<double> values(5 * 1000);
  Rng rng(12, "bits");
  for (std::size_t i = 0; i < 1000; ++i) {
    const double x = 40 * rng.uniform() - 20;
    const std::array all = {fixed_exp(x), fixed_log(x + 20), fixed_sin(1000 * x),
                            fixed_cos(1000 * x), fixed_pow(x + 21, x / 4)};
    std::copy(all.begin(), all.end(), values.begin() + i * all.size());
  }
  EXPECT_EQ(xxh3_hex(std::as_bytes(values.span())), "801d388c32be303f");
}

}  // namespace
}  // namespace tender::kernels
