#include <sstream>

#include "../core/kv_format.h"
#include "plan.h"

namespace pagoda {
namespace {

std::string describe_mask(const Mask& mask) {
  std::ostringstream text;
  text << (mask.causal ? "causal" : "all keys");
  if (mask.window_left >= 0) text << ", window " << mask.window_left << " back";
  if (!mask.causal && mask.window_right >= 0) text << ", " << mask.window_right << " ahead";
  return text.str();
}

std::string describe_score(const Score& score, bool has_expr) {
  std::ostringstream text;
  text << "scale " << score.scale;
  if (score.softcap > 0) text << ", soft-cap " << score.softcap;
  if (score.alibi == Alibi::linear) text << ", ALiBi";
  if (score.alibi == Alibi::sqrt) text << ", sqrt-ALiBi";
  if (has_expr) text << ", an expression";
  return text.str();
}

std::string describe_format(CacheFormat format, const Problem& problem) {
  static const char* const owners[] = {"", ", a scale per head", ", a scale per token and head",
                                       ", a scale per head and channel"};
  return std::string(name_of(dtype_of(format, problem.dtype))) +
         owners[static_cast<int>(format.scale)];
}

std::string describe_formats(const Problem& problem) {
  const KvFormat format = kv_format_of(problem.kv_format);
  const std::string keys = describe_format(format.key, problem);
  if (format.key == format.value) return keys;
  return "keys " + keys + "; values " + describe_format(format.value, problem);
}

const char* describe_cascade(const Problem& problem, const Server& server) {
  const int32_t cascade = problem.tuning.cascade;
  if (!server.groups_requests) return "never: this backend attends every request on its own";
  if (cascade < 0) return "never (tuning.cascade -1)";
  if (!problem.has_cache()) return "never: keys that come with the call lie on no pages";
  if (problem.has_block_mask || problem.score_expr != nullptr)
    return "never: a block mask or a score expression may tell requests apart";
  return cascade > 0 ? "wherever requests share pages (tuning.cascade 1)"
                     : "where requests share pages and it pays";
}

std::string describe_step(const Problem& problem, const GatherQueries&) {
  std::ostringstream text;
  if (problem.query_ranks == 1) return "gather queries: all ranks have the same";
  text << "gather queries: " << problem.own_heads() << " heads of each of " << problem.query_ranks
       << " ranks";
  return text.str();
}

std::string describe_step(const Problem& problem, const ReduceStates& step) {
  std::ostringstream text;
  text << "reduce states: of " << problem.shard.num_ranks << " ranks by their log-sum-exps"
       << (step.adds_sinks ? ", sinks added here" : "") << " -> out, lse";
  return text.str();
}

std::string describe_step(const Problem& problem, const Attend& step) {
  std::ostringstream text;
  text << "attend: keys of the " << (step.keys == Keys::cache ? "cache" : "call") << ", "
       << describe_mask(step.mask) << (step.has_block_mask ? " and a block mask" : "")
       << (step.adds_sinks ? ", sinks added here" : "")
       << (problem.shard.is_whole() ? " -> out, lse" : " -> states over this rank's keys");
  return text.str();
}

std::string describe_shard(const Problem& problem) {
  std::ostringstream text;
  text << "rank " << problem.shard.rank << " of " << problem.shard.num_ranks
       << ", sequences dealt out in runs of " << problem.shard.interleave << " tokens";
  return text.str();
}

}  // namespace

std::string describe(const Problem& problem, const Plan& plan, const WorkspaceMap& workspace,
                     const Server& server) {
  std::ostringstream text;
  text << "heads      " << problem.num_heads << " query, " << problem.num_kv_heads << " key (group "
       << problem.group() << "), dim " << problem.head_dim;
  if (problem.head_dim_v != problem.head_dim) text << " / " << problem.head_dim_v << " values";
  text << ", " << name_of(problem.dtype);
  const CacheFormat query = query_format_of(problem.query_format);
  if (query.code != Code::same) text << ", queries " << describe_format(query, problem);
  text << "\n";
  text << "cache      ";
  if (problem.has_cache())
    text << problem.limits.num_pages << " pages of " << problem.page_size << " tokens, "
         << describe_formats(problem) << "\n";
  else
    text << "none: keys and values come with the call\n";
  if (!problem.shard.is_whole()) text << "shard      " << describe_shard(problem) << "\n";
  text << "score      " << describe_score(problem.score, problem.score_expr != nullptr) << "\n";
  text << "limits     " << problem.limits.max_reqs << " requests, " << problem.limits.max_tokens
       << " query tokens (" << problem.limits.max_query_len << " in one request), "
       << problem.limits.max_seq_len << " tokens in a sequence\n";
  text << "backend    " << server.backend << ", kernel " << server.kernel << "\n";
  text << "splits     ";
  if (problem.tuning.num_splits > 0)
    text << problem.tuning.num_splits << " per request (forced)\n";
  else
    text << "automatic, from the length of a request alone\n";
  text << "cascade    " << describe_cascade(problem, server) << "\n";
  int number = 1;
  for (const Step& step : plan.steps)
    text << "step " << number++ << "     "
         << std::visit([&](const auto& s) { return describe_step(problem, s); }, step) << "\n";
  text << "workspace  " << workspace.size() << " bytes\n";
  for (const Region& region : workspace.regions())
    text << "           " << region.name << ": " << region.size << " at " << region.offset << "\n";
  return text.str();
}

}  // namespace pagoda
