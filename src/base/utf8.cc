#include "base/utf8.h"

#include <string>

namespace tender {
namespace {

/// Bytes that a lead byte announces; 0 if it cannot lead.
std::size_t announced(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return 2;
  if (lead >= 0xe0 && lead <= 0xef) return 3;
  if (lead >= 0xf0 && lead <= 0xf4) return 4;
  return 0;
}

bool continues(unsigned char byte) { return (byte & 0xc0U) == 0x80U; }

}  // namespace

CodePoint read_code_point(std::string_view text) {
  if (text.empty()) return {};
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t bytes = announced(at(0));
  if (bytes == 0 || bytes > text.size()) return {};
  if (bytes == 1) return {at(0), 1};
  char32_t value = at(0) & (0x7fU >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if (!continues(at(i))) return {};
    value = value << 6U | (at(i) & 0x3fU);
  }
  constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kLeast[bytes] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return {};
  return {value, bytes};
}

std::optional<std::size_t> first_invalid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const CodePoint next = read_code_point(text.substr(at));
    if (next.bytes == 0) return at;
    at += next.bytes;
  }
  return std::nullopt;
}

std::size_t incomplete_tail(std::string_view text) {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if (continues(byte)) continue;
    return announced(byte) > back ? back : 0;
  }
  return 0;
}

void append_utf8(char32_t value, std::string& out) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xc0 | value >> 6U), put(0x80 | (value & 0x3fU));
  } else if (value < 0x10000) {
    put(0xe0 | value >> 12U), put(0x80 | (value >> 6U & 0x3fU)), put(0x80 | (value & 0x3fU));
  } else {
    put(0xf0 | value >> 18U), put(0x80 | (value >> 12U & 0x3fU)), put(0x80 | (value >> 6U & 0x3fU)),
        put(0x80 | (value & 0x3fU));
  }
}

}  // namespace tender
