#include "quant/registry.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/compress_codes/compress_codes.h"
#include "kernels/gemm_i4/gemm_i4.h"
#include "kernels/gemm_i8/gemm_i8.h"
#include "kernels/hadamard/hadamard.h"
#include "kernels/round_rows/round_rows.h"
#include "quant/methods.h"
#include "quant/packed_site_of.h"

namespace tender::quant {
namespace {

template <class... Ms>
std::vector<MethodEntry> entries_of(MethodList<Ms...>) {
  std::vector<MethodEntry> entries;
  (entries.push_back(entry_of<Ms>()), ...);
  return entries;
}

const MethodEntry* find_method(std::string_view name) {
  for (const MethodEntry& entry : all_methods())
    if (entry.name == name) return &entry;
  return nullptr;
}

std::string known_methods() {
  std::vector<std::string_view> names;
  for (const MethodEntry& entry : all_methods()) names.push_back(entry.name);
  return listed(names);
}

// Two int32 products of 8-bit codes and 32-bit indices of quads stay far below 2^32 with it.
constexpr std::size_t kMaxSide = std::size_t{1} << 20U;

}  // namespace

std::span<const MethodEntry> all_methods() {
  static const std::vector<MethodEntry> entries = entries_of(AllMethods{});
  return entries;
}

const MethodEntry& method(std::string_view name) {
  if (const MethodEntry* entry = find_method(name)) return *entry;
  fail(ErrorKind::invalid_argument,
       {.code = "METHOD_UNKNOWN",
        .item = "method",
        .found = std::string(name),
        .expected = known_methods(),
        .hint = "choose one of the methods of this build"},
       "no quantization method {}; this build has: {}", quote(name), known_methods());
}

const MethodEntry& method_of_checkpoint(std::string_view name, const std::string& file) {
  if (const MethodEntry* entry = find_method(name)) return *entry;
  fail(ErrorKind::unsupported,
       {.code = "QC_METHOD",
        .file = file,
        .item = "quant_method",
        .found = std::string(name),
        .expected = known_methods(),
        .hint = "this build cannot read it; quantize the original checkpoint with a method it has"},
       "quantized with {}; this build reads: {}", quote(name), known_methods());
}

void check_site(const SiteShape& shape) {
  bool fits = shape.in > 0 && shape.in <= kMaxSide && !shape.outs.empty();
  for (const std::size_t out : shape.outs) fits = fits && out > 0 && out <= kMaxSide;
  if (fits) return;
  fail(ErrorKind::invalid_argument,
       {.code = "Q_SHAPE",
        .found = fmt::format("{} inputs, outputs [{}]", shape.in, listed(shape.outs)),
        .expected = fmt::format("sides from 1 to {}", kMaxSide),
        .hint = "such a layer cannot be quantized; leave it float"},
       "a site of {} inputs and outputs [{}]: expected at least one layer and sides from 1 to {}",
       shape.in, listed(shape.outs), kMaxSide);
}

void check_weights(MatrixView<const float> w, std::size_t out, std::size_t in) {
  if (w.rows() != out || w.cols() != in)
    fail(ErrorKind::invalid_argument,
         {.code = "Q_SHAPE",
          .found = fmt::format("[{}, {}]", w.rows(), w.cols()),
          .expected = fmt::format("[{}, {}]", out, in)},
         "weights are [{}, {}]: the site expects [{}, {}]", w.rows(), w.cols(), out, in);
  for (std::size_t n = 0; n < out; ++n)
    for (std::size_t k = 0; k < in; ++k)
      if (!std::isfinite(w(n, k)))
        fail(ErrorKind::invalid_input,
             {.code = "Q_NONFINITE",
              .found = fmt::format("{}", w(n, k)),
              .expected = "finite weights",
              .hint = "the checkpoint is damaged or its training diverged; it cannot be quantized"},
             "weight [{}, {}] is {}", n, k, w(n, k));
}

void check_finite_row(std::span<const float> row, std::size_t index) {
  bool finite = true;  // without a way out, so that compilers use vectors
  for (const float value : row) finite &= std::abs(value) <= std::numeric_limits<float>::max();
  if (finite) return;
  for (std::size_t k = 0; k < row.size(); ++k)
    if (!std::isfinite(row[k]))
      fail(ErrorKind::invalid_input,
           {.code = "Q_NONFINITE",
            .found = fmt::format("{}", row[k]),
            .expected = "finite activations",
            .hint = "the model is damaged: its activations are not finite"},
           "calibration row {} has {} in channel {}", index, row[k], k);
}

std::vector<KernelChoice> kernel_choices(Isa detected, Isa allowed) {
  std::vector<KernelChoice> choices;
  describe_kernels("gemm_i4", kernels::gemm_i4_kernels(), detected, allowed, choices);
  describe_kernels("unpack_i4", kernels::unpack_i4_kernels(), detected, allowed, choices);
  describe_kernels("gemm_i8", kernels::gemm_i8_kernels(), detected, allowed, choices);
  describe_kernels("gemm_i16", kernels::gemm_i16_kernels(), detected, allowed, choices);
  describe_kernels("gemm_blocks", kernels::gemm_blocks_kernels(), detected, allowed, choices);
  describe_kernels("round_blocks", kernels::round_blocks_kernels(), detected, allowed, choices);
  describe_kernels("round_rows", kernels::round_rows_kernels(), detected, allowed, choices);
  describe_kernels("compress_codes", kernels::compress_codes_kernels(), detected, allowed, choices);
  describe_kernels("hadamard", kernels::hadamard_kernels(), detected, allowed, choices);
  return choices;
}

}  // namespace tender::quant
