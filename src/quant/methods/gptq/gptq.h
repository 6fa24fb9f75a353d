#pragma once

#include <string_view>

#include "quant/methods/rtn/rtn.h"

namespace tender::quant {

struct GptqOptions : RtnOptions {
  int damping = 10;
  double first_row_share = 0;
  SweepOrder sweep_order = SweepOrder::largest_first;

  GptqOptions() {
    weight_bits = 4;
    weight_granularity = WeightGranularity::group;
  }
  template <class Self, class Visitor>
  static void fields(Self& self, Visitor& visit) {
    RtnOptions::fields(self, visit);
    visit.integer("damping", self.damping, 1, 1000,
                  "thousandths of the mean second moment added to each channel's");
    visit.real("first_row_share", self.first_row_share, 0, kMostFirstRowShare,
               "what the first token of a window counts for in the second moment, as a share of "
               "its tokens; 0: as any other");
    visit.choice("sweep_order", self.sweep_order, kSweepOrders,
                 "input channels as stored, scales of groups chosen on the way; or by descending "
                 "second moment, after all scales");
  }
};

/// GPTQ (Frantar et al. 2022, arXiv 2210.17323): the bytes and the arithmetic of rtn, with codes
/// from a compensated sweep over the columns (quant/gptq/compensation.h).
class Gptq : public Rtn {
 public:
  static constexpr std::string_view kName = "gptq";
  static constexpr std::string_view kSummary =
      "rounding errors made up for by the weights still to be rounded (GPTQ)";
  using Options = GptqOptions;

  Gptq() : Gptq(Options()) {}
  explicit Gptq(const Options& options) : Rtn(options), options_(options) {}
  MethodTraits traits() const;

  Codes quantize(MatrixView<const float> w, const Input& input, const SecondMoment* moment,
                 ThreadPool& pool) const;

 private:
  Options options_;
};

}  // namespace tender::quant
