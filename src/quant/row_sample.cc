#include "quant/row_sample.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/contracts.h"
#include "base/hash.h"
#include "quant/parts.h"

namespace tender::quant {
namespace {

std::string positions_name(std::string_view name) { return std::string(name) + "_positions"; }

}  // namespace

void RowSample::add(MatrixView<const float> rows, std::span<const std::int32_t> positions) {
  require(rows.cols() == in_, "rows are [tokens, in]");
  require(positions.empty() || positions.size() == rows.rows(), "every row has a position");
  for (std::size_t m = 0; most_ > 0 && m < rows.rows(); ++m) {
    const auto row = rows.row(m);
    const std::int32_t position = positions.empty() ? 0 : positions[m];
    const std::uint64_t hash = xxh3(std::as_bytes(row));
    if (const auto found = kept_.find(hash); found != kept_.end()) {
      found->second.position = std::min(found->second.position, position);
      continue;
    }
    if (kept_.size() == most_ && hash > std::prev(kept_.end())->first) continue;
    kept_.emplace(hash, Row{{row.begin(), row.end()}, position});
    if (kept_.size() > most_) kept_.erase(std::prev(kept_.end()));
  }
}

void RowSample::merge(const RowSample& other) {
  const Matrix rows = other.values();
  add(rows.view(), other.positions());
}

Matrix RowSample::values() const {
  Matrix values(kept_.size(), in_);
  std::size_t m = 0;
  for (const auto& [hash, row] : kept_) std::ranges::copy(row.values, values.row(m++).begin());
  return values;
}

std::vector<std::int32_t> RowSample::positions() const {
  std::vector<std::int32_t> positions;
  for (const auto& [hash, row] : kept_) positions.push_back(row.position);
  return positions;
}

void RowSample::save(std::string_view name, PartSink& sink) const {
  if (kept_.empty()) return;
  const Matrix all = values();
  sink.put<float>(name, DType::f32, {all.rows(), all.cols()}, all.span());
  const auto at = positions();
  if (std::ranges::any_of(at, [](std::int32_t position) { return position != 0; }))
    sink.put<std::int32_t>(positions_name(name), DType::i32, {at.size()}, at);
}

void RowSample::load(std::string_view name, const PartSource& source) {
  kept_.clear();
  if (!source.find(name)) return;
  const std::uint64_t rows = get_ranked(source, name, DType::f32, 2).shape[0];
  const auto values = values_of<float>(source.get(name, DType::f32, {rows, in_}));
  check_finite(source, name, values);
  std::vector<std::int32_t> positions(rows, 0);
  if (source.find(positions_name(name)))
    positions = values_of<std::int32_t>(source.get(positions_name(name), DType::i32, {rows}));
  for (const std::int32_t position : positions)
    check_number(source, positions_name(name), "a position", position, 0,
                 std::numeric_limits<std::int32_t>::max());
  add({values.data(), rows, in_}, positions);
}

}  // namespace tender::quant
