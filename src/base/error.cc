#include "base/error.h"

namespace tender {

std::string Error::assemble(const ErrorDetails& details, const std::string& sentence) {
  std::string text = details.file.empty() ? sentence : details.file + ": " + sentence;
  if (details.offset) text += fmt::format(" (offset {})", *details.offset);
  return text;
}

std::string quote(std::string_view text, std::size_t limit) {
  std::string out = "'";
  std::size_t used = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (used++ == limit) {
      out += fmt::format("' … ({} bytes)", text.size());
      return out;
    }
    if (byte < 0x20 || byte == 0x7f || byte == '\'' || byte == '\\')
      out += fmt::format("\\x{:02x}", byte);
    else
      out += c;
  }
  // A cut may have split a character; bytes that are not UTF-8 are escaped by whoever prints JSON.
  return out + "'";
}

}  // namespace tender
