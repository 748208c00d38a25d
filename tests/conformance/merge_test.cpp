// merge_states against the two-line formula: strides, aliasing, empty states of either sign with
// garbage beside them, tokens that have state b alone.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <sstream>

#include "backends.h"
#include "memory.h"
#include "values.h"

namespace pagoda::conformance {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

enum class Alias { none, out_is_a, out_is_b };

struct State {
  std::vector<float> out;  // [tokens, heads, dim]
  std::vector<float> lse;  // [tokens, heads]
};

struct Shape {
  int32_t tokens, heads, dim;
  pagoda_dtype dtype;
  size_t rows() const { return static_cast<size_t>(tokens * heads); }
  size_t dims() const { return static_cast<size_t>(dim); }
};

// NaN in the output of an empty state: it must not be read.
State draw_state(const Shape& shape, Random& random) {
  State state;
  for (size_t row = 0; row < shape.rows(); ++row) {
    const bool empty = random.chance(0.15);
    const double size = random.pick({1.0, 10.0, 1e5});
    state.lse.push_back(empty ? random.pick({kInfinity, -kInfinity})
                              : static_cast<float>(size * random.gaussian()));
    for (size_t e = 0; e < shape.dims(); ++e)
      state.out.push_back(empty ? std::numeric_limits<float>::quiet_NaN()
                                : rounded(shape.dtype, random.gaussian()));
  }
  return state;
}

// The tensors of one merge, in guarded memory with strides of their own.
class Memory {
 public:
  Memory(const Shape& shape, Random& random, uint64_t fill_seed)
      : shape_(shape), random_(random), fill_seed_(fill_seed) {}

  Tensor out_of(const State* state) {
    const int64_t head_stride = shape_.dim + (random_.chance(0.5) ? random_.between(0, 9) : 0);
    const bool heads_first = random_.chance(0.3);
    const int64_t inner = heads_first ? shape_.tokens : shape_.heads;
    const int64_t outer_stride = inner * head_stride + random_.between(0, 9);
    const int64_t outer = heads_first ? shape_.heads : shape_.tokens;
    Buffer& buffer = add(outer * outer_stride, size_of(shape_.dtype));
    Tensor tensor(
        buffer.data(), shape_.dtype, {shape_.tokens, shape_.heads, shape_.dim},
        {heads_first ? head_stride : outer_stride, heads_first ? outer_stride : head_stride, 1});
    spoil_singletons(tensor);
    for (size_t i = 0; state != nullptr && i < state->out.size(); ++i) {
      const auto row = static_cast<int64_t>(i / shape_.dims());
      store(shape_.dtype,
            address(tensor, row / shape_.heads, row % shape_.heads) +
                i % shape_.dims() * size_of(shape_.dtype),
            state->out[i]);
    }
    return tensor;
  }

  Tensor lse_of(const State* state) {
    const bool transposed = random_.chance(0.5);
    const int64_t step = random_.between(1, 3);
    const int64_t inner = transposed ? shape_.heads : shape_.tokens;
    const int64_t outer = transposed ? shape_.tokens : shape_.heads;
    const int64_t outer_stride = inner * step + random_.between(0, 5);
    Buffer& buffer = add(outer * outer_stride, sizeof(float));
    Tensor tensor(buffer.data(), PAGODA_F32, {shape_.heads, shape_.tokens},
                  {transposed ? step : outer_stride, transposed ? outer_stride : step});
    spoil_singletons(tensor);
    for (size_t i = 0; state != nullptr && i < state->lse.size(); ++i)
      store(PAGODA_F32, lse_address(tensor, i), state->lse[i]);
    return tensor;
  }

  std::byte* lse_address(const Tensor& lse, size_t row) const {
    const auto i = static_cast<int64_t>(row);
    return address(lse, i % shape_.heads, i / shape_.heads);
  }

  void snapshot() {
    for (auto& buffer : buffers_) buffer->snapshot();
  }
  void forgive(const std::byte* at, size_t bytes) {
    for (auto& buffer : buffers_)
      if (buffer->contains(at)) buffer->forgive(static_cast<size_t>(at - buffer->data()), bytes);
  }
  bool is_as_before() const {
    for (const auto& buffer : buffers_)
      if (!buffer->is_as_before()) return false;
    return true;
  }

 private:
  // A stride that no index uses may say anything.
  void spoil_singletons(Tensor& tensor) {
    for (int d = 0; d < tensor.num_dims; ++d)
      if (tensor.shape[d] == 1 && random_.chance(0.5))
        tensor.stride[d] = random_.pick<int64_t>({0, 1, 3, 12345, -5});
  }

  Buffer& add(int64_t elements, size_t element) {
    buffers_.push_back(std::make_unique<Buffer>(static_cast<size_t>(elements) * element,
                                                element * (random_.bits() % 3), fill_seed_));
    return *buffers_.back();
  }

  const Shape& shape_;
  Random& random_;
  uint64_t fill_seed_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

struct Case {
  Shape shape;
  State a, b;
  int32_t num_tokens_a;
  Alias alias;
  bool wants_lse;

  explicit Case(uint64_t seed) {
    Random random = stream_of(seed, 1);
    shape = {.tokens = random.between(0, 12),
             .heads = random.between(1, 9),
             .dim = 8 * random.between(1, 20),
             .dtype = random.pick({PAGODA_F32, PAGODA_F16, PAGODA_BF16})};
    if (random.chance(0.05)) shape.tokens = 300;
    a = draw_state(shape, random);
    b = draw_state(shape, random);
    num_tokens_a = random.chance(0.5) ? -1 : random.between(0, shape.tokens);
    alias = random.pick({Alias::none, Alias::out_is_a, Alias::out_is_b});
    wants_lse = random.chance(0.8);
  }
};

struct Merged {
  std::string complaint;
  std::vector<float> out, lse;
};

Merged merge_of(const Case& it, Context& context, uint64_t seed, uint64_t fill_seed) {
  Random random = stream_of(seed, 2);
  Memory memory(it.shape, random, fill_seed);
  const Tensor out_a = memory.out_of(&it.a), out_b = memory.out_of(&it.b);
  const Tensor lse_a = memory.lse_of(&it.a), lse_b = memory.lse_of(&it.b);
  const Tensor own_out = memory.out_of(nullptr), own_lse = memory.lse_of(nullptr);
  const Tensor& out = it.alias == Alias::out_is_a   ? out_a
                      : it.alias == Alias::out_is_b ? out_b
                                                    : own_out;
  const Tensor& lse = it.alias == Alias::out_is_a   ? lse_a
                      : it.alias == Alias::out_is_b ? lse_b
                                                    : own_lse;
  Merge merge;
  merge.num_tokens_a = it.num_tokens_a;
  merge.out_a = &out_a;
  merge.lse_a = &lse_a;
  merge.out_b = &out_b;
  merge.lse_b = &lse_b;
  merge.out = &out;
  merge.lse = it.wants_lse ? &lse : nullptr;
  memory.snapshot();
  try {
    context.merge_states(merge);
  } catch (const Error& error) {
    return {.complaint = error.what()};
  }
  Merged merged;
  const size_t size = size_of(it.shape.dtype);
  for (size_t row = 0; row < it.shape.rows(); ++row) {
    const auto i = static_cast<int64_t>(row);
    std::byte* at = address(out, i / it.shape.heads, i % it.shape.heads);
    for (size_t e = 0; e < it.shape.dims(); ++e)
      merged.out.push_back(load(it.shape.dtype, at + e * size));
    memory.forgive(at, it.shape.dims() * size);
    if (!it.wants_lse) continue;
    merged.lse.push_back(load(PAGODA_F32, memory.lse_address(lse, row)));
    memory.forgive(memory.lse_address(lse, row), sizeof(float));
  }
  if (!memory.is_as_before()) merged.complaint = "bytes changed that the merge may not write";
  return merged;
}

// One row of the formula, in double; complains if `got` is elsewhere.
std::string check_row(const Case& it, const Merged& got, size_t row) {
  const double none = -HUGE_VAL;
  const auto lse_in = [&](const State& state) {
    return std::isinf(state.lse[row]) ? none : double{state.lse[row]};
  };
  const bool has_a = it.num_tokens_a < 0 || row / static_cast<size_t>(it.shape.heads) <
                                                static_cast<size_t>(it.num_tokens_a);
  const double a = has_a ? lse_in(it.a) : none, b = lse_in(it.b), m = std::fmax(a, b);
  const bool both_empty = m == none, one_empty = a == none || b == none;
  const double wa = a == none ? 0 : std::exp(a - m), wb = b == none ? 0 : std::exp(b - m);
  const double lse = both_empty ? none : m + std::log(wa + wb);
  const double eps = one_empty ? 0 : std::expm1(0x1p-23 * (std::abs(a - b) + 8));
  const double last = it.shape.dtype == PAGODA_F32   ? 0x1p-24
                      : it.shape.dtype == PAGODA_F16 ? 0x1p-11 + 0x1p-24
                                                     : 0x1p-8 + 0x1p-24;
  std::ostringstream text;
  for (size_t i = row * it.shape.dims(); i < (row + 1) * it.shape.dims(); ++i) {
    const double from_a = wa == 0 ? 0 : wa / (wa + wb) * double{it.a.out[i]};
    const double from_b = wb == 0 ? 0 : wb / (wa + wb) * double{it.b.out[i]};
    const double out = from_a + from_b;
    // Merged with an empty state, the other keeps its bits.
    const double bound = one_empty
                             ? 0
                             : eps * (std::abs(from_a) + std::abs(from_b)) + last * std::abs(out) +
                                   0x1p-25 * (it.shape.dtype == PAGODA_F16) + 0x1p-126;
    if (!(std::abs(got.out[i] - out) <= bound))
      text << "out element " << i << " is " << got.out[i] << ", expected " << out << " within "
           << bound;
  }
  if (!it.wants_lse || !text.str().empty()) return text.str();
  const double bound = one_empty ? 0 : 0x1p-22 * std::fmax(1, std::abs(lse));
  const bool right =
      both_empty ? double{got.lse[row]} == none : std::abs(got.lse[row] - lse) <= bound;
  if (!right) text << "lse of row " << row << " is " << got.lse[row] << ", expected " << lse;
  return text.str();
}

void check(Context& context, uint64_t cases) {
  for (uint64_t seed = 0; seed < cases; ++seed) {
    const Case it(seed);
    const Merged merged = merge_of(it, context, seed, 0);
    ASSERT_EQ(merged.complaint, "") << "case " << seed;
    for (size_t row = 0; row < it.shape.rows(); ++row)
      ASSERT_EQ(check_row(it, merged, row), "") << "case " << seed;
    const Merged again = merge_of(it, context, seed, seed | 1);
    ASSERT_EQ(merged.out, again.out) << "case " << seed << " with other garbage in unused memory";
    ASSERT_EQ(merged.lse, again.lse) << "case " << seed << " with other garbage in unused memory";
  }
}

TEST(MergeConformance, Reference) {
  Backends backends;
  check(backends.reference(), 2000);
}

TEST(MergeConformance, CpuOnEveryInstructionSet) {
  Backends backends;
  for (const char* isa : kIsas) {
    SCOPED_TRACE(isa);
    check(backends.cpu(isa, 1), 2000);
    check(backends.cpu(isa, 3), 300);
  }
}

// a merged with b is b merged with a, to the bit.
TEST(MergeConformance, Commutes) {
  Backends backends;
  for (const char* isa : kIsas)
    for (uint64_t seed = 0; seed < 300; ++seed) {
      Case it(seed);
      it.num_tokens_a = -1;
      it.alias = Alias::none;
      const Merged ab = merge_of(it, backends.cpu(isa, 1), seed, 0);
      std::swap(it.a, it.b);
      const Merged ba = merge_of(it, backends.cpu(isa, 1), seed, 0);
      ASSERT_EQ(ab.out, ba.out) << isa << " case " << seed;
      ASSERT_EQ(ab.lse, ba.lse) << isa << " case " << seed;
    }
}

}  // namespace
}  // namespace pagoda::conformance
