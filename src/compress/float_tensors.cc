#include "compress/float_tensors.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

#include "base/contracts.h"
#include "base/error.h"
#include "base/half.h"

namespace tender::compress {
namespace {

constexpr std::size_t kSliceElements = std::size_t{1} << 18U;
constexpr float kHalfLimit = 65520.0F;  // from here on the nearest binary16 is infinity

/// A tensor's [rows, cols]; a vector is one row.
struct Extent {
  std::size_t rows;
  std::size_t cols;
};
Extent extent_of(const TensorInfo& tensor) {
  if (tensor.shape.size() == 1) return {1, tensor.shape[0]};
  return {tensor.shape[0], tensor.shape.back()};
}

/// Calls visit(first row, rows) over slices of whole rows.
void for_each_slice(const model::WeightReader& weights, const std::string& name,
                    const std::function<void(std::size_t, MatrixView<const float>)>& visit) {
  const Extent extent = extent_of(weights.stored(name));
  const std::size_t step =
      std::max<std::size_t>(1, kSliceElements / std::max<std::size_t>(1, extent.cols));
  Matrix slice;
  for (std::size_t first = 0; first < extent.rows; first += step) {
    slice.resize(std::min(step, extent.rows - first), extent.cols);
    weights.read(name, first, slice.view());
    visit(first, slice.view());
  }
  weights.release(name);
}

[[noreturn]] void refuse_value(const std::string& name, std::size_t row, std::size_t col,
                               float value) {
  const std::string found = std::isnan(value) ? "NaN" : value > 0 ? "+infinity" : "-infinity";
  fail(ErrorKind::invalid_input,
       {.code = "Q_NONFINITE",
        .item = name,
        .found = fmt::format("{} at [{}, {}]", found, row, col),
        .expected = "finite weights",
        .hint = "the checkpoint is damaged or its training diverged; it cannot be quantized"},
       "{} of {} at [{}, {}]: weights must be finite", found, quote(name), row, col);
}

[[noreturn]] void refuse_range(const std::string& name, std::size_t row, std::size_t col,
                               float value) {
  fail(ErrorKind::invalid_input,
       {.code = "FLOAT_RANGE",
        .item = name,
        .found = fmt::format("{} at [{}, {}]", value, row, col),
        .expected = "numbers up to 65504 in float16",
        .hint = "store what stays float in another type: --float-dtype bf16 or --float-dtype f32"},
       "{} of {} at [{}, {}] is too large for float16", value, quote(name), row, col);
}

void check_values(const std::string& name, std::size_t first, MatrixView<const float> rows,
                  float limit) {
  for (std::size_t r = 0; r < rows.rows(); ++r)
    for (std::size_t c = 0; c < rows.cols(); ++c) {
      const float value = rows(r, c);
      if (!std::isfinite(value)) refuse_value(name, first + r, c, value);
      if (std::abs(value) >= limit) refuse_range(name, first + r, c, value);
    }
}

/// The bytes of a slice in a stored type, little-endian.
template <class Code, class Convert>
void put_converted(MatrixView<const float> rows, Convert convert,
                   const std::function<void(std::span<const std::byte>)>& put) {
  static_assert(std::endian::native == std::endian::little, "files are little-endian");
  std::vector<Code> codes;
  codes.reserve(rows.rows() * rows.cols());
  for (std::size_t r = 0; r < rows.rows(); ++r)
    for (const float value : rows.row(r)) codes.push_back(convert(value));
  put(std::as_bytes(std::span(codes)));
}

}  // namespace

std::set<std::string> quantized_weights(const model::ModelSpec& spec, bool quantized_head,
                                        const std::set<std::string>& float_sites) {
  std::set<std::string> names;
  if (quantized_head && !spec.info.tied_head) names.insert(spec.head_weight);
  for (const model::SiteSpec& site : spec.sites)
    if (!float_sites.contains(site.name))
      for (const std::string& linear : site.linears) names.insert(linear + ".weight");
  return names;
}

std::vector<std::string> remaining_float(const model::ModelSpec& spec,
                                         const model::WeightReader& weights,
                                         const std::set<std::string>& quantized) {
  std::vector<std::string> names;
  for (const model::TensorSpec& tensor : spec.tensors)
    if (!quantized.contains(tensor.name) && weights.has(tensor.name)) names.push_back(tensor.name);
  return names;
}

void check_weights(const model::ModelSpec& spec, const model::WeightReader& weights,
                   DType stored_as, const std::set<std::string>& quantized, Progress& progress) {
  std::size_t done = 0;
  for (const model::TensorSpec& tensor : spec.tensors) {
    if (weights.has(tensor.name)) {
      const bool narrow =
          stored_as == DType::f16 && tensor.shape.size() > 1 && !quantized.contains(tensor.name);
      const float limit = narrow ? kHalfLimit : std::numeric_limits<float>::infinity();
      for_each_slice(weights, tensor.name, [&](std::size_t first, MatrixView<const float> rows) {
        check_values(tensor.name, first, rows, limit);
      });
    }
    progress.update(++done, spec.tensors.size(), "checking weights");
  }
}

io::TensorToWrite float_tensor(const model::WeightReader& weights, const std::string& name,
                               DType type) {
  const TensorInfo& tensor = weights.stored(name);
  const DType stored = tensor.shape.size() == 1 ? DType::f32 : type;
  require(std::ranges::find(kFloatTypes, stored) != std::end(kFloatTypes), "a float type");
  return {name, stored, tensor.shape, [&weights, name, stored](const auto& put) {
            for_each_slice(weights, name, [&](std::size_t, MatrixView<const float> rows) {
              if (stored == DType::f16)
                return put_converted<std::uint16_t>(rows, float_to_half, put);
              if (stored == DType::bf16)
                return put_converted<std::uint16_t>(rows, float_to_bf16, put);
              put_converted<float>(
                  rows, [](float value) { return value; }, put);
            });
          }};
}

}  // namespace tender::compress
