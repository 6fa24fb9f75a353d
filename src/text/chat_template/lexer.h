#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tender::text {

struct TemplateToken {
  enum class Kind : std::uint8_t {
    data,
    begin_output,
    end_output,
    begin_block,
    end_block,
    name,
    text,
    integer,
    real,
    sign,
    end
  };
  Kind kind = Kind::end;
  std::string text;  ///< data, name, sign, or the decoded string; digits of a number
  std::uint32_t line = 1;
};

/// Cuts a template into tokens, white-space control applied as Jinja does with trim_blocks and
/// lstrip_blocks on; comments are gone. @throws Error corrupt_file TPL_SYNTAX
std::vector<TemplateToken> template_tokens(std::string_view source);

/// Fails with TPL_SYNTAX at a line of the template.
[[noreturn]] void template_syntax_error(std::uint32_t line, const std::string& sentence);

}  // namespace tender::text
