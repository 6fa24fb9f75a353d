#pragma once

#include <cstddef>

namespace tender::kernels {

/// Orders whose matrices are mixed in pairs, 6, 14 or 18 of them.
constexpr bool has_pairs(std::size_t order) { return order == 12 || order == 28 || order == 36; }

/// The conference matrix C of order P = q + 1 of Paley (1933), q a prime of form 4n + 1: 1 in the
/// first row and column, else the quadratic character of i - j modulo q; symmetric, 0 on the
/// diagonal, C Cᵀ = q I. Known when code is compiled, so that a kernel adds where it is 1 and
/// subtracts where it is -1.
template <std::size_t P>
struct Conference {
  constexpr Conference() {
    constexpr std::size_t q = P - 1;
    bool square[q] = {};
    for (std::size_t i = 1; i < q; ++i) square[i * i % q] = true;
    for (std::size_t i = 0; i < P; ++i)
      for (std::size_t j = 0; j < P; ++j)
        at[i][j] = i == j ? 0 : i == 0 || j == 0 || square[(i + q - j) % q] ? 1 : -1;
  }
  signed char at[P][P] = {};
};

/// use(C) for the matrix of so many pairs. @return whether there is one
template <class Use>
inline bool with_conference(std::size_t pairs, Use use) {
  if (pairs == 6) return use(Conference<6>()), true;
  if (pairs == 14) return use(Conference<14>()), true;
  if (pairs == 18) return use(Conference<18>()), true;
  return false;
}

}  // namespace tender::kernels
