// What a step costs in the paged cache, through the public interface.
#include <benchmark/benchmark.h>

#include <numeric>
#include <pagoda/kv.hpp>
#include <vector>

namespace {

constexpr int32_t kPageSize = 16;

std::vector<int32_t> prompt(int32_t count, int32_t first) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

pagoda::Cache cache_for(int32_t num_reqs, int32_t max_seq_len) {
  pagoda::CacheGroup group;
  group.page_size = kPageSize;
  const int64_t num_pages = 1 + int64_t{num_reqs} * (max_seq_len / kPageSize + 1);
  pagoda::CacheOptions options;
  options.num_groups = 1;
  options.groups = &group;
  options.num_pools = 1;
  options.num_pages = &num_pages;
  options.max_reqs = num_reqs;
  options.max_seq_len = max_seq_len;
  return pagoda::Cache(options);
}

// Requests that decode token after token, from `start` tokens on, and begin again after 1024.
class Decode {
 public:
  Decode(int32_t num_reqs, int32_t start)
      : num_reqs_(num_reqs), start_(start), cache_(cache_for(num_reqs, start + 1024)) {
    begin();
  }

  template <class State, class Step>
  void run(State& state, const Step& step) {
    for (auto _ : state) {
      step(++length_);
      state.PauseTiming();
      for (int32_t r = 0; r < num_reqs_; ++r) {
        cache_.append(id(r), r);
        cache_.commit(id(r), length_);
      }
      if (length_ == start_ + 1024) begin();
      state.ResumeTiming();
    }
    state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * num_reqs_);
  }

  static uint64_t id(int32_t r) { return static_cast<uint64_t>(r) + 1; }
  pagoda::Cache& cache() { return cache_; }

 private:
  void begin() {
    for (int32_t r = 0; r < num_reqs_ && length_ > 0; ++r) cache_.free(id(r));
    for (int32_t r = 0; r < num_reqs_; ++r) {
      const auto tokens = prompt(start_, 1000 * r);
      cache_.begin({id(r), tokens});
      if (!cache_.grow(id(r), start_)) std::abort();
      cache_.commit(id(r), start_);
    }
    length_ = start_;
  }

  int32_t num_reqs_, start_;
  pagoda::Cache cache_;
  int32_t length_ = 0;
};

// Page and slot of one more token for every request.
void grow_and_slots(benchmark::State& state) {
  const auto num_reqs = static_cast<int32_t>(state.range(0));
  Decode decode(num_reqs, 1000);
  std::vector<int64_t> slots(static_cast<size_t>(num_reqs));
  decode.run(state, [&](int32_t length) {
    for (int32_t r = 0; r < num_reqs; ++r) {
      if (!decode.cache().grow(Decode::id(r), length)) std::abort();
      decode.cache().slots(0, Decode::id(r), length - 1, {&slots[static_cast<size_t>(r)], 1});
    }
    benchmark::DoNotOptimize(slots.data());
  });
}
BENCHMARK(grow_and_slots)->Arg(16)->Arg(256)->Unit(benchmark::kMicrosecond);

// The whole of pagoda_batch's arrays, rows of the page table included.
void grow_and_fill(benchmark::State& state) {
  const auto num_reqs = static_cast<int32_t>(state.range(0));
  const auto start = static_cast<int32_t>(state.range(1));
  Decode decode(num_reqs, start);
  const auto count = static_cast<size_t>(num_reqs);
  const int32_t width = (start + 1024) / kPageSize + 1;
  std::vector<uint64_t> ids(count);
  std::vector<int32_t> lengths(count), loc(count + 1), table(count * static_cast<size_t>(width));
  std::vector<int64_t> slots(count);
  std::iota(ids.begin(), ids.end(), uint64_t{1});
  std::iota(loc.begin(), loc.end(), 0);
  pagoda::CacheStep step;
  step.num_reqs = step.num_tokens = num_reqs;
  step.ids = ids.data();
  step.query_start_loc = loc.data();
  step.seq_lens = lengths.data();
  step.page_table = table.data();
  step.page_table_stride = step.page_table_width = width;
  step.slot_mapping = slots.data();
  decode.run(state, [&](int32_t length) {
    std::fill(lengths.begin(), lengths.end(), length);
    for (uint64_t id : ids)
      if (!decode.cache().grow(id, length)) std::abort();
    decode.cache().fill(0, step);
    benchmark::DoNotOptimize(table.data());
  });
}
BENCHMARK(grow_and_fill)->Args({256, 1000})->Args({256, 8000})->Unit(benchmark::kMicrosecond);

// The tokens that were sampled, and every sixteenth time a page that becomes full.
void append_and_commit(benchmark::State& state) {
  constexpr int32_t kRequests = 256;
  auto cache = cache_for(kRequests, 65536);
  for (int32_t r = 0; r < kRequests; ++r) {
    cache.begin({Decode::id(r), prompt(8, r)});
    if (!cache.grow(Decode::id(r), 65536)) std::abort();
    cache.commit(Decode::id(r), 8);
  }
  int32_t length = 8;
  for (auto _ : state) {
    ++length;
    for (int32_t r = 0; r < kRequests; ++r) {
      cache.append(Decode::id(r), r);
      cache.commit(Decode::id(r), length);
    }
  }
}
BENCHMARK(append_and_commit)->Iterations(4096)->Unit(benchmark::kMicrosecond);

// A prompt of which everything is cached: the cost of its keys.
void find_prefix(benchmark::State& state) {
  auto cache = cache_for(2, 1 << 17);
  const auto tokens = prompt(static_cast<int32_t>(state.range(0)), 0);
  cache.begin({1, tokens});
  if (!cache.grow(1, static_cast<int32_t>(tokens.size()))) std::abort();
  cache.commit(1, static_cast<int32_t>(tokens.size()));
  for (auto _ : state) benchmark::DoNotOptimize(cache.find({2, tokens}));
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()) * state.range(0));
}
BENCHMARK(find_prefix)->Arg(1024)->Arg(65536)->Unit(benchmark::kMicrosecond);

}  // namespace
