#include "text/pre_families.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"

namespace tender::text {
namespace {

constexpr std::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

enum class Rule : std::uint8_t {
  gpt2,     ///< pattern G
  digits,   ///< every number character alone, then G
  llama3,   ///< pattern L
  qwen2,    ///< L with numbers one by one
  unnamed,  ///< punctuation, G, runs of numbers, groups of three digits
};

struct Name {
  std::string_view name;
  Rule rule;
  bool ignore_merges = false;
  bool adds_bos = false;
  bool nfc = false;
};

constexpr std::array kNames = {
    Name{"default", Rule::unnamed},
    Name{"gpt-2", Rule::gpt2},
    Name{"phi-2", Rule::gpt2},
    Name{"mpt", Rule::gpt2},
    Name{"olmo", Rule::gpt2},
    Name{"jais", Rule::gpt2},
    Name{"jina-es", Rule::gpt2},
    Name{"jina-de", Rule::gpt2},
    Name{"jina-v2-es", Rule::gpt2},
    Name{"jina-v2-de", Rule::gpt2},
    Name{"modern-bert", Rule::gpt2},
    Name{"trillion", Rule::gpt2},
    Name{"smollm", Rule::digits},
    Name{"starcoder", Rule::digits},
    Name{"refact", Rule::digits},
    Name{"command-r", Rule::digits},
    Name{"codeshell", Rule::digits},
    Name{"exaone", Rule::digits},
    Name{"minerva-7b", Rule::digits},
    Name{"llama3", Rule::llama3, true, true},
    Name{"llama-v3", Rule::llama3, true, true},
    Name{"llama-bpe", Rule::llama3, true, true},
    Name{"dbrx", Rule::llama3},
    Name{"smaug-bpe", Rule::llama3},
    Name{"glm4", Rule::llama3},
    Name{"chatglm-bpe", Rule::llama3},
    Name{"qwen2", Rule::qwen2, false, false, true},
    Name{"stablelm2", Rule::qwen2},
    Name{"deepseek-r1-qwen", Rule::qwen2},
    Name{"hunyuan", Rule::qwen2},
};

Json split(std::string_view pattern) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", std::string(pattern)}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

Json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

Json sequence(Json steps) { return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}}; }

Json steps_of(Rule rule) {
  switch (rule) {
    case Rule::gpt2:
      return byte_level(true);
    case Rule::digits:
      return sequence(
          Json::array({{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)}));
    case Rule::llama3:
      return sequence(Json::array({split(kLlama3Pattern), byte_level(false)}));
    case Rule::qwen2:
      return sequence(Json::array({split(kQwen2Pattern), byte_level(false)}));
    case Rule::unnamed:
      break;
  }
  // The first pattern takes runs of punctuation; G then sees only what lies between them.
  constexpr std::string_view kWords =
      R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S))";
  return sequence(Json::array({split(R"([\p{P}$+<=>^~|]+)"), split(kWords), split(R"(\p{N}+)"),
                               split("[0-9][0-9][0-9]"), byte_level(false)}));
}

}  // namespace

PreFamily pre_family(std::string_view name, std::string_view file) {
  const auto found =
      std::find_if(kNames.begin(), kNames.end(), [&](const Name& n) { return n.name == name; });
  if (found == kNames.end()) {
    std::string known;
    for (const Name& n : kNames) known += (known.empty() ? "" : ", ") + std::string(n.name);
    fail(ErrorKind::unsupported,
         {.code = "TK_COMPONENT",
          .file = std::string(file),
          .item = "tokenizer.ggml.pre",
          .found = std::string(name),
          .expected = known,
          .hint = "another rule would give other tokens, so none is guessed"},
         "the pre-tokenizer {} is not supported; this build has: {}", quote(name), known);
  }
  PreFamily family;
  family.pre_tokenizer = steps_of(found->rule);
  if (found->nfc) family.normalizer = {{"type", "NFC"}};
  family.ignore_merges = found->ignore_merges;
  family.adds_bos = found->adds_bos;
  return family;
}

}  // namespace tender::text
