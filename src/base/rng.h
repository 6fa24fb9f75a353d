#pragma once

#include <cstdint>
#include <string_view>

namespace tender {

/// Random numbers that are the same on every machine: SplitMix64 (Steele, Lea, Flood 2014).
///
/// A draw names a seed and a stream, so two uses of one seed never share numbers.
class Rng {
 public:
  Rng(std::uint64_t seed, std::string_view stream) : state_(seed) {
    for (const char c : stream) state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
    next();
  }

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t z = state_;
    z = (z ^ z >> 30U) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27U) * 0x94d049bb133111ebU;
    return z ^ z >> 31U;
  }

  /// In [0, 1), a multiple of 2^-53.
  double uniform() { return static_cast<double>(next() >> 11U) * 0x1p-53; }

  /// In [0, bound), without bias worth naming for bounds below 2^32.
  std::uint64_t below(std::uint64_t bound) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>(static_cast<Wide>(next()) * bound >> 64U);
  }

  /// Near normal, mean 0, variance 1: twelve uniform draws summed, so the bits need no libm.
  float normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return static_cast<float>(sum);
  }

 private:
  std::uint64_t state_;
};

}  // namespace tender
