#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/chat_template/value.h"

namespace tender::text {

struct TemplateExpr;
using TemplateExprPtr = std::unique_ptr<TemplateExpr>;

/// An expression. What `operands` and `names` hold, by kind:
///
///     constant                value
///     variable                name
///     list, tuple             operands: elements
///     dict                    operands: key, value, key, value …
///     attribute               operands: object                    name: the attribute
///     item                    operands: object, key
///     slice                   operands: object, start, stop, step (null where left out)
///     call                    operands: callee, arguments         names: of the last arguments
///     filter, test            operands: input, arguments          names: of the last arguments
///     unary                   operands: one                       name: "-", "+", "not"
///     logical                 operands: two                       name: "and", "or"
///     binary                  operands: two                       name: the operator
///     compare                 operands: two or more               names: operators between them
///     concat                  operands: two or more
///     conditional             operands: condition, then, else (null where left out)
struct TemplateExpr {
  enum class Kind : std::uint8_t {
    constant,
    variable,
    list,
    tuple,
    dict,
    attribute,
    item,
    slice,
    call,
    filter,
    test,
    unary,
    logical,
    binary,
    compare,
    concat,
    conditional
  };
  Kind kind = Kind::constant;
  std::uint32_t line = 0;
  std::uint32_t depth = 1;
  std::string name{};
  TemplateValue value{};
  std::vector<TemplateExprPtr> operands{};
  std::vector<std::string> names{};
};

struct TemplateStmt;
using TemplateBody = std::vector<TemplateStmt>;

/// `{% macro name(parameters) %}`; the last defaults.size() parameters have defaults.
struct TemplateMacro {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<TemplateExprPtr> defaults;
  std::unique_ptr<TemplateBody> body;
};

/// A statement. What the members hold, by kind:
///
///     data            text
///     output          value
///     branch          value: condition      body, otherwise      (elif: a branch within otherwise)
///     loop            targets, value: the iterated, condition: of the `if`, body, otherwise
///     set             targets (two names of a namespace: see `attribute`), value
///     set_block       targets, body, value: filters over a constant that stands for the block
///     macro           macro
///     scope           targets, values: of `with`; body
///     break_, continue_
struct TemplateStmt {
  enum class Kind : std::uint8_t {
    data,
    output,
    branch,
    loop,
    set,
    set_block,
    macro,
    scope,
    break_,
    continue_
  };
  Kind kind = Kind::data;
  std::uint32_t line = 0;
  std::string text{};
  std::vector<std::string> targets{};
  std::string attribute{};  ///< set: of the namespace targets[0]
  TemplateExprPtr value{};
  TemplateExprPtr condition{};
  std::vector<TemplateExprPtr> values{};
  TemplateBody body{};
  TemplateBody otherwise{};
  std::unique_ptr<TemplateMacro> macro{};
};

/// The name under which the filters of a set block find the text of the block; no variable can have
/// it.
constexpr std::string_view kTemplateBlockText = " block";

}  // namespace tender::text
