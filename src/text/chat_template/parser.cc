#include "text/chat_template/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>

#include "text/chat_template/expression_parser.h"

namespace tender::text {
namespace {

using Token = TemplateToken::Kind;
using Kind = TemplateStmt::Kind;
using Words = std::initializer_list<std::string_view>;

class Parser : TemplateExpressionParser {
 public:
  using TemplateExpressionParser::TemplateExpressionParser;

  TemplateBody run() { return body({}); }

 private:
  /// Statements up to a block that begins with one of `ends`, or to the end of the template where
  /// there are none; stops at the name.
  TemplateBody body(Words ends) {
    const TemplateNesting nesting(nesting_);
    TemplateBody out;
    while (true) {
      const std::uint32_t line = now().line;
      switch (now().kind) {
        case Token::end:
          if (ends.size() > 0) unexpected(quote(*(ends.end() - 1)));
          return out;
        case Token::data:
          out.push_back({.kind = Kind::data, .line = line, .text = advance().text});
          break;
        case Token::begin_output:
          advance();
          out.push_back({.kind = Kind::output, .line = line, .value = tuple()});
          if (now().kind != Token::end_output) unexpected("'}}'");
          advance();
          break;
        default:
          advance();  // only '{%' is left
          if (std::find(ends.begin(), ends.end(), now().text) != ends.end()) return out;
          statement(out);
      }
    }
  }

  void end_block() {
    if (now().kind != Token::end_block) unexpected("'%}'");
    advance();
  }

  void statement(TemplateBody& out) {
    const std::uint32_t line = now().line;
    const std::string word = expect_name();
    if (word == "if") return out.push_back(branch(line));
    if (word == "for") return out.push_back(loop(line));
    if (word == "set") return out.push_back(set(line));
    if (word == "macro") return out.push_back(macro(line));
    if (word == "with") return out.push_back(with(line));
    if (word == "filter") return filter_block(line, out);
    if (word == "generation") return out.push_back(generation(line));
    if (word == "break" || word == "continue") {
      if (loops_ == 0) template_syntax_error(line, quote(word) + " stands outside of any loop");
      end_block();
      return out.push_back(
          {.kind = word == "break" ? Kind::break_ : Kind::continue_, .line = line});
    }
    refuse(word, line);
  }

  [[noreturn]] static void refuse(const std::string& word, std::uint32_t line) {
    constexpr std::array<std::string_view, 4> kForbidden = {"include", "import", "from", "extends"};
    constexpr std::array<std::string_view, 4> kOutside = {"call", "block", "autoescape", "do"};
    if (std::find(kForbidden.begin(), kForbidden.end(), word) != kForbidden.end())
      fail(ErrorKind::invalid_input,
           {.code = "TPL_FORBIDDEN",
            .item = word,
            .hint = "a chat template may not read other files"},
           "line {} of the template uses {}", line, quote(word));
    if (std::find(kOutside.begin(), kOutside.end(), word) != kOutside.end())
      template_unsupported("the statement", word);
    if (word.starts_with("end") || word == "else" || word == "elif")
      template_syntax_error(line, quote(word) + " ends nothing");
    template_unsupported("the statement", word);
  }

  TemplateStmt branch(std::uint32_t line) {
    const TemplateNesting nesting(nesting_);
    TemplateStmt node{.kind = Kind::branch, .line = line, .value = tuple(false)};
    end_block();
    node.body = body({"elif", "else", "endif"});
    const std::uint32_t next = now().line;
    const std::string word = advance().text;
    if (word == "elif") {
      node.otherwise.push_back(branch(next));
      return node;  // the innermost branch has consumed the endif
    }
    if (word == "else") {
      end_block();
      node.otherwise = body({"endif"});
      advance();
    }
    end_block();
    return node;
  }

  /// One name, or several with commas between them, within parentheses or not.
  std::vector<std::string> targets() {
    const bool parentheses = accept_sign("(");
    std::vector<std::string> names;
    do {
      if (!names.empty() && now().kind != Token::name) break;
      names.push_back(variable());
    } while (accept_sign(","));
    if (parentheses) expect_sign(")");
    return names;
  }

  std::string variable() {
    const std::uint32_t line = now().line;
    std::string name = expect_name();
    for (const std::string_view reserved : {"true", "false", "none", "True", "False", "None"})
      if (name == reserved) template_syntax_error(line, quote(name) + " cannot be set");
    return name;
  }

  TemplateStmt loop(std::uint32_t line) {
    TemplateStmt node{.kind = Kind::loop, .line = line, .targets = targets()};
    if (!accept_name("in")) unexpected("'in'");
    node.value = tuple(false);
    if (accept_name("if")) node.condition = expression();
    if (at_name("recursive")) template_unsupported("the loop mode", "recursive");
    end_block();
    ++loops_;
    node.body = body({"else", "endfor"});
    --loops_;
    if (advance().text == "else") {
      end_block();
      node.otherwise = body({"endfor"});
      advance();
    }
    end_block();
    return node;
  }

  TemplateStmt set(std::uint32_t line) {
    TemplateStmt node{.kind = Kind::set, .line = line, .targets = targets()};
    if (accept_sign(".")) {
      if (node.targets.size() > 1) unexpected("'='");
      node.attribute = expect_name();
      refuse_host_attribute(node.attribute);
    }
    if (accept_sign("=")) {
      node.value = tuple();
      end_block();
      return node;
    }
    if (node.targets.size() > 1) unexpected("'='");
    node.kind = Kind::set_block;
    node.value = filters(block_text(line));
    end_block();
    node.body = body({"endset"});
    advance();
    end_block();
    return node;
  }

  static TemplateExprPtr block_text(std::uint32_t line) {
    auto node = std::make_unique<TemplateExpr>();
    node->kind = TemplateExpr::Kind::variable;
    node->line = line;
    node->name = kTemplateBlockText;
    return node;
  }

  TemplateStmt macro(std::uint32_t line) {
    auto made = std::make_unique<TemplateMacro>();
    made->name = variable();
    expect_sign("(");
    while (!accept_sign(")")) {
      if (!made->parameters.empty()) {
        expect_sign(",");
        if (accept_sign(")")) break;
      }
      made->parameters.push_back(variable());
      if (accept_sign("="))
        made->defaults.push_back(expression());
      else if (!made->defaults.empty())
        template_syntax_error(line, "a parameter without a default follows one that has one");
    }
    end_block();
    const std::size_t loops = std::exchange(loops_, 0);
    made->body = std::make_unique<TemplateBody>(body({"endmacro"}));
    loops_ = loops;
    advance();
    end_block();
    return {.kind = Kind::macro, .line = line, .macro = std::move(made)};
  }

  TemplateStmt with(std::uint32_t line) {
    TemplateStmt node{.kind = Kind::scope, .line = line};
    while (now().kind != Token::end_block) {
      if (!node.targets.empty()) expect_sign(",");
      node.targets.push_back(variable());
      expect_sign("=");
      node.values.push_back(expression());
    }
    end_block();
    node.body = body({"endwith"});
    advance();
    end_block();
    return node;
  }

  /// Marks text of the assistant for training; to us it is a scope like any other.
  TemplateStmt generation(std::uint32_t line) {
    TemplateStmt node{.kind = Kind::scope, .line = line};
    end_block();
    const std::size_t loops = std::exchange(loops_, 0);
    node.body = body({"endgeneration"});
    loops_ = loops;
    advance();
    end_block();
    return node;
  }

  /// A filter block is a set block whose text is printed, within a scope of its own.
  void filter_block(std::uint32_t line, TemplateBody& out) {
    TemplateStmt scope{.kind = Kind::scope, .line = line};
    TemplateStmt block{
        .kind = Kind::set_block, .line = line, .targets = {std::string(kTemplateBlockText)}};
    block.value = first_filter(line);
    end_block();
    block.body = body({"endfilter"});
    advance();
    end_block();
    scope.body.push_back(std::move(block));
    scope.body.push_back({.kind = Kind::output, .line = line, .value = block_text(line)});
    out.push_back(std::move(scope));
  }

  TemplateExprPtr first_filter(std::uint32_t line) { return filters(filter(block_text(line))); }

  std::size_t loops_ = 0;
};

}  // namespace

TemplateBody parse_template(std::string_view source) {
  return Parser(template_tokens(source)).run();
}

}  // namespace tender::text
