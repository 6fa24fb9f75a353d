#include "compress/text_file.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/hash.h"
#include "base/utf8.h"

namespace tender::compress {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

std::optional<std::size_t> first_bad_byte(std::string_view text) {
  const std::size_t nul = text.find('\0');
  const auto invalid = first_invalid_utf8(text.substr(0, nul));
  if (invalid) return invalid;
  if (nul != std::string_view::npos) return nul;
  return std::nullopt;
}

/// Copies `text` with U+FFFD for each byte that first_bad_byte() objects to, in one pass.
std::string replace_bad_bytes(std::string_view text, std::size_t& replaced) {
  std::string copy;
  copy.reserve(text.size());
  while (!text.empty()) {
    const CodePoint next = read_code_point(text);
    const bool good = next.bytes > 0 && next.value != 0;
    copy += good ? text.substr(0, next.bytes) : kReplacement;
    text.remove_prefix(good ? next.bytes : 1);
    if (!good) ++replaced;
  }
  return copy;
}

[[noreturn]] void refuse(const MappedFile& file, std::size_t offset) {
  const auto byte = static_cast<unsigned char>(file.text()[offset]);
  const std::string found = byte == 0 ? "a NUL byte" : fmt::format("byte 0x{:02x}", byte);
  fail(ErrorKind::invalid_input,
       {.code = "TXT_UTF8",
        .file = file.path().string(),
        .offset = offset,
        .found = found,
        .expected = "text in UTF-8",
        .hint =
            "is it a text file? convert it, or add --replace-invalid to read such bytes as U+FFFD"},
       "{} is no UTF-8 text", found);
}

}  // namespace

TextFile::TextFile(const std::filesystem::path& path, InvalidText invalid, Progress& progress)
    : file_(path) {
  if (const auto bad = first_bad_byte(file_.text())) {
    if (invalid == InvalidText::refuse) refuse(file_, *bad);
    copy_ = replace_bad_bytes(file_.text(), replaced_);
    progress.note(
        fmt::format("{}: {} bytes that are no UTF-8 text were read as U+FFFD", name(), replaced_));
  }
  carriage_returns_ = text().find("\r\n") != std::string_view::npos;
  if (carriage_returns_)
    progress.note(
        fmt::format("{}: lines end in CR LF; the carriage returns are part of the text", name()));
}

std::string TextFile::sha256() const { return sha256_hex(file_.bytes()); }

}  // namespace tender::compress
