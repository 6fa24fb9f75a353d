#include "eval/evaluated_model.h"

#include <algorithm>
#include <utility>

#include "base/contracts.h"
#include "base/error.h"
#include "base/memory.h"

namespace tender::eval {
namespace {

std::span<const text::TokenId> without_last(const std::vector<text::TokenId>& window) {
  return std::span(window).first(window.size() - 1);  // it is predicted, and predicts nothing
}

class WholeModel final : public EvaluatedModel {
 public:
  explicit WholeModel(const model::Model& model) : model_(model), facts_(facts_of(model)) {}
  explicit WholeModel(std::unique_ptr<model::Model> model) : WholeModel(*model) {
    owned_ = std::move(model);
  }

  const model::ModelInfo& info() const override { return model_.info(); }
  std::size_t windows_at_once(std::size_t) const override { return 1; }
  std::size_t steps() const override { return 1; }

  bool run(std::span<const std::vector<text::TokenId>> windows, std::size_t from,
           std::span<Matrix> hidden, ThreadPool& pool, AfterStep after) override {
    for (std::size_t w = 0; w < windows.size(); ++w) {
      const auto tokens = without_last(windows[w]);
      if (!sequence_ || sequence_->capacity() < tokens.size())
        sequence_ = model_.sequence(tokens.size());
      sequence_->truncate(0);
      const model::BatchItem item{sequence_.get(), tokens, from};
      model_.forward({&item, 1}, hidden[w], pool);
      require(hidden[w].rows() == tokens.size() - from, "forward gives a row per wanted token");
      for (std::size_t s = 0; s < facts_.sites.size(); ++s)
        facts_.sites[s].counts = model_.site(s).counts();
      if (!after()) return false;
    }
    return true;
  }

  void logits(MatrixView<const float> hidden, MatrixView<float> logits,
              ThreadPool& pool) const override {
    model_.logits(hidden, logits, pool);
  }
  const ModelFacts& facts() const override { return facts_; }

 private:
  std::unique_ptr<model::Model> owned_;  ///< or null, where it is the caller's
  const model::Model& model_;
  ModelFacts facts_;
  std::unique_ptr<model::Sequence> sequence_;
};

class LayerwiseEvaluation final : public EvaluatedModel {
 public:
  LayerwiseEvaluation(const io::Checkpoint& checkpoint, Isa isa, std::size_t row_bytes,
                      Progress& progress, const model::RunOptions& run)
      : spec_(model::read_spec(checkpoint)),
        weights_(checkpoint, spec_, model::blocks_of(run)),
        row_bytes_(row_bytes),
        model_(model::load_layerwise(checkpoint, spec_, weights_, isa, progress, run)) {
    facts_.info = spec_.info;
    facts_.layerwise = true;
    if (model_->head() != nullptr) facts_.head = head_facts(*model_->head());
    facts_.attention = model_->attention_bits();
  }

  const model::ModelInfo& info() const override { return spec_.info; }
  std::size_t windows_at_once(std::size_t seqlen) const override {
    const std::size_t window = seqlen * spec_.info.width * sizeof(float);
    return std::max<std::size_t>(1, row_bytes_ / window);
  }
  std::size_t steps() const override { return spec_.info.layers; }

  bool run(std::span<const std::vector<text::TokenId>> windows, std::size_t from,
           std::span<Matrix> hidden, ThreadPool& pool, AfterStep after) override {
    for (Matrix& each : hidden)
      each = {};  // those of the run before make room for the rows of this
    std::vector<Matrix> rows;
    for (const auto& window : windows) {
      rows.emplace_back(window.size() - 1, spec_.info.width);
      model_->embed(without_last(window), rows.back().view(), pool);
    }
    for (std::size_t layer = 0; layer < spec_.info.layers; ++layer) {
      model_->enter(layer);
      learn(layer);
      const std::vector<quant::SiteCounts> before = counts(layer);
      for (Matrix& each : rows) {
        model_->run(each.view(), pool);
        if (!after()) return false;
      }
      add_counts(layer, before);
    }
    for (std::size_t w = 0; w < rows.size(); ++w) {
      const auto wanted = rows[w].view().rows_from(from, rows[w].rows() - from);
      hidden[w].resize(wanted.rows(), wanted.cols());
      for (std::size_t r = 0; r < wanted.rows(); ++r)
        std::ranges::copy(wanted.row(r), hidden[w].row(r).begin());
      rows[w] = {};
      model_->finish(hidden[w].view(), pool);
    }
    return true;
  }

  void logits(MatrixView<const float> hidden, MatrixView<float> logits,
              ThreadPool& pool) const override {
    model_->logits(hidden, logits, pool);
  }
  const ModelFacts& facts() const override { return facts_; }

 private:
  /// What its sites are, when the layer is there for the first time.
  void learn(std::size_t layer) {
    const auto [first, end] = spec_.sites_of(layer);
    for (std::size_t s = first; s < end; ++s)
      if (facts_.sites.size() == s)
        facts_.sites.push_back(facts_of(spec_.sites[s], model_->site(s)));
    facts_.resident_bytes =
        std::max<std::uint64_t>(facts_.resident_bytes, model_->resident_bytes());
  }

  std::vector<quant::SiteCounts> counts(std::size_t layer) const {
    std::vector<quant::SiteCounts> counts;
    const auto [first, end] = spec_.sites_of(layer);
    for (std::size_t s = first; s < end; ++s) counts.push_back(model_->site(s).counts());
    return counts;
  }
  /// What the layer's sites have met since; they go with the layer.
  void add_counts(std::size_t layer, const std::vector<quant::SiteCounts>& before) {
    const std::vector<quant::SiteCounts> now = counts(layer);
    const std::size_t first = spec_.sites_of(layer).first;
    for (std::size_t i = 0; i < now.size(); ++i) {
      quant::SiteCounts& all = facts_.sites[first + i].counts;
      all.rows += now[i].rows - before[i].rows;
      all.values += now[i].values - before[i].values;
      all.clipped += now[i].clipped - before[i].clipped;
      all.beyond += now[i].beyond - before[i].beyond;
    }
  }

  const model::ModelSpec spec_;
  const model::WeightReader weights_;
  std::size_t row_bytes_;
  std::unique_ptr<model::LayerwiseModel> model_;
  ModelFacts facts_;
};

}  // namespace

std::unique_ptr<EvaluatedModel> evaluate_whole(const model::Model& model) {
  return std::make_unique<WholeModel>(model);
}

std::unique_ptr<EvaluatedModel> evaluate_by_layer(const io::Checkpoint& checkpoint, Isa isa,
                                                  std::size_t row_bytes, Progress& progress,
                                                  const model::RunOptions& run) {
  return std::make_unique<LayerwiseEvaluation>(checkpoint, isa, row_bytes, progress, run);
}

bool fits_whole(std::uint64_t parameters, std::uint64_t memory) {
  return parameters * sizeof(float) <= memory;
}

std::vector<std::unique_ptr<EvaluatedModel>> open_evaluated(
    std::span<const io::Checkpoint* const> checkpoints, std::uint64_t memory, Isa isa,
    ThreadPool& pool, Progress& progress, std::span<const model::RunOptions> runs) {
  require(runs.empty() || runs.size() == checkpoints.size(), "each model has its options");
  std::uint64_t parameters = 0;
  for (const io::Checkpoint* each : checkpoints)
    parameters += model::read_spec(*each).info.parameters;
  const bool whole = fits_whole(parameters, memory);
  if (!whole)
    progress.note(
        fmt::format("{:.1f} GiB of float32 weights are more than the {:.1f} GiB of "
                    "--memory: evaluating layer by layer",
                    static_cast<double>(parameters * sizeof(float)) / (1U << 30U),
                    static_cast<double>(memory) / (1U << 30U)));
  // Half of the memory is left to embeddings, heads and the layer at hand.
  const std::size_t rows = memory / 2 / checkpoints.size();
  std::vector<std::unique_ptr<EvaluatedModel>> models;
  for (std::size_t i = 0; i < checkpoints.size(); ++i) {
    const io::Checkpoint& each = *checkpoints[i];
    const model::RunOptions run = runs.empty() ? model::RunOptions{} : runs[i];
    if (whole)
      models.push_back(
          std::make_unique<WholeModel>(model::load_model(each, isa, pool, progress, run)));
    else
      models.push_back(evaluate_by_layer(each, isa, rows, progress, run));
  }
  return models;
}

std::uint64_t memory_to_spare() { return available_memory() / 4 * 3; }

}  // namespace tender::eval
