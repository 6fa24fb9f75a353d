#pragma once

#include <concepts>
#include <cstddef>
#include <string_view>

#include "base/cpu.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "quant/packed_site.h"
#include "quant/second_moment.h"
#include "tensor/matrix.h"
#include "tensor/rows.h"
#include "tensor/tensor_source.h"

namespace tender::quant {

struct MethodTraits {
  InputRounding inputs = InputRounding::none;  ///< the most that a site may have
  bool wants_inputs = false;                   ///< calibration must show it activations
  bool wants_moment = false;   ///< quantize() is given the second moment of the rounded rows
  double first_row_share = 0;  ///< of a sequence in that moment, see weigh_first_row()
  bool idempotent = false;     ///< quantizing dequantized weights changes nothing
  double weight_bits = 0;      ///< nominal, for tables
  double activation_bits = 0;  ///< nominal; 32 where rows stay float32
  /// Codes of rows are evenly spaced, and none that calibration saw is clipped.
  bool even_steps = true;
  bool float_product = false;  ///< rows are rounded, but what they are multiplied in is float32
};

/// A quantization method: a value that holds its options; its verbs are functions on its own types.
///
/// Calibration is what it has seen at a site, Input how the site's rows are rounded, Codes and
/// Packed one layer's weights (which codes; which bytes), Rounded the rows after rounding.
///
/// Offline a site goes through observe() for every sequence, input(), rounded() for every sequence
/// once more if the method wants the second moment, and quantize() for every layer.
///
/// A method with calibrated ranges may have counts(input, x, rounded) -> SiteCounts as well, one
/// whose round() makes rows by Rows::row() makes_rows(input) -> bool, and one that keeps weights in
/// rows read_row(packed, output, w [in]): an output's weights after prepare().
template <class M>
concept Method = std::default_initializable<M> &&
    std::constructible_from<M, const typename M::Options&> &&
    requires(const M& method, const SiteShape& shape, MatrixView<const float> w,
             MatrixView<float> w_out, typename M::Calibration& seen,
             const typename M::Calibration& was_seen, const typename M::Input& input,
             typename M::Input& own_input, const typename M::Codes& codes,
             const typename M::Packed& packed, typename M::Packed& own_packed,
             const typename M::Rounded& rounded, const Rows& x, MatrixView<float> y,
             MatrixView<double> exact, const Epilogue& epilogue, PartSink& sink,
             std::span<const MatrixView<const float>> layers, const SecondMoment* moment,
             const PartSource& source, ThreadPool& pool, Isa isa) {
  { M::kName } -> std::convertible_to<std::string_view>;
  { M::kSummary } -> std::convertible_to<std::string_view>;
  { method.traits() } -> std::same_as<MethodTraits>;
  // offline, a site at a time
  { method.calibrate(shape) } -> std::same_as<typename M::Calibration>;
  { seen.observe(x) } -> std::same_as<void>;  // once per sequence
  { was_seen.save(sink) } -> std::same_as<void>;
  { seen.load(source) } -> std::same_as<void>;     // in place of observing
  { seen.merge(was_seen) } -> std::same_as<void>;  // as if it had seen that, too
  // how rows are rounded; it may depend on what the weights make of each channel
  { method.input(was_seen, layers) } -> std::same_as<typename M::Input>;
  // the rows as the product sees them: what is taken off is off; float32
  { M::rounded(input, x, y) } -> std::same_as<void>;
  // which codes; `moment` is null where it is not wanted, or where no rows were seen
  { method.quantize(w, input, moment, pool) } -> std::same_as<typename M::Codes>;
  { M::pack(codes) } -> std::same_as<typename M::Packed>;  // which bytes
  { M::unpack(packed) } -> std::same_as<typename M::Codes>;
  { M::dequantize(input, packed, w_out) } -> std::same_as<void>;
  // on disk
  { M::save_input(input, sink) } -> std::same_as<void>;
  { M::load_input(source) } -> std::same_as<typename M::Input>;
  { M::save(packed, sink) } -> std::same_as<void>;
  { M::load(input, source) } -> std::same_as<typename M::Packed>;  // may read it until prepare()
  { M::shape(packed) } -> std::same_as<LinearShape>;
  { M::bytes(packed) } -> std::same_as<std::size_t>;
  { M::input_bytes(input) } -> std::same_as<std::size_t>;
  { M::activation_bits(input) } -> std::same_as<double>;  // as PackedSite says it
  // at run time: y = round(x) · Wᵀ and what the method adds back
  { M::reference(input, packed, x, exact) } -> std::same_as<void>;  // the definition, in double
  { M::rounding(input) } -> std::same_as<InputRounding>;
  { M::describe(input) } -> std::convertible_to<std::string>;  // the same in words, for people
  { M::prepare(own_input, isa) } -> std::same_as<void>;        // the site, then each of its layers
  { M::prepare(input, own_packed, isa) } -> std::same_as<void>;
  { M::round(input, x, pool) } -> std::same_as<typename M::Rounded>;
  { M::matmul(input, packed, rounded, y, epilogue, pool) } -> std::same_as<void>;
  // whether no fork of matmul() reads what another of its forks has written, in y or elsewhere:
  // then every thread may call it on a share of a pool
  { M::forks_apart(input) } -> std::same_as<bool>;
  { M::kernel(input, packed) } -> std::convertible_to<std::string>;
  { M::resident_bytes(input) } -> std::same_as<std::size_t>;   // memory after prepare()
  { M::resident_bytes(packed) } -> std::same_as<std::size_t>;  // the same of a layer
};

template <class... Ms>
struct MethodList {};

/// For calibrations. @throws Error invalid_input (Q_NONFINITE) naming `index`, the row's place in
/// its sequence
void check_finite_row(std::span<const float> row, std::size_t index);

}  // namespace tender::quant
