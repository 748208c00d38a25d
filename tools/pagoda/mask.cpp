// pagoda mask: what a mask looks like as tiles, how much work it leaves, and how long it takes to
// build.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <pagoda/mask.hpp>

#include "engine/error.h"
#include "tools/pagoda/commands.h"
#include "tools/pagoda/name_values.h"

namespace pagoda::cli {
namespace {

struct Flags {
  std::string text;
  int32_t num_queries = 4096, num_keys = 4096;
  int32_t tile_q = 128, tile_kv = 128;
  int32_t num_heads = 8, head = 0;
  int32_t columns = 0;
  std::vector<std::string> values;
  std::string svg;
  bool list = false;
};

void list_gallery() {
  for (int32_t i = 0; i < pagoda_gallery_size(); ++i) {
    Sized<pagoda_gallery_entry> entry;
    check(pagoda_gallery_get(i, &entry));
    std::printf("%-18s %s\n%-18s %s\n", entry.name, entry.meaning, "", entry.text);
  }
}

// The last num_queries of num_keys tokens of one request.
struct OneRequest {
  explicit OneRequest(const Flags& flags) : starts{0, flags.num_queries}, seq_len(flags.num_keys) {
    batch.num_reqs = 1;
    batch.num_tokens = flags.num_queries;
    batch.query_start_loc = starts;
    batch.seq_lens = &seq_len;
  }
  const int32_t starts[2];
  const int32_t seq_len;
  Batch batch;
};

// Of some builds from nothing, in microseconds.
double median_build_time(const Expression& expression, const MaskOptions& options,
                         const Batch& batch) {
  constexpr int kBuilds = 9;
  std::vector<double> times;
  for (int i = 0; i < kBuilds; ++i) {
    MaskBuilder builder(expression, options);
    builder.build(batch);  // finds out how much memory it takes
    const auto start = std::chrono::steady_clock::now();
    builder.build(batch);
    const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - start;
    times.push_back(time.count());
  }
  std::nth_element(times.begin(), times.begin() + kBuilds / 2, times.end());
  return times[kBuilds / 2];
}

MaskOptions options_of(const Flags& flags) {
  MaskOptions options;
  options.tile_q = flags.tile_q;
  options.tile_kv = flags.tile_kv;
  options.num_heads = options.num_kv_heads = flags.num_heads;
  options.max_reqs = 1;
  options.max_tokens = flags.num_queries;
  options.max_seq_len = flags.num_keys;
  return options;
}

void write_svg(const Flags& flags, const std::string& svg) {
  std::ofstream file(flags.svg);
  file << svg;
  file.close();
  engine::require(file.good(), engine::ErrorKind::kIo, "the picture cannot be written to ",
                  flags.svg);
}

void draw(const Flags& flags) {
  if (flags.list) return list_gallery();
  Expression expression = Expression::sample(flags.text, 1, flags.num_keys, flags.num_heads);
  for (const NameValue& it : parse_name_values(flags.values)) expression.set(it.name, it.value);
  const MaskOptions options = options_of(flags);
  const OneRequest request(flags);
  MaskBuilder builder(expression, options);
  const BlockMask& mask = builder.build(request.batch);

  Sized<pagoda_picture_options> picture;
  picture.mask_head = mask.num_heads == 1 ? 0 : flags.head;
  picture.size = flags.columns;
  picture.title = flags.text.c_str();
  const auto drawn = [&](pagoda_picture kind) {
    picture.picture = kind;
    const std::string text = builder.draw(request.batch, picture);
    if (text.empty()) throw Error(PAGODA_INVALID_ARGUMENT);
    return text;
  };
  std::cout << drawn(PAGODA_PICTURE_TEXT);
  std::cout << drawn(PAGODA_PICTURE_SUMMARY) << "\n";
  std::printf("built in %.0f us\n", median_build_time(expression, options, request.batch));
  if (!flags.svg.empty()) {
    picture.size = 0;
    write_svg(flags, drawn(PAGODA_PICTURE_SVG));
  }
}

}  // namespace

void add_mask(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("mask", "draw a mask expression as tiles: full, partial, empty");
  const auto flags = std::make_shared<Flags>();
  auto* text = command->add_option("expression", flags->text,
                                   "\"q >= k && q - k < 1024\", or a name of the gallery");
  const CLI::Range positions(1, 1 << 22);
  command->add_option("--q", flags->num_queries, "queries: the last ones of the keys")
      ->capture_default_str()
      ->check(positions);
  command->add_option("--k", flags->num_keys, "keys")->capture_default_str()->check(positions);
  command->add_option("--tile-q", flags->tile_q, "queries of a tile")->capture_default_str();
  command->add_option("--tile-kv", flags->tile_kv, "keys of a tile")->capture_default_str();
  command->add_option("--heads", flags->num_heads, "heads that h and g may be")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command->add_option("--head", flags->head, "the head to draw, where they differ")
      ->capture_default_str();
  command->add_option("--set", flags->values, "a name of the gallery's and its value: window=256")
      ->type_name("NAME=VALUE");
  command->add_option("--columns", flags->columns, "of the picture; 0: 64");
  command->add_option("--svg", flags->svg, "write a picture to this file too");
  command->add_flag("--list", flags->list, "the masks of the gallery");
  command->callback([flags, text] {
    if (text->count() == 0 && !flags->list) throw CLI::RequiredError("an expression, or --list");
    draw(*flags);
  });
}

}  // namespace pagoda::cli
