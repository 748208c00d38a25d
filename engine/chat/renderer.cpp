// See renderer.h.
#include "engine/chat/renderer.h"

#include <utility>

#include "engine/chat/builtins.h"
#include "engine/chat/python_text.h"
#include "engine/error.h"

namespace pagoda::engine::jinja {
namespace {

enum class Flow { kNext, kBreak, kContinue };

class Renderer {
 public:
  Renderer(Dict variables, const std::optional<std::tm>& now) : now_(now) {
    scopes_.push_back(std::move(variables));
  }

  std::string run(const Body& body) {
    run_body(body);
    return std::move(output_);
  }

 private:
  // Counts a step, and a level for as long as it lives.
  class Step {
   public:
    Step(Renderer& renderer, Place place) : renderer_(renderer) {
      ++renderer_.depth_;
      const bool fits = ++renderer_.steps_ <= kMaxRenderSteps;
      if (fits && renderer_.depth_ <= kMaxRenderDepth) return;
      --renderer_.depth_;  // the destructor of what is not constructed does not run
      fail(ErrorKind::kLimit, "chat template, line ", place.line,
           fits ? ": nested too deeply while rendering, the limit is "
                : ": too many steps, the limit is ",
           fits ? kMaxRenderDepth : kMaxRenderSteps);
    }
    ~Step() { --renderer_.depth_; }
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

   private:
    Renderer& renderer_;
  };

  // Statements.

  Flow run_body(const Body& body) {
    for (const Statement& statement : body) {
      const Step step(*this, statement.place);
      const Flow flow =
          std::visit([&](const auto& node) { return run(node, statement.place); }, statement.node);
      if (flow != Flow::kNext) return flow;
    }
    return Flow::kNext;
  }

  void write(std::string_view text, Place place) {
    output_ += text;
    require(output_.size() <= kMaxValueBytes, ErrorKind::kLimit, "chat template, line ", place.line,
            ": the rendering is above ", kMaxValueBytes, " bytes");
  }

  Flow run(const Text& node, Place place) {
    write(node.text, place);
    return Flow::kNext;
  }

  Flow run(const Output& node, Place place) {
    write(text_of(evaluate(*node.expression)), place);
    return Flow::kNext;
  }

  Flow run(const If& node, Place) {
    for (const auto& [condition, body] : node.branches)
      if (evaluate(*condition).is_true()) return run_body(body);
    return run_body(node.otherwise);
  }

  Flow run(const Break&, Place) { return Flow::kBreak; }
  Flow run(const Continue&, Place) { return Flow::kContinue; }

  Flow run(const Macro& node, Place) {
    scopes_.back().set(node.name, Callable{.macro = &node, .self = nullptr, .name = node.name});
    return Flow::kNext;
  }

  Flow run(const Set& node, Place place) {
    Value value;
    if (node.value != nullptr) {
      value = evaluate(*node.value);
    } else {
      const std::string outside = std::exchange(output_, "");
      run_body(node.body);
      value = std::exchange(output_, outside);
    }
    if (node.object.empty()) {
      scopes_.back().set(node.name, std::move(value));
      return Flow::kNext;
    }
    const Value object = look_up(node.object);
    if (!object.is_dict() || !object.as_dict().is_namespace)
      fail_at(place, "'", node.object, "' is not a namespace, so its members cannot be set");
    const Value checked(List{value});  // a namespace may not hold a namespace
    object.as_namespace().set(node.name, std::move(value));
    return Flow::kNext;
  }

  Flow run(const For& node, Place place) {
    const List items = loop_items(node, place);
    if (items.empty()) return run_body(node.otherwise);
    for (size_t i = 0; i < items.size(); ++i) {
      const Step step(*this, place);
      scopes_.emplace_back();
      bind(node, items[i], place);
      scopes_.back().set("loop", loop_variable(items, i));
      const Flow flow = run_body(node.body);
      scopes_.pop_back();
      if (flow == Flow::kBreak) break;
    }
    return Flow::kNext;
  }

  // The items of the loop that pass its condition.
  List loop_items(const For& node, Place place) {
    List items = items_of(evaluate(*node.iterable), place);
    if (node.condition == nullptr) return items;
    List kept;
    for (const Value& item : items) {
      scopes_.emplace_back();
      bind(node, item, place);
      if (evaluate(*node.condition).is_true()) kept.push_back(item);
      scopes_.pop_back();
    }
    return kept;
  }

  void bind(const For& node, const Value& item, Place place) {
    if (node.targets.size() == 1) return scopes_.back().set(node.targets[0], item);
    const List parts = items_of(item, place);
    if (parts.size() != node.targets.size())
      fail_at(place, "an item of ", parts.size(), " parts cannot be unpacked into ",
              node.targets.size(), " names");
    for (size_t i = 0; i < parts.size(); ++i) scopes_.back().set(node.targets[i], parts[i]);
  }

  static Value loop_variable(const List& items, size_t i) {
    const auto index = static_cast<int64_t>(i), length = static_cast<int64_t>(items.size());
    Dict loop;
    loop.entries = {{"index", index + 1},
                    {"index0", index},
                    {"revindex", length - index},
                    {"revindex0", length - index - 1},
                    {"first", i == 0},
                    {"last", i + 1 == items.size()},
                    {"length", length}};
    if (i > 0) loop.set("previtem", items[i - 1]);
    if (i + 1 < items.size()) loop.set("nextitem", items[i + 1]);
    return loop;
  }

  // Expressions.

  Value evaluate(const Expression& expression) {
    const Step step(*this, expression.place);
    return std::visit([&](const auto& node) { return evaluate(node, expression.place); },
                      expression.node);
  }

  Value evaluate_or_undefined(const ExpressionPtr& expression) {
    return expression == nullptr ? Value() : evaluate(*expression);
  }

  Value look_up(const std::string& name) const {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope)
      if (const Value* found = scope->find(name)) return *found;
    if (is_function(name, now_)) return Callable{.macro = nullptr, .self = nullptr, .name = name};
    return {};
  }

  Value evaluate(const Literal& node, Place) { return node.value; }
  Value evaluate(const Name& node, Place) { return look_up(node.name); }

  Value evaluate(const ListDisplay& node, Place) {
    List list;
    for (const ExpressionPtr& item : node.items) list.push_back(evaluate(*item));
    return list;
  }

  Value evaluate(const DictDisplay& node, Place place) {
    Dict dict;
    for (const auto& [key, value] : node.items) {
      const Value name = evaluate(*key);
      if (!name.is_string()) fail_at(place, "the keys of a dict must be texts");
      dict.set(name.as_string(), evaluate(*value));
    }
    return dict;
  }

  Value evaluate(const Unary& node, Place place) {
    Value operand = evaluate(*node.operand);
    if (node.op == UnaryOperator::kNot) return !operand.is_true();
    if (!operand.is_number())
      fail_at(place, "a sign in front of a value of type ", operand.type_name());
    if (node.op == UnaryOperator::kPlus) return operand;
    if (operand.is_float()) return -operand.as_float();
    return apply_binary(BinaryOperator::kSubtract, int64_t{0}, operand, place);
  }

  Value evaluate(const Binary& node, Place place) {
    Value left = evaluate(*node.left);
    if (node.op == BinaryOperator::kAnd) return left.is_true() ? evaluate(*node.right) : left;
    if (node.op == BinaryOperator::kOr) return left.is_true() ? left : evaluate(*node.right);
    return apply_binary(node.op, left, evaluate(*node.right), place);
  }

  Value evaluate(const Compare& node, Place place) {
    Value left = evaluate(*node.first);
    for (const auto& [comparison, expression] : node.rest) {
      Value right = evaluate(*expression);
      if (!apply_comparison(comparison, left, right, place)) return false;
      left = std::move(right);
    }
    return true;
  }

  Value evaluate(const Conditional& node, Place) {
    if (evaluate(*node.condition).is_true()) return evaluate(*node.then);
    return evaluate_or_undefined(node.otherwise);
  }

  // A method goes before a member of the same name, as in Jinja: {"items": 1}.items is the method.
  Value evaluate(const Attribute& node, Place place) {
    Value object = evaluate(*node.object);
    if (object.is_undefined()) fail_at(place, "'", node.name, "' of an undefined value");
    if (is_method(object, node.name))
      return Callable{.macro = nullptr,
                      .self = std::make_shared<const Value>(std::move(object)),
                      .name = node.name};
    return subscript(object, node.name, place);
  }

  Value evaluate(const Subscript& node, Place place) {
    const Value object = evaluate(*node.object);
    return subscript(object, evaluate(*node.index), place);
  }

  Value evaluate(const Slice& node, Place place) {
    const Value object = evaluate(*node.object);
    const Value start = evaluate_or_undefined(node.start);
    const Value stop = evaluate_or_undefined(node.stop);
    return slice(object, start, stop, evaluate_or_undefined(node.step), place);
  }

  CallArguments evaluate_arguments(const Arguments& arguments, Place place) {
    CallArguments values{.place = place, .positional = {}, .named = {}};
    for (const ExpressionPtr& argument : arguments.positional)
      values.positional.push_back(evaluate(*argument));
    for (const auto& [name, argument] : arguments.named)
      values.named.emplace_back(name, evaluate(*argument));
    return values;
  }

  Value evaluate(const Filter& node, Place place) {
    const Value input = evaluate(*node.input);
    return apply_filter(node.name, input, evaluate_arguments(node.arguments, place));
  }

  Value evaluate(const Test& node, Place place) {
    const Value operand = evaluate(*node.operand);
    return apply_test(node.name, operand, evaluate_arguments(node.arguments, place)) !=
           node.negated;
  }

  Value evaluate(const Call& node, Place place) {
    const Value callee = evaluate(*node.callee);
    if (!callee.is_callable()) fail_call(node, callee, place);
    const Callable& callable = callee.as_callable();
    const CallArguments arguments = evaluate_arguments(node.arguments, place);
    if (callable.macro != nullptr) return call_macro(*callable.macro, arguments);
    if (callable.self != nullptr) return call_method(*callable.self, callable.name, arguments);
    return call_function(callable.name, arguments, now_);
  }

  [[noreturn]] static void fail_call(const Call& node, const Value& callee, Place place) {
    if (const auto* name = std::get_if<Name>(&node.callee->node))
      fail_at(place, "the function '", name->name, "' is not known");
    if (const auto* method = std::get_if<Attribute>(&node.callee->node))
      fail_at(place, "the method '", method->name, "' is not supported");
    fail_at(place, "a value of type ", callee.type_name(), " cannot be called");
  }

  // A macro sees its arguments and what is defined at the top of the template.
  Value call_macro(const Macro& macro, const CallArguments& arguments) {
    arguments.require_at_most(macro.parameters.size(), macro.name);
    std::vector<Dict> outside;
    outside.swap(scopes_);
    scopes_.push_back(std::move(outside.front()));
    scopes_.emplace_back();
    for (size_t i = 0; i < macro.parameters.size(); ++i) {
      const auto& [name, otherwise] = macro.parameters[i];
      Value value = arguments.get(i, name);
      if (value.is_undefined()) value = evaluate_or_undefined(otherwise);
      scopes_.back().set(name, std::move(value));
    }
    const std::string output = std::exchange(output_, "");
    run_body(macro.body);
    outside.front() = std::move(scopes_.front());
    scopes_.swap(outside);
    return std::exchange(output_, output);
  }

  std::vector<Dict> scopes_;  // the innermost last; the first holds the template's own variables
  std::string output_;
  const std::optional<std::tm>& now_;
  int64_t steps_ = 0;
  int depth_ = 0;
};

}  // namespace

std::string render(const Body& body, Dict variables, const std::optional<std::tm>& now) {
  return Renderer(std::move(variables), now).run(body);
}

}  // namespace pagoda::engine::jinja
