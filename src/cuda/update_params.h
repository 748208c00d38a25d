// Host and device. What the kernels that write caches and merge states are told.
#pragma once

#include <cstdint>

#include "../core/dtype.h"
#include "attend_params.h"

namespace pagoda::cuda {

struct CacheWriteSide {
  const void* source = nullptr;                             // [num_tokens, num_kv_heads, head_dim]
  int64_t source_token_stride = 0, source_head_stride = 0;  // bytes
  KeyView cache;
  CacheFormat format;
  KeyScales made;   // of tokens: written
  OutScales given;  // of heads or channels: read
};

struct CacheWriteParams {
  CacheWriteSide key, value;              // sources of 16-bit elements
  const int64_t* slot_mapping = nullptr;  // [num_tokens], below 0: not written
  int32_t num_tokens = 0;
  Dtype dtype = PAGODA_BF16;  // of the sources
};

// A state of a merge. lse: [num_heads, num_tokens], strides in elements; the out strides in bytes.
struct MergeSide {
  void* out = nullptr;  // [num_tokens, num_heads, head_dim_v]
  int64_t out_token_stride = 0, out_head_stride = 0;
  float* lse = nullptr;
  int64_t lse_head_stride = 0, lse_token_stride = 0;
};

struct MergeParams {
  MergeSide a, b, to;  // to.lse may be null
  int32_t num_tokens = 0, num_tokens_a = 0, num_heads = 0, head_dim_v = 0;
};

}  // namespace pagoda::cuda
