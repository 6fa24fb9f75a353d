#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "base/function_ref.h"
#include "base/progress.h"
#include "base/thread_pool.h"
#include "eval/model_facts.h"
#include "io/checkpoint.h"
#include "model/model.h"
#include "tensor/matrix.h"
#include "text/tokenizer.h"

namespace tender::eval {

/// Called after each step of a run. @return false to end it there
using AfterStep = FunctionRef<bool()>;

/// A model under evaluation, in memory whole or a layer at a time; the bits are the same.
class EvaluatedModel {
 public:
  virtual ~EvaluatedModel() = default;
  virtual const model::ModelInfo& info() const = 0;
  /// Windows that are best run at once: 1 where the model is whole; else as many as their rows may
  /// take memory, since all of them use a layer while it is there.
  virtual std::size_t windows_at_once(std::size_t seqlen) const = 0;
  /// Steps of a run for each window: 1, or the number of layers.
  virtual std::size_t steps() const = 0;
  /// Each window alone, from position 0.
  /// @param from    first position of a window that is wanted
  /// @param hidden  [windows], each resized to [tokens - from, width]: rows for logits()
  /// @return false if it was ended; `hidden` is then worth nothing
  /// @throws Error invalid_input (TOKEN_ID, CONTEXT)
  virtual bool run(std::span<const std::vector<text::TokenId>> windows, std::size_t from,
                   std::span<Matrix> hidden, ThreadPool& pool, AfterStep after) = 0;
  /// @param hidden  [rows, width]   @param logits  [rows, vocabulary]
  virtual void logits(MatrixView<const float> hidden, MatrixView<float> logits,
                      ThreadPool& pool) const = 0;
  /// Complete after the first run.
  virtual const ModelFacts& facts() const = 0;
};

/// A model that is in memory. @param model  outlives it
std::unique_ptr<EvaluatedModel> evaluate_whole(const model::Model& model);

/// One layer in memory at a time. @param checkpoint  outlives it
/// @param row_bytes  most memory that the rows of windows between two layers may take
/// @throws Error as model::load_layerwise()
std::unique_ptr<EvaluatedModel> evaluate_by_layer(const io::Checkpoint& checkpoint, Isa isa,
                                                  std::size_t row_bytes, Progress& progress,
                                                  const model::RunOptions& run = {});

/// Models that are evaluated together within `memory` bytes: whole where all of them would fit even
/// if every weight took four bytes, else all of them layer by layer; the numbers are the same.
/// @param checkpoints  outlive the result @param runs  as many, or none  @throws Error as
/// model::load_model()
std::vector<std::unique_ptr<EvaluatedModel>> open_evaluated(
    std::span<const io::Checkpoint* const> checkpoints, std::uint64_t memory, Isa isa,
    ThreadPool& pool, Progress& progress, std::span<const model::RunOptions> runs = {});

/// Whether open_evaluated() would have models of so many parameters in memory whole.
bool fits_whole(std::uint64_t parameters, std::uint64_t memory);

/// Three quarters of the memory that this machine has to spare now.
std::uint64_t memory_to_spare();

}  // namespace tender::eval
