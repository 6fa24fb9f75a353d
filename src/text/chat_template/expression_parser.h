#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_template/ast.h"
#include "text/chat_template/lexer.h"

namespace tender::text {

/// Counts how deep the parser is within itself. @throws Error TPL_STEPS beyond the limit
class TemplateNesting {
 public:
  explicit TemplateNesting(std::uint32_t& level);
  ~TemplateNesting() { --level_; }
  TemplateNesting(const TemplateNesting&) = delete;
  TemplateNesting& operator=(const TemplateNesting&) = delete;

 private:
  std::uint32_t& level_;
};

/// Recursive descent over expressions with the precedence of Jinja 3: conditional, or, and, not,
/// comparison, + -, ~, * / // %, **, unary sign, postfix, filter and test.
class TemplateExpressionParser {
 public:
  explicit TemplateExpressionParser(std::vector<TemplateToken> tokens)
      : tokens_(std::move(tokens)) {}

 protected:
  const TemplateToken& now() const { return tokens_[at_]; }
  const TemplateToken& advance() {
    return tokens_[now().kind == TemplateToken::Kind::end ? at_ : at_++];
  }
  bool at(TemplateToken::Kind kind, std::string_view text) const {
    return now().kind == kind && now().text == text;
  }
  bool at_sign(std::string_view sign) const { return at(TemplateToken::Kind::sign, sign); }
  bool at_name(std::string_view name) const { return at(TemplateToken::Kind::name, name); }
  bool accept_sign(std::string_view sign);
  bool accept_name(std::string_view name);
  void expect_sign(std::string_view sign);
  std::string expect_name();
  [[noreturn]] void unexpected(std::string_view wanted) const;

  /// One expression, conditional included.
  TemplateExprPtr expression();
  /// Expressions with commas between them: a tuple, or the expression itself where there is no
  /// comma.
  TemplateExprPtr tuple(bool with_conditional = true);
  TemplateExprPtr logical_or();
  /// One filter by its name, the '|' being consumed.
  TemplateExprPtr filter(TemplateExprPtr input);
  /// Filters after `input`.
  TemplateExprPtr filters(TemplateExprPtr input);

  std::uint32_t nesting_ = 0;

 private:
  TemplateExprPtr make(TemplateExpr::Kind kind, std::string name = {});
  /// Adds an operand; refuses trees too deep to walk.
  static void add(TemplateExpr& node, TemplateExprPtr operand);
  TemplateExprPtr logical_and();
  TemplateExprPtr logical_not();
  TemplateExprPtr comparison();
  std::optional<std::string> comparison_operator();
  TemplateExprPtr sum();
  TemplateExprPtr concatenation();
  TemplateExprPtr product();
  TemplateExprPtr power();
  TemplateExprPtr unary(bool with_filters);
  TemplateExprPtr primary();
  TemplateExprPtr named();
  TemplateExprPtr parenthesized();
  TemplateExprPtr list();
  TemplateExprPtr dict();
  TemplateExprPtr postfix(TemplateExprPtr node);
  TemplateExprPtr subscript(TemplateExprPtr object);
  TemplateExprPtr filters_and_tests(TemplateExprPtr node);
  TemplateExprPtr test(TemplateExprPtr input);
  bool test_argument_follows() const;
  /// Arguments up to the closing parenthesis, the opening one being consumed.
  void arguments(TemplateExpr& node);
  bool ends_tuple() const;

  std::vector<TemplateToken> tokens_;
  std::size_t at_ = 0;
};

}  // namespace tender::text
