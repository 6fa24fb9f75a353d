#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace tender {

/// Sorts failures for programs; the command line turns `invalid_argument` into exit code 2, all
/// else into 1.
enum class ErrorKind : std::uint8_t {
  invalid_argument,  ///< what was asked for has no meaning, whatever the files hold
  invalid_input,     ///< well-formed data that cannot serve this request (a text too short, say)
  not_found,         ///< a file, tensor or model of that name does not exist
  corrupt_file,      ///< the bytes disagree with their own header, checksum or format
  unsupported,       ///< well formed, but this build cannot do it
  io,                ///< the operating system refused
};

/// The parts of an error that machines read; the sentence is the exception's text.
struct ErrorDetails {
  std::string code{};                     ///< such as ST_TOO_SHORT, see docs/errors.md
  std::string file{};                     ///< the file it is about, may be empty
  std::optional<std::uint64_t> offset{};  ///< byte in that file
  std::string item{};                     ///< tensor, key or option it is about
  std::string found{};
  std::string expected{};
  std::string hint{};  ///< what to do
};

/// The one exception of this project: a kind and details for programs, a sentence for people.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, ErrorDetails details, std::string sentence)
      : std::runtime_error(assemble(details, sentence)),
        kind_(kind),
        details_(std::move(details)),
        sentence_(std::move(sentence)) {}

  ErrorKind kind() const { return kind_; }
  const std::string& code() const { return details_.code; }
  const ErrorDetails& details() const { return details_; }
  /// The sentence alone, without file and offset; what() has them.
  const std::string& sentence() const { return sentence_; }

 private:
  static std::string assemble(const ErrorDetails& details, const std::string& sentence);

  ErrorKind kind_;
  ErrorDetails details_;
  std::string sentence_;
};

/// Throws an Error: fail(ErrorKind::corrupt_file, {.code = "GG_MAGIC", .file = path}, "found {}",
/// x).
template <class... Args>
[[noreturn]] void fail(ErrorKind kind, ErrorDetails details, fmt::format_string<Args...> format,
                       Args&&... args) {
  throw Error(kind, std::move(details), fmt::format(format, std::forward<Args>(args)...));
}

/// Text from a file made fit for a message: quoted, control characters escaped, cut at `limit`
/// bytes.
std::string quote(std::string_view text, std::size_t limit = 80);

}  // namespace tender
