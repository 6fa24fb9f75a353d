#include "text/tokenizer.h"

#include "base/error.h"
#include "io/checkpoint.h"
#include "text/gguf_vocabulary.h"
#include "text/hf_files.h"
#include "text/hf_tokenizer_json.h"
#include "text/sentencepiece_file.h"
#include "text/tokenizers.h"

namespace tender::text {
namespace {

ReadFile reader(const io::Checkpoint& checkpoint) {
  return [&checkpoint](const std::string& name) { return checkpoint.read(name); };
}

}  // namespace

std::optional<TokenizerParts> from_gguf_metadata(const io::Checkpoint& checkpoint) {
  if (checkpoint.gguf() == nullptr) return std::nullopt;
  return read_gguf_tokenizer(*checkpoint.gguf());
}

std::optional<TokenizerParts> from_tokenizer_json(const io::Checkpoint& checkpoint) {
  const auto text = checkpoint.read("tokenizer.json");
  if (!text) return std::nullopt;
  TokenizerParts parts = read_tokenizer_json(*text, "tokenizer.json");
  add_hf_files(reader(checkpoint), checkpoint.config(), false, parts);
  return parts;
}

std::optional<TokenizerParts> from_vocab_and_merges(const io::Checkpoint& checkpoint) {
  const auto vocab = checkpoint.read("vocab.json");
  const auto merges = checkpoint.read("merges.txt");
  if (!vocab || !merges) return std::nullopt;
  return read_vocab_and_merges(*vocab, *merges, reader(checkpoint), checkpoint.config());
}

std::optional<TokenizerParts> from_sentencepiece_file(const io::Checkpoint& checkpoint) {
  const auto bytes = checkpoint.read("tokenizer.model");
  if (!bytes) return std::nullopt;
  TokenizerParts parts = read_sentencepiece_file(*bytes, "tokenizer.model");
  add_hf_files(reader(checkpoint), checkpoint.config(), true, parts);
  return parts;
}

std::unique_ptr<Tokenizer> open_tokenizer(const io::Checkpoint& checkpoint) {
  for (const TokenizerSource& source : kTokenizerSources)
    if (auto parts = source.read(checkpoint)) return std::make_unique<Pipeline>(*std::move(parts));
  std::string known;
  for (const TokenizerSource& source : kTokenizerSources) {
    if (!known.empty()) known += ", ";
    known += source.name;
  }
  fail(ErrorKind::not_found,
       {.code = "TK_MISSING",
        .file = checkpoint.path().string(),
        .expected = known,
        .hint = "text needs a tokenizer; token ids can be given where a command takes them"},
       "the model has no tokenizer; known are {}", known);
}

}  // namespace tender::text
