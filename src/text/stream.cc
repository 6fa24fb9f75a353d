#include "text/stream.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace tender::text {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

enum class Sequence : std::uint8_t { whole, incomplete, invalid };

struct Piece {
  Sequence sequence;
  std::size_t bytes;  ///< of the character, or of the piece that one U+FFFD stands for
};

/// The first character of a text that is not empty, or the longest piece that might have become
/// one. (Table 3-7 of the Unicode standard: what may follow each first byte.)
Piece first_piece(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return {Sequence::whole, 1};
  if (lead < 0xc2 || lead > 0xf4) return {Sequence::invalid, 1};
  const std::size_t bytes = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  for (std::size_t i = 1; i < bytes; ++i) {
    if (i == text.size()) return {Sequence::incomplete, i};
    if (at(i) < low || at(i) > high) return {Sequence::invalid, i};
    low = 0x80, high = 0xbf;
  }
  return {Sequence::whole, bytes};
}

}  // namespace

std::string StreamDecoder::push(std::string_view bytes) {
  held_ += bytes;
  std::string out;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const Piece piece = first_piece(rest);
    if (piece.sequence == Sequence::incomplete) break;
    out += piece.sequence == Sequence::whole ? rest.substr(0, piece.bytes) : kReplacement;
    rest.remove_prefix(piece.bytes);
  }
  held_ = std::string(rest);
  return out;
}

std::string StreamDecoder::finish() {
  return std::exchange(held_, {}).empty() ? std::string() : std::string(kReplacement);
}

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_)
    if (stop.empty())
      fail(ErrorKind::invalid_argument,
           {.code = "STOP_EMPTY",
            .item = "stop",
            .hint = "leave it out to generate without a stop string"},
           "a stop string is empty");
}

std::string StopMatcher::push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  std::size_t end = std::string::npos;
  for (const std::string& stop : stops_) end = std::min(end, held_.find(stop));
  if (end != std::string::npos) {
    stopped_ = true;
    return std::exchange(held_, {}).substr(0, end);
  }
  std::size_t keep = 0;  // the longest end of the text that begins some stop string
  for (const std::string& stop : stops_)
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n)
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, n))) keep = n;
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, out.size());
  return out;
}

std::string StopMatcher::finish() { return std::exchange(held_, {}); }

}  // namespace tender::text
