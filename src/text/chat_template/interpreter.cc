#include "text/chat_template/interpreter.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <unordered_map>

#include "text/chat_template/arguments.h"
#include "text/chat_template/filters.h"
#include "text/chat_template/functions.h"
#include "text/chat_template/methods.h"
#include "text/chat_template/operators.h"

namespace tender::text {
namespace {

using Kind = TemplateValue::Kind;
using Expr = TemplateExpr::Kind;
using Stmt = TemplateStmt::Kind;

constexpr std::array<std::string_view, 5> kFunctions = {"range", "namespace", "dict",
                                                        "raise_exception", "strftime_now"};

class Interpreter {
 public:
  Interpreter(std::vector<std::pair<std::string, TemplateValue>> variables, const std::tm& now)
      : variables_(std::move(variables)), now_(now), frames_(1) {
    for (const std::string_view name : kFunctions)
      frames_[0].insert_or_assign(name, TemplateValue::function(name));
    for (const auto& [name, value] : variables_) frames_[0].insert_or_assign(name, value);
  }

  std::string run(const TemplateBody& body) try {
    execute(body);
    return std::move(out_);
  } catch (const Error& error) {
    throw Error(error.kind(), error.details(),
                fmt::format("line {} of the template: {}", line_, error.sentence()));
  }

 private:
  enum class Flow : std::uint8_t { next, break_, continue_ };
  using Frame = std::unordered_map<std::string_view, TemplateValue>;

  /// A scope: names set within it are gone at its end.
  class Scope {
   public:
    explicit Scope(Interpreter& owner) : owner_(owner) { owner_.frames_.emplace_back(); }
    ~Scope() { owner_.frames_.pop_back(); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Interpreter& owner_;
  };

  /// Output that goes into a value, not into the result.
  class Capture {
   public:
    explicit Capture(Interpreter& owner) : owner_(owner), outer_(std::move(owner.out_)) {
      owner_.out_.clear();
    }
    ~Capture() { owner_.out_ = std::move(outer_); }
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;
    TemplateValue take() { return TemplateValue::text(std::move(owner_.out_)); }

   private:
    Interpreter& owner_;
    std::string outer_;
  };

  class Depth {
   public:
    explicit Depth(Interpreter& owner) : owner_(owner) {
      if (owner_.depth_ >= kTemplateRunDepth)
        fail(ErrorKind::invalid_input,
             {.code = "TPL_STEPS", .hint = "a macro calls itself without end"},
             "evaluations lie more than {} levels within each other", kTemplateRunDepth);
      ++owner_.depth_;
      owner_.budget_.step();
    }
    ~Depth() { --owner_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    Interpreter& owner_;
  };

  // ---- statements

  Flow execute(const TemplateBody& body) {
    for (const TemplateStmt& statement : body) {
      const Flow flow = execute(statement);
      if (flow != Flow::next) return flow;
    }
    return Flow::next;
  }

  Flow execute(const TemplateStmt& s) {
    const Depth depth(*this);
    line_ = s.line;
    switch (s.kind) {
      case Stmt::data:
        append_within_limits(out_, s.text, budget_);
        return Flow::next;
      case Stmt::output:
        append_within_limits(out_, to_text(evaluate(*s.value), budget_), budget_);
        return Flow::next;
      case Stmt::branch:
        return execute(is_true(evaluate(*s.value)) ? s.body : s.otherwise);
      case Stmt::loop:
        return loop(s);
      case Stmt::set:
        set(s);
        return Flow::next;
      case Stmt::set_block:
        set_block(s);
        return Flow::next;
      case Stmt::macro:
        assign(s.macro->name, TemplateValue::macro(s.macro.get()));
        return Flow::next;
      case Stmt::scope:
        return scope(s);
      case Stmt::break_:
        return Flow::break_;
      case Stmt::continue_:
        return Flow::continue_;
    }
    return Flow::next;
  }

  void assign(std::string_view name, TemplateValue value) {
    frames_.back().insert_or_assign(name, std::move(value));
  }

  /// One value to one name, or its elements to several.
  void assign(const std::vector<std::string>& names, TemplateValue value) {
    if (names.size() == 1) return assign(names[0], std::move(value));
    const std::vector<TemplateValue> parts = elements(value, budget_);
    if (parts.size() != names.size())
      template_value_error(fmt::format("{} values for {} names", parts.size(), names.size()));
    for (std::size_t i = 0; i < names.size(); ++i) assign(names[i], parts[i]);
  }

  void set(const TemplateStmt& s) { store(s, evaluate(*s.value)); }

  /// To a name, several names, or an attribute of a namespace.
  void store(const TemplateStmt& s, TemplateValue value) {
    if (s.attribute.empty()) return assign(s.targets, std::move(value));
    const TemplateValue object = variable(s.targets[0]);
    if (!object.is(Kind::name_space))
      template_value_error(fmt::format("only attributes of a namespace can be set, and {} is {}",
                                       quote(s.targets[0]), object.describe()));
    object.as_namespace().attributes.insert_or_assign(s.attribute, std::move(value));
  }

  void set_block(const TemplateStmt& s) {
    TemplateValue text;
    {
      Capture capture(*this);
      const Scope inner(*this);
      execute(s.body);
      text = capture.take();
    }
    {
      const Scope inner(*this);
      assign(kTemplateBlockText, std::move(text));
      text = evaluate(*s.value);
    }
    store(s, std::move(text));
  }

  Flow scope(const TemplateStmt& s) {
    std::vector<TemplateValue> values;
    for (const TemplateExprPtr& value : s.values) values.push_back(evaluate(*value));
    const Scope inner(*this);
    for (std::size_t i = 0; i < values.size(); ++i) assign(s.targets[i], values[i]);
    return execute(s.body);
  }

  /// The elements of a loop, less those that its condition leaves out.
  std::vector<TemplateValue> looped(const TemplateStmt& s) {
    std::vector<TemplateValue> values = elements(evaluate(*s.value), budget_);
    if (s.condition == nullptr) return values;
    std::vector<TemplateValue> kept;
    for (TemplateValue& value : values) {
      const Scope inner(*this);
      assign(s.targets, value);
      if (is_true(evaluate(*s.condition))) kept.push_back(std::move(value));
    }
    return kept;
  }

  Flow loop(const TemplateStmt& s) {
    TemplateLoop& state = loops_.emplace_back();
    state.values = looped(s);
    state.depth = ++loop_depth_;
    Flow flow = Flow::next;
    for (; state.index < state.values.size() && flow != Flow::break_; ++state.index) {
      budget_.step();
      const Scope inner(*this);
      assign(s.targets, state.values[state.index]);
      assign("loop", TemplateValue::loop(&state));
      flow = execute(s.body);
    }
    --loop_depth_;
    if (!state.values.empty()) return Flow::next;
    const Scope inner(*this);
    return execute(s.otherwise);
  }

  // ---- expressions

  TemplateValue variable(std::string_view name) {
    for (std::size_t i = frames_.size(); i-- > base_;) {
      const auto found = frames_[i].find(name);
      if (found != frames_[i].end()) return found->second;
    }
    const auto found = frames_[0].find(name);
    return found != frames_[0].end() ? found->second : TemplateValue::undefined(quote(name));
  }

  TemplateValue evaluate(const TemplateExpr& e) {
    const Depth depth(*this);
    switch (e.kind) {
      case Expr::constant:
        return e.value;
      case Expr::variable:
        return variable(e.name);
      case Expr::list:
        return TemplateValue::list(evaluate_all(e));
      case Expr::tuple:
        return TemplateValue::list(evaluate_all(e), true);
      case Expr::dict:
        return dict(e);
      case Expr::attribute:
        return attribute_of(evaluate(*e.operands[0]), e.name);
      case Expr::item:
        return item(e);
      case Expr::slice:
        return slice(e);
      case Expr::call:
        return call(e);
      case Expr::filter:
        return filter(e);
      case Expr::test:
        return test(e);
      case Expr::unary:
        return unary(e);
      case Expr::logical:
        return logical(e);
      case Expr::binary:
        return binary(e);
      case Expr::compare:
        return compare(e);
      case Expr::concat:
        return concat(e);
      case Expr::conditional:
        return conditional(e);
    }
    return {};
  }

  std::vector<TemplateValue> evaluate_all(const TemplateExpr& e) {
    budget_.make(e.operands.size() * sizeof(TemplateValue));
    std::vector<TemplateValue> values;
    for (const TemplateExprPtr& operand : e.operands) values.push_back(evaluate(*operand));
    return values;
  }

  TemplateValue dict(const TemplateExpr& e) {
    TemplateValue::Entries entries;
    for (std::size_t i = 0; i < e.operands.size(); i += 2) {
      const TemplateValue key = evaluate(*e.operands[i]);
      if (!key.is_text()) template_unsupported("as key of a dictionary", key.describe());
      budget_.read(key.as_text().size());
      put_entry(entries, key.as_text(), evaluate(*e.operands[i + 1]), budget_);
    }
    return TemplateValue::dict(std::move(entries));
  }

  TemplateValue item(const TemplateExpr& e) {
    const TemplateValue object = evaluate(*e.operands[0]);
    return item_of(object, evaluate(*e.operands[1]), budget_);
  }

  TemplateValue slice(const TemplateExpr& e) {
    const TemplateValue object = evaluate(*e.operands[0]);
    const auto bound = [&](std::size_t i) {
      return e.operands[i] == nullptr ? TemplateValue::none() : evaluate(*e.operands[i]);
    };
    const TemplateValue start = bound(1);
    const TemplateValue stop = bound(2);
    return slice_of(object, start, stop, bound(3), budget_);
  }

  TemplateArguments arguments(const TemplateExpr& e) {
    TemplateArguments out;
    const std::size_t first_named = e.operands.size() - e.names.size();
    for (std::size_t i = 1; i < e.operands.size(); ++i) {
      if (i < first_named)
        out.positional.push_back(evaluate(*e.operands[i]));
      else
        out.named.emplace_back(e.names[i - first_named], evaluate(*e.operands[i]));
    }
    return out;
  }

  TemplateValue filter(const TemplateExpr& e) {
    const TemplateValue input = evaluate(*e.operands[0]);
    return apply_filter(e.name, input, arguments(e), budget_);
  }

  TemplateValue test(const TemplateExpr& e) {
    const TemplateValue input = evaluate(*e.operands[0]);
    return TemplateValue::boolean(apply_test(e.name, input, arguments(e), budget_));
  }

  TemplateValue unary(const TemplateExpr& e) {
    const TemplateValue value = evaluate(*e.operands[0]);
    if (e.name == "not") return TemplateValue::boolean(!is_true(value));
    const TemplateValue opposite = negated(value);
    return e.name == "-" ? opposite : negated(opposite);
  }

  TemplateValue logical(const TemplateExpr& e) {
    TemplateValue left = evaluate(*e.operands[0]);
    return is_true(left) == (e.name == "or") ? left : evaluate(*e.operands[1]);
  }

  TemplateValue binary(const TemplateExpr& e) {
    const TemplateValue left = evaluate(*e.operands[0]);
    return arithmetic(e.name, left, evaluate(*e.operands[1]), budget_);
  }

  /// a < b < c holds if both comparisons do, as in Python.
  TemplateValue compare(const TemplateExpr& e) {
    TemplateValue left = evaluate(*e.operands[0]);
    for (std::size_t i = 0; i < e.names.size(); ++i) {
      TemplateValue right = evaluate(*e.operands[i + 1]);
      if (!holds(e.names[i], left, right, budget_)) return TemplateValue::boolean(false);
      left = std::move(right);
    }
    return TemplateValue::boolean(true);
  }

  TemplateValue concat(const TemplateExpr& e) {
    std::string text;
    for (const TemplateExprPtr& operand : e.operands)
      append_within_limits(text, to_text(evaluate(*operand), budget_), budget_);
    return TemplateValue::text(std::move(text));
  }

  TemplateValue conditional(const TemplateExpr& e) {
    if (is_true(evaluate(*e.operands[0]))) return evaluate(*e.operands[1]);
    if (e.operands[2] != nullptr) return evaluate(*e.operands[2]);
    return TemplateValue::undefined("the value of a conditional without else");
  }

  // ---- calls

  TemplateValue call(const TemplateExpr& e) {
    const TemplateExpr& callee = *e.operands[0];
    if (callee.kind == Expr::attribute) {
      const TemplateValue object = evaluate(*callee.operands[0]);
      const TemplateValue found = attribute_of(object, callee.name);
      if (found.is(Kind::function) && found.as_function() == method_name(object, callee.name))
        return call_method(object, callee.name, arguments(e), budget_);
      if (found.is(Kind::undefined))
        template_unsupported("of " + object.describe() + " the method", callee.name);
      return call_value(found, callee.name, e);
    }
    const TemplateValue found = evaluate(callee);
    if (found.is(Kind::undefined)) template_unsupported("the function", callee.name);
    return call_value(found, callee.name, e);
  }

  TemplateValue call_value(const TemplateValue& callee, std::string_view name,
                           const TemplateExpr& e) {
    if (callee.is(Kind::macro)) return call_macro(callee.as_macro(), arguments(e));
    if (!callee.is(Kind::function)) template_value_error(callee.describe() + " cannot be called");
    const std::string_view function = callee.as_function();
    if (function == "range") return range_of(arguments(e), budget_);
    if (function == "namespace") return new_namespace(arguments(e));
    if (function == "dict") return TemplateValue::dict(named_entries(arguments(e), budget_));
    if (function == "raise_exception") raise_exception(arguments(e), budget_);
    if (function == "strftime_now") return time_text(arguments(e), now_);
    template_unsupported("out of its place the method", name.empty() ? function : name);
  }

  TemplateValue call_macro(const TemplateMacro& macro, TemplateArguments arguments) {
    const std::size_t count = macro.parameters.size();
    if (arguments.positional.size() > count)
      template_value_error(fmt::format("the macro {} takes {} arguments, not {}", quote(macro.name),
                                       count, arguments.positional.size()));
    Capture capture(*this);
    const Scope inner(*this);
    // A macro sees its own names and those of the template, not those of its caller.
    const std::size_t outer_base = std::exchange(base_, frames_.size() - 1);
    const struct Restore {
      std::size_t& base;
      std::size_t value;
      ~Restore() { base = value; }
    } restore{base_, outer_base};
    bind(macro, std::move(arguments));
    execute(*macro.body);
    return capture.take();
  }

  /// Arguments to the parameters of a macro, in its scope.
  void bind(const TemplateMacro& macro, TemplateArguments arguments) {
    const std::size_t count = macro.parameters.size();
    std::vector<bool> given(count, false);
    for (std::size_t i = 0; i < arguments.positional.size(); ++i) {
      assign(macro.parameters[i], std::move(arguments.positional[i]));
      given[i] = true;
    }
    for (auto& [name, value] : arguments.named) {
      const auto found = std::find(macro.parameters.begin(), macro.parameters.end(), name);
      const auto place = static_cast<std::size_t>(found - macro.parameters.begin());
      if (place == count || given[place])
        template_value_error(
            fmt::format("the macro {} has no parameter {} left", quote(macro.name), quote(name)));
      assign(macro.parameters[place], std::move(value));
      given[place] = true;
    }
    const std::size_t first_default = count - macro.defaults.size();
    for (std::size_t i = 0; i < count; ++i)
      if (!given[i])
        assign(macro.parameters[i], i < first_default
                                        ? TemplateValue::undefined(quote(macro.parameters[i]))
                                        : evaluate(*macro.defaults[i - first_default]));
  }

  TemplateValue new_namespace(const TemplateArguments& given) {
    TemplateNamespace& made = namespaces_.emplace_back();
    for (auto& [name, value] : named_entries(given, budget_)) {
      refuse_host_attribute(name);
      made.attributes.insert_or_assign(name, value);
    }
    return TemplateValue::name_space(&made);
  }

  const std::vector<std::pair<std::string, TemplateValue>> variables_;
  const std::tm& now_;
  TemplateBudget budget_;
  std::vector<Frame> frames_;
  std::size_t base_ = 0;  ///< names are sought in the frames from here on, then in the first
  std::deque<TemplateNamespace> namespaces_;
  std::deque<TemplateLoop> loops_;
  std::size_t loop_depth_ = 0;
  std::uint32_t depth_ = 0;
  std::uint32_t line_ = 1;
  std::string out_;
};

}  // namespace

std::string run_template(const TemplateBody& body,
                         std::vector<std::pair<std::string, TemplateValue>> variables,
                         const std::tm& now) {
  return Interpreter(std::move(variables), now).run(body);
}

}  // namespace tender::text
