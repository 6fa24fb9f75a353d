#include "text/byte_level.h"

#include <fmt/format.h>

#include "base/utf8.h"

namespace tender::text {
namespace {

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
}

struct Alphabet {
  std::array<std::string, 256> texts;
  std::array<std::optional<unsigned char>, 0x144> bytes;  // 0x100 + 68 code points

  Alphabet() {
    char32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const char32_t character = stands_for_itself(byte) ? byte : next++;
      append_utf8(character, texts[byte]);
      bytes[character] = static_cast<unsigned char>(byte);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::string_view stand_in(unsigned char byte) { return alphabet().texts[byte]; }

std::optional<unsigned char> byte_of(char32_t character) {
  const auto& bytes = alphabet().bytes;
  return character < bytes.size() ? bytes[character] : std::nullopt;
}

std::string to_stand_ins(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes) out += stand_in(static_cast<unsigned char>(byte));
  return out;
}

std::optional<std::string> from_stand_ins(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const CodePoint next = read_code_point(text);
    if (next.bytes == 0) return std::nullopt;
    const auto byte = byte_of(next.value);
    if (!byte) return std::nullopt;
    out += static_cast<char>(*byte);
    text.remove_prefix(next.bytes);
  }
  return out;
}

std::optional<unsigned char> byte_token_value(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  const int high = hex_digit(text[3]);
  const int low = hex_digit(text[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<unsigned char>(high * 16 + low);
}

std::string byte_token_text(unsigned char byte) { return fmt::format("<0x{:02X}>", byte); }

}  // namespace tender::text
