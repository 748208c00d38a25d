// Two serving steps in C++. The cache manager hands out pages; two requests that begin alike are
// attended one after the other, and the second finds the page that the first has written.
//
// Keys and values of a token are made from its id alone, so both requests must get the same output
// for their last token: one computed all 20 tokens, the other only the four that were not cached.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <pagoda/kv.hpp>
#include <pagoda/pagoda.hpp>
#include <vector>

namespace {

constexpr int kHeads = 8, kKvHeads = 2, kDim = 64, kPageSize = 16, kPages = 32, kTokens = 20;

// One layer: its plan, its cache, the workspace.
class Layer {
 public:
  Layer()
      : plan_(context_, spec(), limits()),
        keys_(kPages * kPageSize * kKvHeads * kDim),
        values_(keys_.size()),
        workspace_(static_cast<std::byte*>(
                       std::aligned_alloc(256, (plan_.workspace_size() + 255) / 256 * 256)),
                   &std::free) {}

  // Writes and attends tokens [first, tokens.size()) of a request; returns the last one's output.
  std::vector<float> step(const pagoda::Cache& cache, uint64_t id,
                          const std::vector<int32_t>& tokens, int32_t first) {
    const auto seq_len = static_cast<int32_t>(tokens.size());
    const int32_t query_len = seq_len - first;
    const int32_t query_start_loc[2] = {0, query_len};
    std::vector<int32_t> page_table(kPages);
    std::vector<int64_t> slots(static_cast<size_t>(query_len));
    pagoda::CacheStep arrays;
    arrays.num_reqs = 1;
    arrays.num_tokens = query_len;
    arrays.ids = &id;
    arrays.query_start_loc = query_start_loc;
    arrays.seq_lens = &seq_len;
    arrays.page_table = page_table.data();
    arrays.page_table_stride = arrays.page_table_width = kPages;
    arrays.slot_mapping = slots.data();
    cache.fill(/*group=*/0, arrays);

    pagoda::Batch batch;
    batch.num_reqs = 1;
    batch.num_tokens = query_len;
    batch.query_start_loc = query_start_loc;
    batch.seq_lens = &seq_len;
    batch.page_table = page_table.data();
    batch.page_table_stride = batch.page_table_width = kPages;
    batch.slot_mapping = slots.data();
    plan_.prepare(batch, workspace_.get(), plan_.workspace_size());

    std::vector<float> query = rows(tokens, first, kHeads, 1),
                       key = rows(tokens, first, kKvHeads, 2);
    std::vector<float> value = rows(tokens, first, kKvHeads, 3), out(query.size());
    pagoda::Tensor key_cache(keys_.data(), PAGODA_F32, {kPages, kPageSize, kKvHeads, kDim});
    pagoda::Tensor value_cache(values_.data(), PAGODA_F32, {kPages, kPageSize, kKvHeads, kDim});
    pagoda::Layer layer;
    layer.key_cache = &key_cache;
    layer.value_cache = &value_cache;
    plan_.update_cache(layer, {key.data(), PAGODA_F32, {query_len, kKvHeads, kDim}},
                       {value.data(), PAGODA_F32, {query_len, kKvHeads, kDim}});
    plan_.forward(layer, {query.data(), PAGODA_F32, {query_len, kHeads, kDim}},
                  {out.data(), PAGODA_F32, {query_len, kHeads, kDim}});
    return {out.end() - kHeads * kDim, out.end()};
  }

 private:
  static pagoda::ContextOptions on_the_cpu() {
    pagoda::ContextOptions options;
    options.backend = "cpu";  // the arrays lie in host memory
    return options;
  }

  static pagoda::Spec spec() {
    pagoda::Spec spec;
    spec.num_heads = kHeads;
    spec.num_kv_heads = kKvHeads;
    spec.head_dim = kDim;
    spec.page_size = kPageSize;
    spec.causal = 1;
    return spec;
  }

  static pagoda::Limits limits() {
    pagoda::Limits limits;
    limits.max_reqs = 1;
    limits.max_tokens = kTokens;
    limits.max_seq_len = kPages * kPageSize;
    limits.num_pages = kPages;
    return limits;
  }

  // Stand-ins for a model's projections: [tokens - first, heads, kDim]
  static std::vector<float> rows(const std::vector<int32_t>& tokens, int32_t first, int heads,
                                 int which) {
    std::vector<float> all;
    for (size_t t = static_cast<size_t>(first); t < tokens.size(); ++t)
      for (int i = 0; i < heads * kDim; ++i)
        all.push_back(std::sin(static_cast<float>(tokens[t] * 31 + i * which + 7 * which)));
    return all;
  }

  pagoda::Context context_{on_the_cpu()};
  pagoda::Plan plan_;
  std::vector<float> keys_, values_;
  std::unique_ptr<std::byte, decltype(&std::free)> workspace_;
};

}  // namespace

int main() {
  try {
    pagoda::Cache cache = pagoda::Cache::single(kPageSize, kPages);
    Layer layer;
    std::vector<int32_t> prompt(kTokens);
    std::iota(prompt.begin(), prompt.end(), 100);
    std::vector<float> outputs[2];
    for (uint64_t id = 0; id < 2; ++id) {
      const int32_t cached = cache.begin({id, prompt});
      if (!cache.grow(id, kTokens)) return 1;
      outputs[id] = layer.step(cache, id, prompt, cached);
      cache.commit(id, kTokens);
      std::printf("request %d: %d of %d tokens were cached\n", static_cast<int>(id), cached,
                  kTokens);
    }
    std::printf("shared pages: %d\n", static_cast<int>(cache.stats().num_shared));
    const bool same = outputs[0] == outputs[1];
    std::printf("the last token's outputs are %s\n", same ? "the same, bit for bit" : "different");
    return same && cache.stats().num_shared == 1 ? 0 : 1;
  } catch (const pagoda::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
