#include "quant/row_sample.h"

#include <algorithm>

#include "base/contracts.h"
#include "base/hash.h"
#include "quant/parts.h"

namespace tender::quant {

void RowSample::add(MatrixView<const float> rows) {
  require(rows.cols() == in_, "rows are [tokens, in]");
  for (std::size_t m = 0; most_ > 0 && m < rows.rows(); ++m) {
    const auto row = rows.row(m);
    std::string hash = xxh3_hex(std::as_bytes(row));
    if (kept_.size() == most_ && hash >= std::prev(kept_.end())->first) continue;
    kept_.emplace(std::move(hash), std::vector<float>(row.begin(), row.end()));
    if (kept_.size() > most_) kept_.erase(std::prev(kept_.end()));
  }
}

Matrix RowSample::values() const {
  Matrix values(kept_.size(), in_);
  std::size_t m = 0;
  for (const auto& [hash, row] : kept_) std::ranges::copy(row, values.row(m++).begin());
  return values;
}

void RowSample::save(std::string_view name, PartSink& sink) const {
  if (kept_.empty()) return;
  const Matrix all = values();
  sink.put<float>(name, DType::f32, {all.rows(), all.cols()}, all.span());
}

void RowSample::load(std::string_view name, const PartSource& source) {
  kept_.clear();
  if (!source.find(name)) return;
  const std::uint64_t rows = get_ranked(source, name, DType::f32, 2).shape[0];
  const auto values = values_of<float>(source.get(name, DType::f32, {rows, in_}));
  check_finite(source, name, values);
  add({values.data(), rows, in_});
}

}  // namespace tender::quant
