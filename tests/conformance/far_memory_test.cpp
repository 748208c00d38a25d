// Addresses beyond 2^31 elements, on any machine: caches and rows mapped without being reserved, of
// which a step touches a few pages. The results must be those of the same step in a small place.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "backends.h"
#include "memory.h"

namespace pagoda::conformance {
namespace {

constexpr int32_t kPageSize = 16, kKvHeads = 2, kHeads = 6, kDim = 128, kQueries = 5;
constexpr int32_t kSeqLen = 40;
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

// A step of the last queries of a sequence whose earlier keys lie in the cache already, put there
// by the test: a library that wraps addresses in reading and writing alike does not find them.
class FarStep {
 public:
  FarStep(const Place& place, bool cached)
      : place_(place),
        cached_(cached),
        maps_{Mapping(place.cache_bytes()),
              Mapping(place.cache_bytes()),
              Mapping(place.rows_bytes(place.new_stride)),
              Mapping(place.rows_bytes(place.new_stride)),
              Mapping(place.rows_bytes(place.query_stride)),
              Mapping(place.rows_bytes(place.query_stride)),
              Mapping((kHeads + 1) * place.lse_stride * 4)} {}

  bool is_mapped() const {
    return std::all_of(maps_.begin(), maps_.end(), [](const Mapping& map) { return map.ok(); });
  }

  Outputs run(Context& context) {
    const Tensor key_cache = cache(maps_[0]), value_cache = cache(maps_[1]);
    const Tensor key = rows(maps_[2], kSeqLen, kKvHeads, place_.new_stride);
    const Tensor value = rows(maps_[3], kSeqLen, kKvHeads, place_.new_stride);
    const Tensor query = rows(maps_[4], kQueries, kHeads, place_.query_stride);
    const Tensor out = rows(maps_[5], kQueries, kHeads, place_.query_stride);
    const Tensor lse(maps_[6].data(), PAGODA_F32, {kHeads, kQueries}, {place_.lse_stride, 1});
    fill_rows(key, 1);
    fill_rows(value, 2);
    fill_rows(query, 3);
    Layer layer;
    if (cached_) {
      layer.key_cache = &key_cache;
      layer.value_cache = &value_cache;
    }
    Plan plan(context, spec(), limits());
    const size_t size = plan.workspace_size();
    Buffer workspace(size, 0, 0);
    plan.prepare(batch(), workspace.data(), size);
    if (cached_) {
      place_earlier(key, key_cache);
      place_earlier(value, value_cache);
      plan.update_cache(layer, last(key), last(value));
      plan.forward(layer, query, out, &lse);
    } else {
      plan.forward(layer, query, key, value, out, &lse);
    }
    return read(out, lse);
  }

 private:
  Tensor cache(const Mapping& map) const {
    return Tensor(map.data(), PAGODA_BF16, {place_.num_pages, kPageSize, kKvHeads, kDim},
                  {place_.page_stride, kKvHeads * kDim, kDim, 1});
  }

  static Tensor rows(const Mapping& map, int64_t count, int64_t heads, int64_t stride) {
    return Tensor(map.data(), PAGODA_BF16, {count, heads, kDim}, {stride, kDim, 1});
  }

  // The rows of this step's tokens.
  static Tensor last(const Tensor& rows) {
    Tensor part = rows;
    part.data = address(rows, kSeqLen - kQueries, 0);
    part.shape[0] = kQueries;
    return part;
  }

  void place_earlier(const Tensor& rows, const Tensor& cache) const {
    for (int32_t j = 0; j < kSeqLen - kQueries; ++j)
      for (int64_t head = 0; head < kKvHeads; ++head)
        std::memcpy(address(cache, page_of(j), j % kPageSize, head), address(rows, j, head),
                    kDim * size_of(PAGODA_BF16));
  }

  int64_t page_of(int32_t j) const { return place_.pages[static_cast<size_t>(j / kPageSize)]; }

  Spec spec() const {
    Spec spec;
    spec.num_heads = kHeads;
    spec.num_kv_heads = kKvHeads;
    spec.head_dim = kDim;
    spec.dtype = PAGODA_BF16;
    spec.page_size = cached_ ? kPageSize : 0;
    spec.causal = 1;
    return spec;
  }

  Limits limits() const {
    Limits limits;
    limits.max_reqs = 1;
    limits.max_tokens = limits.max_seq_len = kSeqLen;
    limits.num_pages = place_.num_pages;
    return limits;
  }

  Batch batch() {
    for (int32_t j = kSeqLen - kQueries; j < kSeqLen; ++j)
      slots_.push_back(page_of(j) * kPageSize + j % kPageSize);
    Batch batch;
    batch.num_reqs = 1;
    batch.num_tokens = kQueries;
    batch.query_start_loc = kQueryStartLoc;
    batch.seq_lens = &kSeqLen;
    if (!cached_) {
      batch.key_start_loc = kKeyStartLoc;
      return batch;
    }
    batch.page_table = place_.pages.data();
    batch.page_table_stride = batch.page_table_width = kPages;
    batch.slot_mapping = slots_.data();
    return batch;
  }

  static Outputs read(const Tensor& out, const Tensor& lse) {
    Outputs outputs;
    for (int64_t t = 0; t < kQueries; ++t)
      for (int64_t head = 0; head < kHeads; ++head) {
        outputs.lse.push_back(load(PAGODA_F32, address(lse, head, t)));
        for (int64_t e = 0; e < kDim; ++e)
          outputs.out.push_back(load(PAGODA_BF16, address(out, t, head, e)));
      }
    return outputs;
  }

  static constexpr int32_t kQueryStartLoc[] = {0, kQueries}, kKeyStartLoc[] = {0, kSeqLen};
  Place place_;
  bool cached_;
  std::array<Mapping, 7> maps_;  // key_cache, value_cache, key, value, query, out, lse
  std::vector<int64_t> slots_;
};

class FarMemory : public ::testing::Test {
 protected:
  void check(const Place& far, bool cached) {
    check_on(backends_.reference(), "reference", far, cached);
    for (const char* isa : kIsas) check_on(backends_.cpu(isa, 2), isa, far, cached);
  }

  void check_on(Context& context, const char* name, const Place& far, bool cached) {
    if (HasFailure() || IsSkipped()) return;
    FarStep here(Place(), cached), there(far, cached);
    if (!there.is_mapped())
      GTEST_SKIP() << "this machine does not map " << far.cache_bytes() << " bytes";
    const Outputs expected = here.run(context), got = there.run(context);
    EXPECT_GT(*std::max_element(expected.out.begin(), expected.out.end()), 0.1f);
    EXPECT_EQ(expected.out, got.out) << name;
    EXPECT_EQ(expected.lse, got.lse) << name;
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
