#include "text/pre_tokenizers.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "text/byte_level.h"

namespace tender::text {

const std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

/// `\w+|[^\w\s]+` as the regular expressions of Rust read it, where \w has joiners and circled
/// letters.
constexpr std::string_view kWordsAndSigns =
    R"([\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{200c}\x{200d}\x{24b6}-\x{24e9}]+)"
    R"(|[^\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc}\x{200c}\x{200d}\x{24b6}-\x{24e9}\s]+)";

Piece part_of(const Piece& piece, std::size_t begin, std::size_t end) {
  return {piece.text.substr(begin, end - begin), begin == 0 ? piece.place : Place::segment};
}

/// What happens to the matches of Split; the rest stays as it is.
enum class Behavior : std::uint8_t {
  removed,
  isolated,
  merged_with_previous,
  merged_with_next,
  contiguous
};

class Split final : public PreTokenizer {
 public:
  Split(Pattern pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void split(const Piece& piece, RegexScratch& scratch, PieceSink sink) const override {
    if (behavior_ == Behavior::isolated) {
      for_each_part(piece.text, scratch, [&](Span part, bool) { give(piece, part, sink); });
      return;
    }
    std::vector<std::pair<Span, bool>> parts;
    for_each_part(piece.text, scratch, [&](Span part, bool match) {
      parts.push_back({part, match != invert_});
    });
    if (behavior_ == Behavior::removed)
      std::erase_if(parts, [](const auto& part) { return part.second; });
    else if (behavior_ == Behavior::contiguous)
      join_alike(parts);
    else if (behavior_ == Behavior::merged_with_previous)
      join_to_previous(parts);
    else
      join_to_next(parts);
    for (const auto& part : parts) give(piece, part.first, sink);
  }

 private:
  using Parts = std::vector<std::pair<Span, bool>>;

  static void give(const Piece& piece, Span part, PieceSink sink) {
    if (part.end > part.begin) sink(part_of(piece, part.begin, part.end));
  }

  /// Matches and what lies between them, in order.
  template <class Sink>
  void for_each_part(std::string_view text, RegexScratch& scratch, const Sink& part) const {
    std::size_t done = 0;
    for (std::size_t from = 0; from <= text.size();) {
      const auto match = pattern_.find(text, from, scratch);
      if (!match) break;
      if (match->begin > done) part({done, match->begin}, false);
      part(*match, true);
      done = match->end;
      from = after(text, *match);
    }
    if (done < text.size()) part({done, text.size()}, false);
  }

  static void join_alike(Parts& parts) {
    Parts out;
    for (const auto& part : parts) {
      if (!out.empty() && out.back().second == part.second)
        out.back().first.end = part.first.end;
      else
        out.push_back(part);
    }
    parts = std::move(out);
  }

  static void join_to_previous(Parts& parts) {
    Parts out;
    bool match_before = false;
    for (const auto& part : parts) {
      if (part.second && !match_before && !out.empty())
        out.back().first.end = part.first.end;
      else
        out.push_back(part);
      match_before = part.second;
    }
    parts = std::move(out);
  }

  static void join_to_next(Parts& parts) {
    Parts out;  // from the end
    bool match_after = false;
    for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
      if (part->second && !match_after && !out.empty())
        out.back().first.begin = part->first.begin;
      else
        out.push_back(*part);
      match_after = part->second;
    }
    std::reverse(out.begin(), out.end());
    parts = std::move(out);
  }

  Pattern pattern_;
  Behavior behavior_;
  bool invert_;
};

class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, std::optional<Split> pattern, bool stand_ins)
      : add_prefix_space_(add_prefix_space), pattern_(std::move(pattern)), stand_ins_(stand_ins) {}

  void split(const Piece& piece, RegexScratch& scratch, PieceSink sink) const override {
    std::string prefixed;
    Piece whole = piece;
    if (add_prefix_space_ && piece.place != Place::continued && !piece.text.starts_with(' '))
      whole.text = prefixed.append(" ").append(piece.text);
    const auto give = [&](const Piece& part) {
      if (!stand_ins_) return sink(part);
      const std::string mapped = to_stand_ins(part.text);
      sink({mapped, part.place});
    };
    if (pattern_)
      pattern_->split(whole, scratch, give);
    else
      give(whole);
  }

 private:
  bool add_prefix_space_;
  std::optional<Split> pattern_;
  bool stand_ins_;
};

class Metaspace final : public PreTokenizer {
 public:
  enum class Prefix : std::uint8_t { always, first, never };
  Metaspace(std::string mark, Prefix prefix, bool split) : mark_(mark), prefix_(prefix) {
    if (split) at_marks_.emplace(Pattern(std::move(mark)), Behavior::merged_with_next, false);
  }

  void split(const Piece& piece, RegexScratch& scratch, PieceSink sink) const override {
    std::string text;
    text.reserve(piece.text.size() + mark_.size());
    for (const char c : piece.text) c == ' ' ? text += mark_ : text += c;
    const bool prefixed = prefix_ == Prefix::always
                              ? piece.place != Place::continued
                              : prefix_ == Prefix::first && piece.place == Place::start;
    if (prefixed && !text.starts_with(mark_)) text.insert(0, mark_);
    const Piece whole{text, piece.place};
    if (at_marks_)
      at_marks_->split(whole, scratch, sink);
    else
      sink(whole);
  }

 private:
  std::string mark_;
  Prefix prefix_;
  std::optional<Split> at_marks_;
};

class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PreTokenizer>> steps) : steps_(std::move(steps)) {}
  void split(const Piece& piece, RegexScratch& scratch, PieceSink sink) const override {
    run(0, piece, scratch, sink);
  }

 private:
  void run(std::size_t step, const Piece& piece, RegexScratch& scratch, PieceSink sink) const {
    if (step == steps_.size()) return sink(piece);
    steps_[step]->split(piece, scratch,
                        [&](const Piece& part) { run(step + 1, part, scratch, sink); });
  }

  std::vector<std::unique_ptr<PreTokenizer>> steps_;
};

Behavior behavior_field(const JsonFields& fields, std::string_view otherwise) {
  const std::string name = fields.find_string("behavior").value_or(std::string(otherwise));
  if (name == "Removed") return Behavior::removed;
  if (name == "Isolated") return Behavior::isolated;
  if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
  if (name == "MergedWithNext") return Behavior::merged_with_next;
  if (name == "Contiguous") return Behavior::contiguous;
  fields.unknown_component(name);
}

Split by_regex(std::string_view pattern, Behavior behavior, bool invert = false) {
  return {Pattern(Regex(pattern, "")), behavior, invert};
}

std::unique_ptr<PreTokenizer> make_metaspace(const JsonFields& fields) {
  const std::string mark = fields.find_string("replacement").value_or("\xe2\x96\x81");
  if (mark.empty()) fields.refuse("replacement", "one character");
  // Files before tokenizers 0.15 have add_prefix_space in place of prepend_scheme.
  const std::string otherwise = fields.boolean("add_prefix_space", true) ? "always" : "never";
  const std::string scheme = fields.find_string("prepend_scheme").value_or(otherwise);
  using Prefix = Metaspace::Prefix;
  if (scheme != "always" && scheme != "first" && scheme != "never")
    fields.unknown_component(scheme);
  const Prefix prefix = scheme == "always"  ? Prefix::always
                        : scheme == "first" ? Prefix::first
                                            : Prefix::never;
  return std::make_unique<Metaspace>(mark, prefix, fields.boolean("split", true));
}

std::unique_ptr<PreTokenizer> make_step(const JsonFields& fields, bool is_last);

std::unique_ptr<PreTokenizer> make_sequence(const JsonFields& fields, bool is_last) {
  const Json& list = fields.array("pretokenizers");
  std::vector<std::unique_ptr<PreTokenizer>> steps;
  for (std::size_t i = 0; i < list.size(); ++i)
    steps.push_back(
        make_step({list[i], fields.file(), fields.where()}, is_last && i + 1 == list.size()));
  return std::make_unique<Sequence>(std::move(steps));
}

std::unique_ptr<PreTokenizer> make_step(const JsonFields& fields, bool is_last) {
  const std::string type = fields.type();
  if (type == "Sequence") return make_sequence(fields, is_last);
  if (type == "Metaspace") return make_metaspace(fields);
  if (type == "ByteLevel") {
    std::optional<Split> pattern;
    if (fields.boolean("use_regex", true)) pattern = by_regex(kGpt2Pattern, Behavior::isolated);
    return std::make_unique<ByteLevel>(fields.boolean("add_prefix_space", true), std::move(pattern),
                                       !is_last);
  }
  if (type == "Split")
    return std::make_unique<Split>(pattern_field(fields), behavior_field(fields, "Isolated"),
                                   fields.boolean("invert", false));
  if (type == "Digits")
    return std::make_unique<Split>(by_regex(
        fields.boolean("individual_digits", false) ? R"(\p{N})" : R"(\p{N}+)", Behavior::isolated));
  if (type == "Punctuation")
    return std::make_unique<Split>(
        by_regex(R"([\p{P}$+<=>^`|~])", behavior_field(fields, "Isolated")));
  if (type == "Whitespace")
    return std::make_unique<Split>(by_regex(kWordsAndSigns, Behavior::removed, true));
  if (type == "WhitespaceSplit")
    return std::make_unique<Split>(by_regex(R"(\s)", Behavior::removed));
  if (type == "CharDelimiterSplit") {
    const std::string delimiter = fields.string("delimiter");
    if (delimiter.empty()) fields.refuse("delimiter", "one character");
    return std::make_unique<Split>(Pattern(delimiter), Behavior::removed, false);
  }
  fields.unknown_component(type);
}

/// Whether the last of the steps, however nested, is ByteLevel.
bool ends_with_byte_level(const Json& json) {
  if (!json.is_object() || !json.contains("type")) return false;
  if (json["type"] == "ByteLevel") return true;
  if (json["type"] != "Sequence" || !json.contains("pretokenizers")) return false;
  const Json& list = json["pretokenizers"];
  return list.is_array() && !list.empty() && ends_with_byte_level(list.back());
}

}  // namespace

PreTokenization make_pre_tokenizer(const JsonFields& fields) {
  return {make_step(fields, true), ends_with_byte_level(fields.json())};
}

}  // namespace tender::text
