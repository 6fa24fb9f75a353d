#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "base/cpu.h"
#include "base/error.h"
#include "base/output.h"
#include "cli/command.h"
#include "cli/token_ids.h"
#include "eval/log_probability.h"
#include "io/checkpoint.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace tender::cli {
namespace {

constexpr std::size_t kTokensAtOnce = 128;  // bounds the memory of the logits, not their bits

/// A float32 matrix in NumPy's format 1.0: magic, header padded to 64 bytes, rows in C order.
class NpyFile {
 public:
  NpyFile(const std::string& path, std::size_t rows, std::size_t cols, Overwrite overwrite)
      : file_(path, overwrite) {
    std::string header =
        fmt::format("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows, cols);
    header.append(63 - (kFixed + header.size()) % 64, ' ');
    header += '\n';
    std::string front = "\x93NUMPY";
    front += {'\x01', '\x00', static_cast<char>(header.size() & 0xffU),
              static_cast<char>(header.size() >> 8U)};
    file_.write(front + header);
  }
  void write(std::span<const float> row) { file_.write(std::as_bytes(row)); }
  void commit() { file_.commit(); }

 private:
  static constexpr std::size_t kFixed = 10;  // magic, version, header length
  OutputFile file_;
};

struct Candidate {
  std::int32_t id;
  double log_probability;
};

/// The `count` likeliest tokens of a row of logits; of equal ones the lower id comes first.
std::vector<Candidate> likeliest(std::span<const float> logits, std::size_t count) {
  std::vector<std::int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto logit = [&](std::int32_t id) {
    const float value = logits[static_cast<std::size_t>(id)];
    return std::isnan(value) ? -std::numeric_limits<float>::infinity() : value;
  };
  count = std::min(count, ids.size());
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(),
                    [&](std::int32_t a, std::int32_t b) {
                      return logit(a) != logit(b) ? logit(a) > logit(b) : a < b;
                    });
  const double best =
      -eval::negative_log_probability(logits, static_cast<std::size_t>(ids.front()));
  std::vector<Candidate> top;
  for (std::size_t i = 0; i < count; ++i)
    top.push_back({ids[i], best + (static_cast<double>(logit(ids[i])) - logit(ids.front()))});
  return top;
}

class Logits : public Command {
 public:
  std::string_view name() const override { return "logits"; }
  std::string_view summary() const override { return "Show what a model expects after each token"; }

  void declare(CLI::App& app) override {
    app.add_option("model", model_, "GGUF file or Hugging Face directory")->required();
    auto* input = app.add_option_group("input", "What the model reads (one of them)");
    input->add_option("--tokens", ids_, "Token ids, parted by commas; needs no tokenizer files");
    input->add_option("--prompt", prompt_,
                      "Text, tokenized with the special tokens that the tokenizer adds");
    input->require_option(1);
    app.add_option("--top", top_, "Tokens to show at each position (default 5)")
        ->check(CLI::Range(1, 1000));
    app.add_option("--out", out_,
                   "Write all logits, float32 [tokens, vocabulary], in NumPy's format");
    app.add_flag("--force", force_, "Replace the file of --out if it exists");
    app.footer(
        "Examples:\n"
        "  tender logits smollm2-hf --prompt 'The capital of France is' --top 3\n"
        "  tender logits smollm2-hf --tokens 504,3575 --out logits.npy");
  }

  void run(Context& context) override {
    if (ids_) tokens_ = parse_token_ids(*ids_, "--tokens");
    const auto checkpoint = io::open_checkpoint(model_);
    for (const std::string& note : checkpoint->notes()) context.progress().note(note);
    const Overwrite overwrite = force_ ? Overwrite::replace : Overwrite::refuse;
    if (!out_.empty()) check_writable(out_, overwrite);
    const InterruptGuard guard;
    std::unique_ptr<text::Tokenizer> tokenizer;
    if (!ids_) {
      tokenizer = text::open_tokenizer(*checkpoint);
      tokens_ = tokenizer->encode(prompt_);
    }
    if (tokens_.empty())
      fail(ErrorKind::invalid_input, {.code = "TXT_TOO_SHORT", .hint = "give at least one token"},
           "the text gives no tokens");
    const auto model =
        model::load_model(*checkpoint, host_isa(), context.pool(), context.progress());
    std::optional<NpyFile> file;
    if (!out_.empty()) file.emplace(out_, tokens_.size(), model->info().vocabulary, overwrite);
    const OrderedJson positions =
        evaluate(*model, tokenizer.get(), context, file ? &*file : nullptr);
    if (file) file->commit();
    context.end_progress();
    OrderedJson document = {
        {"ids", tokens_}, {"vocabulary", model->info().vocabulary}, {"positions", positions}};
    if (!out_.empty()) document["out"] = out_;
    context.emit(document);
  }

 private:
  OrderedJson evaluate(const model::Model& model, const text::Tokenizer* tokenizer,
                       Context& context, NpyFile* file) const {
    OrderedJson positions = OrderedJson::array();
    const auto sequence = model.sequence(tokens_.size());
    Matrix hidden;
    Matrix logits;
    for (std::size_t first = 0; first < tokens_.size(); first += kTokensAtOnce) {
      if (InterruptGuard::raised())
        fail(ErrorKind::io, {.code = "CANCELLED", .hint = "nothing was written; run again"},
             "ended by the user");
      const std::size_t count = std::min(kTokensAtOnce, tokens_.size() - first);
      const model::BatchItem item{sequence.get(), std::span(tokens_).subspan(first, count), 0};
      model.forward({&item, 1}, hidden, context.pool());
      logits.resize(count, model.info().vocabulary);
      model.logits(hidden.view(), logits.view(), context.pool());
      for (std::size_t i = 0; i < count; ++i) {
        if (file != nullptr) file->write(logits.row(i));
        positions.push_back(show(first + i, logits.row(i), tokenizer, context));
      }
    }
    return positions;
  }

  /// One position for people, and as JSON.
  OrderedJson show(std::size_t position, std::span<const float> logits,
                   const text::Tokenizer* tokenizer, Context& context) const {
    OrderedJson entry = {
        {"position", position}, {"id", tokens_[position]}, {"top", OrderedJson::array()}};
    const auto text_of = [&](std::int32_t id) {
      return tokenizer == nullptr ? std::string() : " " + quote(tokenizer->piece(id));
    };
    std::string line =
        fmt::format("{:5} {:>8}{}\n", position, tokens_[position], text_of(tokens_[position]));
    for (const Candidate& candidate : likeliest(logits, top_)) {
      OrderedJson one = {{"id", candidate.id}, {"log_probability", candidate.log_probability}};
      if (tokenizer != nullptr) one["text"] = tokenizer->piece(candidate.id);
      entry["top"].push_back(one);
      line += fmt::format("        {:9.4f} {:>8}{}\n", candidate.log_probability, candidate.id,
                          text_of(candidate.id));
    }
    context.print(line);
    return entry;
  }

  std::string model_;
  std::optional<std::string> ids_;
  std::vector<std::int32_t> tokens_;
  std::string prompt_;
  std::size_t top_ = 5;
  std::string out_;
  bool force_ = false;
};

}  // namespace

std::unique_ptr<Command> make_logits() { return std::make_unique<Logits>(); }

}  // namespace tender::cli
