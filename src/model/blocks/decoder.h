#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/float_kernels.h"
#include "model/architecture.h"
#include "model/blocks/embedding.h"
#include "model/blocks/kv_cache.h"
#include "model/blocks/sites.h"
#include "model/model.h"

namespace tender::model {

/// The KV cache of a decoder: one for each layer, or a single one for a sequence that passes one
/// layer at a time.
class DecoderSequence : public Sequence {
 public:
  /// @param caches  one of each layer of the decoder, or 1, of `capacity` tokens each
  DecoderSequence(std::vector<std::unique_ptr<KvCache>> caches, std::size_t capacity);

  std::size_t tokens() const override { return tokens_; }
  std::size_t capacity() const override { return capacity_; }
  void truncate(std::size_t tokens) override;
  std::size_t bytes() const override;

  KvCache& layer(std::size_t n) { return *layers_[n % layers_.size()]; }
  /// Drops what a pass that failed has left in some layers.
  void begin_pass();
  void end_pass(std::size_t added) { tokens_ += added; }

 private:
  std::vector<std::unique_ptr<KvCache>> layers_;
  std::size_t capacity_;
  std::size_t tokens_ = 0;
};

/// The rows of one sequence in a pass.
struct Segment {
  DecoderSequence* sequence;
  std::size_t begin;  ///< its first row among all
  std::size_t count;
};

/// What all layers of one forward pass share: its tokens, all sequences one after another.
struct Step {
  std::span<const TokenId> tokens;          ///< [tokens]
  std::span<const std::int32_t> positions;  ///< [tokens], each counted in its own sequence
  std::span<const Segment> segments;
  ThreadPool& pool;
  SiteObserver* observer;                           ///< may be null
  std::optional<std::size_t> until = std::nullopt;  ///< a site after whose rows the pass ends
  LayerPart part = LayerPart::whole;                ///< of each layer
};

/// A decoder-only transformer: embedding, equal layers, final norm, head. An architecture fills in
/// what happens in between.
class Decoder : public Model, public LayerwiseModel {
 public:
  const ModelInfo& info() const override { return spec_.info; }
  std::span<const SiteSpec> sites() const override { return spec_.sites; }
  const quant::PackedSite& site(std::size_t index) const override { return *sites_[index].packed; }
  const quant::PackedSite* head() const override { return embedding_.head(); }
  std::unique_ptr<Sequence> sequence(std::size_t context) const override;
  void forward(std::span<const BatchItem> batch, Matrix& hidden, ThreadPool& pool,
               SiteObserver* observer) const override;
  void logits(MatrixView<const float> hidden, MatrixView<float> logits,
              ThreadPool& pool) const override;
  std::size_t resident_bytes() const override;
  std::optional<kernels::AttentionBits> attention_bits() const override {
    return attention_.bits();
  }
  /// Attends in integers with a cache of so many bits, whatever the checkpoint says.
  void use_kv_bits(int bits);

  void enter(std::size_t layer) override;
  void replace(std::size_t site, std::unique_ptr<quant::PackedSite> packed) override;
  void embed(std::span<const TokenId> tokens, MatrixView<float> rows,
             ThreadPool& pool) const override;
  void run(MatrixView<float> rows, ThreadPool& pool, SiteObserver* observer,
           std::optional<std::size_t> until, LayerPart part) const override;

 protected:
  /// @param embedding  name of the tensor that is the token embedding
  /// @param weights    outlives a decoder of which one layer is resident
  Decoder(const ModelSpec& spec, const std::string& embedding, const WeightReader& weights,
          const Loading& loading);

  /// Longest sequence that the architecture can place.
  virtual std::size_t longest() const = 0;
  /// x = the embedded tokens. @param x  [tokens, width], not initialised
  virtual void embed(const Step& step, MatrixView<float> x) const = 0;
  /// x after layers [first, end). @param x  [tokens, width], in place
  virtual void run(std::size_t first, std::size_t end, const Step& step,
                   MatrixView<float> x) const = 0;
  /// The head alone. @param hidden  [tokens, width], finished
  virtual void project_head(MatrixView<const float> hidden, MatrixView<float> logits,
                            ThreadPool& pool) const;
  /// Memory of what the architecture keeps beside sites, embedding and head.
  virtual std::size_t other_bytes() const = 0;

  /// outs[l] = rows * W[l]^T + bias[l] for the linear layers of a site.
  /// @return false if the pass ends here, with nothing computed
  [[nodiscard]] bool project(std::size_t site, MatrixView<const float> rows,
                             std::initializer_list<MatrixView<float>> outs, const Step& step) const;
  /// The same for rows that are not there yet: the site makes each as it rounds it, or they are
  /// made first. @param rows  [tokens, in], room for them
  [[nodiscard]] bool project(std::size_t site, MatrixView<float> rows, RowMaker make,
                             std::initializer_list<MatrixView<float>> outs, const Step& step) const;
  /// attended = softmax(q K^T / sqrt(head_width)) V, after k and v have joined the caches of layer
  /// n.
  void attend(std::size_t n, std::size_t window, MatrixView<const float> q,
              MatrixView<const float> k, MatrixView<const float> v, MatrixView<float> attended,
              const Step& step) const;
  /// x += delta, the residual stream.
  void add(MatrixView<const float> delta, MatrixView<float> x, const Step& step) const;

  const Embedding& embedding() const { return embedding_; }
  const kernels::FloatKernels& kernels() const { return kernels_; }

 private:
  void multiply(std::size_t site, const Rows& rows, std::initializer_list<MatrixView<float>> outs,
                const Step& step) const;
  /// @throws Error invalid_input (CONTEXT)
  std::unique_ptr<DecoderSequence> make_sequence(std::size_t first_layer, std::size_t layers,
                                                 std::size_t context) const;

  ModelSpec spec_;
  kernels::FloatKernels kernels_;
  Embedding embedding_;
  std::vector<LoadedSite> sites_;  ///< those of other layers are empty where one is resident
  Attention attention_;
  float score_scale_;
  const WeightReader* weights_ = nullptr;  ///< where one layer is resident
  Isa isa_;
  std::size_t entered_ = 0;
};

}  // namespace tender::model
