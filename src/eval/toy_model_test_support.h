#pragma once

// A model of the tests that can be computed by hand, and texts for it.

#include <cmath>
#include <cstdlib>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "base/contracts.h"
#include "eval/perplexity.h"
#include "model/model.h"
#include "tests/support/byte_tokenizer.h"

namespace tender::eval {

using ::tender::testing::ByteTokenizer;
using text::TokenId;

/// For the messages of parameterized tests.
inline void PrintTo(const Protocol& protocol, std::ostream* out) { *out << protocol.name; }

constexpr std::size_t kVocabulary = 258;

/// Logit of `next` after `token` at `position` with `before` in front (-1 at the start).
/// @param bend  by how much the model is off the one with 0
inline float toy_logit(std::size_t next, TokenId token, TokenId before, std::size_t position,
                       float bend = 0) {
  const std::size_t mix = next * 7 + static_cast<std::size_t>(token) * 3 +
                          static_cast<std::size_t>(before + 1) * 5 + position;
  return static_cast<float>(mix % 13) * 0.25F +
         bend * static_cast<float>((next * 5 + position) % 11);
}

class ToySequence : public model::Sequence {
 public:
  explicit ToySequence(std::size_t capacity) : capacity_(capacity) {}
  std::size_t tokens() const override { return seen.size(); }
  std::size_t capacity() const override { return capacity_; }
  void truncate(std::size_t tokens) override { seen.resize(tokens); }
  std::size_t bytes() const override { return 0; }
  std::vector<TokenId> seen;

 private:
  std::size_t capacity_;
};

/// A model whose logits can be said without running it: a row of hidden is token, token before,
/// position.
class ToyModel : public model::Model {
 public:
  explicit ToyModel(float bend = 0) : bend_(bend) {
    info_.vocabulary = kVocabulary;
    info_.context = 64;
    info_.width = 3;
  }
  const model::ModelInfo& info() const override { return info_; }
  std::span<const model::SiteSpec> sites() const override { return {}; }
  const quant::PackedSite& site(std::size_t) const override { std::abort(); }
  const quant::PackedSite* head() const override { return nullptr; }
  std::unique_ptr<model::Sequence> sequence(std::size_t context) const override {
    return std::make_unique<ToySequence>(context);
  }
  void forward(std::span<const model::BatchItem> batch, Matrix& hidden, ThreadPool&,
               model::SiteObserver*) const override {
    require(batch.size() == 1, "one item");
    auto& sequence = dynamic_cast<ToySequence&>(*batch[0].sequence);
    const auto tokens = batch[0].tokens;
    require(sequence.tokens() + tokens.size() <= sequence.capacity(), "the sequence has room");
    hidden.resize(tokens.size() - batch[0].logits_from, 3);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const TokenId before = sequence.seen.empty() ? -1 : sequence.seen.back();
      sequence.seen.push_back(tokens[i]);
      if (i < batch[0].logits_from) continue;
      const auto row = hidden.row(i - batch[0].logits_from);
      row[0] = static_cast<float>(tokens[i]);
      row[1] = static_cast<float>(before);
      row[2] = static_cast<float>(sequence.tokens() - 1);
    }
  }
  void logits(MatrixView<const float> hidden, MatrixView<float> logits,
              ThreadPool&) const override {
    for (std::size_t r = 0; r < hidden.rows(); ++r)
      for (std::size_t v = 0; v < kVocabulary; ++v)
        logits(r, v) =
            toy_logit(v, static_cast<TokenId>(hidden(r, 0)), static_cast<TokenId>(hidden(r, 1)),
                      static_cast<std::size_t>(hidden(r, 2)), bend_);
  }
  std::size_t resident_bytes() const override { return 0; }

 protected:
  model::ModelInfo info_;

 private:
  float bend_;
};

/// -ln P of window[position + 1] by the textbook.
inline double toy_loss(const std::vector<TokenId>& window, std::size_t position, float bend = 0) {
  double sum = 0;
  const TokenId before = position == 0 ? -1 : window[position - 1];
  const auto logit = [&](std::size_t next) {
    return static_cast<double>(toy_logit(next, window[position], before, position, bend));
  };
  for (std::size_t v = 0; v < kVocabulary; ++v) sum += std::exp(logit(v));
  return std::log(sum) - logit(static_cast<std::size_t>(window[position + 1]));
}

inline TextInput input_of(const std::string& text) {
  TextInput input;
  input.text = text;
  input.name = "toy.txt";
  input.joined = &join("none");
  return input;
}

inline std::string some_text(std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>('a' + i * i % 23);
  return text;
}

/// Counts windows and asks to stop after some of them.
class StopAfter : public Progress {
 public:
  explicit StopAfter(std::uint64_t windows) : windows_(windows) {}
  void update(std::uint64_t done, std::uint64_t total, std::string_view what) override {
    done_ = done;
    total_ = total;
    what_ = what;
  }
  bool cancelled() const override { return done_ >= windows_; }
  std::uint64_t windows_;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;
  std::string what_;
};

struct Moments {
  double mean = 0;
  double error = 0;
};
/// Mean and its standard error as evaluation.md 2.3 writes them.
inline Moments moments(const std::vector<double>& values) {
  double sum = 0;
  double squares = 0;
  for (const double v : values) sum += v, squares += v * v;
  const auto n = static_cast<double>(values.size());
  return {sum / n, std::sqrt((squares / n - sum / n * (sum / n)) / (n - 1))};
}

}  // namespace tender::eval
