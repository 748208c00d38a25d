#include "geometry.h"

#include <algorithm>
#include <sstream>

namespace pagoda::conformance {

int32_t Geometry::num_query_tokens() const {
  int32_t count = 0;
  for (const Request& request : requests) count += request.query_len;
  return count;
}

int32_t Geometry::longest_seq() const {
  int32_t longest = 0;
  for (const Request& request : requests) longest = std::max(longest, request.seq_len);
  return longest;
}

int32_t Geometry::longest_query() const {
  int32_t longest = 0;
  for (const Request& request : requests) longest = std::max(longest, request.query_len);
  return longest;
}

int64_t Geometry::cost() const {
  int64_t pairs = 0;
  for (const Request& request : requests)
    pairs += int64_t{request.query_len} * std::max(request.seq_len, 1);
  return pairs * num_heads() * (head_dim + head_dim_v);
}

std::string describe(const Geometry& g) {
  static const char* const dtypes[] = {"f32", "f16", "bf16"};
  static const char* const formats[] = {"same",       "fp8",       "fp8 token",
                                        "int8 token", "channel V", "int8 keys"};
  static const char* const queries[] = {"same", "int8", "fp8"};
  static const char* const layouts[] = {"call",       "NHD",    "HND",        "K|V rows",
                                        "K,V slices", "padded", "cross-layer"};
  static const char* const arrangements[] = {"packed", "sliced", "heads first", "expanded"};
  static const char* const lses[] = {"absent", "packed", "transposed", "strided"};
  static const char* const alibis[] = {"none", "linear", "sqrt"};
  static const char* const regimes[] = {
      "gaussian",  "zero query",   "zero key",        "coded values", "one hot",
      "ones",      "large logits", "outlier channel", "sparse exact", "duplicated keys",
      "subnormal", "max finite",   "non-finite"};
  std::ostringstream text;
  text << dtypes[g.dtype] << ", " << g.num_heads() << "/" << g.num_kv_heads << " heads, dim "
       << g.head_dim << "/" << g.head_dim_v << ", page " << g.page_size << " "
       << layouts[static_cast<int>(g.layout)] << ", kv " << formats[g.kv_format]
       << (g.scales_in_rows ? " in rows" : "") << ", queries " << queries[g.query_format]
       << (g.one_scale ? ", one scale" : "") << (g.degenerate_strides ? " degenerate" : "")
       << "; causal " << g.spec_causal << ", window " << g.window_left << "/" << g.window_right
       << ", scale " << g.scale << ", soft-cap " << g.softcap << ", ALiBi " << alibis[g.alibi]
       << ", sinks " << g.sinks << "; q " << arrangements[static_cast<int>(g.query)] << ", k "
       << arrangements[static_cast<int>(g.key)] << ", out " << arrangements[static_cast<int>(g.out)]
       << ", lse " << lses[static_cast<int>(g.lse)] << "; " << regimes[static_cast<int>(g.regime)]
       << "; isa " << g.isa << ", " << g.num_threads << " threads, splits " << g.num_splits
       << ", cascade " << g.cascade << "; requests (queries/keys";
  if (g.causal_kind == CausalKind::flags) text << ", f: not causal";
  text << ")";
  for (const Request& r : g.requests)
    text << " " << r.query_len << "/" << r.seq_len
         << (g.causal_kind == CausalKind::flags && !r.causal ? "f" : "");
  text << " +" << g.padded_tokens;
  return text.str();
}

}  // namespace pagoda::conformance
