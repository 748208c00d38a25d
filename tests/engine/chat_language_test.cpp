// The chat template language itself: what is refused and where, the limits that keep a hostile
// template from taking time or memory, and the way conversations become variables.
#include <gtest/gtest.h>

#include <random>

#include "engine/chat/chat.h"
#include "engine/error.h"
#include "tests/engine/test_data.h"

namespace pagoda::engine {
namespace {

std::string render(const std::string& source, const Json& variables = Json::object()) {
  return ChatTemplate(source).render_variables(variables);
}

// The error that parsing or rendering ends with; a failure when there is none.
Error error_of(const std::string& source, const Json& variables = Json::object()) {
  try {
    const std::string text = render(source, variables);
    ADD_FAILURE() << "rendered: " << text.substr(0, 200);
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorKind::kIo, "no error");
}

void expect_error(const std::string& source, ErrorKind kind, const std::string& part) {
  const Error error = error_of(source);
  EXPECT_EQ(error.kind(), kind) << source;
  EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
      << source << "\n  says: " << error.what();
}

void expect_refused(const std::string& source, const std::string& part) {
  expect_error(source, ErrorKind::kTemplate, part);
}

TEST(ChatLanguage, RefusesUnsupportedConstructsByNameAndPlace) {
  expect_refused("{% include 'x' %}", "line 1, column 1: the statement 'include' is not supported");
  expect_refused("a\n  {% call f() %}{% endcall %}", "line 2, column 3: the statement 'call'");
  expect_refused("äö{{ x | frob }}", "line 1, column 8: the filter 'frob' is not supported");
  expect_refused("\n\n{{ x is frob }}", "line 3, column 6: the test 'frob' is not supported");
  expect_refused("{{ 'a'.frob() }}", "line 1, column 12: the method 'frob' is not supported");
  expect_refused("{{ frob() }}", "line 1, column 8: the function 'frob' is not known");
  expect_refused("{% set a, b = 1, 2 %}", "'set' of several names is not supported");
  expect_refused("{% for x in y recursive %}{% endfor %}", "recursive loops are not supported");
  expect_refused("{{ f(*a) }}", "unpacking of arguments is not supported");
}

TEST(ChatLanguage, RefusesWhatIsNoJinja) {
  expect_refused("{{ 1", "line 1, column 1: this tag is not closed");
  expect_refused("{% if x", "this tag is not closed");
  expect_refused("x {# y", "line 1, column 3: this comment is not closed");
  expect_refused("{{ 'a }}", "column 4: this string is not closed");
  expect_refused("{{ 1 + }}", "a value is missing");
  expect_refused("{{ (1 }}", "column 7: '}' closes nothing that is open");
  expect_refused("{{ 1) }}", "')' closes nothing that is open");
  expect_refused("{{ [1) }}", "')' closes nothing that is open");
  expect_refused("{{ a b }}", "'}}' is missing");
  expect_refused("{{ ! }}", "unexpected character inside a tag");
  expect_refused("{% if x %}", "'endif' is missing");
  expect_refused("{% for x in y %}{% endif %}", "the statement 'endif' is not supported");
  expect_refused("{% endfor %}", "the statement 'endfor' is not supported");
  expect_refused("{% break %}", "'break' outside of a loop");
  expect_refused("{{ 99999999999999999999 }}", "beyond 63 bits");
  expect_refused("{{ f(a=1, 2) }}", "an argument without a name follows one with a name");
  expect_refused("{{ '\\ud800' }}", "an escape that is no character");
}

TEST(ChatLanguage, RefusesOperationsThatPythonRefuses) {
  expect_refused("{{ 'a' + 1 }}", "the sum of a value of type str and one of type int");
  expect_refused("{{ 1 / 0 }}", "division by zero");
  expect_refused("{{ 1 % 0 }}", "division by zero");
  expect_refused("{{ none < 1 }}", "the order of a value of type NoneType");
  expect_refused("{{ 1 in 2 }}", "is not possible");
  expect_refused("{{ x.y.z }}", "column 5: 'y' of an undefined value");
  expect_refused("{{ x['y'] }}", "a member of an undefined value");
  expect_refused("{{ 1 | length }}", "a value of type int has no length");
  expect_refused("{{ x | tojson }}", "a value of type undefined cannot be written as JSON");
  expect_refused("{{ {1: 2} }}", "the keys of a dict must be texts");
  expect_refused("{% set x = {} %}{% set x.a = 1 %}", "'x' is not a namespace");
  expect_refused("{% for a, b in [[1, 2, 3]] %}{% endfor %}", "3 parts cannot be unpacked into 2");
  expect_refused("{{ 9223372036854775807 + 1 }}", "an integer beyond 63 bits");
  expect_refused("{{ (-9223372036854775807 - 1) // -1 }}", "an integer beyond 63 bits");
  expect_refused("{{ 'abc'[::0] }}", "a step other than 0");
  expect_refused("{{ raise_exception('no tools') }}", "the template refuses: no tools");
}

TEST(ChatLanguage, LimitsTimeAndMemory) {
  const auto limit = [](const std::string& source, const std::string& part) {
    expect_error(source, ErrorKind::kLimit, part);
  };
  limit("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "too many steps");
  limit("{{ range(100001) }}", "a range of more than 100000");
  limit("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested too deeply while rendering");
  limit(
      "{% set ns = namespace(s='0123456789') %}{% for i in range(40) %}"
      "{% set ns.s = ns.s + ns.s %}{% endfor %}",
      "a text above");
  limit(
      "{% set ns = namespace(l=[1]) %}{% for i in range(40) %}"
      "{% set ns.l = ns.l + ns.l %}{% endfor %}",
      "a list of more than");
  limit(
      "{% set ns = namespace(l=[1]) %}{% for i in range(1000) %}"
      "{% set ns.l = [ns.l] %}{% endfor %}",
      "values are nested deeper");
  limit("{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}", "the rendering is above");
  limit("{{ 'x' * 1000000000000 }}", "a text above");
  limit("{{ ('x' * 16000000).replace('x', 'yyyyyyyyyy') }}", "would make a text above");
  limit(std::string(2 << 20, 'x'), "the chat template has 2097152 bytes");
  limit("{{ " + std::string(500, '(') + "1" + std::string(500, ')') + " }}", "nested deeper");
  limit("{{ 1" + std::string(5000, '+') + "1 }}", "nested deeper");
  std::string sum = "{{ 1";
  for (int i = 0; i < 5000; ++i) sum += " + 1";
  limit(sum + " }}", "an expression of more than 200 levels");
  std::string nested;
  for (int i = 0; i < 500; ++i) nested += "{% if true %}";
  limit(nested, "nested deeper");
  expect_refused("{% set n = namespace() %}{% set n.n = n %}", "a namespace inside another value");
}

TEST(ChatLanguage, LimitsTheConversation) {
  Json deep = 1;
  for (int i = 0; i < 100; ++i) deep = Json::array({deep});
  EXPECT_EQ(error_of("{{ x }}", Json{{"x", deep}}).kind(), ErrorKind::kLimit);
  EXPECT_EQ(error_of("{{ x }}", Json{{"x", uint64_t{1} << 63}}).kind(), ErrorKind::kLimit);
  EXPECT_EQ(error_of("{{ x }}", Json::array()).kind(), ErrorKind::kInvalidArgument);
}

TEST(ChatLanguage, GenerationMarksWriteTheirContent) {
  EXPECT_EQ(render("a{% generation %}b{{ 1 }}{% endgeneration %}c"), "ab1c");
}

TEST(ChatLanguage, DatesAreThereOnlyWhenGiven) {
  const ChatTemplate dated(
      "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% else %}none{% endif %}");
  EXPECT_EQ(dated.render(std::vector<ChatMessage>{}), "none");
  std::tm now = {};
  now.tm_year = 126;
  EXPECT_EQ(dated.render(std::vector<ChatMessage>{}, {.now = now}), "2026");
}

TEST(ChatTemplate, RendersMessagesWithOptions) {
  const ChatTemplate chat(
      "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m['content'] }}{{ eos_token }}"
      "{% endfor %}{% if tools %}{{ tools | length }}{% endif %}{{ mood }}"
      "{% if add_generation_prompt %}<assistant>{% endif %}");
  const std::vector<ChatMessage> messages = {{"user", "a\n{{ b }}"}, {"assistant", "c"}};
  EXPECT_EQ(chat.render(messages), "<user>a\n{{ b }}<assistant>c<assistant>");
  ChatOptions options;
  options.add_generation_prompt = false;
  options.bos_token = "[";
  options.eos_token = "]";
  options.tools = Json::array({1, 2});
  options.extra = {{"mood", "!"}};
  EXPECT_EQ(chat.render(messages, options), "[<user>a\n{{ b }}]<assistant>c]2!");
}

TEST(ChatTemplate, RefusesConversationsOfAnotherForm) {
  const ChatTemplate chat("{{ messages[0].content }}");
  for (const Json& wrong : {Json(1), Json::array({1}), Json::array({Json{{"content", "x"}}})}) {
    try {
      chat.render(wrong);
      ADD_FAILURE() << wrong;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    }
  }
}

// Damaged templates end in text or in a typed error; a crash or another exception is a failure.
TEST(ChatLanguage, DamagedTemplatesNeverCrash) {
  const Json golden_cases = Json::parse(read_file(golden("chat_templates.json")))["cases"];
  std::vector<std::string> sources;
  for (const Json& golden_case : golden_cases)
    if (golden_case.contains("source")) sources.push_back(golden_case["source"]);
  std::mt19937 random(7);
  const auto below = [&](size_t limit) { return static_cast<size_t>(random() % limit); };
  constexpr std::string_view kPieces[] = {
      "{%",  "%}",   "{{", "}}", "-",  "if ", "for ", "in ", "(",  ")", "[",   "]", "'",   "|",
      "is ", "set ", ".",  ":",  "{#", "#}",  "\\",   "\n",  "**", "~", "end", ",", "\xff"};
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string source = sources[below(sources.size())];
    for (size_t change = 0; change < 1 + below(4); ++change) {
      const size_t at = below(source.size() + 1);
      const std::string_view piece = kPieces[below(std::size(kPieces))];
      if (below(2) == 0)
        source.insert(at, piece);
      else
        source.erase(at, 1 + below(4));
    }
    try {
      render(source, {{"y", "why"}});
    } catch (const Error& error) {
      ++refused;
      EXPECT_TRUE(error.kind() == ErrorKind::kTemplate || error.kind() == ErrorKind::kLimit);
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace pagoda::engine
