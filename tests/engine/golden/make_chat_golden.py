#!/usr/bin/env python3
"""Writes chat_templates.json: renderings of chat templates by Jinja2.

    python3 make_chat_golden.py SHARED_DIR [SMOLLM2_GGUF] > chat_templates.json

Needs jinja2 (and the PyPI package gguf for templates inside GGUF files). The environment is the one that
Hugging Face's libraries render chat templates in: trimmed blocks, loop controls, a tojson that does not
escape for HTML, raise_exception, and strftime_now at a fixed time. SHARED_DIR/chat_templates holds the
vendors' templates, which are only named here; FEATURES below are sources of our own that reach the corners
of the language.
"""
import json
import pathlib
import sys
from datetime import datetime

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime(2024, 2, 29, 13, 5, 9)

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather at a place.",
    "parameters": {"type": "object", "required": ["city"], "properties": {
        "city": {"type": "string", "description": "Name of the city, e.g. \"Zürich\" "},
        "days": {"type": "integer", "description": "How many days <ahead> & more"},
        "units": {"type": ["string", "number"], "description": "C or F"},
        "tags": {"type": "array", "items": {"type": "string"}, "description": "labels"},
        "extra": {"type": "object", "additionalProperties": {"type": "boolean"}, "description": "d"}}},
    "return": {"type": "number", "description": "Degrees"}}}
CLOCK = {"type": "function", "function": {
    "name": "now", "description": "The time.", "parameters": {"type": "object", "properties": {}}}}


def message(role, content, **more):
    return {"role": role, "content": content, **more}


def tool_call(name, arguments):
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


CONVERSATIONS = {
    "user only": [message("user", "Hello")],
    "system": [message("system", "You are terse.\n"), message("user", "  What is 2+2?  ")],
    "several turns": [message("system", "Be kind /think"), message("user", "Hi"),
                      message("assistant", "\n\nHello! How can I help?"), message("user", "Tell me a joke."),
                      message("assistant", "Why?"), message("user", "Grüße 你好 🦙\n")],
    "ends with assistant": [message("user", "Count"), message("assistant", "<think>\nhm\n</think>\n\n1 2 3")],
    "thinking before": [message("user", "a"), message("assistant", "<think>\nlong\n</think>\n\nb"),
                        message("user", "c"), message("assistant", "d", reasoning_content="\nbecause\n"),
                        message("user", "e /no_think")],
    "no thinking": [message("system", "x /no_think y"), message("user", "a"), message("assistant", "b"),
                    message("user", "c")],
    "tool answer": [message("user", "Weather in Bern?"),
                    message("assistant", "", tool_calls=[tool_call("get_weather", {"city": "Bern", "days": 2})]),
                    message("tool", "{\"t\": -3.5}"), message("user", "Thanks")],
    "two tool answers": [message("system", "S"), message("user", "Weather?"),
                         message("assistant", "Let me see.",
                                 tool_calls=[tool_call("get_weather", {"city": "Bern", "x": [1, 2.5, None, True]}),
                                             tool_call("now", {})]),
                         message("tool", "cold"), message("tool", "12:00"), message("assistant", "Cold."),
                         message("user", "ok")],
}

FEATURES = {
    "white space of blocks": "a\n  {% if true %}\n b\n  {% endif %}\nc\n  {%- if true -%}\n  d\n {%- endif +%}\n e {# x #}\n f\n",
    "white space of outputs": "  {{ 1 }}\n  {{- 2 -}}  \n {{ 3 }}\n\n",
    "kept white space": "x\n  {%+ if true +%}\n y{% endif %}\n\tz  {% set a = 1 %}  {{ a }}\r\nw",
    "comments": "a{# {{ b }} #}b {#- c -#} d\n  {# e #}\nf{##}g",
    "literals": "{{ 1 }} {{ 2.50 }} {{ 1e3 }} {{ 2.5e-3 }} {{ 1_000 }}|{{ true }}{{ None }}{{ [1, 'a', 2.0, none] }}{{ {'k': [true]} }}{{ (1, 2)[1] }}",
    "strings": r"""{{ 'a\n\t\'b\'' }}{{ "c\"d\u00e9\x41" }}{{ 'one' " two" }}{{ '\q' }}""",
    "arithmetic": "{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 6 / 3 }} {{ 2 ** 10 }} {{ 1 + 2 * 3 - 4 }} {{ 'ab' * 3 }} {{ -3 | abs }} {{ 1.5 + 1 }}",
    "concatenation": "{{ 1 ~ 'a' ~ none ~ 2.0 }} {{ [1] + [2, 3] }} {{ 'a' ~ 1 + 'b' }}",
    "a sum of text and number": "{{ 'a' + 1 }}",
    "a member of nothing": "{{ nothing.a }}",
    "an unknown function": "{{ nothing() }}",
    "a loop over a number": "{% for x in 3 %}{% endfor %}",
    "refused by the template": "{{ raise_exception('no') }}",
    "an unclosed tag": "a {{ 1",
    "an unclosed block": "{% if true %}",
    "an unknown statement": "{% frob %}",
    "an unknown filter": "{{ 1 | frob }}",
    "an unknown test": "{{ 1 is frob }}",
    "comparisons": "{{ 1 < 2 <= 2 }} {{ 'a' in 'cat' }} {{ 3 not in [1, 2] }} {{ 'k' in {'k': 1} }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ x == none }}",
    "logic": "{{ not x and 1 }} {{ 0 or 'b' }} {{ '' and y }} {{ 'a' if 0 else 'b' if 1 else 'c' }}{{ 'q' if 0 }}",
    "undefined": "[{{ nothing }}] {{ nothing is defined }} {{ {}.a is undefined }} {{ nothing | default('d') }} {{ '' | default('e', true) }} {% for x in nothing %}{% else %}none{% endfor %}",
    "loops": "{% for x in [1, 2, 3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}",
    "loop filters": "{% for x in range(10) if x is even %}{{ loop.index }}:{{ x }} {% endfor %}{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }} {% endfor %}",
    "loop controls": "{% for x in range(9) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "scopes": "{% set a = 1 %}{% for x in [1, 2] %}{% set a = a + x %}{{ a }}{% endfor %}{{ a }}{% if true %}{% set a = 9 %}{% endif %}{{ a }}",
    "namespaces": "{% set ns = namespace(n=0, s='') %}{% for x in 'abc' %}{% set ns.n = ns.n + 1 %}{% set ns.s = x + ns.s %}{% endfor %}{{ ns.n }}{{ ns.s }}",
    "set blocks": "{% set a %}x{{ 1 }}y{% endset %}[{{ a }}]",
    "macros": "{% macro f(a, b=2) %}{{ a }}-{{ b }};{% if a > 0 %}{{ f(a - 1, b=a) }}{% endif %}{% endmacro %}{{ f(3) }}{{ f(a=0, b='z') | trim }}",
    "slices": "{{ [1,2,3,4][1:3] }} {{ 'hello'[::-1] }} {{ [1,2,3][-1] }} {{ 'äöü'[1] }} {{ [1,2,3,4,5][::2] }} {{ 'abcdef'[-3:] }} {{ [1,2][5:] }} {{ [1,2,3][:-1] }}",
    "text methods": "{{ '  a b '.strip() }}|{{ 'xxaxx'.lstrip('x') }}|{{ 'a,b,c'.split(',') }}|{{ ' a  b c '.split() }}|{{ 'a,b,c'.split(',', 1) }}|{{ 'aXbX'.replace('X', '-') }}|{{ 'abc'.startswith('ab') }}|{{ 'abc'.endswith(('x', 'c')) }}|{{ 'hello wORLD'.title() }}|{{ 'hELLO'.capitalize() }}|{{ 'grün'.upper() }}",
    "more text methods": "{{ 'abcabc'.find('c') }}{{ 'abc'.find('z') }}{{ 'aXaXa'.count('a') }}|{{ ', '.join(['a', 'b']) }}|{{ 'a\u00a0'.rstrip() }}|{{ 'ÄB'.lower() }}",
    "dict methods": "{% set d = {'a': 1, 'items': 2} %}{{ d.get('a') }}{{ d.get('z') }}{{ d.get('z', 5) }}{{ d.keys() | list }}{{ d.values() | list }}{{ d['items'] }}{{ d | length }}",
    "filters": "{{ [3, 1] | join('-') }}{{ ' x ' | trim }}{{ [1, 2] | first }}{{ [1, 2] | last }}{{ 'abc' | upper | lower }}{{ 'a b' | title }}{{ [1, 2, 3] | reverse | list }}{{ '12' | int + 1 }}{{ 'x' | int(7) }}{{ 3 | string + 'a' }}{{ 'äb' | length }}{{ 'a-b' | replace('-', '+') }}",
    "selections": "{% set l = [{'r': 'a', 'n': 1}, {'r': 'b', 'n': 2}, {'r': 'a'}] %}{{ l | selectattr('r', 'equalto', 'a') | list | length }}{{ l | map(attribute='r') | join }}{{ l | rejectattr('n', 'defined') | list }}{{ [1, 0, 2] | select | list }}{{ [1, 2, 3] | reject('odd') | list }}{{ ['a', 'b'] | map('upper') | join(',') }}",
    "json": "{{ {'a': [1, 2.5, -0.0, 1e-7, true, none, 'q\"\\\\/\\n\\té\\u0001']} | tojson }}{{ [] | tojson(indent=2) }}{{ {'a': {'b': [1, {}]}} | tojson(indent=4) }}",
    "floats": "{{ 0.1 }} {{ 1e16 }} {{ 123456789012345.0 }} {{ -0.0 }} {{ 1.0 }} {{ 100000.0 * 100000.0 * 1000000.0 }} {{ 0.00001 * 1 }} {{ 1 / 3 }}",
    "tests": "{{ 'a' is string }}{{ 1 is number }}{{ [] is iterable }}{{ {} is mapping }}{{ none is none }}{{ 1 is not none }}{{ true is true }}{{ 1 is true }}{{ 'a' is sequence }}{{ 2 is in [1, 2] }}{{ 1 is eq 1 }}{{ 1.0 is float }}{{ true is boolean }}{{ 1 is integer }}{{ 'a' is in 'abc' }}",
    "indent": "{{ 'a\nb\n\nc' | indent(2) }}|{{ 'a\nb' | indent(width=1, first=true) }}",
    "time": "{{ strftime_now('%d %b %Y %H:%M') }}",
    "quotes in lists": "{{ [\"it's\", 'say \"hi\"', 'a\nb', '\\\\'] }}",
    "nested brackets": "{{ {'a': {'b': {}}}['a']['b'] }}{{ [[1], [2]][1][0] }}",
    "elif": "{% for x in [1, 2, 3] %}{% if x == 1 %}one{% elif x == 2 %}two{% else %}many{% endif %}{% endfor %}",
    "not a tag": "{ a } { {x} } {{ '{{' }} }} %}",
    "empty": "",
    "only line end": "\n",
    "macro sees globals": "{% set g = 'top' %}{% macro m() %}{{ g }}{% endmacro %}{% for i in [1] %}{% set g = 'in' %}{{ m() }}{% endfor %}",
}


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(text):
        raise jinja2.exceptions.TemplateError(text)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    return env


def render(source, variables):
    try:
        return {"text": environment().from_string(source).render(**variables)}
    except Exception as error:  # whatever Jinja refuses, we refuse
        return {"error": type(error).__name__}


def template_cases(name, source):
    for title, messages in CONVERSATIONS.items():
        none = [] if "Hermes" in name else None  # that template loops over its tools in any case
        tools = [WEATHER, CLOCK] if "tool" in title else none
        for prompt in (True, False):
            yield name, title, source, {"messages": messages, "tools": tools, "add_generation_prompt": prompt,
                                        "bos_token": "<s>", "eos_token": "</s>"}
    yield name, "thinking off", source, {"messages": CONVERSATIONS["several turns"], "tools": None,
                                         "add_generation_prompt": True, "bos_token": "<s>", "eos_token": "</s>",
                                         "enable_thinking": False}
    yield name, "tools in the system message", source, {
        "messages": CONVERSATIONS["system"], "tools": [WEATHER], "add_generation_prompt": True, "bos_token": "<s>",
        "eos_token": "</s>", "tools_in_user_message": False}


def gguf_template(path):
    from gguf import GGUFReader
    return GGUFReader(path).fields["tokenizer.chat_template"].contents()


def main(shared, smollm2=None):
    cases = []
    for title, source in FEATURES.items():
        variables = {"y": "why"}
        cases.append({"title": title, "source": source, "variables": variables, **render(source, variables)})
    sources = {path.name: path.read_text() for path in sorted((shared / "chat_templates").glob("*.jinja"))}
    sources["ggml-vocab-qwen2.gguf"] = gguf_template(shared / "tokenizers/llama.cpp-vocab/ggml-vocab-qwen2.gguf")
    if smollm2:
        sources["smollm2"] = gguf_template(smollm2)
    for name, source in sources.items():
        for template, title, text, variables in template_cases(name, source):
            cases.append({"title": title, "template": template, "variables": variables, **render(text, variables)})
    rows = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    print('{"now": [2024, 2, 29, 13, 5, 9], "cases": [\n' + rows + "\n]}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *sys.argv[2:])
