// Check 18 of tender.md section 9, by number, and what a sweep promises beside it.

#include "quant/gptq/compensation.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "base/rng.h"

namespace tender::quant {
namespace {

constexpr double kStep = 0.25;

MatrixOf<double> moment_of(const Matrix& rows) {
  MatrixOf<double> h(rows.cols(), rows.cols());
  for (std::size_t a = 0; a < h.rows(); ++a)
    for (std::size_t b = 0; b < h.cols(); ++b) {
      h(a, b) = 0;
      for (std::size_t m = 0; m < rows.rows(); ++m)
        h(a, b) += static_cast<double>(rows(m, a)) * static_cast<double>(rows(m, b));
    }
  return h;
}

/// Rows whose channels share a few causes and have very different reach.
Matrix correlated_rows(std::size_t rows, std::size_t in, std::uint64_t seed = 1) {
  Rng rng(seed, "correlated rows");
  Matrix x(rows, in);
  for (std::size_t m = 0; m < rows; ++m) {
    const std::array causes = {rng.normal(), rng.normal(), rng.normal()};
    for (std::size_t k = 0; k < in; ++k)
      x(m, k) = (1.0F + static_cast<float>(k % 7)) *
                (causes[k % 3] + 0.5F * causes[k % 2] + 0.3F * rng.normal());
  }
  return x;
}

Matrix random_weights(std::size_t out, std::size_t in) {
  Rng rng(3, "weights");
  Matrix w(out, in);
  for (float& value : w.span()) value = rng.normal();
  return w;
}

double nearest(double value) { return std::nearbyint(value / kStep) * kStep; }

constexpr auto kNoBlocks = [](const SweepColumns&, std::size_t, std::size_t, const double*) {};

struct Swept {
  MatrixOf<double> rounded;
  std::vector<double> costs;
};

Swept sweep(const Compensation& compensation, const Matrix& w, std::size_t block = 64,
            std::size_t threads = 1) {
  Swept swept{MatrixOf<double>(w.rows(), w.cols()), {}};
  ThreadPool pool(threads);
  const auto round = [&](const SweepColumns& columns, std::size_t k, const double* values,
                         double* rounded) {
    for (std::size_t i = 0; i < columns.outputs; ++i) {
      rounded[i] = nearest(values[i]);
      swept.rounded(columns.first_output + i, k) = rounded[i];
    }
  };
  swept.costs = sweep_columns(compensation, w.view(), block, kNoBlocks, round, pool);
  return swept;
}

/// (w - q) (H + added on the diagonal) (w - q)ᵀ of one output.
double cost(const MatrixOf<double>& h, double added, std::span<const float> w,
            std::span<const double> q) {
  double sum = 0;
  for (std::size_t a = 0; a < w.size(); ++a)
    for (std::size_t b = 0; b < w.size(); ++b)
      sum += (static_cast<double>(w[a]) - q[a]) * (h(a, b) + (a == b ? added : 0)) *
             (static_cast<double>(w[b]) - q[b]);
  return sum;
}

TEST(TenderCheck18, TheSumOfTheErrorsOfTheStepsIsTheQuadraticFormTo1e6) {
  for (const std::size_t in : {5U, 70U, 129U})
    for (const SweepOrder order : {SweepOrder::natural, SweepOrder::largest_first}) {
      const MatrixOf<double> h = moment_of(correlated_rows(40, in));
      const Matrix w = random_weights(19, in);
      const Compensation compensation(h.view(), {.damping = 0.01, .order = order});
      const Swept swept = sweep(compensation, w);
      for (std::size_t n = 0; n < w.rows(); ++n) {
        const double exact = cost(h, compensation.added(), w.row(n), swept.rounded.row(n));
        EXPECT_NEAR(swept.costs[n], exact, 1e-6 * exact) << in << " channels, output " << n;
      }
    }
}

TEST(CompensationTest, TheFactorIsTheOneOfTheInverse) {
  const MatrixOf<double> h = moment_of(correlated_rows(60, 33));
  const Compensation compensation(h.view(), {.damping = 0.05});
  const std::size_t in = compensation.in();
  for (std::size_t a = 0; a < in; ++a)
    for (std::size_t b = 0; b < in; ++b) {
      double product = 0;  // of the damped H, in the order of the sweep, and Uᵀ U
      for (std::size_t k = 0; k < in; ++k) {
        double inverse = 0;
        for (std::size_t j = 0; j <= std::min(k, b); ++j)
          inverse += compensation.factor(j, k) * compensation.factor(j, b);
        const std::size_t row = compensation.order()[a], column = compensation.order()[k];
        product += (h(row, column) + (a == k ? compensation.added() : 0)) * inverse;
      }
      // Condition number below 1e5 (damping 5 % of the mean, 33 channels): 1e5 * 33 * 2^-52 < 1e-9.
      EXPECT_NEAR(product, a == b ? 1 : 0, 1e-9);
    }
}

TEST(TenderCheck18, TheIdentityAsMomentGivesPlainRounding) {
  const std::size_t in = 40;
  MatrixOf<double> h(in, in);
  for (std::size_t a = 0; a < in; ++a)
    for (std::size_t b = 0; b < in; ++b) h(a, b) = a == b ? 1 : 0;
  const Matrix w = random_weights(21, in);
  const Swept swept = sweep(Compensation(h.view(), {}), w);
  for (std::size_t n = 0; n < w.rows(); ++n)
    for (std::size_t k = 0; k < in; ++k)
      EXPECT_EQ(swept.rounded(n, k), nearest(static_cast<double>(w(n, k))));
}

TEST(TenderCheck18, OnCorrelatedRowsItCostsLessThanPlainRounding) {
  for (const std::uint64_t seed : {1U, 2U, 3U, 4U, 5U}) {
    const MatrixOf<double> h = moment_of(correlated_rows(200, 48, seed));
    const Matrix w = random_weights(32, 48);
    const Compensation compensation(h.view(), {});
    const Swept swept = sweep(compensation, w);
    double swept_cost = 0, plain_cost = 0;
    for (std::size_t n = 0; n < w.rows(); ++n) {
      std::vector<double> plain(48);
      for (std::size_t k = 0; k < 48; ++k) plain[k] = nearest(static_cast<double>(w(n, k)));
      swept_cost += swept.costs[n];
      plain_cost += cost(h, compensation.added(), w.row(n), plain);
    }
    EXPECT_LE(swept_cost, 0.5 * plain_cost) << "seed " << seed;
  }
}

TEST(CompensationTest, TheErrorOfAChannelMovesTheOthersAsFarAsTheRegressionSays) {
  // Two channels, H = [4 2; 2 3], next to no damping: with e the error of channel 0, the best
  // channel 1 is w_1 + e * H_01 / H_11.
  MatrixOf<double> h(2, 2);
  h(0, 0) = 4;
  h(0, 1) = h(1, 0) = 2;
  h(1, 1) = 3;
  Matrix w(1, 2);
  w(0, 0) = 0.35F;  // rounds to 0.25
  w(0, 1) = 1.0F;
  std::vector<double> seen;
  ThreadPool pool(1);
  const auto round = [&](const SweepColumns&, std::size_t, const double* values, double* rounded) {
    seen.push_back(values[0]);
    rounded[0] = nearest(values[0]);
  };
  sweep_columns(Compensation(h.view(), {.damping = 1e-12}), w.view(), 1, kNoBlocks, round, pool);
  const double error = static_cast<double>(0.35F) - 0.25;
  EXPECT_DOUBLE_EQ(seen[0], static_cast<double>(0.35F));
  EXPECT_NEAR(seen[1], 1 + error * 2 / 3, 1e-10);  // the damping moves it by about 1e-12
}

TEST(CompensationTest, ThreadsAndBlocksChangeNoBit) {
  const Matrix w = random_weights(53, 100);
  const Compensation compensation(moment_of(correlated_rows(150, 100)).view(), {});
  const Swept expected = sweep(compensation, w, 1, 1);
  for (const std::size_t block : {3U, 64U, 1000U})
    for (const std::size_t threads : {1U, 2U, 5U}) {
      const Swept swept = sweep(compensation, w, block, threads);
      EXPECT_EQ(swept.costs, expected.costs) << block << " steps, " << threads << " threads";
      EXPECT_TRUE(std::equal(swept.rounded.span().begin(), swept.rounded.span().end(),
                             expected.rounded.span().begin()));
    }
}

TEST(CompensationTest, ChannelsAreRoundedByDescendingMomentAndStoredWhereTheyBelong) {
  const Matrix rows = correlated_rows(30, 21);
  const Compensation compensation(moment_of(rows).view(), {});
  const auto order = compensation.order();
  for (std::size_t j = 0; j + 1 < order.size(); ++j) {
    const double here = compensation.diagonal()[order[j]];
    const double next = compensation.diagonal()[order[j + 1]];
    EXPECT_TRUE(here > next || (here == next && order[j] < order[j + 1])) << "step " << j;
  }
  const Matrix w = random_weights(3, 21);
  const Swept swept = sweep(compensation, w);
  // The channel of the first step is still as it came.
  for (std::size_t n = 0; n < 3; ++n)
    EXPECT_EQ(swept.rounded(n, order[0]), nearest(static_cast<double>(w(n, order[0]))));
}

TEST(CompensationTest, AChannelThatWasNeverSeenIsRoundedToNearestAndMovesNothing) {
  Matrix rows = correlated_rows(60, 20);
  for (std::size_t m = 0; m < rows.rows(); ++m) rows(m, 4) = rows(m, 11) = 0;
  const Matrix w = random_weights(7, 20);
  Matrix other = w.copy();
  for (std::size_t n = 0; n < 7; ++n) other(n, 4) += 0.1F;
  for (const SweepOrder order : {SweepOrder::natural, SweepOrder::largest_first}) {
    const Compensation compensation(moment_of(rows).view(), {.order = order});
    const Swept swept = sweep(compensation, w), changed = sweep(compensation, other);
    for (std::size_t n = 0; n < 7; ++n)
      for (std::size_t k = 0; k < 20; ++k) {
        if (k == 4 || k == 11) {
          EXPECT_EQ(swept.rounded(n, k), nearest(static_cast<double>(w(n, k))));
        }
        if (k != 4) {
          EXPECT_EQ(swept.rounded(n, k), changed.rounded(n, k));
        }
      }
  }
}

TEST(CompensationTest, ASiteThatSawOnlyZerosIsRoundedToNearest) {
  MatrixOf<double> h(3, 3);
  std::fill(h.span().begin(), h.span().end(), 0.0);
  const Matrix w = random_weights(2, 3);
  const Swept swept = sweep(Compensation(h.view(), {}), w);
  for (std::size_t n = 0; n < 2; ++n)
    for (std::size_t k = 0; k < 3; ++k)
      EXPECT_EQ(swept.rounded(n, k), nearest(static_cast<double>(w(n, k))));
}

TEST(CompensationTest, OneChannelIsRoundedToNearest) {
  MatrixOf<double> h(1, 1);
  h(0, 0) = 17;
  const Matrix w = random_weights(33, 1);
  const Compensation compensation(h.view(), {.damping = 0.5});
  const Swept swept = sweep(compensation, w);
  for (std::size_t n = 0; n < w.rows(); ++n) {
    const double error = static_cast<double>(w(n, 0)) - swept.rounded(n, 0);
    EXPECT_EQ(swept.rounded(n, 0), nearest(static_cast<double>(w(n, 0))));
    EXPECT_NEAR(swept.costs[n], error * error * 17 * 1.5, 1e-12);
  }
}

TEST(CompensationTest, AMomentThatIsNotFiniteOrNotPositiveDefiniteIsRefused) {
  const auto refusal = [](const MatrixOf<double>& h) -> std::string {
    try {
      const Compensation compensation(h.view(), {});
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_input);
      EXPECT_EQ(error.code(), "Q_MOMENT");
      return error.details().found;
    }
    return "";
  };
  MatrixOf<double> h = moment_of(correlated_rows(20, 6));
  h(2, 3) = h(3, 2) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(refusal(h), "nan in [2, 3]");
  h(2, 3) = h(3, 2) = 1e9;  // far above sqrt(H_22 H_33)
  EXPECT_EQ(refusal(h), "not positive definite");
  h = moment_of(correlated_rows(20, 6));
  h(1, 1) = -1;
  EXPECT_EQ(refusal(h), "not positive definite");
}

}  // namespace
}  // namespace tender::quant
