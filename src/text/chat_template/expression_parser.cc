#include "text/chat_template/expression_parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace tender::text {
namespace {

using Token = TemplateToken::Kind;
using Kind = TemplateExpr::Kind;

[[noreturn]] void too_deep() {
  fail(ErrorKind::invalid_input,
       {.code = "TPL_STEPS",
        .expected = fmt::format("at most {} levels", kTemplateSourceDepth),
        .hint = "the template nests without end"},
       "the template nests deeper than {} levels", kTemplateSourceDepth);
}

/// What stands at a token, in words.
std::string describe(const TemplateToken& token) {
  switch (token.kind) {
    case Token::data:
      return "text";
    case Token::begin_output:
      return "'{{'";
    case Token::begin_block:
      return "'{%'";
    case Token::end_output:
    case Token::end_block:
      return "the end of the tag";
    case Token::text:
      return "a string";
    case Token::end:
      return "the end of the template";
    default:
      return quote(token.text, 40);
  }
}

TemplateValue integer_value(const TemplateToken& token) {
  std::int64_t value = 0;
  const char* last = token.text.data() + token.text.size();
  if (std::from_chars(token.text.data(), last, value).ec != std::errc())
    template_unsupported("the integer", token.text);
  return TemplateValue::integer(value);
}

TemplateValue real_value(const TemplateToken& token) {
  double value = 0;
  const char* last = token.text.data() + token.text.size();
  if (std::from_chars(token.text.data(), last, value).ec != std::errc())
    template_unsupported("the number", token.text);
  return TemplateValue::real(value);
}

}  // namespace

TemplateNesting::TemplateNesting(std::uint32_t& level) : level_(level) {
  if (level_ >= kTemplateSourceDepth) too_deep();
  ++level_;
}

bool TemplateExpressionParser::accept_sign(std::string_view sign) {
  if (!at_sign(sign)) return false;
  advance();
  return true;
}

bool TemplateExpressionParser::accept_name(std::string_view name) {
  if (!at_name(name)) return false;
  advance();
  return true;
}

void TemplateExpressionParser::expect_sign(std::string_view sign) {
  if (!accept_sign(sign)) unexpected(quote(sign));
}

std::string TemplateExpressionParser::expect_name() {
  if (now().kind != Token::name) unexpected("a name");
  return advance().text;
}

void TemplateExpressionParser::unexpected(std::string_view wanted) const {
  template_syntax_error(now().line,
                        fmt::format("found {} where {} belongs", describe(now()), wanted));
}

TemplateExprPtr TemplateExpressionParser::make(Kind kind, std::string name) {
  auto node = std::make_unique<TemplateExpr>();
  node->kind = kind;
  node->line = now().line;
  node->name = std::move(name);
  return node;
}

void TemplateExpressionParser::add(TemplateExpr& node, TemplateExprPtr operand) {
  if (operand != nullptr) node.depth = std::max(node.depth, operand->depth + 1);
  node.operands.push_back(std::move(operand));
  if (node.depth > kTemplateSourceDepth) too_deep();
}

TemplateExprPtr TemplateExpressionParser::expression() {
  const TemplateNesting nesting(nesting_);
  TemplateExprPtr node = logical_or();
  while (at_name("if")) {
    TemplateExprPtr choice = make(Kind::conditional);
    advance();
    add(*choice, logical_or());
    add(*choice, std::move(node));
    add(*choice, accept_name("else") ? expression() : nullptr);
    node = std::move(choice);
  }
  return node;
}

bool TemplateExpressionParser::ends_tuple() const {
  return now().kind == Token::end_output || now().kind == Token::end_block || at_sign(")") ||
         at_sign("=");
}

TemplateExprPtr TemplateExpressionParser::tuple(bool with_conditional) {
  TemplateExprPtr first = with_conditional ? expression() : logical_or();
  if (!at_sign(",")) return first;
  TemplateExprPtr node = make(Kind::tuple);
  add(*node, std::move(first));
  while (accept_sign(",") && !ends_tuple())
    add(*node, with_conditional ? expression() : logical_or());
  return node;
}

TemplateExprPtr TemplateExpressionParser::logical_or() {
  TemplateExprPtr left = logical_and();
  while (at_name("or")) {
    TemplateExprPtr node = make(Kind::logical, advance().text);
    add(*node, std::move(left));
    add(*node, logical_and());
    left = std::move(node);
  }
  return left;
}

TemplateExprPtr TemplateExpressionParser::logical_and() {
  TemplateExprPtr left = logical_not();
  while (at_name("and")) {
    TemplateExprPtr node = make(Kind::logical, advance().text);
    add(*node, std::move(left));
    add(*node, logical_not());
    left = std::move(node);
  }
  return left;
}

TemplateExprPtr TemplateExpressionParser::logical_not() {
  if (!at_name("not")) return comparison();
  const TemplateNesting nesting(nesting_);
  TemplateExprPtr node = make(Kind::unary, advance().text);
  add(*node, logical_not());
  return node;
}

std::optional<std::string> TemplateExpressionParser::comparison_operator() {
  for (const std::string_view sign : {"==", "!=", "<", "<=", ">", ">="})
    if (accept_sign(sign)) return std::string(sign);
  if (accept_name("in")) return "in";
  if (at_name("not") && tokens_[at_ + 1].kind == Token::name && tokens_[at_ + 1].text == "in") {
    advance();
    advance();
    return "not in";
  }
  return std::nullopt;
}

TemplateExprPtr TemplateExpressionParser::comparison() {
  TemplateExprPtr first = sum();
  std::optional<std::string> sign = comparison_operator();
  if (!sign) return first;
  TemplateExprPtr node = make(Kind::compare);
  add(*node, std::move(first));
  for (; sign; sign = comparison_operator()) {
    node->names.push_back(*sign);
    add(*node, sum());
  }
  return node;
}

TemplateExprPtr TemplateExpressionParser::sum() {
  TemplateExprPtr left = concatenation();
  while (at_sign("+") || at_sign("-")) {
    TemplateExprPtr node = make(Kind::binary, advance().text);
    add(*node, std::move(left));
    add(*node, concatenation());
    left = std::move(node);
  }
  return left;
}

TemplateExprPtr TemplateExpressionParser::concatenation() {
  TemplateExprPtr first = product();
  if (!at_sign("~")) return first;
  TemplateExprPtr node = make(Kind::concat);
  add(*node, std::move(first));
  while (accept_sign("~")) add(*node, product());
  return node;
}

TemplateExprPtr TemplateExpressionParser::product() {
  TemplateExprPtr left = power();
  while (at_sign("*") || at_sign("/") || at_sign("//") || at_sign("%")) {
    TemplateExprPtr node = make(Kind::binary, advance().text);
    add(*node, std::move(left));
    add(*node, power());
    left = std::move(node);
  }
  return left;
}

TemplateExprPtr TemplateExpressionParser::power() {
  TemplateExprPtr left = unary(true);
  while (at_sign("**")) {
    TemplateExprPtr node = make(Kind::binary, advance().text);
    add(*node, std::move(left));
    add(*node, unary(true));
    left = std::move(node);
  }
  return left;
}

TemplateExprPtr TemplateExpressionParser::unary(bool with_filters) {
  const TemplateNesting nesting(nesting_);
  TemplateExprPtr node;
  if (at_sign("-") || at_sign("+")) {
    node = make(Kind::unary, advance().text);
    add(*node, unary(false));
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filters ? filters_and_tests(std::move(node)) : std::move(node);
}

TemplateExprPtr TemplateExpressionParser::primary() {
  switch (now().kind) {
    case Token::name:
      return named();
    case Token::integer: {
      TemplateExprPtr node = make(Kind::constant);
      node->value = integer_value(advance());
      return node;
    }
    case Token::real: {
      TemplateExprPtr node = make(Kind::constant);
      node->value = real_value(advance());
      return node;
    }
    case Token::text: {
      TemplateExprPtr node = make(Kind::constant);
      std::string text;
      while (now().kind == Token::text) text += advance().text;  // neighbours join, as in Python
      node->value = TemplateValue::text(std::move(text));
      return node;
    }
    default:
      break;
  }
  if (accept_sign("(")) return parenthesized();
  if (accept_sign("[")) return list();
  if (accept_sign("{")) return dict();
  unexpected("a value");
}

TemplateExprPtr TemplateExpressionParser::named() {
  TemplateExprPtr node = make(Kind::constant);
  const std::string name = advance().text;
  if (name == "true" || name == "True") {
    node->value = TemplateValue::boolean(true);
  } else if (name == "false" || name == "False") {
    node->value = TemplateValue::boolean(false);
  } else if (name == "none" || name == "None") {
    node->value = TemplateValue::none();
  } else {
    node->kind = Kind::variable;
    node->name = name;
  }
  return node;
}

TemplateExprPtr TemplateExpressionParser::parenthesized() {
  if (accept_sign(")")) return make(Kind::tuple);
  TemplateExprPtr node = tuple();
  expect_sign(")");
  return node;
}

TemplateExprPtr TemplateExpressionParser::list() {
  TemplateExprPtr node = make(Kind::list);
  while (!accept_sign("]")) {
    if (!node->operands.empty()) {
      expect_sign(",");
      if (accept_sign("]")) break;
    }
    add(*node, expression());
  }
  return node;
}

TemplateExprPtr TemplateExpressionParser::dict() {
  TemplateExprPtr node = make(Kind::dict);
  while (!accept_sign("}")) {
    if (!node->operands.empty()) {
      expect_sign(",");
      if (accept_sign("}")) break;
    }
    add(*node, expression());
    expect_sign(":");
    add(*node, expression());
  }
  return node;
}

TemplateExprPtr TemplateExpressionParser::postfix(TemplateExprPtr node) {
  while (true) {
    if (accept_sign(".")) {
      TemplateExprPtr outer;
      if (now().kind == Token::integer) {  // foo.0 is foo[0]
        TemplateExprPtr key = make(Kind::constant);
        key->value = integer_value(advance());
        outer = make(Kind::item);
        add(*outer, std::move(node));
        add(*outer, std::move(key));
      } else {
        outer = make(Kind::attribute, expect_name());
        refuse_host_attribute(outer->name);
        add(*outer, std::move(node));
      }
      node = std::move(outer);
    } else if (accept_sign("[")) {
      node = subscript(std::move(node));
    } else if (at_sign("(")) {
      TemplateExprPtr call = make(Kind::call);
      advance();
      add(*call, std::move(node));
      arguments(*call);
      node = std::move(call);
    } else {
      return node;
    }
  }
}

TemplateExprPtr TemplateExpressionParser::subscript(TemplateExprPtr object) {
  TemplateExprPtr node = make(Kind::item);
  TemplateExprPtr first = at_sign(":") ? nullptr : expression();
  add(*node, std::move(object));
  add(*node, std::move(first));
  if (at_sign(":")) {
    node->kind = Kind::slice;
    while (accept_sign(":")) {
      if (node->operands.size() == 4) unexpected("']'");
      add(*node, at_sign(":") || at_sign("]") ? nullptr : expression());
    }
    while (node->operands.size() < 4) add(*node, nullptr);
  }
  if (at_sign(",")) template_unsupported("the subscript with", ",");
  expect_sign("]");
  return node;
}

void TemplateExpressionParser::arguments(TemplateExpr& node) {
  for (bool first = true; !accept_sign(")"); first = false) {
    if (!first) {
      expect_sign(",");
      if (accept_sign(")")) return;
    }
    if (at_sign("*") || at_sign("**")) template_unsupported("the argument", now().text);
    const bool named = now().kind == Token::name && tokens_[at_ + 1].kind == Token::sign &&
                       tokens_[at_ + 1].text == "=";
    if (named) {
      node.names.push_back(advance().text);
      advance();
    } else if (!node.names.empty()) {
      template_syntax_error(now().line, "an argument without a name follows one with a name");
    }
    add(node, expression());
  }
}

TemplateExprPtr TemplateExpressionParser::filters(TemplateExprPtr input) {
  while (accept_sign("|")) input = filter(std::move(input));
  return input;
}

TemplateExprPtr TemplateExpressionParser::filters_and_tests(TemplateExprPtr node) {
  while (true) {
    if (accept_sign("|"))
      node = filter(std::move(node));
    else if (accept_name("is"))
      node = test(std::move(node));
    else if (at_sign("("))  // what a filter gives may be called, as in Jinja
      node = postfix(std::move(node));
    else
      return node;
  }
}

TemplateExprPtr TemplateExpressionParser::filter(TemplateExprPtr input) {
  TemplateExprPtr node = make(Kind::filter, expect_name());
  add(*node, std::move(input));
  if (accept_sign("(")) arguments(*node);
  return node;
}

bool TemplateExpressionParser::test_argument_follows() const {
  switch (now().kind) {
    case Token::name:
      return !at_name("else") && !at_name("or") && !at_name("and");
    case Token::text:
    case Token::integer:
    case Token::real:
      return true;
    default:
      return at_sign("[") || at_sign("{");
  }
}

TemplateExprPtr TemplateExpressionParser::test(TemplateExprPtr input) {
  const bool negated = accept_name("not");
  TemplateExprPtr node = make(Kind::test, expect_name());
  add(*node, std::move(input));
  if (accept_sign("(")) {
    arguments(*node);
  } else if (test_argument_follows()) {
    if (at_name("is")) template_syntax_error(now().line, "tests cannot be chained");
    const TemplateNesting nesting(nesting_);
    add(*node, postfix(primary()));
  }
  if (!negated) return node;
  TemplateExprPtr opposite = make(Kind::unary, "not");
  add(*opposite, std::move(node));
  return opposite;
}

}  // namespace tender::text
