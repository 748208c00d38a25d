// pagoda support: which kinds of layers each backend serves, found out by asking it. There is no
// other list: docs/reference/support.md is what this prints.
#include <functional>
#include <iostream>
#include <map>
#include <pagoda/mask.hpp>
#include <pagoda/select.hpp>
#include <sstream>

#include "tools/pagoda/commands.h"

namespace pagoda::cli {
namespace {

struct Row {
  std::string name;
  std::function<void(Spec&)> change;
};

struct Section {
  std::string name;
  std::vector<Row> rows;
};

std::vector<Row> head_dims() {
  std::vector<Row> rows;
  rows.reserve(32);
  for (int32_t dim : {8, 16, 32, 40, 64, 72, 80, 96, 112, 128, 160, 192, 256, 512})
    rows.push_back({std::to_string(dim), [dim](Spec& s) { s.head_dim = dim; }});
  for (const auto& [dim, dim_v] : {std::pair{192, 128}, {128, 64}, {64, 512}})
    rows.push_back(
        {std::to_string(dim) + ", values " + std::to_string(dim_v),
         [dim = dim, dim_v = dim_v](Spec& s) { s.head_dim = dim, s.head_dim_v = dim_v; }});
  return rows;
}

std::vector<Row> formats() {
  const std::vector<std::pair<const char*, pagoda_kv_format>> kinds{
      {"the query's type", PAGODA_KV_SAME},
      {"fp8, scales of heads", PAGODA_KV_FP8_E4M3},
      {"fp8, scales of tokens", PAGODA_KV_FP8_E4M3_TOKEN},
      {"int8, scales of tokens", PAGODA_KV_INT8_TOKEN},
      {"int8, values by channel", PAGODA_KV_INT8_CHANNEL_V},
      {"int8 keys, 16-bit values", PAGODA_KV_INT8_KEYS}};
  std::vector<Row> rows;
  for (const auto& [name, format] : kinds)
    rows.push_back({name, [format = format](Spec& s) { s.kv_format = format; }});
  return rows;
}

void set_window(Spec& spec, int32_t left, int32_t right) {
  spec.has_window = 1;
  spec.window_left = left;
  spec.window_right = right;
}

// The layer that the rows change: 32 heads over 8 key heads of 128, bf16, causal, pages of 16.
Spec common_layer() {
  Spec spec;
  spec.num_heads = 32;
  spec.num_kv_heads = 8;
  spec.head_dim = 128;
  spec.dtype = PAGODA_BF16;
  spec.page_size = 16;
  spec.causal = 1;
  return spec;
}

std::vector<Section> sections() {
  return {
      {"type of query, key, value and output",
       {{"f32", [](Spec& s) { s.dtype = PAGODA_F32; }},
        {"f16", [](Spec& s) { s.dtype = PAGODA_F16; }},
        {"bf16", [](Spec& s) { s.dtype = PAGODA_BF16; }}}},
      {"head_dim", head_dims()},
      {"query heads of a key head",
       {{"1", [](Spec& s) { s.num_kv_heads = 32; }},
        {"7", [](Spec& s) { s.num_heads = 56; }},
        {"32", [](Spec& s) { s.num_kv_heads = 1; }}}},
      {"cache", formats()},
      {"queries",
       {{"the type of out", [](Spec&) {}},
        {"int8 over an int8 cache",
         [](Spec& s) { s.query_format = PAGODA_QUERY_INT8, s.kv_format = PAGODA_KV_INT8_TOKEN; }},
        {"fp8 over an fp8 cache",
         [](Spec& s) { s.query_format = PAGODA_QUERY_FP8_E4M3, s.kv_format = PAGODA_KV_FP8_E4M3; }},
        {"int8 over keys in their own type", [](Spec& s) { s.query_format = PAGODA_QUERY_INT8; }}}},
      {"page_size",
       {{"8", [](Spec& s) { s.page_size = 8; }},
        {"24", [](Spec& s) { s.page_size = 24; }},
        {"64", [](Spec& s) { s.page_size = 64; }},
        {"1024", [](Spec& s) { s.page_size = 1024; }}}},
      {"attention",
       {{"decoder, causal", [](Spec&) {}},
        {"decoder, not causal", [](Spec& s) { s.causal = 0; }},
        {"encoder: no cache, not causal", [](Spec& s) { s.page_size = 0, s.causal = 0; }},
        {"no cache, causal", [](Spec& s) { s.page_size = 0; }},
        {"window behind", [](Spec& s) { set_window(s, 4095, -1); }},
        {"window on both sides", [](Spec& s) { s.causal = 0, set_window(s, 128, 128); }},
        {"keys divided among ranks", [](Spec& s) { s.shard = PAGODA_SHARD_KEYS; }}}},
      {"scores",
       {{"soft-cap", [](Spec& s) { s.logit_softcap = 50; }},
        {"ALiBi", [](Spec& s) { s.alibi = PAGODA_ALIBI_LINEAR; }},
        {"square-root ALiBi", [](Spec& s) { s.alibi = PAGODA_ALIBI_SQRT; }},
        {"sinks", [](Spec& s) { s.has_sinks = 1; }},
        {"a score expression",
         [](Spec& s) {
           static const Expression half = Expression::score("score / 2");
           s.score_expr = half.get();
         }}}},
      {"masks",
       {{"a block mask", [](Spec& s) { s.has_block_mask = 1; }},
        {"a block mask alone, not causal", [](Spec& s) { s.has_block_mask = 1, s.causal = 0; }},
        {"a block mask without a cache", [](Spec& s) { s.has_block_mask = 1, s.page_size = 0; }},
        {"a block mask over keys divided among ranks",
         [](Spec& s) { s.has_block_mask = 1, s.shard = PAGODA_SHARD_KEYS; }}}},
      {"in company",
       {{"sinks, window, soft-cap",
         [](Spec& s) { s.has_sinks = 1, s.logit_softcap = 50, set_window(s, 127, -1); }},
        {"int8 of tokens, sinks, ALiBi",
         [](Spec& s) {
           s.kv_format = PAGODA_KV_INT8_TOKEN, s.has_sinks = 1, s.alibi = PAGODA_ALIBI_LINEAR;
         }},
        {"fp8, values of another head_dim",
         [](Spec& s) { s.kv_format = PAGODA_KV_FP8_E4M3, s.head_dim = 192, s.head_dim_v = 128; }},
        {"encoder with a window and sinks",
         [](Spec& s) { s.page_size = 0, s.causal = 0, s.has_sinks = 1, set_window(s, 64, 64); }},
        {"a quantised cache without a cache",
         [](Spec& s) { s.page_size = 0, s.kv_format = PAGODA_KV_FP8_E4M3; }}}},
  };
}

Answer ask(const std::string& backend, const Row& row) {
  Spec spec = common_layer();
  row.change(spec);
  return select(backend, spec);
}

struct Answers {
  std::string served, refused;  // lists; what is refused has its reasons
};

Answers ask_all(const std::string& backend, const Section& section) {
  Answers answers;
  for (const Row& row : section.rows) {
    const Answer answer = ask(backend, row);
    std::string& list = answer.verdict == PAGODA_SERVES ? answers.served : answers.refused;
    list += (list.empty() ? "" : "; ") + row.name;
    for (size_t i = 0; i < answer.reasons.size(); i++)
      list += (i == 0 ? " (" : ", ") + answer.reasons[i];
    if (!answer.reasons.empty()) list += ")";
  }
  return answers;
}

void print_backend(const std::string& backend, bool markdown) {
  std::cout << (markdown ? "## " : "") << backend << "\n";
  const Answer usable = ask(backend, {"", [](Spec&) {}});
  if (usable.verdict == PAGODA_NOT_USABLE) {
    std::cout << "  not usable on this machine: " << usable.reasons.at(0) << "\n";
    return;
  }
  if (markdown) std::cout << "\n| | served | refused |\n|---|---|---|\n";
  for (const Section& section : sections()) {
    const Answers answers = ask_all(backend, section);
    if (markdown) {
      std::cout << "| " << section.name << " | " << answers.served << " | " << answers.refused
                << " |\n";
      continue;
    }
    std::cout << "  " << section.name << "\n";
    if (!answers.served.empty()) std::cout << "    serves  " << answers.served << "\n";
    if (!answers.refused.empty()) std::cout << "    refuses " << answers.refused << "\n";
  }
}

constexpr const char* kIntroduction = R"(# What each backend serves

Printed by `pagoda support --markdown`, which asks each backend (`pagoda_select`) about a layer of 32 heads over 8 key heads of
128, bf16, causal, on pages of 16 tokens, with one thing changed. A test compares this page with what the backends answer.
`pagoda explain` answers for any other layer. A backend that the machine cannot use, such as `cuda` without a device, has no
section; the command prints it where there is one.
)";

void print_support(bool markdown, const std::string& only) {
  if (markdown) std::cout << kIntroduction;
  for (const std::string& backend : backend_names()) {
    if (!only.empty() && only != backend) continue;
    if (markdown && select(backend, common_layer()).verdict == PAGODA_NOT_USABLE) continue;
    if (markdown) std::cout << "\n";
    print_backend(backend, markdown);
  }
}

}  // namespace

void add_support(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("support", "which kinds of layers each backend serves, by asking it");
  struct Flags {
    bool markdown = false;
    std::string backend;
  };
  const auto flags = std::make_shared<Flags>();
  command->add_flag("--markdown", flags->markdown, "as docs/reference/support.md");
  command->add_option("--backend", flags->backend, "this one alone")
      ->check(CLI::IsMember(backend_names()));
  command->callback([flags] { print_support(flags->markdown, flags->backend); });
}

}  // namespace pagoda::cli
