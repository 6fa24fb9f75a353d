#!/usr/bin/env python3
"""Writes src/text/golden/chat_templates.json: templates, contexts and what Jinja2 makes of them.

    python3 oracle/make_template_golden.py src/text/golden/chat_templates.json

Needs jinja2 (3.1.6 made the committed file). The environment is set up as transformers does it for chat
templates: trim_blocks, lstrip_blocks, loop controls, a tojson that is json.dumps, raise_exception,
strftime_now (here at a fixed time). The templates are our own, written to use what the templates of
known model families use. A case without "text" is one that Jinja2 refuses.
"""

import datetime
import json
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

NOW = datetime.datetime(2024, 7, 26, 13, 5, 9)

TALK = [
    {"role": "user", "content": "  What is 2+2? "},
    {"role": "assistant", "content": "4."},
    {"role": "user", "content": "And 3+3?\n"},
]
SYSTEM_TALK = [{"role": "system", "content": "Be brief.\n"}, *TALK]
UNICODE_TALK = [{"role": "user", "content": "Grüße, 世界 🙂 'x' \"y\" <b>\t"}]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather at a place, in °C & \"words\"",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string"}, "days": {"type": "integer", "default": 1}},
                "required": ["place"],
            },
        },
    },
    {"type": "function", "function": {"name": "clock", "parameters": {}}},
]
TOOL_TALK = [
    {"role": "user", "content": "Weather in Bern?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "weather", "arguments": {"place": "Bern", "days": 2}}}],
    },
    {"role": "tool", "content": "sunny"},
    {"role": "tool", "content": "23.5"},
    {"role": "assistant", "content": "Sunny."},
]

# Llama 2: the system text goes inside the first instruction; turns must alternate.
LLAMA2 = """\
{%- if messages[0]['role'] == 'system' -%}
    {%- set turns = messages[1:] -%}
    {%- set system_text = messages[0]['content'] -%}
{%- else -%}
    {%- set turns = messages -%}
    {%- set system_text = false -%}
{%- endif -%}
{%- for turn in turns -%}
    {%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{- raise_exception('User and assistant must take turns') -}}
    {%- endif -%}
    {%- if loop.index0 == 0 and system_text != false -%}
        {%- set body = '<<SYS>>\\n' + system_text + '\\n<</SYS>>\\n\\n' + turn['content'] -%}
    {%- else -%}
        {%- set body = turn['content'] -%}
    {%- endif -%}
    {%- if turn['role'] == 'user' -%}
        {{- bos_token + '[INST] ' + body.strip() + ' [/INST]' -}}
    {%- elif turn['role'] == 'assistant' -%}
        {{- ' ' + body.strip() + ' ' + eos_token -}}
    {%- endif -%}
{%- endfor -%}
"""

# Llama 3: headers, a date, tools in the first user turn.
LLAMA3 = """\
{{- bos_token }}
{%- if not date is defined %}
    {%- if strftime_now is defined %}
        {%- set date = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages[0].role == 'system' %}
    {%- set system_text = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_text = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: tools\\n" }}
{%- endif %}
{{- "Today: " + date + "\\n\\n" }}
{{- system_text }}
{{- "<|eot_id|>" }}
{%- if tools is not none and messages | length != 0 %}
    {%- set first_text = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\nYou may call:\\n\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_text + "<|eot_id|>" }}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls | length == 1 %}
            {{- raise_exception("one tool call at once") }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson }}
        {{- "}<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

# Qwen 2 and its successors: tool results of a run share one user turn; a namespace finds the last query.
QWEN = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are a helpful assistant.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- elif messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(multi_step=true, last_query=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step and message.role == "user" and message.content is string and not(message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}
        {%- set ns.multi_step = false %}
        {%- set ns.last_query = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool>\\n' }}
        {{- message.content }}
        {{- '\\n</tool>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{{- 'last query ' ~ ns.last_query }}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if thinking is defined and thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

# Parts of contents, a macro, thinking cut out of old answers.
PARTS = """\
{%- macro show(content, label='text') -%}
    {%- if content is string -%}
        {{- label ~ ':' ~ content -}}
    {%- elif content is iterable and content is not mapping -%}
        {%- for part in content if part.type == 'text' -%}
            {{- part['text'] }}{{ ', ' if not loop.last }}
        {%- endfor -%}
    {%- elif content is none or content is undefined -%}
        (nothing)
    {%- else -%}
        {{- raise_exception('Unexpected content ' ~ content) -}}
    {%- endif -%}
{%- endmacro -%}
{% for m in messages %}
    {%- set content = show(m.content, label=m.role) %}
    {%- if '</think>' in content %}
        {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        [{{ thought }}]
    {% endif %}
    {{ content }}
{% else %}
no messages
{% endfor %}
"""

CASES = [
    ("llama2 plain", LLAMA2, {"messages": TALK}),
    ("llama2 system", LLAMA2, {"messages": SYSTEM_TALK}),
    ("llama2 wrong turns", LLAMA2, {"messages": TALK[1:]}),
    ("llama3 plain", LLAMA3, {"messages": TALK}),
    ("llama3 system", LLAMA3, {"messages": SYSTEM_TALK, "add_generation_prompt": False}),
    ("llama3 date given", LLAMA3, {"messages": TALK, "date": "01 Jan 2020"}),
    ("llama3 tools", LLAMA3, {"messages": TOOL_TALK, "tools": TOOLS}),
    ("qwen plain", QWEN, {"messages": TALK}),
    ("qwen system", QWEN, {"messages": SYSTEM_TALK}),
    ("qwen tools", QWEN, {"messages": TOOL_TALK, "tools": TOOLS}),
    ("qwen thinking", QWEN, {"messages": UNICODE_TALK, "thinking": False}),
    ("parts strings", PARTS, {"messages": SYSTEM_TALK}),
    (
        "parts lists and thoughts",
        PARTS,
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]},
                {"role": "assistant", "content": "<think>\nhm\n</think>\n\nyes"},
                {"role": "user", "content": None},
                {"role": "user"},
            ]
        },
    ),
    ("parts refused", PARTS, {"messages": [{"role": "user", "content": {"a": 1}}]}),
    ("parts empty", PARTS, {"messages": []}),
]


def small(name, template, **context):
    CASES.append((name, template, context))


# Whitespace.
small("trim blocks", "a\n{% if true %}\n b\n{% endif %}\nc\n")
small("lstrip blocks", "a\n   {% if true %}\n\t{{ 1 }}\n  {# note #}\n   x {% endif %}\nb")
small("signs", "a  {%- if true -%}  \n b {{- 1 -}}  c\n {%+ if true +%}\n d{%- endif %}\n{% endif %} \n")
small("signs after line start", "{% if true -%}\n   {% endif %}x\n  {%- set a = 1 %}  y {{ a }}\n\n")
small("comments", "x {# a\n b #}\ny\n{#- c -#}\n z{# d +#}\n!")
small("raw", "a\n  {% raw %}\n {{ no }} {% if %}\n  {% endraw %}\nb {%- raw -%}  {# c #}  {%- endraw -%}  d")
small("carriage returns", "a\r\n{% if true %}\r\nb\r{% endif %}\r\n")
small("braces in tags", "{{ {'a': {'b': 1}}['a']['b'] }}{{ '}}' }}{{ \"%}\" }}")
small("no tags", "just { text } % # \n\n")
small("unfinished tag", "a {{ 1 ")
small("unfinished block", "{% for x in [1] %}")
small("stray end", "{% endif %}")

# Literals and printing.
small("constants", "{{ true }} {{ False }} {{ none }} {{ None }} {{ 12 }} {{ 1_000 }} {{ 1.50 }} {{ 1e3 }} {{ 2.5e-7 }} {{ 1e16 }} {{ 123456789012345678 }}")
small("strings", r"""{{ 'it\'s' }} {{ "tab\there" }} {{ 'a\\b' }} {{ 'A\x41\u00e9\U0001f600\101' }} {{ 'un\known' }} {{ 'one' "two" }}""")
small("collections", """{{ [1, 'a', "it's", none, true, 1.0, [2], {'k': 'v\\n'}] }} {{ (1,) }} {{ () }} {{ 1, 2 }} {{ [] }} {{ {} }} {{ ["\\t\\\\é\\u200b\\x7f"] }}""")
small("undefined prints as nothing", "[{{ nothing }}] [{{ messages.foo }}] [{{ nothing ~ 'x' }}]", messages=[])
small("undefined has no attributes", "{{ nothing.foo }}")
small("undefined does not add", "{{ 'a' + nothing }}")

# Operators.
small("arithmetic", "{{ 7 + 2 * 3 - 1 }} {{ 7 / 2 }} {{ 6 / 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ 7 % 3 }} {{ -7 % 3 }} {{ 7.5 % -2 }} {{ 7.5 // 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ true + 1 }} {{ +true }}")
small("strings and lists", "{{ 'a' * 3 + 'b' }} {{ [1] * 2 + [3] }} {{ 2 * 'xy' }} {{ 'a' ~ 1 ~ none ~ [1] }}")
small("comparison", "{{ 1 < 2 <= 2 < 3 }} {{ 1 < 2 > 3 }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 'é' > 'z' }} {{ true == 1 }} {{ none == false }} {{ {'a': 1} == {'a': 1.0} }} {{ (1,) == [1] }} {{ x == y }}")
small("membership", "{{ 'a' in 'cat' }} {{ 1 in [2, 1.0] }} {{ 'k' in {'k': 1} }} {{ 'v' not in {'k': 'v'} }} {{ 'x' in nothing }} {{ not 'a' in ['b'] }} {{ '' in 'a' }}")
small("logic", "{{ 1 and 'x' }} {{ 0 or '' or 'z' }} {{ not none }} {{ not '' and not [] }} {{ true or nothing.x.y }} {{ none and 1 }} {{ 1 if 0 else 2 if 0 else 3 }} [{{ 'a' if false }}] {{ not 1 == 2 }}")
small("precedence of filters", "{{ -1 | abs }} {{ 'a' ~ 'b' | upper }} {{ 1 + 2 | string | length }} {{ 'A' | lower in 'a' }} {{ not x is defined }} {{ 4 is even and 3 is odd }} {{ 1 == 1 | int }}")
small("order of unlike things", "{{ 1 < 'a' }}")
small("division by zero", "{{ 1 // 0 }}")

# Access.
small("index", "{{ a[0] }} {{ a[-1] }} [{{ a[9] }}] {{ 'héllo'[1] }} {{ 'héllo'[-1] }} {{ d['k'] }} {{ d.k }} [{{ d.no }}] [{{ d['no'] }}] {{ a.0 }} {{ d.items is callable }} {{ d['items'] }}", a=[1, 2, 3], d={"k": "v", "items": "own"})
small("slices", "{{ a[1:] }} {{ a[:-1] }} {{ a[::2] }} {{ a[::-1] }} {{ a[-2:] }} {{ a[3:1] }} {{ a[10:] }} {{ 'héllo'[1:3] }} {{ 'héllo'[::-1] }} {{ a[None:2] }} {{ a[4:0:-2] }}", a=[1, 2, 3, 4, 5])
small("methods of strings", "{{ ' x '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'abc'.lstrip('ab') }}|{{ 'abc'.rstrip('bc') }}|{{ 'a b  c'.split() }}|{{ 'a,b,,c'.split(',') }}|{{ 'a,b,c'.split(',', 1) }}|{{ 'a,b,c'.rsplit(',', 1) }}|{{ 'a\\nb\\r\\nc'.splitlines() }}|{{ ' a b c '.split(None, 1) }}|{{ 'x'.startswith('x') }}|{{ 'xy'.endswith(('z', 'y')) }}")
small("methods of strings, case", "{{ 'héLLo wORLD it\\'s'.upper() }}|{{ 'HÉLLO'.lower() }}|{{ \"héllo wORLD it's a-b\".title() }}|{{ 'hELLO x'.capitalize() }}|{{ 'a-b-c'.replace('-', '+') }}|{{ 'aaa'.replace('a', 'b', 2) }}|{{ 'ab'.replace('', '.') }}|{{ ', '.join(['a', 'b']) }}|{{ 'hello'.find('l') }}|{{ 'héllo'.find('l') }}|{{ 'banana'.count('an') }}|{{ '12'.isdigit() }}|{{ 'foobar'.removeprefix('foo') }}|{{ 'foobar'.removesuffix('bar') }}")
small("methods of dicts and lists", "{{ d.items() | list }} {{ d.keys() | list }} {{ d.values() | list }} {{ d.get('a') }} {{ d.get('z') }} {{ d.get('z', 5) }} {{ [1, 2, 1].count(1) }} {{ [5, 6].index(6) }}", d={"b": 1, "a": [2]})
small("lists do not change", "{{ [1].append(2) }}")

# Statements.
small("loops", "{% for x in [5, 6, 7] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}[{{ loop.previtem }},{{ loop.nextitem }}]{{ loop.cycle('a', 'b') }} {% endfor %}")
small("loops over things", "{% for k in d %}{{ k }}{% endfor %} {% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %} {% for (k, v) in d | items %}{{ k }}{% endfor %} {% for c in 'hé' %}{{ c }}.{% endfor %} {% for x in nothing %}{% else %}none{% endfor %} {% for x in range(3, 9, 2) %}{{ x }}{% endfor %} {% for x in range(3, 0, -1) %}{{ x }}{% endfor %}", d={"b": 1, "a": 2})
small("loop filter and else", "{% for x in range(6) if x is odd %}{{ x }}/{{ loop.length }} {% else %}no{% endfor %}{% for x in [1] if x > 1 %}{{ x }}{% else %}none{% endfor %}")
small("break and continue", "{% for x in range(9) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% for y in [1, 2] %}{% if y == 2 %}{% break %}{% endif %}.{% endfor %}{% endfor %}")
small("changed", "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }} {% endfor %}")
small("scope of loops", "{% set a = 1 %}{% for x in [1, 2] %}{{ a }}{% set a = a + x %}{{ a }} {% endfor %}{{ a }} [{{ x }}] {% if true %}{% set b = 2 %}{% endif %}{{ b }}")
small("namespace", "{% set ns = namespace(n=0, found=false) %}{% for x in [1, 2, 3] %}{% set ns.n = ns.n + x %}{% if x == 2 %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.n }} {{ ns.found }} [{{ ns.other }}] {{ ns['n'] }}")
small("only namespaces", "{% set d = {} %}{% set d.x = 1 %}")
small("set forms", "{% set a, b = 1, [2] %}{{ a }}{{ b }} {% set c %}x {{ a }}\n{% endset %}[{{ c }}] {% set d | upper | trim %} abc {% endset %}[{{ d }}] {% set t = 1, %}{{ t }}")
small("with and filter blocks", "{% with a = 1, b = a %}{{ a }}[{{ b }}]{% set c = 3 %}{% endwith %}[{{ a }}{{ c }}] {% filter upper | replace('B', 'x') %}ab{{ 'c' }}{% endfilter %}", )
small("macros", "{% macro f(a, b=2, c=none) %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ f(1) }} {{ f(1, c=3) }} {{ f(b=5, a='x') }} {{ f() }} {% set t = 'top' %}{% macro g() %}{{ t }}{{ u }}{% endmacro %}{% for u in [1] %}{{ g() }}{% endfor %}")
small("macro recursion", "{% macro down(n) %}{{ n }}{% if n > 0 %} {{ down(n - 1) }}{% endif %}{% endmacro %}{{ down(5) }}")
small("macro wants fewer arguments", "{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}")
small("elif", "{% for x in range(4) %}{% if x == 0 %}a{% elif x == 1 %}b{% elif x == 2 %}c{% else %}d{% endif %}{% endfor %}")
small("generation", "{% for m in [1, 2] %}{% generation %}{{ m }}\n{% endgeneration %}\n;{% endfor %}")
small("unpacking that does not fit", "{% for a, b in [[1]] %}{% endfor %}")

# Filters and tests.
small("filters on strings", "{{ ' a ' | trim }}|{{ 'xax' | trim('x') }}|{{ 'héllo' | length }}|{{ 'hÉ' | lower }}|{{ 'hello wORLD-foo (bar' | title }}|{{ 'hELLO' | capitalize }}|{{ 'a-b' | replace('-', '+') }}|{{ 'aaa' | replace('a', 'b', 1) }}|{{ 'abc' | list }}|{{ 'abc' | first }}{{ 'abc' | last }}|{{ 'abc' | reverse }}|{{ 5 | string + '6' }}|{{ 'x' | safe }}|{{ 'a\\nb\\n\\nc' | indent }}|{{ 'a\\nb\\n\\nc' | indent(2, true, true) }}|{{ 'a\\nb' | indent('> ') }}")
small("filters on numbers", "{{ '42' | int }} {{ ' 3.9 ' | int }} {{ 'x' | int }} {{ 'x' | int(7) }} {{ 3.99 | int }} {{ none | int }} {{ '2.5' | float }} {{ 'x' | float }} {{ 3 | float }} {{ true | int }} {{ [3, 1, 2] | min }} {{ [3, 1, 2] | max }} {{ [1, 2] | sum }} {{ [] | sum }} {{ -2.5 | abs }}")
small("default", "{{ nothing | default('d') }} {{ nothing | d }}| {{ '' | default('d') }}| {{ '' | default('d', true) }} {{ none | default('d') }} {{ none | default('d', boolean=true) }} {{ d.x | default(1) }}", d={})
small("filters on lists", "{{ l | join(', ') }} {{ l | join }} {{ l | map('string') | list }} {{ m | map(attribute='r') | join('/') }} {{ m | map(attribute='q', default='-') | join('/') }} {{ m | selectattr('r', 'equalto', 'u') | list | length }} {{ m | rejectattr('r', '==', 'u') | list }} {{ m | selectattr('q') | list }} {{ m | selectattr('q', 'defined') | map(attribute='q') | list }} {{ l | select('odd') | list }} {{ l | reject('odd') | list }} {{ l | sort }} {{ l | sort(reverse=true) }} {{ l | unique | list }} {{ l | reverse | list }} {{ m | sort(attribute='r') | map(attribute='r') | list }} {{ ['b', 'A', 'a'] | sort }} {{ ['b', 'A', 'a'] | unique | list }}", l=[3, 1, 2, 3], m=[{"r": "u", "q": 1}, {"r": "a"}])
small("filters on dicts", "{{ d | length }} {{ d | list }} {{ d | items | list }} {{ d | dictsort }} {{ d | dictsort(by='value') }} {{ d | tojson }} {{ d | first }}", d={"b": 1, "a": 2, "C": 0})
small("tojson", "{{ v | tojson }}\n{{ v | tojson(indent=2) }}\n{{ v | tojson(ensure_ascii=true) }}\n{{ v | tojson(separators=(',', ':')) }}\n{{ v | tojson(sort_keys=true, indent=1) }}", v={"z": [1, 2.0, 1e20, None, True, "é\n\"\\\t\u0001\u007f🙂</b>"], "a": {}, "e": [], "n": {"x": [[]]}})
small("tojson of undefined", "{{ nothing | tojson }}")
small("tests", "{{ x is defined }}{{ 1 is defined }}{{ x is undefined }} {{ none is none }}{{ x is none }} {{ 'a' is string }}{{ 1 is string }} {{ 1 is number }}{{ true is number }}{{ 1.5 is float }}{{ true is integer }} {{ {} is mapping }}{{ [] is mapping }} {{ [] is iterable }}{{ 'a' is iterable }}{{ 1 is iterable }}{{ none is iterable }} {{ [] is sequence }}{{ {} is sequence }}{{ 1 is sequence }} {{ true is boolean }}{{ 1 is boolean }} {{ true is true }}{{ 1 is true }}{{ false is false }} {{ 1 is eq 1 }}{{ 1 is equalto(2) }}{{ 1 is ne 2 }} {{ 'a' is in ['a'] }}{{ 'a' is not in 'cat' }} {{ 3 is odd }}{{ 3 is even }}{{ 6 is divisibleby 3 }} {{ 2 is gt 1 }}{{ 2 is le 1 }} {{ range is callable }}{{ 'A' is upper }}{{ 'a1' is lower }}")
small("test then else", "{{ 'yes' if x is defined else 'no' }} {{ 'yes' if x is not defined and 1 is number or false else 'no' }}")

# Functions.
small("range", "{{ range(4) | list }} {{ range(2, 4) | list }} {{ range(0) | list }} {{ range(5, 0, -2) | list }}")
small("strftime", "{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %b %Y') }} {{ strftime_now('%H:%M:%S') }} {{ strftime_now('%A, %B') }}")
small("dict", "{{ dict(a=1, b='x') }} {{ dict({'a': 1}, a=2) }}")
small("raise_exception", "{% if messages | length == 0 %}{{ raise_exception('no messages') }}{% endif %}", messages=[])
small("special tokens", "{{ bos_token }}{{ eos_token }}{{ bos_token is defined }}{{ pad_token is defined }} {{ tools is none }} {{ documents is none }}")


class Generation(jinja2.ext.Extension):
    """`{% generation %}` prints its body, as the extension of transformers does."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def main(path):
    env = environment()
    cases = []
    for name, template, context in CASES:
        case = {"name": name, "template": template, "context": context}
        variables = {
            "messages": [], "add_generation_prompt": True, "tools": None, "documents": None,
            "bos_token": "<s>", "eos_token": "</s>", **context,
        }
        try:
            case["text"] = env.from_string(template).render(**variables)
        except Exception as error:  # whatever Jinja2 and Python throw at a template
            case["refused"] = type(error).__name__
        cases.append(case)
    templates = {}
    for case in cases:  # a template that serves several cases is written once
        if sum(other["template"] == case["template"] for other in cases) > 1:
            name = "shared: " + case["name"].split()[0]
            templates[name] = case["template"]
    shared = {text: name for name, text in templates.items()}
    for case in cases:
        case["template"] = shared.get(case["template"], case["template"])
    text = json.dumps({"templates": templates, "cases": cases}, ensure_ascii=False, indent=1)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(text + "\n")
    refused = [case["name"] for case in cases if "refused" in case]
    print(f"{len(cases)} cases, {len(text)} characters; refused: {refused}")


if __name__ == "__main__":
    main(sys.argv[1])
