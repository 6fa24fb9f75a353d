#include "kernels/hadamard/hadamard.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <mutex>

#include "base/contracts.h"
#include "base/kernel_choice.h"
#include "base/rng.h"
#include "kernels/hadamard/conference.h"

namespace tender::kernels {
namespace {

// Of what is mixed one by one; above it blocks of a power of two serve as well and cost less.
constexpr std::size_t kMaxOrder = 256;

bool is_prime(std::size_t q) {
  for (std::size_t d = 2; d * d <= q; ++d)
    if (q % d == 0) return false;
  return q > 1;
}

bool is_power_of_two(std::size_t n) { return n != 0 && (n & (n - 1)) == 0; }

float scale_of(std::size_t size) {
  return static_cast<float>(1 / std::sqrt(static_cast<double>(size)));
}

template <class T>
void butterflies(T* t, std::size_t power) {
  for (std::size_t h = 1; h < power; h *= 2)
    for (std::size_t i = 0; i < power; i += 2 * h)
      for (std::size_t j = i; j < i + h; ++j) {
        const T low = t[j], high = t[j + h];
        t[j] = low + high;
        t[j + h] = low - high;
      }
}

/// signs, butterflies in every row of a block. @param x, t  [order * power]
template <class T>
void rotate_powers(const HadamardJob& job, const float* signs, const T* x, T* t) {
  for (std::size_t i = 0; i < job.order * job.power; ++i) t[i] = x[i] * static_cast<T>(signs[i]);
  for (std::size_t a = 0; a < job.order; ++a) butterflies(t + a * job.power, job.power);
}

template <class T>
void mix_rows(const HadamardJob& job, T scale, const T* t, T* y) {
  for (std::size_t b = 0; b < job.order; ++b) {
    T* sum = y + b * job.power;
    std::copy_n(t, job.power, sum);
    for (std::size_t a = 1; a < job.order; ++a) {
      const T sign = static_cast<T>(job.mix[a * job.order + b]);
      for (std::size_t j = 0; j < job.power; ++j) sum[j] += sign * t[a * job.power + j];
    }
    for (std::size_t j = 0; j < job.power; ++j) sum[j] *= scale;
  }
}

template <std::size_t P>
void mix_pairs(const HadamardJob& job, const float* t, float* y) {
  constexpr Conference<P> kConference;
  const std::size_t power = job.power;
  const auto u = [&](std::size_t i, std::size_t j) { return t[job.rows[2 * i] * power + j]; };
  const auto v = [&](std::size_t i, std::size_t j) { return t[job.rows[2 * i + 1] * power + j]; };
  for (std::size_t k = 0; k < P; ++k)
    for (std::size_t j = 0; j < power; ++j) {
      float even = u(k, j) - v(k, j), odd = -(u(k, j) + v(k, j));
      for (std::size_t i = 0; i < P; ++i) {
        if (i == k) continue;
        const auto c = static_cast<float>(kConference.at[i][k]);
        even += c * (u(i, j) + v(i, j));
        odd += c * (u(i, j) - v(i, j));
      }
      y[job.outputs[2 * k] * power + j] = even * job.output_scales[2 * k];
      y[job.outputs[2 * k + 1] * power + j] = odd * job.output_scales[2 * k + 1];
    }
}

/// 1 for squares modulo the prime q, -1 for what is none, 0 for 0.
std::vector<int> quadratic_characters(std::size_t q) {
  std::vector<int> character(q, -1);
  character[0] = 0;
  for (std::size_t i = 1; i < q; ++i) character[i * i % q] = 1;
  return character;
}

/// C[0][j] = 1, C[i][0] = corner, C[i][j] = character of i - j; 0 on the diagonal. [q + 1, q + 1]
std::vector<int> conference_matrix(std::size_t q, int corner) {
  const auto character = quadratic_characters(q);
  const std::size_t n = q + 1;
  std::vector<int> c(n * n, 0);
  for (std::size_t i = 1; i < n; ++i) {
    c[i] = 1;
    c[i * n] = corner;
    for (std::size_t j = 1; j < n; ++j) c[i * n + j] = character[(i + q - j) % q];
  }
  return c;
}

/// Order q + 1, q = 3 modulo 4: C + I with C antisymmetric.
std::vector<float> first_paley(std::size_t order) {
  const auto c = conference_matrix(order - 1, -1);
  std::vector<float> h(c.begin(), c.end());
  for (std::size_t i = 0; i < order; ++i) h[i * order + i] = 1;
  return h;
}

/// Whether there is one of Paley's second kind.
bool has_second_paley(std::size_t order) { return order % 8 == 4 && is_prime(order / 2 - 1); }

/// Order 2 (q + 1), q = 1 modulo 4: C ⊗ [1 1; 1 -1] + I ⊗ [1 -1; -1 -1] with C symmetric.
std::vector<float> second_paley(std::size_t order) {
  const std::size_t n = order / 2;
  const auto c = conference_matrix(n - 1, 1);
  constexpr int kOff[2][2] = {{1, 1}, {1, -1}}, kOn[2][2] = {{1, -1}, {-1, -1}};
  std::vector<float> h(order * order);
  for (std::size_t i = 0; i < order; ++i)
    for (std::size_t j = 0; j < order; ++j) {
      const int value =
          i / 2 == j / 2 ? kOn[i % 2][j % 2] : c[i / 2 * n + j / 2] * kOff[i % 2][j % 2];
      h[i * order + j] = static_cast<float>(value);
    }
  return h;
}

constexpr std::array kKernels = {
#if defined(__x86_64__)
    HadamardKernel{"avx512", Isa::avx2 | Isa::avx512, isa::rotate_row_avx512},
    HadamardKernel{"avx2", Isa::avx2, isa::rotate_row_avx2},
#endif
    HadamardKernel{"scalar", Isa::scalar, isa::rotate_row_scalar},
};

}  // namespace

std::span<const HadamardKernel> hadamard_kernels() { return kKernels; }
const HadamardKernel& best_hadamard(Isa isa) { return best_kernel(kKernels, isa); }

void isa::rotate_row_scalar(const HadamardJob& job, const float* x, float* t, float* y) {
  const std::size_t size = job.order * job.power;
  for (std::size_t at = 0; at < job.blocks * size; at += size) {
    rotate_powers(job, job.signs + at, x + at, t);
    const bool mixed = with_conference(
        job.pairs, [&]<std::size_t P>(const Conference<P>&) { mix_pairs<P>(job, t, y + at); });
    if (!mixed) mix_rows(job, job.scale, t, y + at);
  }
}

std::vector<float> paley_matrix(std::size_t order) {
  if (order == 1) return {1};
  if (order < 4 || order % 4 != 0 || order > kMaxOrder) return {};
  std::vector<float> h;
  if (is_prime(order - 1))
    h = first_paley(order);
  else if (has_second_paley(order))
    h = second_paley(order);
  else
    return {};
  for (std::size_t j = 0; j < order; ++j)
    if (h[j] < 0)
      for (std::size_t i = 0; i < order; ++i) h[i * order + j] *= -1;
  for (std::size_t i = 0; i < order; ++i)
    if (h[i * order] < 0)
      for (std::size_t j = 0; j < order; ++j) h[i * order + j] *= -1;
  return h;
}

Hadamard::Hadamard(std::size_t width, std::uint32_t seed) {
  require(width > 0, "a row has channels");
  const std::size_t twos = width & (~width + 1), odd = width / twos;
  for (std::size_t order = 4 * odd; odd > 1 && order <= std::min(kMaxOrder, width); order *= 2)
    if (width % order == 0 && !paley_matrix(order).empty()) {
      *this = Hadamard(width, order, width / order, seed);
      return;
    }
  *this = Hadamard(width, 1, twos, seed);
}

Hadamard::Hadamard(std::size_t width, std::size_t order, std::size_t power, std::uint32_t seed)
    : width_(width), order_(order), power_(power), seed_(seed) {
  static std::mutex mutex;
  static std::map<std::array<std::size_t, 4>, std::weak_ptr<const Tables>> known;
  const std::lock_guard lock(mutex);
  std::weak_ptr<const Tables>& place = known[{width, order, power, seed}];
  tables_ = place.lock();
  if (tables_ == nullptr)
    place = tables_ = std::make_shared<const Tables>(make_tables(width, order, power, seed));
}

Hadamard::Tables Hadamard::make_tables(std::size_t width, std::size_t order, std::size_t power,
                                       std::uint32_t seed) {
  Tables tables;
  tables.signs = AlignedBuffer<float>(width);
  tables.mix = paley_matrix(order);
  require(!tables.mix.empty() && is_power_of_two(power) && width % (order * power) == 0,
          "blocks of a rotation make up its width");
  Rng rng(seed, "hadamard signs");
  for (float& sign : tables.signs) sign = rng.below(2) == 0 ? 1.0F : -1.0F;
  find_pairs(order, power, tables);
  return tables;
}

// M[a][b] = row_sign[a] * H[rows[a]][column of b] * output_sign[b] with H of Paley's second kind.
// Where M is of that kind the rows are in order; all matrices of order 12 are alike in this sense
// (Todd 1933), and an order of rows that a search has found stands here.
void Hadamard::find_pairs(std::size_t order, std::size_t power, Tables& tables) {
  constexpr std::array<std::uint32_t, 12> kTwelve = {0, 1, 2, 3, 4, 5, 7, 9, 11, 6, 10, 8};
  constexpr std::size_t kFirstOfTwelve = 4;  // the column that is all ones in M
  if (!has_pairs(order)) return;
  const std::vector<float> h = second_paley(order);
  const auto row = [&](std::size_t a) { return order == kTwelve.size() ? kTwelve[a] : a; };
  const std::size_t first = order == kTwelve.size() ? kFirstOfTwelve : 0;
  const auto sign = [&](std::size_t a) { return h[row(a) * order + first]; };
  tables.rows.resize(order);
  tables.outputs.resize(order);
  tables.output_scales.resize(order);
  for (std::size_t a = 0; a < order; ++a) tables.rows[row(a)] = static_cast<std::uint32_t>(a);
  for (std::size_t column = 0; column < order; ++column) {
    std::size_t b = 0;
    float by = 0;  // sign(a) * H[a][column] is this times M[a][b] for every a
    for (; b < order; ++b) {
      by = sign(0) * h[row(0) * order + column];
      std::size_t a = 0;
      while (a < order && sign(a) * h[row(a) * order + column] == by * tables.mix[a * order + b])
        ++a;
      if (a == order) break;
    }
    require(b < order, "every column of the matrix is found again");
    tables.outputs[column] = static_cast<std::uint32_t>(b);
    tables.output_scales[column] = by * scale_of(order * power);
  }
  tables.row_signs = AlignedBuffer<float>(tables.signs.size());
  for (std::size_t i = 0; i < tables.signs.size(); ++i)
    tables.row_signs[i] = tables.signs[i] * sign(i / power % order);
}

HadamardJob Hadamard::job() const {
  const std::size_t size = order_ * power_;
  HadamardJob job{.blocks = width_ / size,
                  .order = order_,
                  .power = power_,
                  .signs = tables_->signs.data(),
                  .mix = tables_->mix.data(),
                  .scale = scale_of(size)};
  if (tables_->rows.empty()) return job;
  job.signs = tables_->row_signs.data();
  job.pairs = order_ / 2;
  job.rows = tables_->rows.data();
  job.outputs = tables_->outputs.data();
  job.output_scales = tables_->output_scales.data();
  return job;
}

void Hadamard::rotate(std::span<const double> x, std::span<double> y) const {
  require(x.size() == width() && y.size() == width(), "a row has the width of the rotation");
  std::vector<double> t(order_ * power_);
  const double scale = 1 / std::sqrt(static_cast<double>(t.size()));
  for (std::size_t at = 0; at < width(); at += t.size()) {
    rotate_powers(job(), tables_->signs.data() + at, x.data() + at, t.data());
    mix_rows(job(), scale, t.data(), y.data() + at);
  }
}

void Hadamard::rotate_back(std::span<const double> x, std::span<double> y) const {
  require(x.size() == width() && y.size() == width(), "a row has the width of the rotation");
  const std::size_t size = order_ * power_;
  const double scale = 1 / std::sqrt(static_cast<double>(size));
  for (std::size_t at = 0; at < width(); at += size) {
    double* t = y.data() + at;
    std::fill_n(t, size, 0.0);
    for (std::size_t b = 0; b < order_; ++b)
      for (std::size_t a = 0; a < order_; ++a)
        for (std::size_t j = 0; j < power_; ++j)
          t[a * power_ + j] +=
              static_cast<double>(tables_->mix[a * order_ + b]) * x[at + b * power_ + j];
    for (std::size_t a = 0; a < order_; ++a) butterflies(t + a * power_, power_);
    for (std::size_t i = 0; i < size; ++i)
      t[i] *= static_cast<double>(tables_->signs[at + i]) * scale;
  }
}

}  // namespace tender::kernels
