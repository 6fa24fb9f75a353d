#include "model/blocks/decoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <new>
#include <numeric>
#include <set>

#include "base/contracts.h"
#include "base/error.h"
#include "kernels/rows/rows.h"

namespace tender::model {

DecoderSequence::DecoderSequence(std::vector<std::unique_ptr<KvCache>> caches, std::size_t capacity)
    : layers_(std::move(caches)), capacity_(capacity) {}

void DecoderSequence::truncate(std::size_t tokens) {
  require(tokens <= tokens_, "a sequence is only shortened");
  tokens_ = tokens;
  begin_pass();
}

void DecoderSequence::begin_pass() {
  for (const auto& layer : layers_) layer->truncate(tokens_);
}

std::size_t DecoderSequence::bytes() const {
  std::size_t sum = 0;
  for (const auto& layer : layers_) sum += layer->bytes();
  return sum;
}

namespace {

/// A batch as one list of rows, all sequences one after another.
struct FlatBatch {
  std::vector<TokenId> tokens;
  std::vector<std::int32_t> positions;
  std::vector<Segment> segments;
  std::vector<std::size_t> wanted;  ///< rows whose logits are wanted
};

void check_tokens(std::span<const TokenId> tokens, std::size_t vocabulary) {
  for (const TokenId token : tokens)
    if (token < 0 || static_cast<std::size_t>(token) >= vocabulary)
      fail(ErrorKind::invalid_input,
           {.code = "TOKEN_ID",
            .found = std::to_string(token),
            .expected = fmt::format("an id in [0, {})", vocabulary),
            .hint = "the ids belong to the tokenizer of another model"},
           "token id {}: expected one in [0, {})", token, vocabulary);
}

void check_item(const BatchItem& item, std::size_t vocabulary) {
  require(item.sequence != nullptr, "a batch item has a sequence");
  check_tokens(item.tokens, vocabulary);
  const std::size_t room = item.sequence->capacity() - item.sequence->tokens();
  if (item.tokens.size() > room)
    fail(ErrorKind::invalid_input,
         {.code = "CONTEXT_FULL",
          .found = fmt::format("{} more tokens", item.tokens.size()),
          .expected = fmt::format("at most {}", room),
          .hint = "ask for a longer context (--context), or give less text"},
         "{} tokens do not fit: the context of {} holds {} already", item.tokens.size(),
         item.sequence->capacity(), item.sequence->tokens());
}

std::vector<std::int32_t> first_positions(std::size_t count) {
  std::vector<std::int32_t> positions(count);
  std::iota(positions.begin(), positions.end(), 0);
  return positions;
}

FlatBatch flatten(std::span<const BatchItem> batch, std::size_t vocabulary) {
  FlatBatch flat;
  std::set<const Sequence*> seen;
  for (const BatchItem& item : batch) {
    check_item(item, vocabulary);
    require(seen.insert(item.sequence).second, "a sequence stands once in a batch");
    auto* sequence = dynamic_cast<DecoderSequence*>(item.sequence);
    require(sequence != nullptr, "the sequence was made by this model");
    const std::size_t begin = flat.tokens.size();
    for (std::size_t i = 0; i < item.tokens.size(); ++i) {
      flat.tokens.push_back(item.tokens[i]);
      flat.positions.push_back(static_cast<std::int32_t>(sequence->tokens() + i));
      if (i >= item.logits_from) flat.wanted.push_back(begin + i);
    }
    if (!item.tokens.empty()) flat.segments.push_back({sequence, begin, item.tokens.size()});
  }
  return flat;
}

kernels::AttentionShape shape_of(const ModelInfo& info) {
  return {info.heads, info.kv_heads, info.head_width};
}

}  // namespace

std::size_t cache_bytes_per_token(const ModelInfo& info,
                                  const std::optional<kernels::AttentionBits>& bits) {
  const kernels::AttentionShape shape = shape_of(info);
  return info.layers * (bits ? kernels::KvI8::bytes_per_token(shape, bits->cache)
                             : kernels::KvF32::bytes_per_token(shape));
}

Decoder::Decoder(const ModelSpec& spec, const std::string& embedding, const WeightReader& weights,
                 const Loading& loading)
    : spec_(spec),
      kernels_(kernels::best_float_kernels(loading.isa)),
      embedding_(spec, weights, *kernels_.gemm),
      sites_(spec.sites.size()),
      attention_(shape_of(spec.info), loading.isa),
      score_scale_(static_cast<float>(1 / std::sqrt(static_cast<double>(spec.info.head_width)))),
      weights_(loading.residency == Residency::all ? nullptr : &weights),
      isa_(loading.isa) {
  const std::array<std::function<void()>, 2> beside = {
      [&] { embedding_.prepare_head(spec, weights, loading.isa); },
      [&] { embedding_.read_table(spec, weights, embedding); }};
  if (loading.residency == Residency::all)
    sites_ = load_sites(spec, weights, loading, beside);
  else
    for (const auto& work : beside) work();
  if (const auto bits = weights.attention_bits()) attention_.use_integers(*bits);
  attention_.use_statics(weights.kv_statics());
}

void Decoder::use_kv_bits(int bits) {
  const auto stored = attention_.bits();
  attention_.use_integers({.rows = stored ? stored->rows : 8, .cache = bits});
}

std::unique_ptr<Sequence> Decoder::sequence(std::size_t context) const {
  return make_sequence(0, info().layers, context);
}

std::unique_ptr<DecoderSequence> Decoder::make_sequence(std::size_t first_layer, std::size_t layers,
                                                        std::size_t context) const {
  if (context == 0 || context > longest())
    fail(ErrorKind::invalid_input,
         {.code = "CONTEXT",
          .found = std::to_string(context),
          .expected = fmt::format("1 to {}", longest()),
          .hint = "the model cannot place more tokens"},
         "a context of {} tokens: expected 1 to {}", context, longest());
  try {
    std::vector<std::unique_ptr<KvCache>> caches;
    for (std::size_t n = 0; n < layers; ++n)
      caches.push_back(attention_.new_cache(first_layer + n, context));
    return std::make_unique<DecoderSequence>(std::move(caches), context);
  } catch (const std::bad_alloc&) {
    fail(ErrorKind::invalid_input,
         {.code = "CONTEXT",
          .found = std::to_string(context),
          .hint = "ask for a shorter context (--context)"},
         "there is no memory for the keys and values of {} tokens", context);
  }
}

void Decoder::forward(std::span<const BatchItem> batch, Matrix& hidden, ThreadPool& pool,
                      SiteObserver* observer) const {
  const FlatBatch flat = flatten(batch, info().vocabulary);
  hidden.resize(flat.wanted.size(), info().width);
  if (flat.tokens.empty()) return;
  for (const Segment& segment : flat.segments) segment.sequence->begin_pass();
  Matrix x(flat.tokens.size(), info().width);
  const Step step{flat.tokens, flat.positions, flat.segments, pool, observer};
  embed(step, x.view());
  run(0, info().layers, step, x.view());
  for (const Segment& segment : flat.segments) segment.sequence->end_pass(segment.count);
  for (std::size_t i = 0; i < flat.wanted.size(); ++i)
    std::ranges::copy(x.row(flat.wanted[i]), hidden.row(i).begin());
  finish(hidden.view(), pool);
}

void Decoder::logits(MatrixView<const float> hidden, MatrixView<float> logits,
                     ThreadPool& pool) const {
  require(hidden.cols() == info().width && logits.cols() == info().vocabulary &&
              hidden.rows() == logits.rows(),
          "logits[tokens, vocabulary] = hidden[tokens, width] * head^T");
  if (hidden.rows() > 0) project_head(hidden, logits, pool);
}

void Decoder::project_head(MatrixView<const float> hidden, MatrixView<float> logits,
                           ThreadPool& pool) const {
  embedding_.logits(hidden, logits, pool);
}

void Decoder::enter(std::size_t layer) {
  require(weights_ != nullptr, "layers are entered where one is resident");
  require(layer < info().layers, "a layer of the model is entered");
  const auto before = spec_.sites_of(entered_);
  for (std::size_t s = before.first; s < before.end; ++s) sites_[s] = {};
  const auto now = spec_.sites_of(layer);
  for (std::size_t s = now.first; s < now.end; ++s)
    sites_[s] = load_site(spec_.sites[s], *weights_, isa_);
  entered_ = layer;
}

void Decoder::replace(std::size_t site, std::unique_ptr<quant::PackedSite> packed) {
  require(sites_[site].packed != nullptr, "a site that is in memory is replaced");
  sites_[site].packed = std::move(packed);
}

void Decoder::embed(std::span<const TokenId> tokens, MatrixView<float> rows,
                    ThreadPool& pool) const {
  check_tokens(tokens, info().vocabulary);
  const auto own = make_sequence(entered_, 1, tokens.size());
  const std::vector<std::int32_t> positions = first_positions(tokens.size());
  const Segment segment{own.get(), 0, tokens.size()};
  embed({tokens, positions, {&segment, 1}, pool, nullptr}, rows);
}

void Decoder::run(MatrixView<float> rows, ThreadPool& pool, SiteObserver* observer,
                  std::optional<std::size_t> until, LayerPart part) const {
  const auto [begin, end] = spec_.sites_of(entered_);
  const std::size_t middle = spec_.first_mlp_site(entered_);
  require(!until || (*until >= (part == LayerPart::mlp ? middle : begin) &&
                     *until < (part == LayerPart::attention ? middle : end)),
          "a pass ends at a site of its part of the layer");
  const auto own = make_sequence(entered_, 1, rows.rows());
  const std::vector<std::int32_t> positions = first_positions(rows.rows());
  const Segment segment{own.get(), 0, rows.rows()};
  run(entered_, entered_ + 1, {{}, positions, {&segment, 1}, pool, observer, until, part}, rows);
}

std::size_t Decoder::resident_bytes() const {
  std::size_t sum = embedding_.bytes() + other_bytes() + attention_.bytes();
  for (const LoadedSite& site : sites_) {
    if (site.packed == nullptr) continue;  // of a layer that is not there
    sum += site.packed->resident_bytes();
    for (const std::vector<float>& bias : site.biases) sum += bias.size() * sizeof(float);
  }
  return sum;
}

bool Decoder::project(std::size_t site, MatrixView<const float> rows,
                      std::initializer_list<MatrixView<float>> outs, const Step& step) const {
  if (step.observer != nullptr)
    for (const Segment& s : step.segments)
      step.observer->observe(
          site, {rows.rows_from(s.begin, s.count), step.positions.subspan(s.begin, s.count)});
  if (step.until == site) return false;
  multiply(site, {rows, step.positions}, outs, step);
  return true;
}

bool Decoder::project(std::size_t site, MatrixView<float> rows, RowMaker make,
                      std::initializer_list<MatrixView<float>> outs, const Step& step) const {
  if (step.observer == nullptr && step.until != site && sites_[site].packed->makes_rows()) {
    multiply(site, {rows, step.positions, &make}, outs, step);
    return true;
  }
  step.pool.for_each_part(rows.rows(), [&](std::size_t begin, std::size_t end) {
    for (std::size_t m = begin; m < end; ++m) make(m, rows.row(m));
  });
  return project(site, rows, outs, step);
}

void Decoder::multiply(std::size_t site, const Rows& rows,
                       std::initializer_list<MatrixView<float>> outs, const Step& step) const {
  const LoadedSite& loaded = sites_[site];
  std::vector<quant::SiteOutput> outputs;
  for (const MatrixView<float>& out : outs)
    outputs.push_back({out, {loaded.biases[outputs.size()]}});
  loaded.packed->matmul(rows, outputs, step.pool);
}

void Decoder::attend(std::size_t n, std::size_t window, MatrixView<const float> q,
                     MatrixView<const float> k, MatrixView<const float> v,
                     MatrixView<float> attended, const Step& step) const {
  for (const Segment& s : step.segments) {
    const AttentionRows rows{q.rows_from(s.begin, s.count), k.rows_from(s.begin, s.count),
                             v.rows_from(s.begin, s.count)};
    if (step.observer != nullptr) step.observer->observe_attention(n, rows);
    KvCache& cache = s.sequence->layer(n);
    const std::size_t first = cache.tokens();
    cache.append(rows.k, rows.v, step.pool);
    cache.attend({.q = rows.q, .first_position = first, .scale = score_scale_, .window = window},
                 attended.rows_from(s.begin, s.count), step.pool);
  }
}

void Decoder::add(MatrixView<const float> delta, MatrixView<float> x, const Step& step) const {
  kernels::add(*kernels_.rows, x, delta, x, step.pool);
}

}  // namespace tender::model
