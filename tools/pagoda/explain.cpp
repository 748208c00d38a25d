// pagoda explain: who would serve a kind of layer, why others do not, and the plan for a batch.
#include <algorithm>
#include <iostream>
#include <map>
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
  int32_t num_splits = 0, threads = 0;
};

const std::map<std::string, pagoda_dtype> kDtypes{
    {"f32", PAGODA_F32}, {"f16", PAGODA_F16}, {"bf16", PAGODA_BF16}};
const std::map<std::string, pagoda_alibi> kAlibis{
    {"none", PAGODA_ALIBI_NONE}, {"linear", PAGODA_ALIBI_LINEAR}, {"sqrt", PAGODA_ALIBI_SQRT}};
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

void print_explanation(const Flags& flags) {
  const Spec spec = make_spec(flags);
  const std::vector<Request> requests = parse_requests(flags.requests);
  const Limits limits = make_limits(requests, spec.page_size);
  Tuning tuning;
  tuning.num_splits = flags.num_splits;
  tuning.kernel = flags.kernel.empty() ? nullptr : flags.kernel.c_str();
  const std::string selection = explain(spec, &limits, &tuning);
  if (selection.empty()) throw std::runtime_error(pagoda_last_error());
  std::cout << selection << "\n";

  ContextOptions options;
  options.backend = flags.backend.empty() ? nullptr : flags.backend.c_str();
  options.isa = flags.isa.empty() ? nullptr : flags.isa.c_str();
  options.num_threads = flags.threads;
  const Context context(options);
  const Plan plan(context, spec, limits, tuning);
  std::cout << plan.describe();
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
  command->add_option("--num-splits", flags->num_splits, "0: automatic")->capture_default_str();
  command->add_option("--kernel", flags->kernel, "by name");
  command->add_option("--backend", flags->backend, "by name; the best one present");
  command->add_option("--isa", flags->isa, "CPU: scalar, avx2, avx512");
  command->add_option("--threads", flags->threads, "CPU; 0: all cores")->capture_default_str();
  command->callback([flags] { print_explanation(*flags); });
}

}  // namespace pagoda::cli
