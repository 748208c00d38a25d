#include "host_ranks.h"

#include <cmath>
#include <cstring>

#include "../core/error.h"
#include "../core/state.h"
#include "communicator.h"
#include "exchange.h"

namespace pagoda::parallel {
namespace {

char* address(const TensorView& tensor, int64_t i, int64_t j) {
  return static_cast<char*>(tensor.data) + (i * tensor.stride[0] + j * tensor.stride[1]) *
                                               static_cast<int64_t>(size_of(tensor.dtype));
}

float& lse_at(const TensorView& lse, int64_t head, int64_t token) {
  return static_cast<float*>(lse.data)[head * lse.stride[0] + token * lse.stride[1]];
}

TensorView packed(void* data, Dtype dtype, std::initializer_list<int64_t> shape) {
  TensorView view{.data = data, .dtype = dtype};
  for (const int64_t size : shape) view.shape[view.num_dims++] = size;
  int64_t step = 1;
  for (int32_t i = view.num_dims; i-- > 0; step *= view.shape[i]) view.stride[i] = step;
  return view;
}

void write_row(const TensorView& out, int64_t token, int64_t head, const float* from, int64_t dim) {
  char* to = address(out, token, head);
  for (int64_t e = 0; e < dim; ++e) {
    if (out.dtype == PAGODA_F32)
      reinterpret_cast<float*>(to)[e] = from[e];
    else if (out.dtype == PAGODA_F16)
      reinterpret_cast<Half*>(to)[e] = from_float<Half>(from[e]);
    else
      reinterpret_cast<Bfloat16*>(to)[e] = from_float<Bfloat16>(from[e]);
  }
}

// One step's sizes and places.
struct Step {
  const Prepared& prepared;
  const Problem& problem;
  const HeadMap heads;
  const int32_t num_tokens, num_ranks, own_heads;
  const ExchangeSizes sizes;

  explicit Step(const Prepared& prepared)
      : prepared(prepared),
        problem(prepared.problem),
        heads(problem),
        num_tokens(prepared.batch.num_tokens),
        num_ranks(problem.shard.num_ranks),
        own_heads(problem.own_heads()),
        sizes(problem, num_tokens) {}

  template <class T>
  T* region(const char* name) const {
    return prepared.region<T>(name);
  }
};

// One rank's message, in the order of ExchangeSizes::query_bytes.
void pack_queries(const Step& step, const LayerCall& own, char* to) {
  const TensorView& query = own.operands.query;
  const TensorView& scale = own.layer.query_scale;
  const size_t row = static_cast<size_t>(step.problem.head_dim) * size_of(query.dtype);
  const auto for_rows = [&](const TensorView& tensor, size_t bytes) {
    for (int32_t token = 0; token < step.num_tokens; ++token)
      for (int32_t head = 0; head < step.own_heads; ++head, to += bytes)
        std::memcpy(to, address(tensor, token, head), bytes);
  };
  for_rows(query, row);
  if (has_query_scales(step.problem)) for_rows(scale, sizeof(float));
  const size_t slopes = static_cast<size_t>(step.own_heads) * sizeof(float);
  if (own.layer.alibi_slopes != nullptr)
    std::memcpy(to, own.layer.alibi_slopes, slopes);
  else
    std::memset(to, 0, slopes);
}

struct GatheredQueries {
  char* queries;  // [num_tokens, num_heads, head_dim]
  float* scales;  // [num_tokens, num_heads] where tokens have them
  float* slopes;  // [num_heads]
};

void arrange_queries(const Step& step, const char* from, const GatheredQueries& to) {
  const size_t row =
      static_cast<size_t>(step.problem.head_dim) * size_of(query_dtype(step.problem));
  for (int32_t r = 0; r < step.num_ranks; ++r) {
    const auto place_rows = [&](char* rows, size_t bytes) {
      for (int32_t token = 0; token < step.num_tokens; ++token)
        for (int32_t head = 0; head < step.own_heads; ++head, from += bytes) {
          const auto at = static_cast<size_t>(int64_t{token} * step.problem.num_heads +
                                              step.heads.gathered(r, head));
          std::memcpy(rows + at * bytes, from, bytes);
        }
    };
    place_rows(to.queries, row);
    if (has_query_scales(step.problem))
      place_rows(reinterpret_cast<char*>(to.scales), sizeof(float));
    for (int32_t head = 0; head < step.own_heads; ++head, from += sizeof(float))
      std::memcpy(to.slopes + step.heads.gathered(r, head), from, sizeof(float));
  }
}

// The log-sum-exps over all ranks' keys, [num_heads, num_tokens], in place of those of the first
// rank. lses: [num_ranks, num_heads, num_tokens]
void total_lses(const Step& step, float* lses) {
  for (size_t i = 0; i < step.sizes.lses; ++i) {
    float total = minus_infinity<float>();
    for (int32_t r = 0; r < step.num_ranks; ++r)
      total = merge_weights(total, lses[static_cast<size_t>(r) * step.sizes.lses + i]).lse;
    lses[i] = total;
  }
}

class HostRanks final : public Ranks {
 public:
  explicit HostRanks(const pagoda_comm& comm) : comm_(comm) {}

  void add_workspace(const Problem& problem, WorkspaceMap& map) const override {
    add_exchange_regions(problem, map);
  }

  LayerCall gather_queries(const Prepared& prepared, const LayerCall& own) override {
    const Step step(prepared);
    const Problem& problem = step.problem;
    LayerCall all = own;
    if (problem.query_ranks > 1) {
      auto* send = step.region<char>(kSendRegion);
      auto* recv = step.region<char>(kRecvRegion);
      const GatheredQueries gathered{step.region<char>(kQueriesRegion),
                                     step.region<float>(kScalesRegion),
                                     step.region<float>(kSlopesRegion)};
      pack_queries(step, own, send);
      all_gather(send, recv, step.sizes.query_bytes);
      arrange_queries(step, recv, gathered);
      all.operands.query = packed(gathered.queries, query_dtype(problem),
                                  {step.num_tokens, problem.num_heads, problem.head_dim});
      if (has_query_scales(problem))
        all.layer.query_scale =
            packed(gathered.scales, PAGODA_F32, {step.num_tokens, problem.num_heads});
      if (own.layer.alibi_slopes != nullptr) all.layer.alibi_slopes = gathered.slopes;
    }
    all.layer.sinks = nullptr;  // join when the states are reduced
    all.operands.out = packed(step.region<float>(kOutRegion), PAGODA_F32,
                              {step.num_tokens, problem.num_heads, problem.head_dim_v});
    all.operands.lse =
        packed(step.region<float>(kLseRegion), PAGODA_F32, {problem.num_heads, step.num_tokens});
    return all;
  }

  void reduce_states(const Prepared& prepared, const ReduceStates& reduce,
                     const LayerCall& attended, const LayerCall& own) override {
    const Step step(prepared);
    auto* lses = step.region<float>(kLsesRegion);
    all_gather(attended.operands.lse.data, lses, step.sizes.lses * sizeof(float));
    total_lses(step, lses);
    const bool copies = step.problem.query_ranks == 1;
    auto* send = step.region<float>(kSendRegion);
    auto* recv = step.region<float>(kRecvRegion);
    for (int32_t r = 0; r < step.problem.query_ranks; ++r)
      weigh(step, attended, lses, r, send + static_cast<size_t>(r) * step.sizes.states);
    if (copies) {
      all_gather(send, recv, step.sizes.states * sizeof(float));
      sum_in_order(
          step.num_ranks,
          [&](int32_t r) { return recv + static_cast<size_t>(r) * step.sizes.states; }, send,
          step.sizes.states);
      finish(step, reduce, own, lses, send);
    } else {
      reduce_scatter(send, recv, step.sizes.states);
      finish(step, reduce, own, lses, recv);
    }
  }

 private:
  // The outputs of the heads of rank r, each times its share of the softmax over all keys. A state
  // of weight 0 is not read: it may hold anything. totals: [num_heads, num_tokens];
  // to: [num_tokens, own_heads, head_dim_v]
  void weigh(const Step& step, const LayerCall& attended, const float* totals, int32_t r,
             float* to) const {
    const int64_t dim = step.problem.head_dim_v;
    for (int32_t token = 0; token < step.num_tokens; ++token)
      for (int32_t own_head = 0; own_head < step.own_heads; ++own_head, to += dim) {
        const int32_t head = step.heads.gathered(r, own_head);
        const float total = totals[int64_t{head} * step.num_tokens + token];
        const float here = empty_if_infinite(lse_at(attended.operands.lse, head, token));
        const float weight = weight_of(here, total);
        const auto* from =
            reinterpret_cast<const float*>(address(attended.operands.out, token, head));
        for (int64_t e = 0; e < dim; ++e) to[e] = weight == 0 ? 0 : weight * from[e];
      }
  }

  // The sink joins here, once, as a key of no value. from: [num_tokens, own_heads, head_dim_v]
  void finish(const Step& step, const ReduceStates& reduce, const LayerCall& own,
              const float* totals, float* from) const {
    const int64_t dim = step.problem.head_dim_v;
    const int32_t r = step.problem.query_ranks > 1 ? step.problem.shard.rank : 0;
    for (int32_t token = 0; token < step.num_tokens; ++token)
      for (int32_t head = 0; head < step.own_heads; ++head, from += dim) {
        float lse = totals[int64_t{step.heads.gathered(r, head)} * step.num_tokens + token];
        if (reduce.adds_sinks && belongs(step, token)) {
          const MergeWeights<float> weights = merge_weights(lse, own.layer.sinks[head]);
          for (int64_t e = 0; e < dim; ++e) from[e] *= weights.a;
          lse = weights.lse;
        }
        write_row(own.operands.out, token, head, from, dim);
        if (own.operands.lse) lse_at(own.operands.lse, head, token) = lse;
      }
  }

  // Whether a token is some request's; a padding token has no sink.
  static bool belongs(const Step& step, int32_t token) {
    const Batch& batch = step.prepared.batch;
    return token < batch.query_start_loc[batch.num_reqs];
  }

  void all_gather(const void* send, void* recv, size_t bytes) const {
    check(comm_.all_gather(comm_.user, send, recv, bytes, nullptr));
  }

  void reduce_scatter(const float* send, float* recv, size_t count) const {
    check(comm_.reduce_scatter(comm_.user, send, recv, count, nullptr));
  }

  void check(pagoda_status status) const {
    expect(status == PAGODA_OK, PAGODA_COMM_ERROR, comm_.last_error(comm_.user));
  }

  const pagoda_comm comm_;
};

}  // namespace

std::unique_ptr<Ranks> make_host_ranks(const pagoda_comm& comm) {
  return std::make_unique<HostRanks>(comm);
}

}  // namespace pagoda::parallel
