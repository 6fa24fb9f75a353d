#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "tests/support/test_support.h"

namespace tender::text {
namespace {

/// The time of oracle/make_template_golden.py: a Friday.
std::tm golden_time() {
  std::tm time{};
  time.tm_year = 124, time.tm_mon = 6, time.tm_mday = 26, time.tm_wday = 5, time.tm_yday = 207;
  time.tm_hour = 13, time.tm_min = 5, time.tm_sec = 9;
  return time;
}

std::string render(const std::string& source, const OrderedJson& context = OrderedJson::object()) {
  RenderOptions options{.bos_token = "<s>", .eos_token = "</s>"};
  options.extra = &context;
  options.now = golden_time();
  return ChatTemplate(source, "tokenizer_config.json").render(OrderedJson::array(), options);
}

/// The code of the error that rendering ends with; its text if it does not.
std::string code_of(const std::string& source, const OrderedJson& context = OrderedJson::object()) {
  try {
    return "rendered " + render(source, context).substr(0, 100);
  } catch (const Error& error) {
    EXPECT_FALSE(error.details().hint.empty()) << error.what();
    EXPECT_EQ(error.details().file, "tokenizer_config.json");
    return error.code();
  }
}

const OrderedJson& golden() {
  static const auto file = OrderedJson::parse(
      testing::read_text(testing::source_path("src/text/golden/chat_templates.json")));
  return file;
}

std::string source_of(const OrderedJson& one) {
  const auto name = one["template"].get<std::string>();
  const auto shared = golden()["templates"].find(name);
  return shared == golden()["templates"].end() ? name : shared->get<std::string>();
}

TEST(ChatTemplateTest, RendersWhatJinjaRenders) {
  std::size_t rendered = 0;
  for (const OrderedJson& one : golden()["cases"]) {
    if (!one.contains("text")) continue;
    ++rendered;
    try {
      EXPECT_EQ(render(source_of(one), one["context"]), one["text"].get<std::string>())
          << one["name"];
    } catch (const Error& error) {
      ADD_FAILURE() << one["name"] << ": " << error.code() << " " << error.what();
    }
  }
  EXPECT_GE(rendered, 60U);
}

TEST(ChatTemplateTest, RefusesWhatJinjaRefuses) {
  const std::map<std::string, std::string> codes = {{"TemplateSyntaxError", "TPL_SYNTAX"},
                                                    {"TemplateError", "TPL_RAISED"},
                                                    {"SecurityError", "TPL_FORBIDDEN"},
                                                    {"UndefinedError", "TPL_VALUE"},
                                                    {"TypeError", "TPL_VALUE"},
                                                    {"ValueError", "TPL_VALUE"},
                                                    {"ZeroDivisionError", "TPL_VALUE"},
                                                    {"TemplateRuntimeError", "TPL_VALUE"},
                                                    {"AttributeError", "TPL_VALUE"}};
  std::size_t refused = 0;
  for (const OrderedJson& one : golden()["cases"]) {
    if (one.contains("text")) continue;
    ++refused;
    EXPECT_EQ(code_of(source_of(one), one["context"]), codes.at(one["refused"].get<std::string>()))
        << one["name"];
  }
  EXPECT_GE(refused, 10U);
}

TEST(ChatTemplateTest, MessagesAndThePromptOfTheAssistantAreVariables) {
  const ChatTemplate compiled(
      "{{ messages[0].content }}{% if add_generation_prompt %}>{% endif %}{{ bos_token }}");
  const auto messages = OrderedJson::parse(R"([{"role":"user","content":"hi"}])");
  EXPECT_EQ(compiled.render(messages, {}), "hi>");
  EXPECT_EQ(compiled.render(messages, {.add_generation_prompt = false, .bos_token = "<s>"}),
            "hi<s>");
}

TEST(ChatTemplateTest, ARaisedMessageAndTheLineAreTold) {
  try {
    render("a\n\n{{ raise_exception('turns\nmust alternate') }}");
    FAIL() << "rendered";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "TPL_RAISED");
    EXPECT_THAT(error.what(), ::testing::HasSubstr("line 3"));
    EXPECT_THAT(error.what(), ::testing::HasSubstr("turns\\x0amust alternate"));
  }
  try {
    render("{% if x %}\n{{ y. }}{% endif %}");
    FAIL() << "rendered";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), "TPL_SYNTAX");
    EXPECT_THAT(error.what(), ::testing::HasSubstr("line 2"));
  }
}

TEST(ChatTemplateTest, EndlessWorkIsStopped) {
  EXPECT_EQ(code_of("{{ range(10 ** 9) }}"), "TPL_STEPS");
  EXPECT_EQ(code_of("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"),
            "TPL_STEPS");
  EXPECT_EQ(code_of("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), "TPL_STEPS");
  EXPECT_EQ(
      code_of("{% macro f() %}{% for i in [1, 2] %}{{ f() }}{% endfor %}{% endmacro %}{{ f() }}"),
      "TPL_STEPS");
  EXPECT_EQ(code_of("{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] "
                    "%}{% endfor %}"),
            "TPL_STEPS");
  // 2^60 leaves in shared lists: no walk over them may take its time
  const std::string doubling =
      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% "
      "endfor %}";
  EXPECT_EQ(code_of(doubling + "{{ ns.x }}"), "TPL_STEPS");
  EXPECT_EQ(code_of(doubling + "{{ ns.x | tojson }}"), "TPL_STEPS");
  EXPECT_EQ(code_of(doubling + "{{ ns.x == ns.x }}"), "TPL_STEPS");
  EXPECT_EQ(code_of("{{ " + std::string(100'000, '(') + "1" + std::string(100'000, ')') + " }}"),
            "TPL_STEPS");
  std::string chain = "{{ 1";
  for (int i = 0; i < 100'000; ++i) chain += "+1";
  EXPECT_EQ(code_of("{{ " + std::string(100'000, '-') + "1 }}"), "TPL_STEPS");
  EXPECT_EQ(code_of(chain + " }}"), "TPL_STEPS");
  std::string blocks;
  for (int i = 0; i < 100'000; ++i) blocks += "{% if 1 %}";
  EXPECT_EQ(code_of(blocks), "TPL_STEPS");
}

TEST(ChatTemplateTest, EndlessTextIsStopped) {
  const std::string doubling =
      "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ";
  EXPECT_EQ(code_of(doubling + "+ ns.x %}{% endfor %}"), "TPL_OUTPUT");
  EXPECT_EQ(code_of(doubling + "~ ns.x %}{% endfor %}"), "TPL_OUTPUT");
  EXPECT_EQ(code_of(doubling + "* 2 %}{% endfor %}"), "TPL_OUTPUT");
  EXPECT_EQ(code_of(doubling + "| replace('b', 'bb' * (i + 2)) %}{% endfor %}"), "TPL_OUTPUT");
  EXPECT_EQ(code_of(doubling + "| list | join('xyz') %}{% endfor %}"), "TPL_OUTPUT");
  EXPECT_EQ(code_of("{{ 'x' * 10 ** 18 }}"), "TPL_OUTPUT");
  EXPECT_EQ(code_of("{{ [1] * 10 ** 18 }}"), "TPL_OUTPUT");
  EXPECT_EQ(code_of("{% for i in range(9) %}{{ 'x' * 1000000 }}{% endfor %}"), "TPL_OUTPUT");
  EXPECT_EQ(code_of("{{ 'x' * 4194305 }}"), "TPL_OUTPUT");
  EXPECT_EQ(render("{{ 'x' * 4194304 }}").size(), 4194304U);
}

TEST(ChatTemplateTest, TheWorstTemplatesEndWithinASecond) {
  const std::string text = "{% set x = 'a' * 2000000 %}{% for i in range(99999) %}";
  for (const std::string body :
       {"{{ x.count('a' * 999999 ~ 'b') }}", "{% if ('a' * 999999 ~ 'b') in x %}{% endif %}",
        "{% set y = x | replace('a', 'b') %}", "{% set y = x.strip('a') %}", "{% set y = x[5:] %}",
        "{% set y = x | upper %}", "{% set y = x == x %}", "{% set y = x[1999999] %}",
        "{% set y = x.rsplit('a' * 999 ~ 'b') %}", "{% set y = x | tojson %}",
        "{% set y = [x] | string %}", "{% set y = x | title %}"}) {
    const std::clock_t start = std::clock();  // of this process: other load does not count
    EXPECT_EQ(code_of(text + body + "{% endfor %}"), "TPL_STEPS") << body;
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    EXPECT_LT(seconds, 5.0) << body;  // 0.3 or less; sanitizers take several times as long
  }
}

TEST(ChatTemplateTest, WhatTheSubsetLacksIsNamed) {
  for (const std::string name : {"urlize", "groupby", "wordcount", "e"}) {
    try {
      render("{{ 'x' | " + name + " }}");
      FAIL() << name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), "TPL_UNSUPPORTED");
      EXPECT_EQ(error.details().item, name);
    }
  }
  EXPECT_EQ(code_of("{{ cycler(1) }}"), "TPL_UNSUPPORTED");
  EXPECT_EQ(code_of("{{ 'x'.encode() }}"), "TPL_UNSUPPORTED");
  EXPECT_EQ(code_of("{{ 1 is prime }}"), "TPL_UNSUPPORTED");
  EXPECT_EQ(code_of("{% call f() %}{% endcall %}"), "TPL_UNSUPPORTED");
  EXPECT_EQ(code_of("{% for x in [] recursive %}{% endfor %}"), "TPL_UNSUPPORTED");
  EXPECT_EQ(code_of("{{ '%s' % 1 }}"), "TPL_UNSUPPORTED");
  // but only where it is used
  EXPECT_EQ(render("{% if false %}{{ 'x' | urlize }}{% endif %}ok"), "ok");
}

TEST(ChatTemplateTest, WaysOutOfTheSandboxAreForbidden) {
  for (const std::string source :
       {"{{ ''.__class__ }}", "{{ ''.__class__.__mro__ }}", "{{ messages['__class__'] }}",
        "{{ 'x' | attr('__class__') }}", "{{ [''] | map(attribute='__class__') | list }}",
        "{{ namespace(__init__=1) }}", "{% include 'x' %}", "{% import 'os' as os %}",
        "{% from 'x' import y %}", "{% extends 'x' %}",
        "{% set ns = namespace() %}{% set ns.__x__ = 1 %}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}", "{{ messages.append(1) }}",
        "{{ {}.update(a=1) }}"})
    EXPECT_EQ(code_of(source), "TPL_FORBIDDEN") << source;
}

TEST(ChatTemplateTest, BytesThatAreNotUtf8StayAsTheyAre) {
  OrderedJson context;
  context["x"] = "a\xff\xc3";
  EXPECT_EQ(render("{{ x }}{{ x | length }}{{ x[1] }}{{ x | upper }}", context),
            "a\xff\xc3"
            "3\xff"
            "A\xff\xc3");
}

TEST(ChatTemplateTest, ATemplateServesManyThreads) {
  const ChatTemplate compiled(
      "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ "
      "ns.n }}");
  EXPECT_EQ(compiled.render(OrderedJson::array({1, 2})), "2");
  EXPECT_EQ(compiled.render(OrderedJson::array({1, 2, 3})), "3");
}

}  // namespace
}  // namespace tender::text
