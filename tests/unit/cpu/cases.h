// Attention cases for the tests of the CPU backend: a description, the memory of a step built from
// it with everything unused poisoned, a run through the C interface, and the formulas in double.
//
// Every number is a hash of (seed, request id, token, head, dimension), so a request has the same
// data in whatever batch, chunk, page order or layout it appears.
#pragma once

#include <pagoda/pagoda.h>

#include <cstdint>
#include <string>
#include <vector>

namespace pagoda::test {

struct Request {
  int32_t query_len = 1;
  int32_t seq_len = 1;
  int32_t id = 0;
  bool causal = true;  // counts if Case::per_request_causal
};

enum class Layout { nhd, hnd, packed_kv };

struct Case {
  int32_t num_heads = 4, num_kv_heads = 2, head_dim = 64, head_dim_v = 64;
  pagoda_dtype dtype = PAGODA_F32;
  int32_t page_size = 16;  // 0: keys come with the call
  Layout layout = Layout::nhd;
  float scale = 0, softcap = 0;
  bool causal = true;
  int32_t window_left = -2, window_right = -2;  // both -2: no window
  pagoda_alibi alibi = PAGODA_ALIBI_NONE;
  bool sinks = false;
  bool per_request_causal = false;
  std::vector<Request> requests;
  int32_t padding_tokens = 0;
  uint32_t seed = 1;
  float amplitude = 1;     // of queries and keys
  int32_t bad_token = -1;  // its keys and values are NaN

  int32_t num_tokens() const;
  bool has_window() const { return window_left != -2 || window_right != -2; }
};

// What may change without changing a bit, and what forces a path.
struct RunOptions {
  int32_t num_threads = 1;
  std::string isa;  // empty: best
  std::string backend = "cpu";
  int32_t num_splits = 0;
  uint32_t page_seed = 1;  // order of the pages
  uint8_t poison = 0xff;   // bytes of whatever is unused; 0xff is NaN in every type
};

struct Result {
  std::vector<uint8_t> out;  // [num_tokens, num_heads, head_dim_v], packed, as stored
  std::vector<float> lse;    // [num_heads, num_tokens]

  bool operator==(const Result&) const = default;
};

Result run(const Case& c, const RunOptions& options = {});

// The rows of one request of a result, as a result of that request alone.
Result rows_of_request(const Case& c, const Result& result, size_t request);
// Of those, the tokens [begin, end).
Result tokens_of(const Case& c, const Result& result, int32_t begin, int32_t end);

// One query token and head by the formulas of pagoda.h, in double.
struct Row {
  std::vector<double> out, weight;  // sum p v and sum p |v|: [head_dim_v]
  double lse = 0, logit_error = 0;  // the second bounds the error of any of its logits
  int32_t keys = 0;                 // that it sees
};

// [num_tokens, num_heads]
std::vector<Row> formula(const Case& c);

// How far an instruction set rounds the weights that values are multiplied by: tiles take bf16.
double weight_error(const Case& c, const std::string& isa);

// What of the result is off by more than floats and the rounding of the weights explain, or
// nothing.
std::string compare_with_formula(const Case& c, const std::vector<Row>& formula,
                                 const Result& result, double weight_error);

// Bit patterns, NaN included. Returns where they differ, or nothing.
std::string compare_bits(const Result& a, const Result& b);

float decode(pagoda_dtype dtype, const uint8_t* bytes, int64_t index);
void encode(pagoda_dtype dtype, float value, uint8_t* bytes, int64_t index);
size_t element_size(pagoda_dtype dtype);

// A number in [0, n) that follows from its arguments.
uint32_t hash_of(uint32_t a, uint32_t b, uint32_t c = 0, uint32_t d = 0, uint32_t e = 0);

// A random case: any feature, small sizes.
Case random_case(uint32_t seed);
std::string text_of(const Case& c);

// The instruction sets that this machine has.
std::vector<std::string> isas_here();

}  // namespace pagoda::test
