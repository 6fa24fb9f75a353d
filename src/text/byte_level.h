#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace tender::text {

/// The alphabet of byte-level BPE (GPT-2): each of the 256 bytes as one printable character.
///
/// The bytes ! to ~, 0xa1 to 0xac and 0xae to 0xff stand for themselves as code points; the other
/// 68 are U+0100, U+0101 … in byte order, so a space is U+0120.
std::string_view stand_in(unsigned char byte);

/// The byte that a character of the alphabet stands for; nothing for any other character.
std::optional<unsigned char> byte_of(char32_t character);

/// Every byte as its stand-in.
std::string to_stand_ins(std::string_view bytes);

/// The bytes behind a text of stand-ins; nothing if a character is not of the alphabet.
std::optional<std::string> from_stand_ins(std::string_view text);

/// The byte of a token such as "<0x0A>" (upper- or lower-case hexadecimal); nothing for other
/// texts.
std::optional<unsigned char> byte_token_value(std::string_view text);

/// "<0x0A>" for 10, as SentencePiece spells it.
std::string byte_token_text(unsigned char byte);

}  // namespace tender::text
