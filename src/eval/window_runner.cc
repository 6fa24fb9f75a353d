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

WindowRunner::WindowRunner(EvaluatedModel& model, const PerplexityPlan& plan)
    : model_(model),
      first_(plan.protocol->first_scored(plan.seqlen)),
      rows_(plan.seqlen - 1 - first_),
      slice_(std::clamp<std::size_t>(kLogitBytes / (model.info().vocabulary * sizeof(float)), 1,
                                     plan.seqlen)) {}

bool WindowRunner::run(std::span<const std::vector<text::TokenId>> windows, ThreadPool& pool,
                       AfterStep after) {
  hidden_.resize(windows.size());
  return model_.run(windows, first_, hidden_, pool, after);
}

void WindowRunner::logits(std::size_t window, std::size_t begin, std::size_t count, Matrix& out,
                          ThreadPool& pool) const {
  out.resize(count, model_.info().vocabulary);
  model_.logits(hidden_.at(window).view().rows_from(begin, count), out.view(), pool);
}

WindowLoop::WindowLoop(std::span<EvaluatedModel* const> models, const PerplexityPlan& plan,
                       Progress& progress)
    : plan_(plan), progress_(progress), at_once_(plan.windows) {
  bool whole = true;
  for (const EvaluatedModel* model : models) {
    whole = whole && model->steps() == 1;
    steps_ += model->steps();
    at_once_ = std::min(at_once_, model->windows_at_once(plan.seqlen));
  }
  // Where every model does a window in one step, the windows are what people count.
  if (whole) steps_ = 0;
}

std::vector<std::vector<text::TokenId>> WindowLoop::next() {
  std::vector<std::vector<text::TokenId>> windows;
  first_ = end_;
  end_ = progress_.cancelled() ? first_ : std::min(first_ + at_once_, plan_.windows);
  for (std::size_t w = first_; w < end_; ++w) windows.push_back(plan_.window(w));
  return windows;
}

bool WindowLoop::step() {
  if (steps_ == 0) return true;
  progress_.update(std::min(++done_, plan_.windows * steps_), plan_.windows * steps_, what_);
  return !progress_.cancelled();
}

void WindowLoop::end_window(std::string_view what) {
  what_ = what;
  if (steps_ == 0) progress_.update(++done_, plan_.windows, what_);
}

void note_unusual_context(const model::ModelInfo& model, const PerplexityPlan& plan,
                          std::string_view name, Progress& progress) {
  if (plan.seqlen > model.context)
    progress.note(fmt::format("windows of {} tokens are longer than the {} {} was made for",
                              plan.seqlen, model.context, name.empty() ? "this model" : name));
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
