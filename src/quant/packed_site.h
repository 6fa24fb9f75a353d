#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "tensor/matrix.h"
#include "tensor/rows.h"
#include "tensor/tensor_source.h"

namespace tender::quant {

/// By what the input rows of a site are rounded.
enum class InputRounding : std::uint8_t {
  none,         ///< not at all: float32 rows enter the product (weight-only methods)
  by_row,       ///< statistics of the row itself (W8A8, block formats, Tender row-scaled)
  by_position,  ///< calibrated statistics from the file, chosen by position (Tender, static)
  by_chunk,     ///< statistics of several rows at once: evaluation only
};

/// What a method is told about a site: linear layers that read the same rows.
struct SiteShape {
  std::size_t in = 0;  ///< channels of the shared rows
  std::vector<std::size_t>
      outs;  ///< outputs of each linear layer, in the order of the architecture
  bool centre =
      false;  ///< channels carry offsets that are worth removing (tender.md 2.4: after a norm)
  bool nonnegative = false;  ///< the rows come out of a ReLU
};

/// What is added to a product before it is stored; more may follow (activation, residual).
struct Epilogue {
  std::span<const float> bias;  ///< [out], or empty
};

struct SiteOutput {
  MatrixView<float> y;  ///< [tokens, out]
  Epilogue epilogue;
};

/// What a site with calibrated ranges has met in its products since it was loaded; all 0 for one
/// without such ranges.
struct SiteCounts {
  std::uint64_t rows = 0;
  std::uint64_t values = 0;   ///< of those rows
  std::uint64_t clipped = 0;  ///< values beyond the range, which became its end
  std::uint64_t beyond = 0;   ///< rows at positions past those that were calibrated
  friend bool operator==(const SiteCounts&, const SiteCounts&) = default;
};

/// Linear layers that read the same rows (q, k and v; gate and up; or just one), in the bytes of
/// some method: all that a model knows of quantization. Rows are rounded once for all of them.
///
/// A row's result depends on that row and its position only, whatever the batch or the number of
/// threads (InputRounding::by_chunk is the declared exception). Const calls may run concurrently.
class PackedSite {
 public:
  virtual ~PackedSite() = default;

  /// The method's name; "float" where nothing is quantized.
  virtual std::string_view method() const = 0;
  virtual InputRounding inputs() const = 0;
  /// How its rows are rounded, in words: "row-scaled, 8 groups".
  virtual std::string describe() const = 0;
  virtual std::size_t linears() const = 0;
  virtual LinearShape shape(std::size_t linear) const = 0;
  /// Payload as stored, metadata of the site included.
  virtual std::size_t bytes() const = 0;
  /// Memory that weights and metadata take as they are used. Valid after prepare().
  virtual std::size_t resident_bytes() const = 0;
  /// Bits per channel of a row as the product reads it, what goes with every row (its step)
  /// included; 32 where rows stay float32. What all rows share is counted by bytes().
  virtual double activation_bits() const = 0;
  /// Of all products so far, of those that run at the same time too: for reports, not for results.
  virtual SiteCounts counts() const { return {}; }
  /// Name of the kernel that matmul runs, and why if it is a fallback. Valid after prepare().
  virtual std::string kernel() const = 0;

  /// Whether matmul() takes rows that it has to make (Rows::make).
  virtual bool makes_rows() const { return false; }
  /// y[l] = round(x) * W[l]^T, what the method adds back, then the epilogue, for every linear l.
  virtual void matmul(const Rows& x, std::span<const SiteOutput> outputs,
                      ThreadPool& pool) const = 0;
  /// The definition of the product of one linear layer without epilogue, slow, in double.
  virtual void reference(const Rows& x, std::size_t linear, MatrixView<double> y) const = 0;
  /// Whether read_row() may be called.
  virtual bool reads_rows() const { return false; }
  /// The weights of one output as dequantize() gives them, out of the bytes that matmul reads: an
  /// embedding that is the head, too. After prepare(). @param w  [in]
  virtual void read_row(std::size_t linear, std::size_t output, std::span<float> w) const;
  /// The weights that the codes stand for. @param w [out, in]
  virtual void dequantize(std::size_t linear, MatrixView<float> w) const = 0;
  /// Stores what the layers share into `site` and each layer into its own sink.
  virtual void save(PartSink& site, std::span<PartSink* const> linears) const = 0;

  /// Rearranges the bytes in memory and picks the kernels; once, by the loader. After it only
  /// matmul, read_row, shape, linears, bytes, resident_bytes, activation_bits, kernel, counts,
  /// method and inputs may be called.
  virtual void prepare(Isa isa) = 0;
};

}  // namespace tender::quant
