#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/kernel_choice.h"
#include "quant/method.h"
#include "quant/packed_site.h"

namespace tender::quant {

/// One option of a method, as JSON, flag and help know it.
struct OptionInfo {
  std::string name;         ///< in JSON: "weight_bits"; the flag is --weight-bits
  std::string description;  ///< one sentence with unit and range
  std::string type;         ///< "integer", "number" or "choice"
  std::vector<std::string> choices;
  std::string default_text;
};

/// Quantizes one site with a method and options that were chosen by name.
class SiteQuantizer {
 public:
  virtual ~SiteQuantizer() = default;
  /// Shows it one sequence of the site's input rows, positions from 0.
  virtual void observe(const Rows& rows) = 0;
  virtual void save_calibration(PartSink& sink) const = 0;
  virtual void load_calibration(const PartSource& source) = 0;
  /// Adds what another one has seen at the same site with the same options; in any order.
  /// @throws Error corrupt_file
  virtual void merge_calibration(const PartSource& source) = 0;

  /// Decides how rows are rounded, once, after the last observe().
  /// @param weights  one [out, in] per linear layer of the site, in order
  /// @throws Error invalid_input (Q_NONFINITE; Q_CALIBRATION where it wants rows and saw none),
  ///               invalid_argument (Q_SHAPE)
  virtual void settle(std::span<const MatrixView<const float>> weights) = 0;
  /// After settle(): shows it the sequences once more, each whole and in order, for the second
  /// moment of the rounded rows.
  virtual void observe_rounded(const Rows& rows, Isa isa, ThreadPool& pool) = 0;
  /// Makes the site, once; settles it first where that has not been done.
  /// @param weights  those of settle(). @throws Error as settle()
  virtual std::unique_ptr<PackedSite> quantize(std::span<const MatrixView<const float>> weights,
                                               ThreadPool& pool) = 0;
};

/// A method as a value: made from the list in methods.h, never written by hand.
struct MethodEntry {
  std::string_view name;
  std::string_view summary;
  std::vector<OptionInfo> options;
  /// The options with defaults filled in. @throws Error invalid_argument for unknown names and bad
  /// values
  std::function<Json(const Json& options)> resolve;
  std::function<MethodTraits(const Json& options)> traits;
  std::function<std::unique_ptr<SiteQuantizer>(const Json& options, const SiteShape& shape)>
      quantizer;
  /// PackedSite::describe() from what the layers of a site share. @throws Error corrupt_file
  std::function<std::string(const PartSource& site)> describe;
  /// The site may read the bytes of its parts until it is prepared. @throws Error corrupt_file
  std::function<std::unique_ptr<PackedSite>(const PartSource& site,
                                            std::span<const PartSource* const> linears)>
      load;
};

std::span<const MethodEntry> all_methods();
/// @throws Error invalid_argument (METHOD_UNKNOWN), naming those that exist
const MethodEntry& method(std::string_view name);
/// The same for a name that stands in a checkpoint: unsupported (QC_METHOD).
const MethodEntry& method_of_checkpoint(std::string_view name, const std::string& file);

/// @throws Error invalid_argument (Q_SHAPE) where a site has no layers or a side that no layer can
/// have
void check_site(const SiteShape& shape);
/// @throws Error invalid_argument (Q_SHAPE), invalid_input (Q_NONFINITE with the first such place)
void check_weights(MatrixView<const float> w, std::size_t out, std::size_t in);

/// The kernels of this module on a CPU that has `detected` and may use `allowed`.
std::vector<KernelChoice> kernel_choices(Isa detected, Isa allowed);

/// Linear layers in float32: what a model runs where nothing is quantized. `weights` are [out, in].
std::unique_ptr<PackedSite> float_site(std::span<const MatrixView<const float>> weights);

/// The same, filled row by row so that no second copy of the weights is needed: fill(linear, first
/// row, rows [n, in]) is called for consecutive blocks of rows.
/// @param why  stands beside the kernel's name where other bytes would have been better
std::unique_ptr<PackedSite> float_site(
    const SiteShape& shape,
    const std::function<void(std::size_t linear, std::size_t first, MatrixView<float> rows)>& fill,
    const std::string& why = "");

}  // namespace tender::quant
