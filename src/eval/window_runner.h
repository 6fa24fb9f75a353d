#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "base/progress.h"
#include "base/thread_pool.h"
#include "eval/perplexity.h"
#include "model/model.h"
#include "tensor/matrix.h"

namespace tender::eval {

/// Runs the windows of a plan through one model, each alone: keeps the sequence and the buffers.
class WindowRunner {
 public:
  WindowRunner(const model::Model& model, const PerplexityPlan& plan);

  /// Evaluates a window, so that logits() can be asked for its scored positions.
  void run(std::span<const text::TokenId> window, ThreadPool& pool);
  /// Scored positions of a window; row r predicts the window's token first() + 1 + r.
  std::size_t rows() const { return hidden_.rows(); }
  std::size_t first() const { return first_; }
  /// Rows whose logits take some 16 MB: what may be asked for at once.
  std::size_t slice() const { return slice_; }
  /// Logits of rows [begin, begin + count). @param out  resized to [count, vocabulary]
  void logits(std::size_t begin, std::size_t count, Matrix& out, ThreadPool& pool) const;

 private:
  const model::Model& model_;
  std::size_t first_;
  std::size_t slice_;
  std::unique_ptr<model::Sequence> sequence_;
  Matrix hidden_;  ///< [scored positions, width]
};

/// Says where windows are longer than what the model was made for. @param name  of the model, where
/// there are several
void note_unusual_context(const model::Model& model, const PerplexityPlan& plan,
                          std::string_view name, Progress& progress);

/// @throws Error invalid_input (LOGITS_NAN) naming the place, unless the value is finite
/// @param model  its name, where there are several
void check_loss(double value, std::size_t window, std::size_t scored, std::string_view model = {});

}  // namespace tender::eval
