#include "compress/zero_codes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>

#include "base/error.h"
#include "model/model.h"
#include "tensor/largest.h"

namespace tender::compress {
namespace {

constexpr float kHighest8 = 127;
constexpr float kHighest4 = 7;

/// Values that round to 0 where `largest` becomes the highest code: |x| / step <= 1/2, as a tie
/// goes to the even code. All of a row of zeros.
std::uint64_t zeros(std::span<const float> row, float largest, float highest) {
  const float half_step = largest / highest / 2;
  return static_cast<std::uint64_t>(
      std::ranges::count_if(row, [&](float value) { return std::abs(value) <= half_step; }));
}

class Each final : public model::SiteObserver {
 public:
  explicit Each(std::function<void(std::size_t site, const Rows& rows)> visit)
      : visit_(std::move(visit)) {}
  void observe(std::size_t site, const Rows& rows) override { visit_(site, rows); }

 private:
  std::function<void(std::size_t, const Rows&)> visit_;
};

}  // namespace

std::vector<ZeroCodes> count_zero_codes(const io::Checkpoint& checkpoint,
                                        const CalibrationText& text, Isa isa, ThreadPool& pool,
                                        Progress& progress) {
  const model::ModelSpec spec = model::read_spec(checkpoint);
  const model::WeightReader weights(checkpoint, spec);
  const auto model = model::load_layerwise(checkpoint, spec, weights, isa, progress);
  std::vector<Matrix> rows;
  for (const auto& window : text.windows) {
    rows.emplace_back(window.size(), spec.info.width);
    model->embed(window, rows.back().view(), pool);
  }
  std::vector<float> largest(spec.sites.size(), 0.0F);
  std::vector<ZeroCodes> kinds;
  const auto kind_of = [&](std::size_t site) -> ZeroCodes& {
    const std::string name = model::site_kind(spec.sites[site].name);
    const auto known = std::ranges::find(kinds, name, &ZeroCodes::kind);
    return known != kinds.end() ? *known : kinds.emplace_back(ZeroCodes{.kind = name});
  };
  Each ranges([&](std::size_t site, const Rows& x) {
    largest[site] = std::max(largest[site], largest_magnitude(x.values));
  });
  Each count([&](std::size_t site, const Rows& x) {
    ZeroCodes& kind = kind_of(site);
    for (std::size_t m = 0; m < x.values.rows(); ++m) {
      const auto row = x.values.row(m);
      const float own = largest_magnitude(row);
      kind.values += row.size();
      kind.per_tensor_8 += zeros(row, largest[site], kHighest8);
      kind.per_tensor_4 += zeros(row, largest[site], kHighest4);
      kind.per_row_8 += zeros(row, own, kHighest8);
      kind.per_row_4 += zeros(row, own, kHighest4);
    }
  });
  for (std::size_t layer = 0; layer < spec.info.layers; ++layer) {
    model->enter(layer);
    for (Matrix& each : rows) {
      if (progress.cancelled())
        fail(ErrorKind::io, {.code = "CANCELLED"}, "cancelled while codes were counted");
      Matrix copy = each.copy();
      model->run(copy.view(), pool, &ranges);
    }
    for (Matrix& each : rows) model->run(each.view(), pool, &count);
    progress.update(layer + 1, spec.info.layers, "counting zero codes");
  }
  return kinds;
}

}  // namespace tender::compress
