// mask.h in terms of src/mask.
#include <pagoda/mask.h>

#include "../mask/evaluate.h"
#include "../mask/parse.h"
#include "../mask/picture.h"
#include "mask_objects.h"

using namespace pagoda;
using namespace pagoda::capi;

namespace {

mask::Type type_of(const pagoda_name& name) {
  expect(name.type == PAGODA_NAME_INT || name.type == PAGODA_NAME_FLOAT, PAGODA_INVALID_ARGUMENT,
         "the type of '", name.name, "' is ", static_cast<int>(name.type),
         "; it is a value of pagoda_name_type, 0 or 1");
  return name.type == PAGODA_NAME_INT ? mask::Type::integer : mask::Type::real;
}

mask::Symbols symbols_of(const pagoda_expr_options& options) {
  mask::Symbols symbols;
  expect(options.num_names >= 0, PAGODA_INVALID_ARGUMENT, "options.num_names is ",
         options.num_names, "; it is not below 0");
  expect(options.names != nullptr || options.num_names == 0, PAGODA_INVALID_ARGUMENT,
         "options.names is NULL, but options.num_names is ", options.num_names);
  for (int32_t i = 0; i < options.num_names; ++i) {
    const pagoda_name& name = options.names[i];
    expect(name.name != nullptr, PAGODA_INVALID_ARGUMENT, "options.names[", i, "].name is NULL");
    if (name.num_dims == 0)
      symbols.add_parameter(name.name, type_of(name));
    else
      symbols.add_table(name.name, type_of(name), name.num_dims);
  }
  return symbols;
}

const char* text_of(const pagoda_expr_options& options) {
  expect(options.text != nullptr, PAGODA_INVALID_ARGUMENT, "options.text is NULL");
  expect(options.kind == PAGODA_EXPR_MASK || options.kind == PAGODA_EXPR_SCORE,
         PAGODA_INVALID_ARGUMENT, "options.kind is ", static_cast<int>(options.kind),
         "; it is a value of pagoda_expr_kind, 0 or 1");
  return options.text;
}

std::string text_in_gallery(const std::string& text) {
  const mask::GalleryMask* found = mask::find_in_gallery(text);
  return found != nullptr ? found->text : text;
}

std::unique_ptr<mask::GalleryData> sample_data(int32_t num_reqs, int32_t max_seq_len,
                                               int32_t num_heads) {
  expect(num_reqs > 0 && max_seq_len > 0 && num_heads > 0, PAGODA_INVALID_ARGUMENT,
         "sample values for ", num_reqs, " requests, ", max_seq_len, " positions and ", num_heads,
         " heads; each is at least 1");
  return std::make_unique<mask::GalleryData>(num_reqs, max_seq_len, num_heads);
}

pagoda_expr& expr_of(pagoda_expr* expr, const char* name) {
  expect(expr != nullptr, PAGODA_INVALID_ARGUMENT, "expr is NULL");
  expect(name != nullptr, PAGODA_INVALID_ARGUMENT, "name is NULL");
  return *expr;
}

template <class Element, class Outside>
void set_table(mask::Bindings& bindings, const char* name, const Element* data,
               const int64_t* shape, int32_t num_dims, Outside outside) {
  expect(shape != nullptr, PAGODA_INVALID_ARGUMENT, "shape is NULL");
  expect(num_dims >= 1 && num_dims <= mask::kMaxArgs, PAGODA_INVALID_ARGUMENT, "table '", name,
         "' is given ", num_dims, " dimensions; 1 to ", mask::kMaxArgs, " are allowed");
  if (num_dims == 1) return bindings.set_table(name, data, {shape[0]}, outside);
  if (num_dims == 2) return bindings.set_table(name, data, {shape[0], shape[1]}, outside);
  bindings.set_table(name, data, {shape[0], shape[1], shape[2]}, outside);
}

mask::Step step_of(const pagoda_batch* given) {
  const pagoda_batch batch = read_struct(given, "pagoda_batch");
  return {batch.num_reqs, batch.query_start_loc, batch.seq_lens};
}

mask::Capacity read_capacity(const pagoda_mask_capacity* given) {
  const pagoda_mask_capacity it = read_struct(given, "pagoda_mask_capacity");
  const int64_t most = int64_t{1} << 40;
  for (int64_t count : {it.reqs, it.rows, it.entries, it.words})
    expect(count >= 0 && count <= most, PAGODA_INVALID_ARGUMENT, "a count of the capacity is ",
           count, "; 0 to ", most, " are allowed");
  return {it.reqs, it.rows, it.entries, it.words};
}

void write_capacity(const mask::Capacity& capacity, pagoda_mask_capacity* out) {
  write_struct(out,
               {.struct_size = 0,
                .reqs = capacity.reqs,
                .rows = capacity.rows,
                .entries = capacity.entries,
                .words = capacity.words},
               "out");
}

mask::BlockMaskBuilder& builder_of(pagoda_mask* mask) {
  expect(mask != nullptr, PAGODA_INVALID_ARGUMENT, "mask is NULL");
  return mask->builder;
}

pagoda_mask_options with_defaults(const pagoda_mask_options* given) {
  pagoda_mask_options options = read_struct(given, "pagoda_mask_options");
  if (options.tile_q == 0) options.tile_q = 128;
  if (options.tile_kv == 0) options.tile_kv = 128;
  if (options.num_ranks == 0) options.num_ranks = 1;
  if (options.shard_interleave == 0) options.shard_interleave = 1;
  return options;
}

std::string drawn(const mask::TileGrid& grid, const pagoda_picture_options& options) {
  switch (options.picture) {
    case PAGODA_PICTURE_TEXT:
      return mask::draw_text(grid, options.size > 0 ? options.size : 64);
    case PAGODA_PICTURE_SVG:
      return mask::draw_svg(grid, options.title != nullptr ? options.title : "",
                            options.size > 0 ? options.size : 512);
    case PAGODA_PICTURE_SUMMARY:
      return mask::describe(grid);
  }
  throw Failure(PAGODA_INVALID_ARGUMENT, "options.picture is no value of pagoda_picture",
                Where::here());
}

}  // namespace

pagoda_expr::pagoda_expr(const pagoda_expr_options& options)
    : text(text_of(options)),
      kind(options.kind),
      own_symbols(symbols_of(options)),
      own_bindings(std::make_unique<mask::Bindings>(own_symbols)),
      bindings(*own_bindings),
      bound(kind == PAGODA_EXPR_MASK ? mask::parse_mask(text, own_symbols)
                                     : mask::parse_score(text, own_symbols),
            bindings) {}

pagoda_expr::pagoda_expr(const std::string& name_or_text, int32_t num_reqs, int32_t max_seq_len,
                         int32_t num_heads)
    : text(text_in_gallery(name_or_text)),
      kind(PAGODA_EXPR_MASK),
      samples(sample_data(num_reqs, max_seq_len, num_heads)),
      bindings(samples->bindings()),
      bound(mask::parse_mask(text, mask::gallery_symbols()), bindings) {}

mask::BlockMask pagoda::capi::read_block_mask(const pagoda_block_mask* given) {
  if (given == nullptr) return {};
  const pagoda_block_mask it = read_struct(given, "batch.block_mask");
  expect(it.tile_start != nullptr && it.row_start != nullptr, PAGODA_INVALID_ARGUMENT,
         "batch.block_mask has no tile_start or row_start");
  expect(it.num_entries >= 0 && it.num_words >= 0, PAGODA_INVALID_ARGUMENT, "batch.block_mask has ",
         it.num_entries, " entries and ", it.num_words, " words; neither is below 0");
  expect((it.tile != nullptr && it.bits_at != nullptr) || it.num_entries == 0,
         PAGODA_INVALID_ARGUMENT, "batch.block_mask has ", it.num_entries,
         " entries, but tile or bits_at is NULL");
  expect(it.bits != nullptr || it.num_words == 0, PAGODA_INVALID_ARGUMENT, "batch.block_mask has ",
         it.num_words, " words, but bits is NULL");
  return {.tile_q = it.tile_q,
          .tile_kv = it.tile_kv,
          .num_reqs = it.num_reqs,
          .num_tiles_q = it.num_tiles_q,
          .num_heads = it.num_heads,
          .tile_start = it.tile_start,
          .row_start = it.row_start,
          .tile = it.tile,
          .bits_at = it.bits_at,
          .bits = it.bits,
          .num_entries = it.num_entries,
          .num_words = it.num_words};
}

const mask::BoundExpr* pagoda::capi::read_score_expr(const pagoda_expr* given) {
  if (given == nullptr) return nullptr;
  expect(given->kind == PAGODA_EXPR_SCORE, PAGODA_INVALID_ARGUMENT,
         "spec.score_expr is a mask; it takes a score (PAGODA_EXPR_SCORE), a mask comes with each "
         "batch (spec.has_block_mask)");
  return &given->bound;
}

pagoda_status pagoda_expr_create(const pagoda_expr_options* options, pagoda_expr** out) {
  return guard([&] {
    expect_out(out, "out");
    *out = nullptr;
    *out = new pagoda_expr(read_struct(options, "pagoda_expr_options"));
  });
}

pagoda_status pagoda_expr_from_gallery(const char* text, int32_t num_reqs, int32_t max_seq_len,
                                       int32_t num_heads, pagoda_expr** out) {
  return guard([&] {
    expect_out(out, "out");
    *out = nullptr;
    expect(text != nullptr, PAGODA_INVALID_ARGUMENT, "text is NULL");
    *out = new pagoda_expr(text, num_reqs, max_seq_len, num_heads);
  });
}

void pagoda_expr_destroy(pagoda_expr* expr) {
  delete expr;
}

pagoda_status pagoda_expr_set_int(pagoda_expr* expr, const char* name, int64_t value) {
  return guard([&] { expr_of(expr, name).bindings.set(name, value); });
}

pagoda_status pagoda_expr_set_float(pagoda_expr* expr, const char* name, float value) {
  return guard([&] { expr_of(expr, name).bindings.set(name, value); });
}

pagoda_status pagoda_expr_set_int_table(pagoda_expr* expr, const char* name, const int32_t* data,
                                        const int64_t* shape, int32_t num_dims, int64_t outside) {
  return guard(
      [&] { set_table(expr_of(expr, name).bindings, name, data, shape, num_dims, outside); });
}

pagoda_status pagoda_expr_set_float_table(pagoda_expr* expr, const char* name, const float* data,
                                          const int64_t* shape, int32_t num_dims, float outside) {
  return guard(
      [&] { set_table(expr_of(expr, name).bindings, name, data, shape, num_dims, outside); });
}

pagoda_status pagoda_expr_evaluate(const pagoda_expr* expr, const pagoda_place* place, float* out) {
  return guard([&] {
    expect(expr != nullptr, PAGODA_INVALID_ARGUMENT, "expr is NULL");
    expect_out(out, "out");
    const pagoda_place at = read_struct(place, "pagoda_place");
    mask::Point point;
    point[mask::Variable::request] = at.request;
    point[mask::Variable::head] = at.head;
    point[mask::Variable::kv_head] = at.kv_head;
    point[mask::Variable::query] = at.query;
    point[mask::Variable::key] = at.key;
    point[mask::Variable::seq_len] = at.seq_len;
    point[mask::Variable::query_len] = at.query_len;
    point.score = at.score;
    std::vector<mask::Value> scratch(expr->bound.expr.nodes.size());
    const mask::Value value =
        mask::evaluate(expr->bound.expr, expr->bindings, point, scratch.data());
    *out = expr->kind == PAGODA_EXPR_MASK ? static_cast<float>(value.i) : value.f;
  });
}

pagoda_status pagoda_mask_create(const pagoda_expr* expr, const pagoda_mask_options* options,
                                 pagoda_mask** out) {
  return guard([&] {
    expect_out(out, "out");
    *out = nullptr;
    expect(expr != nullptr, PAGODA_INVALID_ARGUMENT, "expr is NULL");
    expect(expr->kind == PAGODA_EXPR_MASK, PAGODA_INVALID_ARGUMENT,
           "the expression is a score; a block mask needs a mask (PAGODA_EXPR_MASK)");
    const pagoda_mask_options own = with_defaults(options);
    *out = new pagoda_mask{mask::BlockMaskBuilder(
        expr->bound.expr, expr->bindings,
        {.tile_q = own.tile_q,
         .tile_kv = own.tile_kv,
         .num_heads = own.num_heads,
         .num_kv_heads = own.num_kv_heads,
         .shard = {.rank = own.rank,
                   .num_ranks = own.num_ranks,
                   .interleave = own.shard_interleave}},
        {.max_reqs = own.max_reqs, .max_tokens = own.max_tokens, .max_seq_len = own.max_seq_len})};
  });
}

void pagoda_mask_destroy(pagoda_mask* mask) {
  delete mask;
}

size_t pagoda_mask_bytes(const pagoda_mask_capacity* capacity) {
  size_t bytes = 0;
  guard([&] { bytes = read_capacity(capacity).bytes(); });
  return bytes;
}

pagoda_status pagoda_mask_measure(pagoda_mask* mask, const pagoda_batch* batch,
                                  pagoda_mask_capacity* out) {
  return guard([&] { write_capacity(builder_of(mask).measure(step_of(batch)), out); });
}

pagoda_status pagoda_mask_upper_bound(const pagoda_mask* mask, pagoda_mask_capacity* out) {
  return guard([&] {
    expect(mask != nullptr, PAGODA_INVALID_ARGUMENT, "mask is NULL");
    write_capacity(mask->builder.upper_bound(), out);
  });
}

pagoda_status pagoda_mask_build(pagoda_mask* mask, const pagoda_batch* batch,
                                const pagoda_mask_capacity* capacity, void* memory,
                                pagoda_block_mask* out) {
  return guard([&] {
    mask::BlockMaskBuilder& builder = builder_of(mask);
    expect_out(out, "out");
    expect(reinterpret_cast<uintptr_t>(memory) % 64 == 0, PAGODA_INVALID_ARGUMENT,
           "memory is not aligned to 64 bytes");
    const mask::BlockMask built = builder.build(step_of(batch), {memory, read_capacity(capacity)});
    write_struct(out,
                 {.struct_size = 0,
                  .tile_q = built.tile_q,
                  .tile_kv = built.tile_kv,
                  .num_reqs = built.num_reqs,
                  .num_tiles_q = built.num_tiles_q,
                  .num_heads = built.num_heads,
                  .tile_start = built.tile_start,
                  .row_start = built.row_start,
                  .tile = built.tile,
                  .bits_at = built.bits_at,
                  .bits = built.bits,
                  .num_entries = built.num_entries,
                  .num_words = built.num_words},
                 "out");
  });
}

size_t pagoda_mask_draw(const pagoda_block_mask* mask, const pagoda_batch* batch,
                        const pagoda_picture_options* options, char* buffer, size_t capacity) {
  return guard_text(buffer, capacity, [&] {
    const mask::BlockMask own = read_block_mask(mask);
    expect(mask != nullptr, PAGODA_INVALID_ARGUMENT, "mask is NULL");
    const pagoda_picture_options picture = read_struct(options, "pagoda_picture_options");
    const mask::Step step = step_of(batch);
    expect(step.num_reqs == own.num_reqs, PAGODA_INVALID_ARGUMENT, "the batch has ", step.num_reqs,
           " requests; the block mask was made for ", own.num_reqs);
    expect(picture.request >= 0 && picture.request < own.num_reqs, PAGODA_INVALID_ARGUMENT,
           "options.request is ", picture.request, "; the block mask has ", own.num_reqs);
    expect(picture.mask_head >= 0 && picture.mask_head < own.num_heads, PAGODA_INVALID_ARGUMENT,
           "options.mask_head is ", picture.mask_head, "; the block mask has ", own.num_heads);
    return drawn(mask::grid_of(own, step, picture.request, picture.mask_head), picture);
  });
}

int32_t pagoda_gallery_size(void) {
  return static_cast<int32_t>(mask::gallery().size());
}

pagoda_status pagoda_gallery_get(int32_t index, pagoda_gallery_entry* out) {
  return guard([&] {
    expect(index >= 0 && index < pagoda_gallery_size(), PAGODA_INVALID_ARGUMENT,
           "the gallery has no mask ", index, "; it has ", pagoda_gallery_size());
    const mask::GalleryMask& entry = mask::gallery()[static_cast<size_t>(index)];
    write_struct(
        out, {.struct_size = 0, .name = entry.name, .text = entry.text, .meaning = entry.meaning},
        "out");
  });
}
