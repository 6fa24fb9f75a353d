#include "kernels/attention_i8/attention_i8.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>
#include <vector>

#include "kernels/kernel_testing.h"

namespace tender::kernels {

void PrintTo(const AttentionI8Kernel& kernel, std::ostream* out) { *out << kernel.name; }

namespace {

using testing::random_matrix;
using testing::same_bits;

class AttentionI8KernelTest : public ::testing::TestWithParam<AttentionI8Kernel> {};
INSTANTIATE_TEST_SUITE_P(All, AttentionI8KernelTest, ::testing::ValuesIn(attention_i8_kernels()),
                         testing::KernelName{});

struct Problem {
  AttentionShape shape;
  std::size_t tokens;
  std::size_t window = 0;
  Matrix q, k, v;
  KvStatics statics;
  float scale() const { return 1.0F / std::sqrt(static_cast<float>(shape.head_width)); }
};

/// Channels of unlike size and middle, as keys have them, and statics that fit them.
Problem problem(AttentionShape shape, std::size_t tokens, std::size_t window) {
  Rng rng(tokens * 7 + window, "integer attention");
  const std::size_t keys = shape.kv_heads * shape.head_width;
  Problem p{shape,
            tokens,
            window,
            random_matrix(tokens, shape.heads * shape.head_width, rng),
            random_matrix(tokens, keys, rng),
            random_matrix(tokens, keys, rng),
            {}};
  for (std::size_t d = 0; d < keys; ++d) {
    p.statics.key_bias.push_back(3 * rng.normal());
    p.statics.key_groups.push_back(static_cast<std::uint8_t>(d % 4));
    p.statics.value_groups.push_back(static_cast<std::uint8_t>(d % 3));
    for (std::size_t t = 0; t < tokens; ++t) {
      p.k(t, d) = p.statics.key_bias[d] + p.k(t, d) * static_cast<float>(1U << d % 4);
      p.v(t, d) *= static_cast<float>(1U << d % 3);
    }
  }
  return p;
}

struct Setting {
  AttentionBits bits;
  bool statics = true;
};
const std::vector<Setting> kSettings = {
    {{8, 8}, true}, {{8, 8}, false}, {{8, 4}, true}, {{4, 4}, false}, {{4, 8}, true}};

/// Appends and attends `batch` tokens at a time.
Matrix run(const AttentionI8Kernel& kernel, const Problem& p, Setting setting, std::size_t batch,
           std::size_t threads) {
  ThreadPool pool(threads);
  KvI8 cache(p.shape, p.tokens, setting.bits, setting.statics ? &p.statics : nullptr,
             best_round_rows(kernel.needs));
  Matrix out(p.tokens, p.q.cols());
  for (std::size_t first = 0; first < p.tokens; first += batch) {
    const std::size_t count = std::min(batch, p.tokens - first);
    cache.append(p.k.view().rows_from(first, count), p.v.view().rows_from(first, count), pool);
    attend(kernel, cache, {p.q.view().rows_from(first, count), first, p.scale(), p.window},
           out.view().rows_from(first, count), pool);
  }
  return out;
}

const std::vector<AttentionShape> kShapes = {
    {1, 1, 16}, {9, 3, 64}, {4, 4, 20}, {6, 2, 7}, {8, 1, 80}};

TEST_P(AttentionI8KernelTest, GivesTheBitsOfTheDefinition) {
  TENDER_RUNS_OR_SKIP(GetParam());
  const AttentionI8Kernel& scalar = attention_i8_kernels().back();
  for (const Setting& setting : kSettings)
    for (const AttentionShape shape : kShapes)
      for (const std::size_t tokens : {1U, 17U, 65U, 150U})
        for (const std::size_t window : {0U, 1U, 70U}) {
          const Problem p = problem(shape, tokens, window);
          const Matrix wanted = run(scalar, p, setting, tokens, 1);
          for (const std::size_t threads : {1U, 3U})
            ASSERT_TRUE(
                same_bits(run(GetParam(), p, setting, tokens, threads).view(), wanted.view()))
                << shape.heads << " heads of " << shape.head_width << ", " << tokens
                << " tokens, window " << window << ", " << threads << " threads, "
                << setting.bits.rows << " and " << setting.bits.cache << " bits";
        }
}

// Numbers in the names are those of the checks of tender.md section 9.
TEST_P(AttentionI8KernelTest, TenderCheck20AppendThenAttendIsTheSameAsABatch) {
  TENDER_RUNS_OR_SKIP(GetParam());
  for (const Setting& setting : kSettings)
    for (const AttentionShape shape : kShapes)
      for (const std::size_t window : {0U, 3U, 67U}) {
        const Problem p = problem(shape, 131, window);
        const Matrix whole = run(GetParam(), p, setting, 131, 2);
        for (const std::size_t batch : {1U, 7U, 64U})
          ASSERT_TRUE(same_bits(run(GetParam(), p, setting, batch, 2).view(), whole.view()))
              << shape.head_width << " wide, window " << window << ", batches of " << batch;
      }
}

/// Slow and obvious: values are rounded one by one in float, sums are int64, the rest is double.
struct Reference {
  const Problem& p;
  Setting setting;

  /// Rounded values of a row of one head, and their step.
  struct Row {
    std::vector<std::int64_t> codes;
    double step;
  };
  static Row rounded(const std::vector<float>& u, float top) {
    float peak = 0;
    for (const float x : u) peak = std::max(peak, std::fabs(x));
    Row row{{}, static_cast<double>(peak / top)};
    for (const float x : u) row.codes.push_back(std::lrintf(x * (top / peak)));
    return row;
  }
  float top_of(int bits) const { return bits == 4 ? 7 : 127; }
  float group(const std::vector<std::uint8_t>& groups, std::size_t channel) const {
    return setting.statics ? static_cast<float>(1U << groups[channel]) : 1.0F;
  }
  Row key(std::size_t t, std::size_t kv) const {
    std::vector<float> u;
    for (std::size_t d = kv * p.shape.head_width; d < (kv + 1) * p.shape.head_width; ++d)
      u.push_back((setting.statics ? p.k(t, d) - p.statics.key_bias[d] : p.k(t, d)) /
                  group(p.statics.key_groups, d));
    return rounded(u, top_of(setting.bits.cache));
  }
  Row value(std::size_t t, std::size_t kv) const {
    std::vector<float> u;
    for (std::size_t d = kv * p.shape.head_width; d < (kv + 1) * p.shape.head_width; ++d)
      u.push_back(p.v(t, d) / group(p.statics.value_groups, d));
    return rounded(u, top_of(setting.bits.cache));
  }
  Row query(std::size_t t, std::size_t head, std::size_t kv) const {
    std::vector<float> u;
    for (std::size_t d = 0; d < p.shape.head_width; ++d)
      u.push_back(p.q(t, head * p.shape.head_width + d) *
                  group(p.statics.key_groups, kv * p.shape.head_width + d));
    return rounded(u, top_of(setting.bits.rows));
  }

  /// One row of one head, and how far the kernels may be off: a code of a probability may tip.
  struct Answer {
    std::vector<double> value;
    std::vector<double> bound;
  };
  Answer answer(std::size_t t, std::size_t head) const {
    const std::size_t width = p.shape.head_width;
    const std::size_t kv = head / (p.shape.heads / p.shape.kv_heads);
    const std::size_t begin = p.window != 0 && t + 1 > p.window ? t + 1 - p.window : 0;
    const Row q = query(t, head, kv);
    std::vector<double> s;
    for (std::size_t j = begin; j <= t; ++j) {
      const Row k = key(j, kv);
      std::int64_t sum = 0;
      for (std::size_t d = 0; d < width; ++d) sum += q.codes[d] * k.codes[d];
      s.push_back(static_cast<double>(sum) * k.step * q.step * static_cast<double>(p.scale()));
    }
    const double most = *std::ranges::max_element(s);
    double total = 0;
    for (double& x : s) total += x = std::exp(x - most);
    Answer result{std::vector<double>(width), std::vector<double>(width)};
    const double top = setting.bits.rows == 4 ? 15 : 255;
    for (std::size_t block = begin / 64 * 64; block <= t; block += 64) {
      const std::size_t from = std::max(begin, block), to = std::min(t + 1, block + 64);
      double peak = 0;
      for (std::size_t j = from; j < to; ++j)
        peak = std::max(peak, s[j - begin] * value(j, kv).step);
      for (std::size_t j = from; j < to; ++j) {
        const Row v = value(j, kv);
        const double scaled = s[j - begin] * v.step / peak * top;
        const double fraction = std::fabs(scaled - std::floor(scaled) - 0.5);
        for (std::size_t d = 0; d < width; ++d) {
          const double factor = static_cast<double>(group(p.statics.value_groups, kv * width + d)) *
                                static_cast<double>(v.codes[d]) * (peak / top / total);
          result.value[d] += std::nearbyint(scaled) * factor;
          result.bound[d] += (fraction < 1e-4 * scaled ? 1.0 : 1e-5 * scaled) * std::fabs(factor);
        }
      }
    }
    return result;
  }
};

TEST_P(AttentionI8KernelTest, AgreesWithTheReferenceInDouble) {
  TENDER_RUNS_OR_SKIP(GetParam());
  for (const Setting& setting : kSettings)
    for (const AttentionShape shape : {AttentionShape{6, 2, 7}, AttentionShape{3, 1, 64}})
      for (const std::size_t window : {0U, 80U}) {
        const Problem p = problem(shape, 140, window);
        const Matrix out = run(GetParam(), p, setting, 140, 2);
        const Reference reference{p, setting};
        for (const std::size_t t : {0U, 1U, 62U, 63U, 64U, 100U, 139U})
          for (std::size_t h = 0; h < shape.heads; ++h) {
            const Reference::Answer truth = reference.answer(t, h);
            for (std::size_t d = 0; d < shape.head_width; ++d)
              ASSERT_NEAR(static_cast<double>(out(t, h * shape.head_width + d)), truth.value[d],
                          truth.bound[d] + 1e-6)
                  << "token " << t << ", head " << h << ", channel " << d;
          }
      }
}

/// Root mean square of the difference to attention in float, relative to that.
double relative_error(const AttentionI8Kernel& kernel, const Problem& p, Setting setting) {
  ThreadPool pool(1);
  KvF32 cache(p.shape, p.tokens);
  cache.append(p.k.view(), p.v.view(), pool);
  Matrix truth(p.tokens, p.q.cols());
  attend(best_attention(kernel.needs), cache, {p.q.view(), 0, p.scale(), p.window}, truth.view(),
         pool);
  const Matrix out = run(kernel, p, setting, p.tokens, 1);
  double error = 0, size = 0;
  for (std::size_t t = 0; t < p.tokens; ++t)
    for (std::size_t c = 0; c < out.cols(); ++c) {
      error += std::pow(static_cast<double>(out(t, c) - truth(t, c)), 2);
      size += std::pow(static_cast<double>(truth(t, c)), 2);
    }
  return std::sqrt(error / size);
}

TEST_P(AttentionI8KernelTest, IsNearFloatAndStaticsBringFourBitsNearer) {
  TENDER_RUNS_OR_SKIP(GetParam());
  const Problem p = problem({9, 3, 64}, 200, 0);
  EXPECT_LT(relative_error(GetParam(), p, {{8, 8}, true}), 0.025);
  // Where keys have fewer bits than queries, queries can carry what groups take from keys.
  EXPECT_LT(relative_error(GetParam(), p, {{8, 4}, true}),
            0.8 * relative_error(GetParam(), p, {{8, 4}, false}));
}

// Keys are stored less their bias and queries are not centred, so that Q b_Kᵀ is all that the
// expansion leaves (tender.md 2.10; docs/adr/0005-attention.md): one number per query row, which
// softmax cancels and which is never computed.
TEST_P(AttentionI8KernelTest, TenderCheck8WhatTheBiasOfKeysAddsToScoresIsDroppedAndChangesNothing) {
  TENDER_RUNS_OR_SKIP(GetParam());
  for (const AttentionShape shape : kShapes)
    for (const Setting& setting : kSettings) {
      if (!setting.statics) continue;
      const Problem p = problem(shape, 90, 0);
      Problem centred = problem(shape, 90, 0);
      for (std::size_t d = 0; d < p.k.cols(); ++d) {
        centred.statics.key_bias[d] = 0;
        for (std::size_t t = 0; t < 90; ++t) centred.k(t, d) -= p.statics.key_bias[d];
      }
      EXPECT_TRUE(same_bits(run(GetParam(), p, setting, 90, 1).view(),
                            run(GetParam(), centred, setting, 90, 1).view()));
      if (setting.bits.rows == 8 && setting.bits.cache == 8) {
        // From attention in float over keys as they came, with the term, what is far is the
        // rounding alone, as above.
        EXPECT_LT(relative_error(GetParam(), p, setting), 0.025) << shape.head_width << " wide";
      }
    }
}

TEST_P(AttentionI8KernelTest, TenderCheck20SharedHeadsAreTheSameAsExpandedOnes) {
  TENDER_RUNS_OR_SKIP(GetParam());
  const Problem shared = problem({6, 2, 20}, 90, 0);
  Problem expanded = problem({6, 6, 20}, 90, 0);
  const auto copy = [&](auto& to, const auto& from, std::size_t head, std::size_t d) {
    to[head * 20 + d] = from[head / 3 * 20 + d];
  };
  for (std::size_t h = 0; h < 6; ++h)
    for (std::size_t d = 0; d < 20; ++d) {
      copy(expanded.statics.key_bias, shared.statics.key_bias, h, d);
      copy(expanded.statics.key_groups, shared.statics.key_groups, h, d);
      copy(expanded.statics.value_groups, shared.statics.value_groups, h, d);
      for (std::size_t t = 0; t < 90; ++t) {
        expanded.q(t, h * 20 + d) = shared.q(t, h * 20 + d);
        expanded.k(t, h * 20 + d) = shared.k(t, h / 3 * 20 + d);
        expanded.v(t, h * 20 + d) = shared.v(t, h / 3 * 20 + d);
      }
    }
  for (const Setting& setting : kSettings)
    EXPECT_TRUE(same_bits(run(GetParam(), shared, setting, 90, 1).view(),
                          run(GetParam(), expanded, setting, 90, 1).view()));
}

TEST_P(AttentionI8KernelTest, WhatIsNotFiniteReachesTheRowsThatSeeItAlone) {
  TENDER_RUNS_OR_SKIP(GetParam());
  const Matrix wanted = run(GetParam(), problem({3, 1, 20}, 50, 10), {{8, 8}, true}, 50, 1);
  for (const bool key : {false, true}) {
    Problem spoilt = problem({3, 1, 20}, 50, 10);
    (key ? spoilt.k : spoilt.v)(20, 3) =
        key ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
    const Matrix got = run(GetParam(), spoilt, {{8, 8}, true}, 50, 1);
    EXPECT_TRUE(same_bits(got.view().rows_from(0, 20), wanted.view().rows_from(0, 20)));
    EXPECT_TRUE(same_bits(got.view().rows_from(30, 20), wanted.view().rows_from(30, 20)));
    for (std::size_t t = 20; t < 30; ++t) EXPECT_TRUE(std::isnan(got(t, 0))) << t;
  }
  Problem query = problem({3, 1, 20}, 50, 10);
  query.q(7, 5) = std::numeric_limits<float>::infinity();
  const Matrix got = run(GetParam(), query, {{8, 8}, true}, 50, 1);
  EXPECT_TRUE(std::isnan(got(7, 0)));
  EXPECT_FALSE(std::isnan(got(7, 20)));  // another head
  EXPECT_TRUE(same_bits(got.view().rows_from(8, 42), wanted.view().rows_from(8, 42)));
}

TEST_P(AttentionI8KernelTest, RowsOfZerosAreZerosAndQueriesOfZerosTakeTheMean) {
  TENDER_RUNS_OR_SKIP(GetParam());
  Problem p = problem({1, 1, 16}, 3, 0);
  std::ranges::fill(p.q.span(), 0.0F);
  std::ranges::fill(p.k.span(), 0.0F);
  std::ranges::fill(p.v.span(), 0.0F);
  const Setting plain{{8, 8}, false};
  const Matrix none = run(GetParam(), p, plain, 3, 1);
  for (const float x : none.span()) EXPECT_EQ(x, 0.0F);
  for (std::size_t d = 0; d < 16; ++d) p.v(0, d) = 3.0F;
  EXPECT_NEAR(run(GetParam(), p, plain, 3, 1)(2, 5), 1.0F, 1e-6F);
}

TEST_P(AttentionI8KernelTest, ATruncatedCacheForgets) {
  TENDER_RUNS_OR_SKIP(GetParam());
  const Problem p = problem({2, 2, 24}, 40, 0);
  const Problem other = problem({2, 2, 24}, 41, 0);
  ThreadPool pool(1);
  for (const Setting& setting : kSettings) {
    KvI8 cache(p.shape, 100, setting.bits, setting.statics ? &p.statics : nullptr,
               best_round_rows(Isa::scalar));
    cache.append(p.k.view().rows_from(0, 25), p.v.view().rows_from(0, 25), pool);
    cache.append(other.k.view().rows_from(0, 41), other.v.view().rows_from(0, 41), pool);
    cache.truncate(25);
    EXPECT_EQ(cache.tokens(), 25U);
    cache.append(p.k.view().rows_from(25, 15), p.v.view().rows_from(25, 15), pool);
    Matrix out(40, p.q.cols());
    attend(GetParam(), cache, {p.q.view(), 0, p.scale(), 0}, out.view(), pool);
    EXPECT_TRUE(same_bits(out.view(), run(GetParam(), p, setting, 40, 1).view()));
  }
}

TEST(TenderCheck20, ACacheTakesTheBytesOfItsFormula) {
  // per KV head: keys of 20 channels, 24 at 4 bits; values of 32; two float steps
  EXPECT_EQ(KvI8::bytes_per_token({4, 2, 20}, 8), 2U * (20 + 32 + 8));
  EXPECT_EQ(KvI8::bytes_per_token({4, 2, 20}, 4), 2U * (12 + 16 + 8));
  EXPECT_EQ(KvI8::bytes_per_token({9, 3, 64}, 8), 408U);  // 1536 in float
  EXPECT_EQ(KvI8::bytes_per_token({9, 3, 64}, 4), 216U);
  for (const int bits : {8, 4}) {
    const KvI8 cache({4, 2, 20}, 65, {8, bits}, nullptr, best_round_rows(Isa::scalar));
    EXPECT_EQ(cache.bytes(), 128U * KvI8::bytes_per_token({4, 2, 20}, bits));
  }
}

// Threads take blocks that begin at multiples of 64: of the first, 37 positions are there already.
TEST_P(AttentionI8KernelTest, AppendedByThreadsBehindOthersItIsTheSameAsOneByOne) {
  TENDER_RUNS_OR_SKIP(GetParam());
  constexpr std::size_t held = 37, more = 150, all = held + more;
  for (const AttentionShape shape : {AttentionShape{3, 3, 64}, AttentionShape{2, 2, 7}})
    for (const Setting& setting : kSettings) {
      const Problem p = problem(shape, all, 0);
      const auto attended = [&](std::size_t at_once, std::size_t threads) {
        ThreadPool one(1), pool(threads);
        KvI8 cache(shape, all, setting.bits, setting.statics ? &p.statics : nullptr,
                   best_round_rows(GetParam().needs));
        cache.append(p.k.view().rows_from(0, held), p.v.view().rows_from(0, held), one);
        for (std::size_t t = held; t < all; t += at_once)
          cache.append(p.k.view().rows_from(t, at_once), p.v.view().rows_from(t, at_once), pool);
        EXPECT_EQ(cache.tokens(), all);
        Matrix out(all, p.q.cols());
        attend(GetParam(), cache, {p.q.view(), 0, p.scale(), 0}, out.view(), one);
        return out;
      };
      const Matrix wanted = attended(1, 1);
      for (const std::size_t threads : {1U, 3U})
        EXPECT_TRUE(same_bits(attended(more, threads).view(), wanted.view()))
            << shape.head_width << " wide, " << threads << " threads, " << setting.bits.cache
            << " bits";
    }
}

}  // namespace
}  // namespace tender::kernels
