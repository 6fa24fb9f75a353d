#include "compress/calibration_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/rng.h"

namespace tender::compress {
namespace {

constexpr std::size_t kShortest = 2;  // tokens of a window

constexpr std::string_view kWhiteSpace = " \t\r\n\v\f";

/// The field `text` of one line; nothing, and why, if the line has none.
std::optional<std::string> text_of_line(std::string_view line, std::string& why) {
  JsonProblem problem;
  const Json value = parse_json(line, problem);
  if (problem.kind != JsonProblem::Kind::none) {
    why = problem.description;
  } else if (!value.is_object()) {
    why = fmt::format("is {} {}", value.is_array() ? "an" : "a", value.type_name());
  } else if (!value.contains("text") || !value["text"].is_string()) {
    why = "has no string field \"text\"";
  } else {
    auto text = value["text"].get<std::string>();
    if (text.find('\0') == std::string::npos) return text;
    why = "holds a NUL character";
  }
  return std::nullopt;
}

bool is_jsonl(const TextFile& file) {
  const std::string extension = file.path().extension().string();
  if (extension == ".jsonl" || extension == ".ndjson") return true;
  std::string why;
  const std::string_view text = file.text();
  return text.starts_with('{') && text_of_line(text.substr(0, text.find('\n')), why).has_value();
}

/// Documents of a JSONL file in its order; lines of white space are no documents.
std::vector<std::string> read_documents(const TextFile& file) {
  std::vector<std::string> documents;
  std::string_view rest = file.text();
  for (std::size_t line = 1; !rest.empty(); ++line) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view content = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (content.find_first_not_of(kWhiteSpace) == std::string_view::npos) continue;
    std::string why;
    auto text = text_of_line(content, why);
    if (!text)
      fail(ErrorKind::invalid_input,
           {.code = "JSONL_LINE",
            .file = file.path().string(),
            .item = fmt::format("line {}", line),
            .found = why,
            .expected = "one JSON object with a string field \"text\"",
            .hint = "mend that line; a file of plain text must not be called .jsonl"},
           "line {} {}", line, why);
    documents.push_back(*std::move(text));
  }
  return documents;
}

template <class T>
void shuffle(std::vector<T>& items, Rng rng) {
  for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[rng.below(i)]);
}

/// Tokens of the documents joined by a blank line. Only as many documents are tokenized as give
/// `wanted` tokens; 8 bytes a token are more than most texts need, else all of it is done again.
std::vector<text::TokenId> tokenize_documents(const std::vector<std::string>& documents,
                                              const text::Tokenizer& tokenizer,
                                              std::size_t wanted) {
  for (std::size_t bytes = wanted * 8;; bytes *= 4) {
    std::string joined;
    std::size_t taken = 0;
    for (; taken < documents.size() && joined.size() < bytes; ++taken) {
      if (taken > 0) joined += "\n\n";
      joined += documents[taken];
    }
    auto tokens = tokenizer.encode(joined);
    if (tokens.size() >= wanted || taken == documents.size()) return tokens;
  }
}

std::vector<text::TokenId> window_of(const std::vector<text::TokenId>& stream, std::size_t seqlen,
                                     std::size_t index) {
  const auto begin = stream.begin() + static_cast<std::ptrdiff_t>(index * seqlen);
  return {begin, begin + static_cast<std::ptrdiff_t>(seqlen)};
}

/// `samples` of `available` windows without repetition, in rising order.
std::vector<std::size_t> draw(std::size_t available, std::size_t samples, std::uint64_t seed) {
  std::vector<std::size_t> drawn(available);
  std::iota(drawn.begin(), drawn.end(), std::size_t{0});
  shuffle(drawn, Rng(seed, "calibration windows"));
  drawn.resize(std::min(samples, available));
  std::sort(drawn.begin(), drawn.end());
  return drawn;
}

[[noreturn]] void too_short(const TextFile& file, std::size_t tokens, std::size_t seqlen) {
  fail(ErrorKind::invalid_input,
       {.code = "TXT_TOO_SHORT",
        .file = file.path().string(),
        .found = fmt::format("{} tokens", tokens),
        .expected = fmt::format("at least {} tokens, one window", seqlen),
        .hint = "give a longer text or a smaller --seqlen"},
       "{} tokens are too few for one window of {}", tokens, seqlen);
}

}  // namespace

CalibrationWindows fitted(CalibrationWindows asked, std::size_t context) {
  asked.seqlen = std::min(asked.seqlen, std::max(kShortest, context));
  return asked;
}

void validate(const CalibrationWindows& asked) {
  constexpr std::size_t kMost = std::size_t{1} << 24U;
  if (asked.samples < 1 || asked.samples > kMost)
    fail(ErrorKind::invalid_argument, {.code = "SAMPLES", .item = "samples"},
         "samples = {}: expected 1 to {}", asked.samples, kMost);
  if (asked.seqlen < kShortest || asked.seqlen > kMost)
    fail(ErrorKind::invalid_argument, {.code = "SEQLEN", .item = "seqlen"},
         "seqlen = {}: expected 2 to {}", asked.seqlen, kMost);
}

OrderedJson CalibrationText::describe() const {
  return {{"file", name},
          {"sha256", sha256},
          {"format", format},
          {"documents", documents},
          {"windows", windows.size()},
          {"seqlen", asked.seqlen},
          {"samples", asked.samples},
          {"seed", asked.seed},
          {"tokens", tokens()}};
}

CalibrationText read_calibration_text(const std::filesystem::path& path,
                                      const text::Tokenizer& tokenizer,
                                      const CalibrationWindows& asked, InvalidText invalid,
                                      Progress& progress) {
  validate(asked);
  const TextFile file(path, invalid, progress);
  CalibrationText result;
  result.name = file.name();
  result.sha256 = file.sha256();
  result.asked = asked;

  const bool jsonl = is_jsonl(file);
  result.format = jsonl ? "jsonl" : "text";
  std::vector<text::TokenId> stream;
  if (jsonl) {
    std::vector<std::string> documents = read_documents(file);
    result.documents = documents.size();
    shuffle(documents, Rng(asked.seed, "calibration documents"));
    stream = tokenize_documents(documents, tokenizer, asked.samples * asked.seqlen);
  } else {
    stream = tokenizer.encode(file.text());
  }

  const std::size_t available = stream.size() / asked.seqlen;
  if (available == 0) too_short(file, stream.size(), asked.seqlen);
  if (available < asked.samples)
    progress.note(fmt::format("{}: {} tokens give {} windows of {}, fewer than the {} asked for",
                              result.name, stream.size(), available, asked.seqlen, asked.samples));
  if (jsonl) {
    for (std::size_t i = 0; i < std::min(available, asked.samples); ++i)
      result.windows.push_back(window_of(stream, asked.seqlen, i));
  } else {
    for (const std::size_t i : draw(available, asked.samples, asked.seed))
      result.windows.push_back(window_of(stream, asked.seqlen, i));
  }
  return result;
}

}  // namespace tender::compress
