#include "engine/math/slice_product.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <dnnl.hpp>
#include <random>

#include "engine/error.h"
#include "engine/math/array.h"

namespace pagoda::engine {
namespace {

using dnnl::memory;
constexpr auto kF32 = memory::data_type::f32;

// oneDNN asks OpenMP how many threads there are, when a primitive is created and when it runs.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) {
    if (before_ != 1) omp_set_num_threads(1);
  }
  ~OneThread() {
    if (before_ != 1) omp_set_num_threads(before_);
  }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  int before_;
};

const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

struct Shape {
  int64_t num_inputs, num_outputs;

  memory::desc in(int64_t rows) const {
    return {{rows, num_inputs}, kF32, memory::dims{num_inputs, 1}};
  }
  memory::desc out(int64_t rows) const {
    return {{rows, num_outputs}, kF32, memory::dims{num_outputs, 1}};
  }
  memory::desc any() const { return {{num_inputs, num_outputs}, kF32, memory::format_tag::any}; }
  memory::desc plain() const {
    return {{num_inputs, num_outputs}, kF32, memory::dims{1, num_inputs}};
  }
};

// A primitive for one number of rows, with memory objects for each thread that may run it. That
// includes scratch memory: what oneDNN provides itself belongs to the thread that made a primitive.
class Product {
 public:
  Product(const dnnl::matmul::primitive_desc& desc, int num_threads) : primitive_(desc) {
    for (int i = 0; i < num_threads; i++)
      lanes_.push_back({.stream = dnnl::stream(cpu()),
                        .in = memory(desc.src_desc(), cpu(), nullptr),
                        .weights = memory(desc.weights_desc(), cpu(), nullptr),
                        .out = memory(desc.dst_desc(), cpu(), nullptr),
                        .scratch = memory(desc.scratchpad_desc(), cpu())});
  }

  void run(int thread, const float* in, const void* packed, float* out) {
    Lane& lane = lanes_[static_cast<size_t>(thread)];
    // oneDNN's handles are not const, although it only reads these two.
    dnnl_memory_set_data_handle(lane.in.get(), const_cast<float*>(in));
    dnnl_memory_set_data_handle(lane.weights.get(), const_cast<void*>(packed));
    dnnl_memory_set_data_handle(lane.out.get(), out);
    const std::array<dnnl_exec_arg_t, 4> args = {{{DNNL_ARG_SRC, lane.in.get()},
                                                  {DNNL_ARG_WEIGHTS, lane.weights.get()},
                                                  {DNNL_ARG_DST, lane.out.get()},
                                                  {DNNL_ARG_SCRATCHPAD, lane.scratch.get()}}};
    const dnnl_status_t status =
        dnnl_primitive_execute(primitive_.get(), lane.stream.get(), args.size(), args.data());
    require(status == dnnl_success, ErrorKind::kLimit,
            "oneDNN failed in a matrix product, with status ", static_cast<int>(status));
  }

 private:
  struct Lane {
    dnnl::stream stream;
    memory in, weights, out;
    memory scratch;
  };
  dnnl::matmul primitive_;
  std::vector<Lane> lanes_;  // [num_threads]
};

}  // namespace

struct SliceShape::State {
  Shape shape;
  int num_threads;
  memory::desc packed;
  int tile_rows = 1;
  bool any_rows = true;
  std::array<std::unique_ptr<Product>, kMaxTileRows + 1> products;  // by number of rows

  State(const Shape& of, int threads) : shape(of), num_threads(threads) {
    const OneThread one;
    packed = describe(kMaxTileRows, shape.any()).weights_desc();
    choose_rows();
  }

  dnnl::matmul::primitive_desc describe(int64_t rows, const memory::desc& weights) const {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return {{shape.in(rows), weights, shape.out(rows)}, attributes, cpu()};
  }

  Product& product(int rows) {
    std::unique_ptr<Product>& product = products[static_cast<size_t>(rows)];
    if (!product) product = std::make_unique<Product>(describe(rows, packed), num_threads);
    return *product;
  }

  void pack(const float* plain, void* to) const {
    dnnl::stream stream(cpu());
    memory from(shape.plain(), cpu(), const_cast<float*>(plain));
    memory into(packed, cpu(), to);
    dnnl::reorder(from, into).execute(stream, from, into);
    stream.wait();
  }

  void choose_rows();
};

namespace {

// Whether the product of `rows` rows gives each of them the bits in `expected`.
bool agrees(Product& product, int rows, int64_t num_outputs, const float* in, const void* packed,
            const float* expected, float* out) {
  product.run(0, in, packed, out);
  return std::memcmp(out, expected, static_cast<size_t>(rows * num_outputs) * sizeof(float)) == 0;
}

}  // namespace

// Random numbers show a different order of summation in nearly every element, so a shape that
// agrees in thousands of them sums in one order.
void SliceShape::State::choose_rows() {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> number(-1, 1);
  Array<float> in(kMaxTileRows * shape.num_inputs);
  Array<float> plain(shape.num_outputs * shape.num_inputs);
  Array<float> alone(kMaxTileRows * shape.num_outputs), out(kMaxTileRows * shape.num_outputs);
  Array<std::byte> weights(static_cast<int64_t>(packed.get_size()));
  for (int64_t i = 0; i < in.size(); i++) in.data()[i] = number(random);
  for (int64_t i = 0; i < plain.size(); i++) plain.data()[i] = number(random);
  pack(plain.data(), weights.data());

  const auto same_as_alone = [&](int rows) {
    return agrees(product(rows), rows, shape.num_outputs, in.data(), weights.data(), alone.data(),
                  out.data());
  };
  for (int row = 0; row < kMaxTileRows; row++)
    product(1).run(0, in.data() + row * shape.num_inputs, weights.data(),
                   alone.data() + row * shape.num_outputs);
  any_rows = true;
  for (int rows = 2; rows <= kMaxTileRows && any_rows; rows++) any_rows = same_as_alone(rows);
  tile_rows = kMaxTileRows;
  if (any_rows) return;

  // A full tile is compared with itself: with its rows in another order.
  for (tile_rows = 4; tile_rows > 1; tile_rows--) {
    bool rows_agree = true;
    for (int shift = 0; shift < tile_rows && rows_agree; shift++) {
      Array<float> turned(tile_rows * shape.num_inputs), expected(tile_rows * shape.num_outputs);
      product(tile_rows).run(0, in.data(), weights.data(), alone.data());
      for (int row = 0; row < tile_rows; row++) {
        const int64_t from = (row + shift) % tile_rows;
        std::copy_n(in.data() + from * shape.num_inputs, shape.num_inputs,
                    turned.data() + row * shape.num_inputs);
        std::copy_n(alone.data() + from * shape.num_outputs, shape.num_outputs,
                    expected.data() + row * shape.num_outputs);
      }
      rows_agree = agrees(product(tile_rows), tile_rows, shape.num_outputs, turned.data(),
                          weights.data(), expected.data(), out.data());
    }
    if (rows_agree) return;
  }
}

SliceShape::SliceShape(std::unique_ptr<State> state) : state_(std::move(state)) {}
SliceShape::~SliceShape() = default;

int64_t SliceShape::num_inputs() const {
  return state_->shape.num_inputs;
}
int64_t SliceShape::num_outputs() const {
  return state_->shape.num_outputs;
}
int64_t SliceShape::packed_bytes() const {
  return static_cast<int64_t>(state_->packed.get_size());
}
int SliceShape::tile_rows() const {
  return state_->tile_rows;
}
bool SliceShape::any_rows() const {
  return state_->any_rows;
}

void SliceShape::pack(const float* plain, void* packed) const {
  const OneThread one;
  state_->pack(plain, packed);
}

void SliceShape::prepare(int num_rows) const {
  const OneThread one;
  state_->product(num_rows);
}

void SliceShape::multiply(int thread, int num_rows, const float* in, const void* packed,
                          float* out) const {
  const OneThread one;
  state_->products[static_cast<size_t>(num_rows)]->run(thread, in, packed, out);
}

SliceShapes::SliceShapes(int num_threads) : num_threads_(num_threads) {}

const SliceShape& SliceShapes::get(int64_t num_inputs, int64_t num_outputs) {
  std::unique_ptr<SliceShape>& shape = shapes_[{num_inputs, num_outputs}];
  if (!shape)
    shape.reset(new SliceShape(std::make_unique<SliceShape::State>(
        Shape{.num_inputs = num_inputs, .num_outputs = num_outputs}, num_threads_)));
  return *shape;
}

}  // namespace pagoda::engine
