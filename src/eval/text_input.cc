#include "eval/text_input.h"

#include <algorithm>
#include <array>

#include "eval/find_named.h"

namespace tender::eval {
namespace {

constexpr std::string_view kBetweenRows = "\n\n";

/// Calls row(line without its newline, whether it had one) for every line.
template <class F>
void for_each_row(std::string_view text, F row) {
  while (!text.empty()) {
    const std::size_t newline = text.find('\n');
    const bool ended = newline != std::string_view::npos;
    const std::size_t end = ended ? newline : text.size();
    row(text.substr(0, end), ended);
    text.remove_prefix(ended ? end + 1 : end);
  }
}

std::string as_it_is(std::string_view text) { return std::string(text); }

std::string joined_as_wikitext(std::string_view text) {
  std::string joined;
  bool first = true;
  for_each_row(text, [&](std::string_view row, bool ended) {
    if (!first) joined += kBetweenRows;
    first = false;
    if (row.find_first_not_of(" \t\r\v\f") == std::string_view::npos) return;
    joined += row;
    if (ended) joined += '\n';
  });
  return joined;
}

std::string joined_lines(std::string_view text) {
  std::string joined;
  bool first = true;
  for_each_row(text, [&](std::string_view row, bool) {
    if (!first) joined += kBetweenRows;
    first = false;
    joined += row;
  });
  return joined;
}

constexpr std::array kJoins = {
    Join{"none", "the text as it is", as_it_is},
    Join{"wikitext",
         "rows with their newline, blank rows emptied, joined by \"\\n\\n\": the WikiText-2 text "
         "of papers",
         joined_as_wikitext},
    Join{"lines", "rows without their newline, joined by \"\\n\\n\"", joined_lines},
};

/// Files whose rows, in the data set that papers evaluate, are joined by a blank line.
struct KnownText {
  std::string_view name;
  std::string_view sha256;
};
constexpr std::array kKnownTexts = {
    KnownText{"wiki.test.raw", "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08"},
};

std::string known_name(const std::string& sha256) {
  const auto* found = std::ranges::find(kKnownTexts, sha256, &KnownText::sha256);
  return found == kKnownTexts.end() ? "" : std::string(found->name);
}

}  // namespace

std::span<const Join> all_joins() { return kJoins; }

const Join& join(std::string_view name) {
  return find_named(all_joins(), name, "join", "JOIN_UNKNOWN");
}

TextInput read_text(const std::filesystem::path& path, std::optional<std::string_view> asked,
                    std::string_view for_known, compress::InvalidText invalid, Progress& progress) {
  if (asked) join(*asked);  // a wrong name is told before the file is read
  const compress::TextFile file(path, invalid, progress);
  TextInput input;
  input.name = file.name();
  input.known = known_name(file.sha256());
  input.carriage_returns = file.carriage_returns();
  input.replaced = file.replaced();
  input.joined = asked ? &join(*asked) : &join(input.known.empty() ? "none" : for_known);
  if (!asked && input.joined != &kJoins.front())
    progress.note(
        fmt::format("{} is WikiText-2's {}: rows are joined as papers do (--join {}; --join none "
                    "takes the file as it is)",
                    input.name, input.known, input.joined->name));
  input.text = input.joined->apply(file.text());
  return input;
}

}  // namespace tender::eval
