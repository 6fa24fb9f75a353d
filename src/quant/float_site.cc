#include <utility>

#include "base/contracts.h"
#include "kernels/gemm_f32/gemm_f32.h"
#include "quant/float_product.h"
#include "quant/registry.h"

namespace tender::quant {
namespace {

/// Layers in float32, held as panels only: 4 bytes per weight, nothing rounded.
class FloatSite final : public PackedSite {
 public:
  explicit FloatSite(std::vector<kernels::PanelsF32> linears, std::string why = "")
      : linears_(std::move(linears)), why_(std::move(why)) {}

  std::string_view method() const override { return "float"; }
  InputRounding inputs() const override { return InputRounding::none; }
  std::string describe() const override { return "not rounded"; }
  std::size_t linears() const override { return linears_.size(); }
  LinearShape shape(std::size_t linear) const override { return linears_.at(linear).shape(); }

  std::size_t bytes() const override {
    std::size_t bytes = 0;
    for (const auto& panels : linears_)
      bytes += panels.shape().out * panels.shape().in * sizeof(float);
    return bytes;
  }

  std::size_t resident_bytes() const override {
    std::size_t bytes = 0;
    for (const auto& panels : linears_) bytes += panels.bytes();
    return bytes;
  }

  double activation_bits() const override { return 32; }

  std::string kernel() const override {
    require(kernel_ != nullptr, "a site has a kernel after prepare()");
    return "gemm_f32 " + std::string(kernel_->name) +
           (why_.empty() ? "" : " on weights in float32: " + why_);
  }

  void matmul(const Rows& x, std::span<const SiteOutput> outputs, ThreadPool& pool) const override {
    require(kernel_ != nullptr, "a site is prepared before the first product");
    require(outputs.size() == linears_.size(), "one output for every layer of a site");
    pool.for_each_share([&](ThreadPool& share) {
      for (std::size_t l = 0; l < outputs.size(); ++l)
        kernels::gemm_f32(*kernel_, x.values, linears_[l], outputs[l].epilogue.bias, outputs[l].y,
                          share);
    });
  }

  void reference(const Rows& x, std::size_t linear, MatrixView<double> y) const override {
    Matrix w(shape(linear).out, shape(linear).in);
    dequantize(linear, w.view());
    reference_product(x.values, w.view(), y);
  }

  void dequantize(std::size_t linear, MatrixView<float> w) const override {
    linears_.at(linear).take(0, w);
  }

  void save(PartSink&, std::span<PartSink* const>) const override {
    contract_violated("float layers are stored as plain tensors by the writer", __FILE__, __LINE__);
  }

  void prepare(Isa isa) override { kernel_ = &kernels::best_gemm_f32(isa); }

 private:
  std::vector<kernels::PanelsF32> linears_;
  std::string why_;
  const kernels::GemmF32Kernel* kernel_ = nullptr;
};

// Rows that are converted at a time: a few hundred KiB at the widths of real models.
constexpr std::size_t kFillRows = 16;

}  // namespace

std::unique_ptr<PackedSite> float_site(std::span<const MatrixView<const float>> weights) {
  require(!weights.empty(), "a site has layers");
  std::vector<kernels::PanelsF32> linears;
  for (const MatrixView<const float> w : weights) {
    require(w.cols() == weights[0].cols(), "layers of a site read the same rows");
    linears.emplace_back(LinearShape{w.rows(), w.cols()});
    linears.back().put(0, w);
  }
  return std::make_unique<FloatSite>(std::move(linears));
}

std::unique_ptr<PackedSite> float_site(
    const SiteShape& shape,
    const std::function<void(std::size_t linear, std::size_t first, MatrixView<float> rows)>& fill,
    const std::string& why) {
  require(!shape.outs.empty(), "a site has layers");
  std::vector<kernels::PanelsF32> linears;
  Matrix rows(kFillRows, shape.in);
  for (std::size_t l = 0; l < shape.outs.size(); ++l) {
    linears.emplace_back(LinearShape{shape.outs[l], shape.in});
    for (std::size_t first = 0; first < shape.outs[l]; first += kFillRows) {
      const auto block = rows.view().rows_from(0, std::min(kFillRows, shape.outs[l] - first));
      fill(l, first, block);
      linears.back().put(first, block);
    }
  }
  return std::make_unique<FloatSite>(std::move(linears), why);
}

}  // namespace tender::quant
