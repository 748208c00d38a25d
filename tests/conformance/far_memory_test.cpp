// Addresses beyond 2^31 elements, on any machine: caches and rows mapped without being reserved, of
// which a step touches a few pages. The results must be those of the same step in a small place.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>

#include "backends.h"
#include "memory.h"

namespace pagoda::conformance {
namespace {

constexpr int32_t kPageSize = 16, kKvHeads = 2, kHeads = 6, kDim = 128, kSeqLen = 40, kQueries = 5;
constexpr int32_t kPages = (kSeqLen + kPageSize - 1) / kPageSize;
constexpr int64_t kPageElements = int64_t{kPageSize} * kKvHeads * kDim;

// Address space that costs memory only where it is written.
class Mapping {
 public:
  explicit Mapping(int64_t bytes)
      : size_(static_cast<size_t>(bytes)),
        data_(mmap(nullptr, size_, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {}
  ~Mapping() {
    if (ok()) munmap(data_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  bool ok() const { return data_ != MAP_FAILED; }
  void* data() const { return data_; }

 private:
  size_t size_;
  void* data_;
};

// Where things lie, in elements.
struct Place {
  std::vector<int32_t> pages{1, 2, 3};
  int64_t num_pages = 4, page_stride = kPageElements;
  int64_t query_stride = kHeads * kDim, new_stride = kKvHeads * kDim, lse_stride = kQueries;

  int64_t cache_bytes() const { return num_pages * page_stride * 2; }
  int64_t rows_bytes(int64_t stride) const { return (kSeqLen + 1) * stride * 2; }
};

struct Outputs {
  bool mapped = false;
  std::vector<float> out, lse;
};

float value_of(int64_t seed, int64_t row, int64_t e) {
  return static_cast<float>(std::sin(static_cast<double>(seed * 7 + row * 131 + e * 17)));
}

void fill_rows(const Tensor& tensor, int64_t seed) {
  for (int64_t row = 0; row < tensor.shape[0]; ++row)
    for (int64_t head = 0; head < tensor.shape[1]; ++head)
      for (int64_t e = 0; e < tensor.shape[2]; ++e)
        store(tensor.dtype, address(tensor, row, head, e),
              value_of(seed, row * tensor.shape[1] + head, e));
}

// Writes the whole sequence with update_cache (or hands it over, without a cache) and attends to it
// with its last queries.
Outputs run(Context& context, const Place& place, bool cached) {
  const Mapping key_map(place.cache_bytes()), value_map(place.cache_bytes()),
      query_map(place.rows_bytes(place.query_stride)),
      new_key_map(place.rows_bytes(place.new_stride)),
      new_value_map(place.rows_bytes(place.new_stride)),
      out_map(place.rows_bytes(place.query_stride)), lse_map((kHeads + 1) * place.lse_stride * 4);
  Outputs outputs;
  for (const Mapping* map :
       {&key_map, &value_map, &query_map, &new_key_map, &new_value_map, &out_map, &lse_map})
    if (!map->ok()) return outputs;
  outputs.mapped = true;

  const auto cache = [&](const Mapping& map) {
    return Tensor(map.data(), PAGODA_BF16, {place.num_pages, kPageSize, kKvHeads, kDim},
                  {place.page_stride, kKvHeads * kDim, kDim, 1});
  };
  const auto rows = [](const Mapping& map, int64_t count, int64_t heads, int64_t stride) {
    return Tensor(map.data(), PAGODA_BF16, {count, heads, kDim}, {stride, kDim, 1});
  };
  const Tensor key_cache = cache(key_map), value_cache = cache(value_map);
  const Tensor key = rows(new_key_map, kSeqLen, kKvHeads, place.new_stride);
  const Tensor value = rows(new_value_map, kSeqLen, kKvHeads, place.new_stride);

  const Tensor query = rows(query_map, kQueries, kHeads, place.query_stride);
  const Tensor out = rows(out_map, kQueries, kHeads, place.query_stride);
  const Tensor lse(lse_map.data(), PAGODA_F32, {kHeads, kQueries}, {place.lse_stride, 1});
  fill_rows(key, 1);
  fill_rows(value, 2);
  fill_rows(query, 3);

  Spec spec;
  spec.num_heads = kHeads;
  spec.num_kv_heads = kKvHeads;
  spec.head_dim = kDim;
  spec.dtype = PAGODA_BF16;
  spec.page_size = cached ? kPageSize : 0;
  spec.causal = 1;
  Limits limits;
  limits.max_reqs = 1;
  limits.max_tokens = limits.max_seq_len = kSeqLen;
  limits.num_pages = place.num_pages;
  Plan plan(context, spec, limits);
  const size_t size = plan.workspace_size();
  Buffer workspace(size, 0, 0);
  Layer layer;
  if (cached) {
    layer.key_cache = &key_cache;
    layer.value_cache = &value_cache;
  }

  std::vector<int64_t> slots;
  for (int32_t j = 0; j < kSeqLen; ++j)
    slots.push_back(int64_t{place.pages[static_cast<size_t>(j / kPageSize)]} * kPageSize +
                    j % kPageSize);
  const int32_t write_start[] = {0, kSeqLen}, query_start[] = {0, kQueries},
                key_start[] = {0, kSeqLen};
  const int32_t seq_len = kSeqLen;
  Batch batch;
  batch.num_reqs = 1;
  batch.seq_lens = &seq_len;
  if (cached) {
    batch.page_table = place.pages.data();
    batch.page_table_stride = batch.page_table_width = kPages;
    batch.num_tokens = kSeqLen;
    batch.query_start_loc = write_start;
    batch.slot_mapping = slots.data();
    plan.prepare(batch, workspace.data(), size);
    plan.update_cache(layer, key, value);
    batch.slot_mapping = nullptr;
  } else {
    batch.key_start_loc = key_start;
  }
  batch.num_tokens = kQueries;
  batch.query_start_loc = query_start;
  plan.prepare(batch, workspace.data(), size);
  if (cached)
    plan.forward(layer, query, out, &lse);
  else
    plan.forward(layer, query, key, value, out, &lse);
  for (int64_t t = 0; t < kQueries; ++t)
    for (int64_t head = 0; head < kHeads; ++head) {
      outputs.lse.push_back(load(PAGODA_F32, address(lse, head, t)));
      for (int64_t e = 0; e < kDim; ++e)
        outputs.out.push_back(load(PAGODA_BF16, address(out, t, head, e)));
    }
  return outputs;
}

class FarMemory : public ::testing::Test {
 protected:
  void check(const Place& far, bool cached) {
    check_on(backends_.reference(), "reference", far, cached);
    for (const char* isa : kIsas) check_on(backends_.cpu(isa, 2), isa, far, cached);
  }

  void check_on(Context& context, const char* name, const Place& far, bool cached) {
    if (HasFailure() || IsSkipped()) return;
    const Outputs near = run(context, Place(), cached), there = run(context, far, cached);
    if (!there.mapped)
      GTEST_SKIP() << "this machine does not map " << far.cache_bytes() << " bytes";
    EXPECT_GT(*std::max_element(near.out.begin(), near.out.end()), 0.1f);
    EXPECT_EQ(near.out, there.out) << name;
    EXPECT_EQ(near.lse, there.lse) << name;
  }

  Backends backends_;
};

// A cache of 2^32 elements whose pages in use lie in its second half: 32-bit products of a page and
// its stride wrap, signed or not.
TEST_F(FarMemory, PagesWithHighIds) {
  Place far;
  far.num_pages = (int64_t{1} << 32) / kPageElements + 4;
  const auto last = static_cast<int32_t>(far.num_pages - 1);
  far.pages = {last, last / 2 + 1, last - 2};
  check(far, true);
}

TEST_F(FarMemory, PagesFarApart) {
  Place far;
  far.page_stride = (int64_t{1} << 31) + 64;
  check(far, true);
}

TEST_F(FarMemory, RowsFarApart) {
  Place far;
  far.query_stride = (int64_t{1} << 29) + 8;
  far.new_stride = (int64_t{1} << 27) + 24;
  far.lse_stride = (int64_t{1} << 30) + 1;
  check(far, true);
  check(far, false);
}

}  // namespace
}  // namespace pagoda::conformance
