// The CPU backend beside attention: choice of kernels, threads, cache writes, merges, and that a
// step allocates nothing.
#include "backend/backend.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cfenv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>
#include <set>
#include <thread>

#include "cases.h"
#include "core/dtype.h"
#include "core/error.h"
#include "cpu/features.h"
#include "cpu/float_mode.h"
#include "cpu/select.h"
#include "cpu/threads.h"

namespace {
std::atomic<bool> counting{false};
std::atomic<int> allocations{0};

void* counted(size_t size) {
  if (counting) ++allocations;
  void* it = std::malloc(size == 0 ? 1 : size);
  if (it == nullptr) throw std::bad_alloc();
  return it;
}
}  // namespace

void* operator new(size_t size) {
  return counted(size);
}
void* operator new[](size_t size) {
  return counted(size);
}
void operator delete(void* it) noexcept {
  std::free(it);
}
void operator delete[](void* it) noexcept {
  std::free(it);
}
void operator delete(void* it, size_t) noexcept {
  std::free(it);
}
void operator delete[](void* it, size_t) noexcept {
  std::free(it);
}

namespace pagoda::cpu {

std::unique_ptr<Backend> make_backend(const BackendOptions& options);

namespace {

std::string failure_of(const BackendOptions& options, pagoda_status status) {
  try {
    make_backend(options);
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.status, status);
    return failure.what();
  }
  return "no failure";
}

Problem small_problem() {
  Problem problem{.num_heads = 4, .num_kv_heads = 2, .head_dim = 16, .head_dim_v = 24};
  problem.dtype = PAGODA_F16;
  problem.page_size = 8;
  problem.limits = {.max_reqs = 3,
                    .max_tokens = 700,
                    .max_query_len = 700,
                    .max_seq_len = 4000,
                    .num_pages = 600};
  return problem;
}

TEST(CpuSelect, UnknownNamesAreNamedWithThoseThatExist) {
  const std::string wrong = failure_of({.isa = "sse9"}, PAGODA_INVALID_ARGUMENT);
  EXPECT_NE(wrong.find("sse9"), std::string::npos) << wrong;
  EXPECT_NE(wrong.find("scalar"), std::string::npos) << wrong;

  Problem problem = small_problem();
  problem.tuning.kernel = "cpu.sse9";
  const Selection selection = make_backend({})->select(problem);
  EXPECT_EQ(selection.kernel, nullptr);
  ASSERT_EQ(selection.reasons.size(), 1u);
  EXPECT_NE(selection.reasons[0].sentence.find("cpu.scalar"), std::string::npos)
      << selection.reasons[0].sentence;
}

TEST(CpuSelect, EveryReasonIsGiven) {
  Problem problem = small_problem();
  problem.tuning.kernel = "cuda.x";
  problem.kv_format = PAGODA_KV_INT8_TOKEN;
  problem.page_size = 0;
  EXPECT_EQ(make_backend({})->select(problem).reasons.size(), 2u);
}

TEST(CpuSelect, NamedKernelsAndIsasAreTaken) {
  for (const CpuKernel& kernel : available_kernels("")) {
    Problem problem = small_problem();
    problem.dtype = kernel.tiles == Element::f16 ? PAGODA_F16 : PAGODA_BF16;
    problem.tuning.kernel = kernel.name;
    const auto any = make_backend({});
    ASSERT_NE(any->select(problem).kernel, nullptr);
    EXPECT_EQ(any->select(problem).kernel->name, kernel.name);
    const auto forced = make_backend({.isa = kernel.isa});
    problem.tuning.kernel.clear();
    ASSERT_NE(forced->select(problem).kernel, nullptr);
    EXPECT_EQ(forced->select(problem).kernel->name, kernel.name);
  }
}

// Tiles multiply bf16 alone. Where they are asked for by the instruction set, the vectors beside
// them take the rest; where the kernel is named, there is a reason.
TEST(CpuSelect, TilesLeaveOtherTypesToVectors) {
  if (!detect_features().amx) GTEST_SKIP() << "this machine has no AMX, or refuses it";
  Problem problem = small_problem();
  for (const pagoda_dtype dtype : {PAGODA_F32, PAGODA_F16}) {
    problem.dtype = dtype;
    problem.tuning.kernel.clear();
    EXPECT_EQ(make_backend({.isa = "amx"})->select(problem).kernel->name, "cpu.avx512");
    problem.tuning.kernel = "cpu.amx";
    const Selection selection = make_backend({})->select(problem);
    EXPECT_EQ(selection.kernel, nullptr);
    ASSERT_EQ(selection.reasons.size(), 1u);
    EXPECT_NE(selection.reasons[0].sentence.find("bf16"), std::string::npos);
  }
}

// Arithmetic that the compiler neither does beforehand nor moves.
float sum_of(float a, float b) {
  volatile float x = a, y = b, sum = x + y;
  return sum;
}
float product_of(float a, float b) {
  volatile float x = a, y = b, product = x * y;
  return product;
}

TEST(CpuFloatMode, TheCallersRoundingIsSetAsideAndComesBack) {
  ASSERT_EQ(std::fesetround(FE_UPWARD), 0);
  const float before = sum_of(1, 0x1p-30f);
  float inside = 0;
  {
    const FloatMode mode;
    inside = sum_of(1, 0x1p-30f);
  }
  const float after = sum_of(1, 0x1p-30f);
  std::fesetround(FE_TONEAREST);
  EXPECT_GT(before, 1);
  EXPECT_EQ(inside, 1);
  EXPECT_GT(after, 1);
}

#if defined(PAGODA_CPU_X86) || defined(PAGODA_CPU_ARM64)
TEST(CpuFloatMode, SubnormalsCountWhateverTheCallerFlushes) {
#ifdef PAGODA_CPU_X86
  constexpr uint64_t kFlush = 0x8040;  // results and operands
#else
  constexpr uint64_t kFlush = 1 << 24;
#endif
  const uint64_t own = float_mode();
  set_float_mode(own | kFlush);
  const float before = product_of(0x1p-100f, 0x1p-30f);
  float inside = 0;
  {
    const FloatMode mode;
    inside = product_of(0x1p-100f, 0x1p-30f);
  }
  const float after = product_of(0x1p-100f, 0x1p-30f);
  set_float_mode(own);
  EXPECT_EQ(before, 0);
  EXPECT_EQ(inside, 0x1p-130f);
  EXPECT_EQ(after, 0);
}
#endif

// Tiles of f16 serve tensors of f16, and those of bf16 where all that is cached are codes. What
// they leave goes to tiles of bf16 and to vectors.
TEST(CpuSelect, TilesOfF16ServeF16AndCodes) {
  if (!detect_features().amx_fp16) GTEST_SKIP() << "this machine has no AMX for f16, or refuses it";
  const auto served_by = [](pagoda_dtype dtype, pagoda_kv_format format) {
    Problem problem = small_problem();
    problem.dtype = dtype;
    problem.kv_format = format;
    return make_backend({.isa = "amx_fp16"})->select(problem).kernel->name;
  };
  EXPECT_EQ(served_by(PAGODA_F16, PAGODA_KV_SAME), "cpu.amx_fp16");
  EXPECT_EQ(served_by(PAGODA_F16, PAGODA_KV_INT8_KEYS), "cpu.amx_fp16");
  EXPECT_EQ(served_by(PAGODA_BF16, PAGODA_KV_INT8_TOKEN), "cpu.amx_fp16");
  EXPECT_EQ(served_by(PAGODA_BF16, PAGODA_KV_FP8_E4M3), "cpu.amx_fp16");
  EXPECT_EQ(served_by(PAGODA_BF16, PAGODA_KV_INT8_KEYS), "cpu.amx");
  EXPECT_EQ(served_by(PAGODA_BF16, PAGODA_KV_SAME), "cpu.amx");
  EXPECT_EQ(served_by(PAGODA_F32, PAGODA_KV_INT8_TOKEN), "cpu.avx512");
  Problem problem = small_problem();
  problem.dtype = PAGODA_BF16;
  problem.tuning.kernel = "cpu.amx_fp16";
  const Selection selection = make_backend({})->select(problem);
  EXPECT_EQ(selection.kernel, nullptr);
  ASSERT_EQ(selection.reasons.size(), 1u);
  EXPECT_NE(selection.reasons[0].sentence.find("f16"), std::string::npos);
}

TEST(CpuThreads, EachThreadRunsEachJobOnce) {
  ThreadPool pool(5);
  ASSERT_EQ(pool.num_threads(), 5);
  std::atomic<int> runs[5] = {};
  for (int job = 0; job < 300; ++job) pool.run([&](int thread) { ++runs[thread]; });
  for (const auto& count : runs) EXPECT_EQ(count, 300);
}

TEST(CpuThreads, SleepersWakeUp) {
  ThreadPool pool(3);
  for (int job = 0; job < 3; ++job) {
    std::atomic<int> runs{0};
    pool.run([&](int) { ++runs; });
    EXPECT_EQ(runs, 3);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

TEST(CpuThreads, CallersTakeTurns) {
  ThreadPool pool(3);
  std::atomic<int> runs{0};
  std::thread other([&] {
    for (int job = 0; job < 200; ++job) pool.run([&](int) { ++runs; });
  });
  for (int job = 0; job < 200; ++job) pool.run([&](int) { ++runs; });
  other.join();
  EXPECT_EQ(runs, 2 * 200 * 3);
}

// The last task first, all on the caller: a host may have fewer threads than were asked for.
void run_backwards(void* host, int32_t count, void (*task)(void* argument, int32_t index),
                   void* argument) {
  static_cast<std::vector<int32_t>*>(host)->push_back(count);
  for (int32_t i = count; i-- > 0;) task(argument, i);
}

TEST(CpuThreads, AHostsThreadsDoTheWork) {
  std::vector<int32_t> counts;
  ThreadPool pool(5, {.run_tasks = run_backwards, .host = &counts});
  ASSERT_EQ(pool.num_threads(), 5);
  std::vector<int> order;
  const std::thread::id here = std::this_thread::get_id();
  for (int job = 0; job < 2; ++job)
    pool.run([&](int thread) {
      EXPECT_EQ(std::this_thread::get_id(), here);
      order.push_back(thread);
    });
  EXPECT_EQ(order, (std::vector<int>{4, 3, 2, 1, 0, 4, 3, 2, 1, 0}));
  EXPECT_EQ(counts, (std::vector<int32_t>{5, 5}));
}

TEST(CpuThreads, TooManyAreRefused) {
  const std::string wrong = failure_of({.num_threads = 100000}, PAGODA_INVALID_ARGUMENT);
  EXPECT_NE(wrong.find("100000"), std::string::npos) << wrong;
}

// A prepared step of small_problem with everything that it needs.
class Step {
 public:
  explicit Step(int num_threads, const Problem& given = small_problem())
      : problem_(given), backend_(make_backend({.num_threads = num_threads})) {
    kernel_ = backend_->select(problem_).kernel;
    backend_->add_workspace(problem_, *kernel_, map_);
    workspace_.reset(static_cast<std::byte*>(std::aligned_alloc(256, map_.size())));
    const int64_t page = 8 * 2 * 16, value_page = 8 * 2 * 24;
    key_cache_.assign(static_cast<size_t>(600 * page), 0xffff);
    value_cache_.assign(static_cast<size_t>(600 * value_page), 0xffff);
    for (int32_t i = 0; i < 3 * 500; ++i) page_table_.push_back(1 + (i * 7 + 3) % 599);
    query_.assign(700 * 4 * 16, 0x3800);
    key_.resize(700 * 2 * 16);
    value_.resize(700 * 2 * 24);
    std::iota(key_.begin(), key_.end(), uint16_t{0x2000});
    std::iota(value_.begin(), value_.end(), uint16_t{0x1000});
    out_.assign(700 * 4 * 24, 0xffff);
    for (int64_t t = 0; t < 700; ++t) slots_.push_back(t % 5 == 4 ? -1 : (t * 13 + 8) % 4800);
    layer_.key_cache = view(key_cache_, {600, 8, 2, 16});
    layer_.value_cache = view(value_cache_, {600, 8, 2, 24});
    for (uint16_t& bits : key_cache_) bits = 0x3000;
    for (uint16_t& bits : value_cache_) bits = 0x3400;
  }

  Prepared prepared() const {
    Batch batch{.num_reqs = 3, .num_tokens = 700, .max_query_len = 700, .max_seq_len = 4000};
    batch.query_start_loc = starts_;
    batch.seq_lens = lens_;
    batch.page_table = page_table_.data();
    batch.page_table_stride = batch.page_table_width = 500;
    batch.slot_mapping = slots_.data();
    return {problem_, *kernel_, map_, workspace_.get(), batch, nullptr};
  }
  void schedule() { backend_->schedule(prepared()); }
  void attend() {
    const Operands operands{.query = view(query_, {700, 4, 16}), .out = view(out_, {700, 4, 24})};
    backend_->attend(prepared(), Attend{.mask = problem_.mask}, layer_, operands);
  }
  void update_cache() {
    backend_->update_cache(prepared(), layer_, view(key_, {700, 2, 16}),
                           view(value_, {700, 2, 24}));
  }
  void merge() {
    const TensorView lse{.data = lse_.data(), .num_dims = 2, .shape = {4, 700}, .stride = {700, 1}};
    const TensorView state = view(out_, {700, 4, 24});
    backend_->merge({.num_tokens_a = 700,
                     .out_a = state,
                     .lse_a = lse,
                     .out_b = state,
                     .lse_b = lse,
                     .out = state,
                     .lse = lse},
                    nullptr);
  }

  std::vector<uint16_t> key_, value_, key_cache_, value_cache_;
  std::vector<int64_t> slots_;

 private:
  struct Free {
    void operator()(std::byte* it) const { std::free(it); }
  };

  static TensorView view(std::vector<uint16_t>& data, std::initializer_list<int64_t> shape) {
    TensorView it{.data = data.data(), .dtype = PAGODA_F16};
    it.num_dims = static_cast<int32_t>(shape.size());
    int64_t stride = 1;
    std::copy(shape.begin(), shape.end(), it.shape);
    for (int32_t i = it.num_dims; i-- > 0; stride *= it.shape[i]) it.stride[i] = stride;
    return it;
  }

  Problem problem_;
  std::unique_ptr<Backend> backend_;
  const Kernel* kernel_ = nullptr;
  WorkspaceMap map_;
  std::unique_ptr<std::byte, Free> workspace_;
  std::vector<int32_t> page_table_;
  std::vector<uint16_t> query_, out_;
  std::vector<float> lse_ = std::vector<float>(4 * 700, 1.5f);
  Layer layer_;
  int32_t starts_[4] = {0, 1, 2, 690}, lens_[3] = {4000, 900, 688};
};

int allocations_of(const auto& body) {
  allocations = 0;
  counting = true;
  body();
  counting = false;
  return allocations;
}

TEST(CpuBackend, AStepAllocatesNothing) {
  for (int threads : {1, 3}) {
    Step step(threads);
    ASSERT_EQ(allocations_of([] { delete new int; }), 1) << "the counter does not count";
    step.schedule();
    step.attend();  // libc may allocate for itself once per thread
    EXPECT_EQ(allocations_of([&] { step.schedule(); }), 0);
    EXPECT_EQ(allocations_of([&] { step.update_cache(); }), 0);
    EXPECT_EQ(allocations_of([&] { step.attend(); }), 0);
    EXPECT_EQ(allocations_of([&] { step.merge(); }), 0);
  }
}

TEST(CpuBackend, CacheWritesGoWhereTheSlotsSay) {
  for (int threads : {1, 4}) {
    Step step(threads);
    std::vector<uint16_t> keys = step.key_cache_, values = step.value_cache_;
    for (size_t t = 0; t < 700; ++t) {
      if (step.slots_[t] < 0) continue;
      const auto slot = static_cast<size_t>(step.slots_[t]);
      std::copy_n(&step.key_[t * 32], 32, &keys[slot * 32]);
      std::copy_n(&step.value_[t * 48], 48, &values[slot * 48]);
    }
    step.schedule();
    step.update_cache();
    EXPECT_EQ(step.key_cache_, keys);
    EXPECT_EQ(step.value_cache_, values);
  }
}

// Two states of two tokens and one head, merged in place.
struct MergeCase {
  std::vector<float> out_a, lse_a, out_b, lse_b;  // [2, 1, 8], [1, 2]

  std::vector<float> merged(bool into_a, std::vector<float>* lse = nullptr) {
    const auto tensor = [](std::vector<float>& data, int32_t dims) {
      TensorView it{.data = data.data(), .num_dims = dims};
      const int64_t shape[2][3] = {{2, 1, 8}, {1, 2, 0}}, stride[2][3] = {{8, 8, 1}, {2, 1, 0}};
      std::copy_n(shape[dims == 3 ? 0 : 1], 3, it.shape);
      std::copy_n(stride[dims == 3 ? 0 : 1], 3, it.stride);
      return it;
    };
    std::vector<float> a = out_a, b = out_b, la = lse_a, lb = lse_b;
    MergeOperands operands{.num_tokens_a = 2,
                           .out_a = tensor(a, 3),
                           .lse_a = tensor(la, 2),
                           .out_b = tensor(b, 3),
                           .lse_b = tensor(lb, 2)};
    operands.out = into_a ? operands.out_a : operands.out_b;
    operands.lse = into_a ? operands.lse_a : operands.lse_b;
    make_backend({.num_threads = 1})->merge(operands, nullptr);
    if (lse != nullptr) *lse = into_a ? la : lb;
    return into_a ? a : b;
  }
};

MergeCase merge_case() {
  MergeCase it{.out_a = {1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 1, 1, 1, 1, 1, 1},
               .lse_a = {0.25f, -1},
               .out_b = {8, 7, 6, 5, 4, 3, 2, 1, 2, 2, 2, 2, 2, 2, 2, 2},
               .lse_b = {0.5f, 3}};
  return it;
}

TEST(CpuMerge, IsTheFormulaAndCommutes) {
  MergeCase it = merge_case();
  std::vector<float> lse;
  const std::vector<float> out = it.merged(true, &lse);
  for (size_t t = 0; t < 2; ++t) {
    const double a = std::exp(static_cast<double>(it.lse_a[t])),
                 b = std::exp(static_cast<double>(it.lse_b[t]));
    EXPECT_NEAR(lse[t], std::log(a + b), 1e-6);
    for (size_t i = 8 * t; i < 8 * t + 8; ++i)
      EXPECT_NEAR(out[i], (a * it.out_a[i] + b * it.out_b[i]) / (a + b), 2e-6);
  }
  EXPECT_EQ(it.merged(false), out);
  std::swap(it.out_a, it.out_b);
  std::swap(it.lse_a, it.lse_b);
  EXPECT_EQ(it.merged(true), out);
}

TEST(CpuMerge, EmptyStatesAreNotRead) {
  for (float empty : {-INFINITY, INFINITY}) {
    MergeCase it = merge_case();
    it.out_a.assign(16, NAN);
    it.lse_a.assign(2, empty);
    std::vector<float> lse;
    EXPECT_EQ(it.merged(true, &lse), it.out_b);
    EXPECT_EQ(lse, it.lse_b);
    it.out_b.assign(16, NAN);
    it.lse_b.assign(2, empty);
    EXPECT_EQ(it.merged(false, &lse), std::vector<float>(16, 0.0f));
    EXPECT_EQ(lse, std::vector<float>(2, -INFINITY));
  }
}

}  // namespace
}  // namespace pagoda::cpu
