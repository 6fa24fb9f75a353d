#include "quant/rotation/rotation.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/contracts.h"
#include "base/rng.h"

namespace tender::quant {
namespace {

bool is_prime(std::size_t q) {
  for (std::size_t d = 2; d * d <= q; ++d)
    if (q % d == 0) return false;
  return q > 1;
}

/// Jacobsthal's matrix [q, q]: 1 where row - column is a square modulo q, 0 on the diagonal, else
/// -1.
std::vector<int> jacobsthal(std::size_t q) {
  std::vector<int> character(q, -1);
  character[0] = 0;
  for (std::size_t i = 1; i < q; ++i) character[i * i % q] = 1;
  std::vector<int> matrix(q * q);
  for (std::size_t r = 0; r < q; ++r)
    for (std::size_t c = 0; c < q; ++c) matrix[r * q + c] = character[(r + q - c) % q];
  return matrix;
}

/// Jacobsthal's matrix with a border: 0 in the corner, `left` down the first column, 1 along the
/// top.
std::vector<int> bordered(std::size_t q, int left) {
  const std::vector<int> inner = jacobsthal(q);
  std::vector<int> matrix((q + 1) * (q + 1));
  for (std::size_t r = 0; r <= q; ++r)
    for (std::size_t c = 0; c <= q; ++c)
      matrix[r * (q + 1) + c] = r == 0 && c == 0 ? 0
                                : r == 0         ? 1
                                : c == 0         ? left
                                                 : inner[(r - 1) * q + c - 1];
  return matrix;
}

/// Butterflies over neighbours at distance 1, 2, 4, …
void sylvester(float* x, std::size_t count) {
  for (std::size_t half = 1; half < count; half *= 2)
    for (std::size_t at = 0; at < count; at += 2 * half)
      for (std::size_t i = at; i < at + half; ++i) {
        const float a = x[i], b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
}

/// out[t] = sum over rising j of row[j] * in[j * stride + t], for `width` neighbours t.
void combine(const float* row, std::size_t order, const float* in, std::size_t stride,
             std::size_t width, float* out) {
  constexpr std::size_t kLanes = 16;
  std::size_t t = 0;
  for (; t + kLanes <= width; t += kLanes) {
    std::array<float, kLanes> sums{};
    for (std::size_t j = 0; j < order; ++j)
      for (std::size_t i = 0; i < kLanes; ++i) sums[i] += row[j] * in[j * stride + t + i];
    std::copy(sums.begin(), sums.end(), out + t);
  }
  for (; t < width; ++t) {
    float sum = 0;
    for (std::size_t j = 0; j < order; ++j) sum += row[j] * in[j * stride + t];
    out[t] = sum;
  }
}

}  // namespace

std::vector<float> paley_hadamard(std::size_t order) {
  std::vector<float> h(order * order);
  if (order < 4 || order % 4 != 0) return {};
  if (is_prime(order - 1)) {
    const std::vector<int> skew = bordered(order - 1, -1);
    for (std::size_t r = 0; r < order; ++r)
      for (std::size_t c = 0; c < order; ++c)
        h[r * order + c] = static_cast<float>(skew[r * order + c] + (r == c ? 1 : 0));
    return h;
  }
  const std::size_t half = order / 2;
  if (half % 4 != 2 || !is_prime(half - 1)) return {};
  constexpr std::array<int, 4> kOff = {1, 1, 1, -1};
  constexpr std::array<int, 4> kOn = {1, -1, -1, -1};
  const std::vector<int> conference = bordered(half - 1, 1);
  for (std::size_t r = 0; r < order; ++r)
    for (std::size_t c = 0; c < order; ++c) {
      const std::size_t place = r % 2 * 2 + c % 2;
      h[r * order + c] = static_cast<float>(conference[r / 2 * half + c / 2] * kOff[place] +
                                            (r / 2 == c / 2 ? kOn[place] : 0));
    }
  return h;
}

Rotation::Rotation(std::size_t size) {
  require(size > 0, "a row has channels");
  std::size_t odd = size;
  std::size_t twos = 0;
  for (; odd % 2 == 0; odd /= 2) ++twos;
  doublings_ = twos;
  for (std::size_t a = 2; odd > 1 && a <= twos && (odd << a) <= kMaxOrder; ++a) {
    hadamard_ = paley_hadamard(odd << a);
    if (hadamard_.empty()) continue;
    order_ = odd << a;
    doublings_ = twos - a;
    break;
  }
  transposed_.resize(hadamard_.size());
  for (std::size_t r = 0; r * order_ < hadamard_.size(); ++r)
    for (std::size_t c = 0; c < order_; ++c)
      transposed_[c * order_ + r] = hadamard_[r * order_ + c];
  Rng rng(0, "rotation");
  for (std::size_t k = 0; k < size; ++k) signs_.push_back(rng.next() % 2 == 0 ? 1.0F : -1.0F);
}

void Rotation::apply(float* x, const std::vector<float>& hadamard, std::span<float> scratch) const {
  const std::size_t width = std::size_t{1} << doublings_;
  for (std::size_t j = 0; j < order_; ++j) sylvester(x + j * width, width);
  if (hadamard.empty()) return;
  std::copy_n(x, block(), scratch.data());
  for (std::size_t i = 0; i < order_; ++i)
    combine(hadamard.data() + i * order_, order_, scratch.data(), width, width, x + i * width);
}

void Rotation::rotate(std::span<float> row) const {
  require(row.size() == size(), "a row is [size]");
  const float norm = 1.0F / std::sqrt(static_cast<float>(block()));
  std::vector<float> scratch(block());
  for (std::size_t k = 0; k < size(); ++k) row[k] *= signs_[k] * norm;
  for (std::size_t at = 0; at < size(); at += block()) apply(row.data() + at, hadamard_, scratch);
}

void Rotation::rotate_back(std::span<float> row) const {
  require(row.size() == size(), "a row is [size]");
  const float norm = 1.0F / std::sqrt(static_cast<float>(block()));
  std::vector<float> scratch(block());
  for (std::size_t at = 0; at < size(); at += block()) apply(row.data() + at, transposed_, scratch);
  for (std::size_t k = 0; k < size(); ++k) row[k] *= signs_[k] * norm;
}

Matrix Rotation::rotated(MatrixView<const float> rows) const {
  Matrix out(rows.rows(), rows.cols());
  for (std::size_t m = 0; m < rows.rows(); ++m) {
    std::ranges::copy(rows.row(m), out.row(m).begin());
    rotate(out.row(m));
  }
  return out;
}

Matrix Rotation::rotated(MatrixView<const float> rows, ThreadPool& pool) const {
  Matrix out(rows.rows(), rows.cols());
  pool.for_each_part(rows.rows(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t m = begin; m < end; ++m) {
      std::ranges::copy(rows.row(m), out.row(m).begin());
      rotate(out.row(m));
    }
  });
  return out;
}

}  // namespace tender::quant
