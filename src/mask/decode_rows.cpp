#include "decode_rows.h"

#include <algorithm>
#include <array>

namespace pagoda::mask {
namespace {

// Changes speed, never results: fewer steps than these are not worth an analysis of their own.
constexpr int64_t kShortest = 32;

struct Seen {
  uint32_t shown = 0, hidden = 0;  // not 0: some key is
};

// One row of bits, of the keys that exist. exists, to: [kWords].
template <size_t kWords>
void show(const uint32_t* from, const uint32_t* exists, uint32_t* to, Seen& seen) {
  for (size_t w = 0; w < kWords; ++w) {
    to[w] = from[w] & exists[w];
    seen.shown |= to[w];
    seen.hidden |= to[w] ^ exists[w];
  }
}

// The same from a tape.
template <size_t kWords>
void cut(const uint32_t* tape, int64_t before_last, const uint32_t* exists, uint32_t* to,
         Seen& seen) {
  uint32_t row[kWords];
  for (size_t w = 0; w < kWords; ++w) row[w] = tape_word(tape, before_last, w);
  show<kWords>(row, exists, to, seen);
}

}  // namespace

DecodeRows::DecodeRows(int32_t tile_kv, int64_t num_rows)
    : tile_kv_(tile_kv),
      tape_stride_(static_cast<int32_t>(tape_words(tile_kv / 32))),
      rows_(static_cast<size_t>(num_rows)),
      tapes_(static_cast<size_t>(num_rows * kMaxTiles * tape_stride_)),
      bits_(static_cast<size_t>(kMaxTiles * kMaxDecodeQueries * (tile_kv / 32))),
      general_(static_cast<size_t>(kMaxGeneral * kMaxDecodeQueries * (tile_kv / 32))) {}

void DecodeRows::begin_step(bool kept) {
  ++step_;
  kept_ = kept;
}

bool DecodeRows::write_known(const Request& request, TileWriter& writer) {
  Row& row = rows_[static_cast<size_t>(request.row)];
  if (row.num_general > 0 || row.num_runs < 0 || !covers(row, request)) return false;
  append(row, request, writer);
  return true;
}

bool DecodeRows::write(const Request& request, const Point& point, TileDecider& decider,
                       TileWriter& writer) {
  Row& row = rows_[static_cast<size_t>(request.row)];
  if (!covers(row, request)) analyse(request, point, decider, row);
  if (row.num_runs < 0) return false;
  if (row.num_general > 0) evaluate_general(request, point, decider, row);
  append(row, request, writer);
  return true;
}

bool DecodeRows::covers(const Row& row, const Request& request) const {
  return request.seq_len - request.query_len >= row.first_query &&
         request.seq_len <= row.end_query && request.query_len == row.query_len &&
         request.generation == row.generation;
}

uint32_t* DecodeRows::tape_of(const Row& row, int tile) {
  return tapes_.data() + ((&row - rows_.data()) * kMaxTiles + tile) * tape_stride_;
}

void DecodeRows::analyse(const Request& request, const Point& point, TileDecider& decider,
                         Row& row) {
  row.first_query = request.seq_len - request.query_len;
  row.end_query = (request.seq_len + tile_kv_ - 1) / tile_kv_ * tile_kv_;
  row.query_len = request.query_len;
  row.generation = request.generation;
  row.step = 0;
  row.num_runs = row.num_tiles = 0;
  Box box = box_of(point);
  box.min_distance = 1 - request.query_len;
  box.ends_with_query = request.query_len == 1;
  const auto set_box = [&] {
    box.set(Variable::seq_len, request.seq_len, row.end_query);
    box.set(Variable::query, row.first_query, row.end_query - 1);
    decider.set_request(box, point);
  };
  set_box();
  const int64_t steady = decider.steady_end(row.first_query, row.end_query, kShortest);
  if (steady < row.end_query) {
    row.end_query = std::max(steady, request.seq_len);
    set_box();
  }
  Pruning prunings[kMaxTiles];
  const auto add_run = [&row](int64_t first, int64_t end, bool is_full) {
    if (row.num_runs == kMaxRuns) row.num_runs = -1;
    if (row.num_runs < 0) return;
    row.runs[row.num_runs++] = {static_cast<int32_t>(first), static_cast<int32_t>(end), is_full};
  };
  decider.visit(
      row.first_query, row.end_query - 1, row.end_query,
      [&](int64_t first, int64_t end) { add_run(first, end, true); },
      [&](int64_t tile) {
        if (row.num_tiles == kMaxTiles) row.num_runs = -1;
        add_run(tile, tile + 1, false);
        if (row.num_runs < 0) return;
        prunings[row.num_tiles] = decider.pruning();
        row.tiles[row.num_tiles++].tile = static_cast<int32_t>(tile);
      });
  find_kinds(row, prunings);
  if (row.num_runs >= 0) lay_tapes(point, prunings, decider, row);
}

void DecodeRows::find_kinds(Row& row, const Pruning* prunings) const {
  const int64_t distance = row.end_query - 1 - row.first_query;
  row.num_general = 0;
  for (int i = 0; i < row.num_tiles && row.num_runs >= 0; ++i) {
    const Pruning& pruning = prunings[i];
    const int64_t valid = std::min<int64_t>(tile_kv_, row.end_query - row.tiles[i].tile * tile_kv_);
    Kind& kind = row.tiles[i].kind;
    kind = pruning.same_rows                                         ? Kind::still
           : pruning.same_distance && fits_tape(distance, valid) ? Kind::sliding
                                                                  : Kind::general;
    if (kind != Kind::general) continue;
    if (row.num_general < kMaxGeneral)
      row.prunings[row.num_general++] = pruning;
    else
      row.num_runs = -1;
  }
}

// What analysis found holds for pairs that come to exist, so a row is that of the last query, for
// which all of them do; the first one's adds only keys as far away as some that do.
void DecodeRows::lay_tapes(const Point& point, const Pruning* prunings, TileDecider& decider,
                           Row& row) {
  const int64_t last = row.end_query - 1, words = tile_kv_ / 32;
  Point at = point;
  if (row.query_len == 1) at[Variable::seq_len] = last + 1;
  decider.set_point(at);
  for (int i = 0; i < row.num_tiles; ++i) {
    Tile& tile = row.tiles[i];
    if (tile.kind == Kind::general) continue;
    uint32_t* tape = tape_of(row, i);
    decider.evaluate_row(tile.tile, last, prunings[i], tape);
    tape[words] = 0;
    tile.is_shown = std::any_of(tape, tape + words, [](uint32_t word) { return word != 0; });
    tile.is_hidden = std::any_of(tape, tape + words, [](uint32_t word) { return word != ~0u; });
  }
  if (row.query_len == 1) at[Variable::seq_len] = row.first_query + 1;
  decider.set_point(at);
  for (int i = 0; i < row.num_tiles; ++i) {
    const Tile& tile = row.tiles[i];
    if (tile.kind != Kind::sliding) continue;
    uint32_t* tape = tape_of(row, i);
    uint32_t first_row[kMaxLanes / 32], last_row[kMaxLanes / 32];
    std::copy_n(tape, words, last_row);
    decider.evaluate_row(tile.tile, row.first_query, prunings[i], first_row);
    const int64_t valid = std::min<int64_t>(tile_kv_, row.end_query - tile.tile * tile_kv_);
    lay_tape(first_row, last_row, last - row.first_query, valid, words, tape);
  }
}

void DecodeRows::evaluate_general(const Request& request, const Point& point, TileDecider& decider,
                                  const Row& row) {
  decider.set_point(point);
  int at = 0;
  for (int i = 0; i < row.num_tiles; ++i) {
    if (row.tiles[i].kind != Kind::general) continue;
    const TileBits found =
        decider.evaluate(row.tiles[i].tile, request.seq_len - request.query_len, request.query_len,
                         request.seq_len, row.prunings[at]);
    std::copy_n(found.bits, found.words,
                general_.data() + at++ * kMaxDecodeQueries * (tile_kv_ / 32));
  }
}

void DecodeRows::append(Row& row, const Request& request, TileWriter& writer) {
  bool stays = kept_ && row.step + 1 == step_ && row.first_entry == writer.entries() &&
               row.first_word == writer.words();
  if (stays) {
    const Filled filled = fill(row, request, true, writer.bits_here(), row.words);
    stays = filled.fits && filled.shown == row.shown && filled.hidden == row.hidden;
  }
  row.step = step_;
  if (stays) return writer.keep(row.entries, row.words);
  const Filled filled =
      fill(row, request, false, bits_.data(), static_cast<int64_t>(bits_.size()));
  row.first_entry = writer.entries();
  row.first_word = writer.words();
  row.shown = filled.shown;
  row.hidden = filled.hidden;
  emit(row, request.query_len * (tile_kv_ / 32), writer);
  row.entries = writer.entries() - row.first_entry;
  row.words = writer.words() - row.first_word;
}

DecodeRows::Filled DecodeRows::fill(const Row& row, const Request& request, bool in_place,
                                    uint32_t* out, int64_t room) {
  switch (tile_kv_) {
    case 32:
      return fill_words<1>(row, request, in_place, out, room);
    case 64:
      return fill_words<2>(row, request, in_place, out, room);
    case 128:
      return fill_words<4>(row, request, in_place, out, room);
    default:
      return fill_words<8>(row, request, in_place, out, room);
  }
}

// The bits of partial tiles one after another. In place, those that stay are not written.
template <size_t kWords>
DecodeRows::Filled DecodeRows::fill_words(const Row& row, const Request& request, bool in_place,
                                          uint32_t* out, int64_t room) {
  const int64_t before_last = row.end_query - 1 - (request.seq_len - request.query_len);
  const int64_t last_tile = (row.end_query - 1) / tile_kv_, size = request.query_len * int64_t{kWords};
  uint32_t all[kWords], existing[kWords];  // bits of the keys that exist
  for (size_t w = 0; w < kWords; ++w) {
    const int64_t keys = request.seq_len - last_tile * tile_kv_ - 32 * static_cast<int64_t>(w);
    all[w] = ~0u;
    existing[w] = static_cast<uint32_t>((uint64_t{1} << std::clamp<int64_t>(keys, 0, 32)) - 1);
  }
  const uint32_t* tape = tape_of(row, 0);
  const uint32_t* general = general_.data();
  Filled filled{.fits = true, .shown = 0, .hidden = 0, .words = 0};
  for (int i = 0; i < row.num_tiles; ++i, tape += tape_stride_) {
    const Tile& tile = row.tiles[i];
    const bool is_last = tile.tile == last_tile;
    Seen seen{tile.is_shown, tile.is_hidden};
    if (!in_place || is_last || tile.kind != Kind::still) {
      if (filled.words + size > room) return {};
      const uint32_t* exists = is_last ? existing : all;
      uint32_t* to = out + filled.words;
      seen = {};
      for (int64_t j = 0; j < request.query_len; ++j, to += kWords) {
        if (tile.kind == Kind::sliding)
          cut<kWords>(tape, before_last - j, exists, to, seen);
        else
          show<kWords>(tile.kind == Kind::still ? tape : general + j * int64_t{kWords}, exists, to, seen);
      }
    }
    if (tile.kind == Kind::general) general += kMaxDecodeQueries * kWords;
    filled.shown |= uint64_t{seen.shown != 0} << i;
    filled.hidden |= uint64_t{seen.hidden != 0} << i;
    if (seen.shown != 0 && seen.hidden != 0) filled.words += size;
  }
  return filled;
}

void DecodeRows::emit(const Row& row, int64_t words, TileWriter& writer) const {
  const uint32_t* bits = bits_.data();
  uint64_t shown = row.shown, hidden = row.hidden;
  for (const Run* run = row.runs; run != row.runs + row.num_runs; ++run) {
    const bool is_shown = run->is_full || (shown & 1) != 0;
    const bool is_hidden = !run->is_full && (hidden & 1) != 0;
    if (!run->is_full) shown >>= 1, hidden >>= 1;
    if (is_shown && !is_hidden) writer.full(run->first, run->end);
    if (!is_shown || !is_hidden) continue;
    writer.partial(run->first, bits, words);
    bits += words;
  }
}

}  // namespace pagoda::mask
