#include "model/blocks/embedding.h"

#include <algorithm>

#include "base/contracts.h"
#include "base/error.h"

namespace tender::model {
namespace {

/// Rows that are turned into float32 at once: enough for the panels, little memory.
constexpr std::size_t kRowsAtOnce = 16 * kernels::PanelsF32::kWidth;

}  // namespace

kernels::PanelsF32 read_panels(const WeightReader& weights, const std::string& name) {
  const Shape& shape = weights.stored(name).shape;
  kernels::PanelsF32 panels(LinearShape{shape[0], shape[1]});
  Matrix rows(std::min<std::size_t>(kRowsAtOnce, shape[0]), shape[1]);
  for (std::size_t first = 0; first < shape[0]; first += kRowsAtOnce) {
    const auto some =
        rows.view().rows_from(0, std::min<std::size_t>(kRowsAtOnce, shape[0] - first));
    weights.read(name, first, some);
    panels.put(first, some);
  }
  weights.release(name);
  return panels;
}

StoredRows::StoredRows(const WeightReader& weights, const std::string& name)
    : tensor_(weights.stored(name)) {
  bytes_.assign(tensor_.bytes.begin(), tensor_.bytes.end());
  tensor_.bytes = bytes_;  // a moved vector keeps its memory, so the span stays right
  weights.release(name);
}

void StoredRows::read(std::size_t row, std::span<float> out) const {
  io::rows_to_float32(tensor_, row, 1, out);
}

Embedding::Embedding(const ModelSpec& spec, const WeightReader& weights,
                     const kernels::GemmF32Kernel& kernel)
    : kernel_(kernel), width_(spec.head.shape.in) {
  if (!weights.is_quantized(spec.head)) return;
  packed_ = weights.packed(spec.head);
  if (packed_->inputs() != quant::InputRounding::none &&
      packed_->inputs() != quant::InputRounding::by_row)
    fail(ErrorKind::corrupt_file,
         {.code = "QC_KEY",
          .file = "config.json",
          .item = "quantization_config.layers.lm_head",
          .found = packed_->describe(),
          .expected = "rows that are rounded on their own",
          .hint = "the checkpoint is damaged or was edited; quantize again"},
         "the head's rows are rounded by position, which rows before the head do not have");
}

void Embedding::prepare_head(const ModelSpec& spec, const WeightReader& weights, Isa isa) {
  if (packed_ == nullptr) {
    panels_ = read_panels(weights, spec.head_weight);
    return;
  }
  packed_->prepare(isa);
  weights.release(spec.head);
}

void Embedding::read_table(const ModelSpec& spec, const WeightReader& weights,
                           const std::string& table) {
  const bool is_head =
      packed_ == nullptr || (weights.is_stored(spec.head) && packed_->reads_rows());
  if (!spec.info.tied_head || !is_head) table_.emplace_back(weights, table);
}

std::size_t Embedding::bytes() const {
  return panels_.bytes() + (packed_ == nullptr ? 0 : packed_->resident_bytes()) +
         (table_.empty() ? 0 : table_.front().bytes());
}

void Embedding::embed(std::span<const TokenId> tokens, MatrixView<float> rows) const {
  require(rows.rows() == tokens.size() && rows.cols() == width(),
          "rows[tokens, width] = table[tokens]");
  for (std::size_t t = 0; t < tokens.size(); ++t) {
    const auto token = static_cast<std::size_t>(tokens[t]);
    if (!table_.empty())
      table_.front().read(token, rows.row(t));
    else if (packed_ != nullptr)
      packed_->read_row(0, token, rows.row(t));
    else
      panels_.take(token, rows.rows_from(t, 1));
  }
}

void Embedding::logits(MatrixView<const float> hidden, MatrixView<float> logits,
                       ThreadPool& pool) const {
  if (packed_ == nullptr) return kernels::gemm_f32(kernel_, hidden, panels_, {}, logits, pool);
  const std::vector<std::int32_t> positions(hidden.rows(), 0);  // which the head does not look at
  const quant::SiteOutput output{logits, {}};
  packed_->matmul({hidden, positions}, {&output, 1}, pool);
}

}  // namespace tender::model
