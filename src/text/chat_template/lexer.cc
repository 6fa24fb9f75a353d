#include "text/chat_template/lexer.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/utf8.h"
#include "text/chat_template/strings.h"

namespace tender::text {
namespace {

using Kind = TemplateToken::Kind;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Letters of names; bytes above ASCII count, for identifiers of any script.
bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

/// "\r\n" and "\r" become "\n"; one newline at the very end goes, as Jinja's default has it.
std::string normalize(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (std::size_t i = 0; i < source.size(); ++i) {
    const bool pair = source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n';
    if (!pair) out += source[i] == '\r' ? '\n' : source[i];
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize(source)), rest_(source_) {}

  std::vector<TemplateToken> run() {
    while (!rest_.empty()) {
      const std::size_t tag = next_tag();
      if (tag == std::string_view::npos) {
        data(rest_);
        consume(rest_.size());
        break;
      }
      open(tag);
    }
    put(Kind::end, "");
    return std::move(tokens_);
  }

 private:
  /// Where "{{", "{%" or "{#" comes next.
  std::size_t next_tag() const {
    for (std::size_t at = rest_.find('{'); at != std::string_view::npos;
         at = rest_.find('{', at + 1))
      if (at + 1 < rest_.size() &&
          std::string_view("{%#").find(rest_[at + 1]) != std::string_view::npos)
        return at;
    return std::string_view::npos;
  }

  void put(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }

  void data(std::string_view text) {
    if (!text.empty()) put(Kind::data, std::string(text));
  }

  void consume(std::size_t bytes) {
    line_ += static_cast<std::uint32_t>(
        std::count(rest_.begin(), rest_.begin() + static_cast<std::ptrdiff_t>(bytes), '\n'));
    rest_.remove_prefix(bytes);
  }

  /// The text before a tag: '-' strips all white space at its end; otherwise, before blocks and
  /// comments, that between the start of a line and the tag.
  std::string_view text_before(std::string_view text, char mark, char sign) const {
    if (sign == '-') return strip_text(text, Ends::right);
    if (sign == '+' || mark == '{') return text;
    const std::size_t line = text.rfind('\n') + 1;  // 0 where there is none
    if (line == 0 && !at_line_start_) return text;
    return strip_text(text.substr(line), Ends::right).empty() ? text.substr(0, line) : text;
  }

  void open(std::size_t tag) {
    const char mark = rest_[tag + 1];
    const char after = tag + 2 < rest_.size() ? rest_[tag + 2] : '\0';
    const char sign = after == '-' || after == '+' ? after : '\0';
    data(text_before(rest_.substr(0, tag), mark, sign));
    consume(tag + 2 + (sign != '\0' ? 1 : 0));
    if (mark == '#') return comment();
    if (mark == '%' && raw()) return;
    const bool output = mark == '{';
    put(output ? Kind::begin_output : Kind::begin_block, "");
    while (!close(output ? "}}" : "%}", output ? Kind::end_output : Kind::end_block)) token();
  }

  void comment() {
    const std::size_t end = rest_.find("#}");
    if (end == std::string_view::npos) template_syntax_error(line_, "a comment has no end");
    const char sign = end > 0 ? rest_[end - 1] : '\0';
    consume(end + 2);
    trim_after(sign, true);
  }

  /// What the end of a tag takes with it: all white space after '-', else one newline after blocks.
  void trim_after(char sign, bool block) {
    const std::string_view before = rest_;
    if (sign == '-')
      consume(rest_.size() - strip_text(rest_, Ends::left).size());
    else if (block && sign != '+' && rest_.starts_with('\n'))
      consume(1);
    const std::size_t taken = before.size() - rest_.size();
    at_line_start_ = taken > 0 && before[taken - 1] == '\n';
  }

  /// The body of `{% raw %}`, where the word follows.
  bool raw() {
    const std::size_t head = word_tag(rest_, "raw");
    if (head == 0 || rest_[head - 3] == '+') return false;
    const char sign = rest_[head - 3];
    consume(head);
    trim_after(sign, false);
    for (std::size_t at = rest_.find("{%"); at != std::string_view::npos;
         at = rest_.find("{%", at + 1)) {
      std::string_view inside = rest_.substr(at + 2);
      const char open_sign =
          !inside.empty() && (inside[0] == '-' || inside[0] == '+') ? inside[0] : '\0';
      if (open_sign != '\0') inside.remove_prefix(1);
      const std::size_t tail = word_tag(inside, "endraw");
      if (tail == 0) continue;
      const char close_sign = inside[tail - 3];
      data(text_before(rest_.substr(0, at), '%', open_sign));
      consume(rest_.size() - inside.size() + tail);
      trim_after(close_sign, true);
      return true;
    }
    template_syntax_error(line_, "a raw block has no end");
  }

  /// Bytes of `word %}` at the front of `text`, or 0. The sign, if any, stands third from its end.
  static std::size_t word_tag(std::string_view text, std::string_view word) {
    std::string_view left = strip_text(text, Ends::left);
    if (!left.starts_with(word)) return 0;
    left = strip_text(left.substr(word.size()), Ends::left);
    if (!left.empty() && (left[0] == '-' || left[0] == '+')) left.remove_prefix(1);
    if (!left.starts_with("%}")) return 0;
    return text.size() - left.size() + 2;
  }

  /// Consumes the end of the tag if it comes next; braces of the expression come first.
  bool close(std::string_view end, Kind kind) {
    const std::string_view text = strip_text(rest_, Ends::left);
    consume(rest_.size() - text.size());
    if (rest_.empty()) template_syntax_error(line_, "a tag has no end");
    if (!open_.empty()) return false;
    const bool block = end == "%}";
    const char sign = rest_[0] == '-' || (block && rest_[0] == '+') ? rest_[0] : '\0';
    if (!rest_.substr(sign != '\0' ? 1 : 0).starts_with(end)) return false;
    put(kind, "");
    consume(end.size() + (sign != '\0' ? 1 : 0));
    trim_after(sign, block);
    return true;
  }

  void token() {
    const char c = rest_[0];
    if (c == '\'' || c == '"') return string();
    if (is_digit(c)) return number();
    if (is_name(c)) {
      const auto end = std::find_if_not(rest_.begin(), rest_.end(), is_name);
      const auto bytes = static_cast<std::size_t>(end - rest_.begin());
      put(Kind::name, std::string(rest_.substr(0, bytes)));
      return consume(bytes);
    }
    sign();
  }

  void sign() {
    static constexpr std::array<std::string_view, 25> kSigns = {
        "**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ","};
    const auto found = std::find_if(kSigns.begin(), kSigns.end(),
                                    [&](std::string_view sign) { return rest_.starts_with(sign); });
    if (found == kSigns.end())
      template_syntax_error(
          line_, "found " + quote(rest_.substr(0, character_bytes(rest_, 0))) + " in a tag");
    balance((*found)[0]);
    put(Kind::sign, std::string(*found));
    consume(found->size());
  }

  void balance(char c) {
    if (c == '(' || c == '[' || c == '{') open_ += c;
    if (c != ')' && c != ']' && c != '}') return;
    const char partner = c == ')' ? '(' : c == ']' ? '[' : '{';
    if (!open_.ends_with(partner))
      template_syntax_error(line_, "found " + quote({&c, 1}) + " without its partner");
    open_.pop_back();
  }

  void number() {
    std::string digits;
    std::size_t at = 0;
    const auto run = [&] {
      while (at < rest_.size() &&
             (is_digit(rest_[at]) ||
              (rest_[at] == '_' && at + 1 < rest_.size() && is_digit(rest_[at + 1])))) {
        if (rest_[at] != '_') digits += rest_[at];
        ++at;
      }
    };
    const auto digit_at = [&](std::size_t i) { return i < rest_.size() && is_digit(rest_[i]); };
    run();
    Kind kind = Kind::integer;
    if (at < rest_.size() && rest_[at] == '.' && digit_at(at + 1)) {
      kind = Kind::real;
      digits += '.', ++at;
      run();
    }
    if (at < rest_.size() && (rest_[at] == 'e' || rest_[at] == 'E')) {
      const bool has_sign = at + 1 < rest_.size() && (rest_[at + 1] == '+' || rest_[at + 1] == '-');
      if (digit_at(at + (has_sign ? 2 : 1))) {
        kind = Kind::real;
        digits.append(rest_, at, has_sign ? 2 : 1);
        at += has_sign ? 2 : 1;
        run();
      }
    }
    if (at < rest_.size() && is_name(rest_[at]))
      template_syntax_error(line_, "a number runs into a name");
    put(kind, digits);
    consume(at);
  }

  void string() {
    const char mark = rest_[0];
    std::string out;
    std::size_t at = 1;
    while (at < rest_.size() && rest_[at] != mark) {
      if (rest_[at] == '\\' && at + 1 < rest_.size())
        at = escape(at + 1, out);
      else
        out += rest_[at++];
    }
    if (at >= rest_.size()) template_syntax_error(line_, "a string has no end");
    put(Kind::text, std::move(out));
    consume(at + 1);
  }

  /// Decodes the escape whose letter stands at `at`. @return where the text goes on
  std::size_t escape(std::size_t at, std::string& out) {
    constexpr std::string_view kLetters = "\\'\"abfnrtv";
    constexpr std::string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
    const char c = rest_[at];
    const std::size_t letter = kLetters.find(c);
    if (letter != std::string_view::npos) {
      out += kMeanings[letter];
      return at + 1;
    }
    if (c == '\n') return at + 1;  // a backslash at the end of a line joins the lines
    if (c >= '0' && c <= '7') return code(at, 3, 8, false, out);
    if (c == 'x') return code(at + 1, 2, 16, true, out);
    if (c == 'u') return code(at + 1, 4, 16, true, out);
    if (c == 'U') return code(at + 1, 8, 16, true, out);
    out += '\\';  // Python keeps the backslash of an unknown escape
    out += c;
    return at + 1;
  }

  std::size_t code(std::size_t at, std::size_t digits, std::uint32_t base, bool all,
                   std::string& out) {
    std::uint64_t value = 0;
    std::size_t used = 0;
    for (; used < digits && at + used < rest_.size(); ++used) {
      const std::size_t digit =
          std::string_view("0123456789abcdef")
              .find(static_cast<char>(rest_[at + used] >= 'A' && rest_[at + used] <= 'F'
                                          ? rest_[at + used] + 32
                                          : rest_[at + used]));
      if (digit >= base) break;
      value = value * base + digit;
    }
    if ((all && used < digits) || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
      template_syntax_error(line_, "an escape in a string does not name a character");
    append_utf8(static_cast<char32_t>(value), out);
    return at + used;
  }

  std::string source_;
  std::string_view rest_;
  std::vector<TemplateToken> tokens_;
  std::uint32_t line_ = 1;
  bool at_line_start_ = true;
  std::string open_;  ///< brackets of the expression that wait for their partners
};

}  // namespace

void template_syntax_error(std::uint32_t line, const std::string& sentence) {
  fail(ErrorKind::corrupt_file,
       {.code = "TPL_SYNTAX", .hint = "the chat template is damaged, or no Jinja"},
       "line {} of the template: {}", line, sentence);
}

std::vector<TemplateToken> template_tokens(std::string_view source) { return Lexer(source).run(); }

}  // namespace tender::text
