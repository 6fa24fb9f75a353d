#pragma once

// Included after one of lanes/*.h and lanes/exp_body.h: the softmax of a row of attention scores.

namespace tender::kernels {
namespace {

/// Keys [begin, end) that a row sees.
struct Seen {
  std::size_t begin;
  std::size_t end;
};

/// Turns the raw scores of one row, by absolute position, into exponentials and returns their sum:
/// over 16 lanes, lane = j mod 16, each in rising order, missing ones as +0. Keys that are not seen
/// get 0, as far as they share sixteen positions with one that is.
inline float exponentials(float* scores, Seen seen, float scale) {
  const std::size_t first_block = seen.begin / kLanes * kLanes;
  const auto scaled = [&](std::size_t j) { return mul(load(scores + j), set1(scale)); };
  F16 highest = set1(-__builtin_inff());
  const auto keep = [&](std::size_t j, F16 s) {
    store(scores + j, s);
    highest = max(highest, s);
  };
  const auto keep_seen = [&](std::size_t j) {
    const std::size_t from = seen.begin > j ? seen.begin - j : 0;
    const std::size_t to = seen.end - j < kLanes ? seen.end - j : kLanes;
    keep(j, select(from, to, scaled(j), set1(-__builtin_inff())));
  };
  std::size_t next = first_block;
  if (next < seen.begin) {
    keep_seen(next);
    next += kLanes;
  }
  for (; next + kLanes <= seen.end; next += kLanes) keep(next, scaled(next));
  if (next < seen.end) keep_seen(next);
  const F16 top = set1(max_of_lanes(highest));
  F16 sums = zero();
  for (std::size_t j = first_block; j < seen.end; j += kLanes) {
    // Keys that are not seen are at -infinity: exp_of gives exactly 0 for them.
    const F16 p = exp_of(sub(load(scores + j), top));
    store(scores + j, p);
    sums = add(sums, p);
  }
  return sum_of_lanes(sums);
}

}  // namespace
}  // namespace tender::kernels
