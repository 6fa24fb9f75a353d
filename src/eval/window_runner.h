#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/progress.h"
#include "base/thread_pool.h"
#include "eval/evaluated_model.h"
#include "eval/perplexity.h"
#include "tensor/matrix.h"

namespace tender::eval {

/// Windows of a plan, some at a time, and what one model makes of them.
class WindowRunner {
 public:
  /// @param model  outlives it
  WindowRunner(EvaluatedModel& model, const PerplexityPlan& plan);

  /// Evaluates windows, so that logits() can be asked for their scored positions.
  /// @return false if it was ended
  bool run(std::span<const std::vector<text::TokenId>> windows, ThreadPool& pool, AfterStep after);
  /// Scored positions of a window; row r predicts the window's token first() + 1 + r.
  std::size_t rows() const { return rows_; }
  std::size_t first() const { return first_; }
  /// Rows whose logits take some 16 MB: what may be asked for at once.
  std::size_t slice() const { return slice_; }
  /// Logits of rows [begin, begin + count) of a window of the last run().
  /// @param out  resized to [count, vocabulary]
  void logits(std::size_t window, std::size_t begin, std::size_t count, Matrix& out,
              ThreadPool& pool) const;

 private:
  EvaluatedModel& model_;
  std::size_t first_;
  std::size_t rows_;
  std::size_t slice_;
  std::vector<Matrix> hidden_;  ///< of each window [scored positions, width]
};

/// Goes through the windows of a plan in runs that suit all models.
class WindowLoop {
 public:
  /// @param models  outlive it
  WindowLoop(std::span<EvaluatedModel* const> models, const PerplexityPlan& plan,
             Progress& progress);

  /// The next windows, none behind the last. @return their tokens
  std::vector<std::vector<text::TokenId>> next();
  /// The first of them, counted in the plan.
  std::size_t first() const { return first_; }
  /// To be called after each step of each model. @return false if the user wants to stop
  bool step();
  /// To be called when the losses of one more window are known. @param what  for people
  void end_window(std::string_view what);

 private:
  const PerplexityPlan& plan_;
  Progress& progress_;
  std::size_t at_once_;
  std::size_t steps_ = 0;  ///< of a window through all models that have several; else 1
  std::size_t first_ = 0;
  std::size_t end_ = 0;
  std::size_t done_ = 0;
  std::string what_;
};

/// Says where windows are longer than what the model was made for. @param name  of the model, where
/// there are several
void note_unusual_context(const model::ModelInfo& model, const PerplexityPlan& plan,
                          std::string_view name, Progress& progress);

/// @throws Error invalid_input (LOGITS_NAN) naming the place, unless the value is finite
/// @param model  its name, where there are several
void check_loss(double value, std::size_t window, std::size_t scored, std::string_view model = {});

}  // namespace tender::eval
