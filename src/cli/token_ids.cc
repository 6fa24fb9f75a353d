#include "cli/token_ids.h"

#include <charconv>

#include "base/error.h"

namespace tender::cli {

std::vector<text::TokenId> parse_token_ids(const std::string& list, const std::string& flag) {
  std::vector<text::TokenId> ids;
  const char* at = list.data();
  const char* const end = at + list.size();
  const auto blanks = [&] {
    const char* const from = at;
    while (at != end && (*at == ' ' || *at == '\n')) ++at;
    return at != from;
  };
  for (bool parted = true; parted;) {
    text::TokenId id = -1;
    const auto [rest, error] = std::from_chars(at, end, id);
    at = rest;
    parted = blanks();
    if (at != end && *at == ',') {
      ++at;
      blanks();
      parted = true;
    } else if (at == end) {
      parted = false;
    }
    if (error != std::errc() || id < 0 || (!parted && at != end))
      fail(ErrorKind::invalid_argument,
           {.code = "CLI_IDS",
            .item = flag,
            .found = list,
            .expected = "numbers such as 1,2,3",
            .hint = "part the ids by commas or blanks"},
           "{} {}: expected token ids such as 1,2,3", flag, quote(list));
    ids.push_back(id);
  }
  return ids;
}

}  // namespace tender::cli
