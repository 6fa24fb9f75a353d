#include <algorithm>

#include "base/error.h"
#include "eval/compare.h"

namespace tender::eval {
namespace {

[[noreturn]] void refuse(const std::string& base, const std::string& other, const std::string& what,
                         const std::string& expected, const std::string& found) {
  fail(ErrorKind::invalid_input,
       {.code = "COMPARE_TOKENIZER",
        .file = other,
        .item = what,
        .found = found,
        .expected = expected,
        .hint = "losses of different tokens cannot be compared; evaluate each model alone"},
       "its tokenizer differs from that of {}: {} is {}, expected {}", quote(base), what, found,
       expected);
}

std::string id_text(const std::optional<text::TokenId>& id) {
  return id ? std::to_string(*id) : "none";
}
std::string token_text(const text::Tokenizer& tokenizer, text::TokenId id) {
  return tokenizer.exists(id) ? quote(tokenizer.piece(id)) : "none";
}
std::string yes_or_no(bool value) { return value ? "yes" : "no"; }

/// Two tokenizers by name, the base first.
struct Pair {
  const NamedTokenizer& base;
  const NamedTokenizer& other;

  template <class T, class ToText>
  void same(const std::string& what, const T& expected, const T& found, ToText to_text) const {
    if (!(expected == found))
      refuse(base.name, other.name, what, to_text(expected), to_text(found));
  }
};

void check_tokens(const Pair& pair) {
  const text::Tokenizer& base = *pair.base.tokenizer;
  const text::Tokenizer& other = *pair.other.tokenizer;
  pair.same("the number of its tokens", base.vocabulary(), other.vocabulary(),
            [](std::size_t count) { return std::to_string(count); });
  for (std::size_t i = 0; i < base.vocabulary(); ++i) {
    const auto id = static_cast<text::TokenId>(i);
    pair.same("token " + std::to_string(id), token_text(base, id), token_text(other, id),
              [](const std::string& text) { return text; });
  }
}

void check_special(const Pair& pair) {
  const text::SpecialTokens& base = pair.base.tokenizer->special();
  const text::SpecialTokens& other = pair.other.tokenizer->special();
  pair.same("whether it adds BOS", base.adds_bos, other.adds_bos, yes_or_no);
  if (base.adds_bos) pair.same("BOS", base.bos, other.bos, id_text);
  pair.same("whether it adds EOS", base.adds_eos, other.adds_eos, yes_or_no);
  if (base.adds_eos) pair.same("EOS", base.eos, other.eos, id_text);
}

void check_ids(const Pair& pair, const std::vector<text::TokenId>& base,
               const std::vector<text::TokenId>& other) {
  const auto id_at = [](const std::vector<text::TokenId>& ids, std::size_t at) {
    return at < ids.size() ? std::optional(ids[at]) : std::nullopt;
  };
  for (std::size_t t = 0; t < std::max(base.size(), other.size()); ++t)
    pair.same("id " + std::to_string(t) + " of the text", id_at(base, t), id_at(other, t), id_text);
}

}  // namespace

PerplexityPlan plan_comparison(const TextInput& input, std::span<const NamedTokenizer> tokenizers,
                               const PerplexityOptions& options) {
  require(!tokenizers.empty(), "there is a base");
  PerplexityPlan plan = plan_perplexity(input, *tokenizers.front().tokenizer, options);
  for (const NamedTokenizer& other : tokenizers.subspan(1)) {
    const Pair pair{tokenizers.front(), other};
    check_tokens(pair);
    check_special(pair);
    check_ids(pair, plan.tokens, plan_perplexity(input, *other.tokenizer, options).tokens);
  }
  return plan;
}

}  // namespace tender::eval
