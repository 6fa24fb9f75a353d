#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "compress/convert.h"
#include "io/checkpoint.h"
#include "model/model.h"

namespace tender::compress {

struct OutlierRequest {
  std::vector<float> factors = {8, 32};  ///< taken in turn by the channels
  std::size_t channels = 6;
  double offset = 0;  ///< what is added to such a channel, in units of its own gain; LayerNorm only
  std::uint64_t seed = 0;
};

/// A rewrite that preserves the function of a model and gives its activations outlier channels, as
/// large models have them by themselves: the inverse of SmoothQuant (Xiao et al. 2022). SYNTHETIC:
/// it shows what outlier channels do to a method, and nothing about a model that was trained so.
///
/// The chosen channels are the same in all layers. Behind every norm that one site alone reads,
/// channel k is multiplied by a factor f (in the norm's gain and bias), and column k of the site's
/// weights is divided by it; powers of two change no mantissa. With an offset c the norm's bias
/// gains c, and the biases of the site's layers lose c times column k.
class Outliers : public WeightTransform {
 public:
  /// @throws Error invalid_argument (OUTLIERS: factors, number of channels), unsupported
  ///         (ARCH_FEATURE: no norm that one site alone reads; an offset without biases)
  Outliers(const io::Checkpoint& checkpoint, const OutlierRequest& request);

  void apply(const std::string& tensor, std::size_t first, MatrixView<float> rows) const override;
  /// Channels of the residual stream that were chosen, in rising order.
  const std::vector<std::size_t>& channels() const { return channels_; }
  std::size_t norms() const { return norms_.size(); }

 private:
  void choose(std::size_t width, const OutlierRequest& request);
  void plan_offsets(const model::SiteSpec& site, const model::WeightReader& weights, double offset);

  std::vector<std::size_t> channels_;
  std::vector<float> factors_;                        ///< [channels]
  std::map<std::string, std::vector<float>> norms_;   ///< gain → what its bias gains, [channels]
  std::map<std::string, bool> weights_;               ///< matrices whose columns are divided
  std::map<std::string, std::vector<float>> biases_;  ///< bias → what it loses, [out]
};

}  // namespace tender::compress
