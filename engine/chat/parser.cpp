// See parser.h. The statements; expressions are in expression_parser.cpp.
#include "engine/chat/parser.h"

#include <algorithm>
#include <initializer_list>

#include "engine/chat/lexer.h"
#include "engine/chat/token_stream.h"

namespace pagoda::engine::jinja {
namespace {

class StatementParser {
 public:
  explicit StatementParser(TokenStream& stream) : stream_(stream) {}

  // Statements up to a block whose name is in `ends`, which is left with its name unread.
  Body parse_body(std::initializer_list<std::string_view> ends) {
    const TokenStream::Deeper deeper(stream_);
    Body body;
    while (true) {
      const Place place = stream_.current().place;
      switch (stream_.current().type) {
        case TokenType::kText:
          body.push_back({place, Text{stream_.take().text}});
          break;
        case TokenType::kOutputBegin:
          stream_.take();
          body.push_back({place, Output{parse_expression_list(stream_)}});
          stream_.expect(TokenType::kOutputEnd, "'}}'");
          break;
        case TokenType::kBlockBegin:
          stream_.take();
          if (is_end(ends)) return body;
          parse_block(place, body);
          break;
        default:
          if (ends.size() == 0) return body;
          stream_.fail_here("the template ends where '" + std::string(*ends.begin()) +
                            "' is missing");
      }
    }
  }

 private:
  bool is_end(std::initializer_list<std::string_view> ends) const {
    return std::any_of(ends.begin(), ends.end(),
                       [&](std::string_view name) { return stream_.is_name(name); });
  }

  void end_block() { stream_.expect(TokenType::kBlockEnd, "'%}'"); }

  void finish(std::string_view name) {
    stream_.expect_name(name);
    end_block();
  }

  void parse_block(Place place, Body& body) {
    const std::string name = stream_.take_any_name();
    if (name == "if") return body.push_back({place, parse_if()});
    if (name == "for") return body.push_back({place, parse_for()});
    if (name == "set") return body.push_back({place, parse_set()});
    if (name == "macro") return body.push_back({place, parse_macro()});
    if (name == "generation") return parse_generation(body);
    if (name == "break" || name == "continue") {
      if (loop_depth_ == 0) fail_at(place, "'", name, "' outside of a loop");
      end_block();
      if (name == "break") return body.push_back({place, Break{}});
      return body.push_back({place, Continue{}});
    }
    fail_at(place, "the statement '", name, "' is not supported");
  }

  If parse_if() {
    If statement;
    ExpressionPtr condition = parse_expression_list(stream_);
    end_block();
    while (true) {
      Body body = parse_body({"endif", "elif", "else"});
      statement.branches.emplace_back(std::move(condition), std::move(body));
      if (!stream_.skip_name("elif")) break;
      condition = parse_expression_list(stream_);
      end_block();
    }
    if (stream_.skip_name("else")) {
      end_block();
      statement.otherwise = parse_body({"endif"});
    }
    finish("endif");
    return statement;
  }

  For parse_for() {
    For statement;
    do {
      statement.targets.push_back(stream_.take_any_name());
    } while (stream_.skip_operator(","));
    stream_.expect_name("in");
    statement.iterable = parse_expression_list(stream_, false);
    if (stream_.skip_name("if")) statement.condition = parse_expression(stream_);
    if (stream_.is_name("recursive")) stream_.fail_here("recursive loops are not supported");
    end_block();
    ++loop_depth_;
    statement.body = parse_body({"endfor", "else"});
    --loop_depth_;
    if (stream_.skip_name("else")) {
      end_block();
      statement.otherwise = parse_body({"endfor"});
    }
    finish("endfor");
    return statement;
  }

  Set parse_set() {
    Set statement;
    statement.name = stream_.take_any_name();
    if (stream_.skip_operator(".")) {
      statement.object = std::move(statement.name);
      statement.name = stream_.take_any_name();
    }
    if (stream_.is_operator(",")) stream_.fail_here("'set' of several names is not supported");
    if (stream_.skip_operator("=")) {
      statement.value = parse_expression_list(stream_);
      end_block();
      return statement;
    }
    end_block();
    statement.body = parse_body({"endset"});
    finish("endset");
    return statement;
  }

  Macro parse_macro() {
    Macro macro;
    macro.name = stream_.take_any_name();
    stream_.expect_operator("(");
    while (!stream_.is_operator(")")) {
      if (!macro.parameters.empty()) stream_.expect_operator(",");
      std::string name = stream_.take_any_name();
      ExpressionPtr otherwise;
      if (stream_.skip_operator("=")) otherwise = parse_expression(stream_);
      macro.parameters.emplace_back(std::move(name), std::move(otherwise));
    }
    stream_.expect_operator(")");
    end_block();
    const int loops_around = std::exchange(loop_depth_, 0);
    macro.body = parse_body({"endmacro"});
    loop_depth_ = loops_around;
    finish("endmacro");
    return macro;
  }

  // Marks what the assistant wrote, for training; to rendering its content is what counts.
  void parse_generation(Body& body) {
    end_block();
    Body inner = parse_body({"endgeneration"});
    finish("endgeneration");
    std::move(inner.begin(), inner.end(), std::back_inserter(body));
  }

  TokenStream& stream_;
  int loop_depth_ = 0;
};

}  // namespace

Body parse_template(std::string_view source) {
  require(source.size() <= kMaxTemplateBytes, ErrorKind::kLimit, "the chat template has ",
          source.size(), " bytes, the limit is ", kMaxTemplateBytes);
  TokenStream stream(tokenize(source));
  return StatementParser(stream).parse_body({});
}

}  // namespace pagoda::engine::jinja
