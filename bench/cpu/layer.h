// One attention layer ready to run, as often as a benchmark likes, over enough copies of its cache
// to read every one from memory.
#pragma once

#include <pagoda/pagoda.h>

#include <cstdint>
#include <string>
#include <vector>

namespace pagoda::bench {

struct Shape {
  int32_t num_reqs = 1, query_len = 1, seq_len = 1;
  int32_t num_heads = 32, num_kv_heads = 8, head_dim = 128;
  pagoda_dtype dtype = PAGODA_BF16;
  pagoda_kv_format kv_format = PAGODA_KV_SAME;
  float softcap = 0;
  bool alibi = false, sinks = false;
  int32_t window = 0;  // 0: none
  int32_t page_size = 16;
  bool hnd = true;
  int32_t shared = 0;   // first keys of every request, on the same pages
  int32_t cascade = 0;  // tuning
  std::string mask;     // an expression in place of the causal mask; empty: none
  std::string score;    // an expression over the logits; empty: none
  std::string isa;      // empty: the one that LayerRun is given
};

class LayerRun {
 public:
  // copies: of the cache, read in turn
  LayerRun(const Shape& shape, int32_t num_threads, const std::string& isa, int32_t copies);
  ~LayerRun();
  LayerRun(const LayerRun&) = delete;
  LayerRun& operator=(const LayerRun&) = delete;

  void prepare();
  void forward();
  void update_cache();

  // Query-key pairs that the mask shows, times heads, times what two products of a pair cost.
  double flops() const;
  // Bytes of keys and values that the queries need, each once, without scales.
  double cache_bytes() const;
  // Bytes that an update of the cache writes.
  double written_bytes() const;

 private:
  void make_scales(const Shape& shape);
  int64_t token_bytes() const;

  struct Parts;
  Shape shape_;
  Parts* parts_;
};

}  // namespace pagoda::bench
