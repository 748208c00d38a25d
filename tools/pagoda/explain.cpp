// pagoda explain: who would serve a kind of layer, why others do not, and the plan for a batch.
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <pagoda/pagoda.hpp>
#include <stdexcept>
#include <vector>

#include "tools/pagoda/commands.h"
#include "tools/pagoda/model_options.h"

namespace pagoda::cli {
namespace {

struct Request {
  int32_t query_len, seq_len;
};

struct Flags {
  Spec spec;
  std::string dtype = "bf16", kv_format = "same", alibi = "none", backend, isa, kernel;
  std::vector<int32_t> window;
  std::string requests = "1:4096";
  bool all_keys = false, sinks = false;
  std::string cascade = "auto";
  int32_t num_splits = 0, threads = 0, shared = 0;
};

const std::map<std::string, pagoda_dtype> kDtypes{
    {"f32", PAGODA_F32}, {"f16", PAGODA_F16}, {"bf16", PAGODA_BF16}};
const std::map<std::string, pagoda_alibi> kAlibis{
    {"none", PAGODA_ALIBI_NONE}, {"linear", PAGODA_ALIBI_LINEAR}, {"sqrt", PAGODA_ALIBI_SQRT}};
const std::map<std::string, int32_t> kCascades{{"auto", 0}, {"always", 1}, {"never", -1}};

// "q:k,q:k": query tokens and tokens with keys of each request.
std::vector<Request> parse_requests(const std::string& text) {
  std::vector<Request> requests;
  size_t at = 0;
  const auto number = [&](char end) {
    size_t used = 0;
    int32_t value = 0;
    try {
      value = std::stoi(text.substr(at), &used);
    } catch (const std::exception&) {
      used = 0;
    }
    if (used == 0 || value < 0)
      throw std::runtime_error("--requests \"" + text + "\": expected a number at character " +
                               std::to_string(at + 1) + "; the form is q:k,q:k");
    at += used;
    if (end == ':' && (at >= text.size() || text[at] != ':'))
      throw std::runtime_error("--requests \"" + text + "\": expected ':' at character " +
                               std::to_string(at + 1) + "; the form is q:k,q:k");
    if (end == ':') ++at;
    return value;
  };
  while (true) {
    const int32_t query_len = number(':'), seq_len = number(',');
    requests.push_back({query_len, seq_len});
    if (at >= text.size()) return requests;
    if (text[at] != ',')
      throw std::runtime_error("--requests \"" + text + "\": expected ',' at character " +
                               std::to_string(at + 1));
    ++at;
  }
}

Spec make_spec(const Flags& flags) {
  Spec spec = flags.spec;
  spec.dtype = kDtypes.at(flags.dtype);
  spec.kv_format = kv_formats().at(flags.kv_format);
  spec.alibi = kAlibis.at(flags.alibi);
  spec.causal = flags.all_keys ? 0 : 1;
  spec.has_sinks = flags.sinks ? 1 : 0;
  if (!flags.window.empty()) {
    spec.has_window = 1;
    spec.window_left = flags.window[0];
    spec.window_right = flags.window.size() > 1 ? flags.window[1] : -1;
  }
  return spec;
}

Limits make_limits(const std::vector<Request>& requests, int32_t page_size) {
  Limits limits;
  limits.max_reqs = static_cast<int32_t>(requests.size());
  limits.max_seq_len = 1;
  limits.num_pages = 1;
  for (const Request& request : requests) {
    limits.max_tokens += request.query_len;
    limits.max_query_len = std::max(limits.max_query_len, request.query_len);
    limits.max_seq_len = std::max(limits.max_seq_len, request.seq_len);
    if (page_size > 0) limits.num_pages += (request.seq_len + page_size - 1) / page_size;
  }
  limits.max_tokens = std::max(limits.max_tokens, 1);
  return limits;
}

// What a step of these requests would do, their first keys on the same pages. Nothing is attended:
// lengths and page tables say it all.
std::string describe_step(Plan& plan, const std::vector<Request>& requests, const Flags& flags) {
  const int32_t page_size = flags.spec.page_size, shared = flags.shared / page_size;
  size_t width = 1;
  for (const Request& request : requests)
    width = std::max(width, static_cast<size_t>((request.seq_len + page_size - 1) / page_size));
  std::vector<int32_t> query_start_loc{0}, seq_lens, page_table(requests.size() * width);
  int32_t next = shared;
  for (size_t r = 0; r < requests.size(); r++) {
    query_start_loc.push_back(query_start_loc.back() + requests[r].query_len);
    seq_lens.push_back(requests[r].seq_len);
    const int32_t pages = (requests[r].seq_len + page_size - 1) / page_size;
    for (int32_t i = 0; i < pages; i++)
      page_table[r * width + static_cast<size_t>(i)] = i < shared ? i : next++;
  }
  Batch batch;
  batch.num_reqs = static_cast<int32_t>(requests.size());
  batch.num_tokens = query_start_loc.back();
  batch.query_start_loc = query_start_loc.data();
  batch.seq_lens = seq_lens.data();
  batch.page_table = page_table.data();
  batch.page_table_stride = static_cast<int64_t>(width);
  batch.page_table_width = static_cast<int32_t>(width);
  const size_t size = plan.workspace_size();
  const std::unique_ptr<void, decltype(&std::free)> workspace(
      std::aligned_alloc(256, (size + 256) / 256 * 256), &std::free);
  if (workspace == nullptr) throw std::bad_alloc();
  plan.prepare(batch, workspace.get(), size);
  return plan.describe_step();
}

void print_explanation(const Flags& flags) {
  const Spec spec = make_spec(flags);
  const std::vector<Request> requests = parse_requests(flags.requests);
  const Limits limits = make_limits(requests, spec.page_size);
  Tuning tuning;
  tuning.num_splits = flags.num_splits;
  tuning.kernel = flags.kernel.empty() ? nullptr : flags.kernel.c_str();
  tuning.cascade = kCascades.at(flags.cascade);
  // Only backends on the host know a step's lengths before it runs.
  const std::string backend = flags.backend.empty() && flags.shared > 0 ? "cpu" : flags.backend;
  if (flags.shared > 0 && (backend == "cuda" || spec.page_size == 0))
    throw std::runtime_error("--shared is for a cache of pages on backend cpu or reference");
  const std::string selection = explain(spec, &limits, &tuning);
  if (selection.empty()) throw std::runtime_error(pagoda_last_error());
  std::cout << selection << "\n";

  ContextOptions options;
  options.backend = backend.empty() ? nullptr : backend.c_str();
  options.isa = flags.isa.empty() ? nullptr : flags.isa.c_str();
  options.num_threads = flags.threads;
  const Context context(options);
  Plan plan(context, spec, limits, tuning);
  std::cout << plan.describe();
  if (flags.shared > 0) std::cout << "\nthis step\n" << describe_step(plan, requests, flags);
}

}  // namespace

void add_explain(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "explain", "the plan of a batch: steps, kernel, splits, workspace, and why backends refuse");
  auto flags = std::make_shared<Flags>();
  Spec& spec = flags->spec;
  spec.num_heads = 32;
  spec.num_kv_heads = 8;
  spec.head_dim = 128;
  spec.page_size = 16;
  command->add_option("--heads", spec.num_heads, "query heads")->capture_default_str();
  command->add_option("--kv-heads", spec.num_kv_heads, "key heads")->capture_default_str();
  command->add_option("--head-dim", spec.head_dim)->capture_default_str();
  command->add_option("--head-dim-v", spec.head_dim_v, "0: as --head-dim")->capture_default_str();
  command->add_option("--dtype", flags->dtype)
      ->check(CLI::IsMember(kDtypes))
      ->capture_default_str();
  command->add_option("--kv-format", flags->kv_format)
      ->check(CLI::IsMember(kv_formats()))
      ->capture_default_str();
  command->add_option("--page-size", spec.page_size, "0: no cache")->capture_default_str();
  command->add_option("--scale", spec.softmax_scale, "0: 1/sqrt(head_dim)")->capture_default_str();
  command->add_option("--softcap", spec.logit_softcap, "0: none")->capture_default_str();
  command->add_flag("--all-keys", flags->all_keys, "not causal");
  command->add_option("--window", flags->window, "LEFT or LEFT,RIGHT; -1: any")
      ->delimiter(',')
      ->expected(1, 2);
  command->add_option("--alibi", flags->alibi)
      ->check(CLI::IsMember(kAlibis))
      ->capture_default_str();
  command->add_flag("--sinks", flags->sinks);
  command
      ->add_option("--requests", flags->requests, "q:k,q:k: query tokens and keys of each request")
      ->capture_default_str();
  command->add_option("--shared", flags->shared, "first keys that all requests have in common")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--cascade", flags->cascade, "attend common keys once: where it pays, ..")
      ->check(CLI::IsMember(kCascades))
      ->capture_default_str();
  command->add_option("--num-splits", flags->num_splits, "0: automatic")->capture_default_str();
  command->add_option("--kernel", flags->kernel, "by name");
  command->add_option("--backend", flags->backend, "by name; the best one present");
  command->add_option("--isa", flags->isa, "CPU: scalar, avx2, avx512, amx, amx_fp16, neon");
  command->add_option("--threads", flags->threads, "CPU; 0: all cores")->capture_default_str();
  command->callback([flags] { print_explanation(*flags); });
}

}  // namespace pagoda::cli
