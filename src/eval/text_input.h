#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/progress.h"
#include "compress/text_file.h"

namespace tender::eval {

/// How the rows of a file become the text that is tokenized.
struct Join {
  std::string_view name;     ///< of --join
  std::string_view summary;  ///< one sentence for help
  std::string (*apply)(std::string_view text);
};

/// `none` stands first.
std::span<const Join> all_joins();
/// @throws Error invalid_argument (JOIN_UNKNOWN), naming those that exist
const Join& join(std::string_view name);

/// A text as a protocol gets it.
struct TextInput {
  std::string text;
  std::string name;  ///< of the file, without its folder
  const Join* joined = nullptr;
  std::string known;  ///< name of a text that is recognised by its hash, such as "wiki.test.raw"
  bool carriage_returns = false;
  std::size_t replaced = 0;  ///< bytes that were no text and became U+FFFD
};

/// @param asked          how to join; nothing: `for_known` where the file is one that is
///                       published as rows (said by a note), `none` otherwise
/// @param for_known      name of the join that a protocol wants for such a file
/// @throws Error invalid_input (TXT_UTF8), IO_…
TextInput read_text(const std::filesystem::path& path, std::optional<std::string_view> asked,
                    std::string_view for_known, compress::InvalidText invalid, Progress& progress);

}  // namespace tender::eval
