#include "eval/window_runner.h"

#include <algorithm>
#include <cmath>

#include "base/contracts.h"
#include "base/error.h"

namespace tender::eval {
namespace {

/// Of one slice of logits; the matrix product over the vocabulary is at full speed from some 32
/// rows on.
constexpr std::size_t kLogitBytes = std::size_t{16} << 20U;

}  // namespace

WindowRunner::WindowRunner(const model::Model& model, const PerplexityPlan& plan)
    : model_(model),
      first_(plan.protocol->first_scored(plan.seqlen)),
      slice_(std::clamp<std::size_t>(kLogitBytes / (model.info().vocabulary * sizeof(float)), 1,
                                     plan.seqlen)),
      sequence_(model.sequence(plan.seqlen)) {}

void WindowRunner::run(std::span<const text::TokenId> window, ThreadPool& pool) {
  sequence_->truncate(0);
  const model::BatchItem item{sequence_.get(), window.first(window.size() - 1), first_};
  model_.forward({&item, 1}, hidden_, pool);
  require(hidden_.rows() == window.size() - 1 - first_, "forward gives one row per wanted token");
}

void WindowRunner::logits(std::size_t begin, std::size_t count, Matrix& out,
                          ThreadPool& pool) const {
  out.resize(count, model_.info().vocabulary);
  model_.logits(hidden_.view().rows_from(begin, count), out.view(), pool);
}

void note_unusual_context(const model::Model& model, const PerplexityPlan& plan,
                          std::string_view name, Progress& progress) {
  if (plan.seqlen > model.info().context)
    progress.note(fmt::format("windows of {} tokens are longer than the {} {} was made for",
                              plan.seqlen, model.info().context,
                              name.empty() ? "this model" : name));
}

void check_loss(double value, std::size_t window, std::size_t scored, std::string_view model) {
  if (std::isfinite(value)) return;
  const std::string of = model.empty() ? std::string() : fmt::format(" of {}", quote(model));
  fail(
      ErrorKind::invalid_input,
      {.code = "LOGITS_NAN",
       .item = fmt::format("window {}, scored token {}{}", window, scored, of),
       .found = fmt::format("{}", value),
       .expected = "a finite loss",
       .hint = "the weights hold NaN or infinity, or the model overflows: tender inspect --verify"},
      "the loss{} of scored token {} in window {} is {}", of, scored, window, value);
}

}  // namespace tender::eval
