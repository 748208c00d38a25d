#include "decode_rows.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace pagoda::mask {
namespace {

// Changes speed, never results: fewer steps than these are not worth an analysis of their own.
constexpr int64_t kShortest = 32;

template <class Word>
Word load(const uint32_t* from) {
  Word word;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

// Two words of 64 bits at once: rows are so short that the compiler finds no loop to vectorise.
using Pair [[gnu::vector_size(16)]] = uint64_t;

template <size_t kWords>
using WordOf = std::conditional_t<kWords % 4 == 0, Pair,
                                  std::conditional_t<kWords % 2 == 0, uint64_t, uint32_t>>;

// What follows the words at `from`; of pairs the same moved on by 64 bits.
template <class Word>
Word load_next(const uint32_t* from) {
  if constexpr (std::is_same_v<Word, Pair>)
    return load<Pair>(from + 2);
  else
    return Word{from[sizeof(Word) / sizeof(uint32_t)]};
}

// One row of bits. Cut from a tape that is read `shift` bits behind `from`, less than 32; of the
// keys that exist, if `exists` says which. from: [kWords + 2]; exists, to: [kWords].
template <size_t kWords, class Seen = void>
void cut(const uint32_t* from, uint32_t shift, const uint32_t* exists, uint32_t* to, Seen* seen) {
  using Word = WordOf<kWords>;
  constexpr uint32_t kLastBit = 8 * (kWords == 1 ? sizeof(uint32_t) : sizeof(uint64_t)) - 1;
  Word shown{}, hidden{};
  for (size_t w = 0; w < kWords; w += sizeof(Word) / sizeof(uint32_t)) {
    const Word low = load<Word>(from + w) >> shift;
    const Word high = load_next<Word>(from + w) << 1 << (kLastBit - shift);
    const Word exist = exists == nullptr ? ~Word{} : load<Word>(exists + w);
    const Word word = (low | high) & exist;
    std::memcpy(to + w, &word, sizeof(word));
    shown |= word;
    hidden |= word ^ exist;
  }
  if constexpr (std::is_same_v<Seen, void>) {
    return;
  } else if constexpr (std::is_same_v<Word, Pair>) {
    seen->shown |= shown[0] | shown[1];
    seen->hidden |= hidden[0] | hidden[1];
  } else {
    seen->shown |= shown;
    seen->hidden |= hidden;
  }
}

}  // namespace

DecodeRows::DecodeRows(int32_t tile_kv, int64_t num_rows)
    : tile_kv_(tile_kv),
      tape_stride_(static_cast<int32_t>(tape_words(tile_kv / 32))),
      rows_(static_cast<size_t>(num_rows)),
      tapes_(static_cast<size_t>(num_rows * kMaxTiles * tape_stride_ + 1)),
      bits_(static_cast<size_t>(kMaxTiles * kMaxDecodeQueries * (tile_kv / 32))),
      general_(static_cast<size_t>(kMaxGeneral * kMaxDecodeQueries * (tile_kv / 32) + 2)) {}

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
  row.fixed_shown = row.fixed_hidden = 0;
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
    if (row.num_runs < 0) return;
    Run* before = row.num_runs == 0 ? nullptr : row.runs + row.num_runs - 1;
    if (is_full && before != nullptr && before->is_full && before->end == first) {
      before->end = static_cast<int32_t>(end);
      return;
    }
    if (row.num_runs == kMaxRuns) {
      row.num_runs = -1;
      return;
    }
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
        row.tiles[row.num_tiles++] = {static_cast<int32_t>(tile), Kind::general, false, false};
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
    kind = pruning.same_rows                                     ? Kind::still
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
  const int64_t first = row.first_query, last = row.end_query - 1, distance = last - first;
  const bool ends_with_query = row.query_len == 1 && decider.uses(Variable::seq_len);
  const auto set_query = [&](const Tile& tile, const Pruning& pruning, int64_t query) {
    Point at = point;
    at[Variable::seq_len] = query + 1;
    decider.set_point(at);
    decider.set_tile(tile.tile, pruning);
  };
  decider.set_point(point);
  for (int i = 0; i < row.num_tiles; ++i) {
    const Tile& tile = row.tiles[i];
    if (tile.kind == Kind::general) continue;
    uint32_t* tape = tape_of(row, i);
    uint32_t first_row[kMaxLanes / 32], last_row[kMaxLanes / 32];
    decider.set_tile(tile.tile, prunings[i]);
    if (ends_with_query) set_query(tile, prunings[i], last);
    decider.evaluate_row(last, last_row);
    if (tile.kind == Kind::still) {
      std::copy_n(last_row, tile_kv_ / 32, tape);
      tape[tile_kv_ / 32] = 0;
      fix(row, i, tape, tile_kv_);
      continue;
    }
    if (ends_with_query) set_query(tile, prunings[i], first);
    decider.evaluate_row(first, first_row);
    const int64_t valid = std::min<int64_t>(tile_kv_, row.end_query - tile.tile * tile_kv_);
    lay_tape(first_row, last_row, distance, valid, tile_kv_ / 32, tape);
    if (is_mixed(tape, distance + tile_kv_, tile_kv_)) fix(row, i, tape, distance + tile_kv_);
  }
}

// Every piece of the tape shows what all of it shows, if the tile has only keys that exist.
void DecodeRows::fix(Row& row, int index, const uint32_t* tape, int64_t count) const {
  Tile& tile = row.tiles[index];
  if (tile.tile == (row.end_query - 1) / tile_kv_) return;
  const bool is_mixed = mask::is_mixed(tape, count, count);
  tile.is_fixed = true;
  tile.is_partial = is_mixed;
  const uint64_t bit = uint64_t{1} << index;
  if (is_mixed || (tape[0] & 1) != 0) row.fixed_shown |= bit;
  if (is_mixed || (tape[0] & 1) == 0) row.fixed_hidden |= bit;
}

void DecodeRows::evaluate_general(const Request& request, const Point& point, TileDecider& decider,
                                  const Row& row) {
  decider.set_point(point);
  int at = 0;
  for (int i = 0; i < row.num_tiles; ++i) {
    if (row.tiles[i].kind != Kind::general) continue;
    const TileBits found = decider.evaluate(row.tiles[i].tile, request.seq_len - request.query_len,
                                            request.query_len, request.seq_len, row.prunings[at]);
    std::copy_n(found.bits, found.words,
                general_.data() + at++ * kMaxDecodeQueries * (tile_kv_ / 32));
  }
}

// Bits go where they belong at once. What does not fit there is only counted.
void DecodeRows::append(Row& row, const Request& request, TileWriter& writer) {
  bool stays = kept_ && row.step + 1 == step_ && row.first_entry == writer.entries() &&
               row.first_word == writer.words();
  if (stays) {
    const Filled filled = fill(row, request, true, writer.bits_here(), row.words);
    stays = filled.fits && filled.shown == row.shown && filled.hidden == row.hidden;
  }
  row.step = step_;
  if (stays) return writer.keep(row.entries, row.words);
  Filled filled = fill(row, request, false, writer.bits_here(), writer.room_for_words());
  if (!filled.fits)
    filled = fill(row, request, false, bits_.data(), static_cast<int64_t>(bits_.size()));
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
  constexpr int64_t kSize = kWords;
  const int64_t size = request.query_len * kSize;
  const auto before =
      static_cast<uint64_t>(row.end_query - 1 - (request.seq_len - request.query_len));
  const uint32_t* tape = tape_of(row, 0);
  const uint32_t* general = general_.data();
  Filled filled{.fits = true, .shown = row.fixed_shown, .hidden = row.fixed_hidden, .words = 0};
  // Behind the bits of this row may lie those of the next, which may stay.
  uint32_t bits[kMaxDecodeQueries * kWords];
  for (int i = 0; i < row.num_tiles; ++i, tape += tape_stride_) {
    const Tile& tile = row.tiles[i];
    const bool is_fixed_partial = tile.is_fixed && tile.is_partial;
    const bool stays = in_place && tile.is_fixed && tile.kind == Kind::still;
    if (stays) {
      filled.words += is_fixed_partial ? size : 0;
      continue;
    }
    if (is_fixed_partial && size == kSize && filled.words + size <= room) {
      const uint64_t at = tile.kind == Kind::sliding ? before : 0;
      cut<kWords, void>(tape + at / 32, at % 32, nullptr, out + filled.words, nullptr);
      filled.words += size;
      continue;
    }
    const uint32_t* from = tile.kind == Kind::general ? general : tape;
    const Seen seen = cut_rows<kWords>(row, request, tile, from, bits);
    if (tile.kind == Kind::general) general += kMaxDecodeQueries * kWords;
    filled.shown |= uint64_t{seen.shown != 0} << i;
    filled.hidden |= uint64_t{seen.hidden != 0} << i;
    if (seen.shown == 0 || seen.hidden == 0) continue;
    if (filled.words + size > room) return {};
    for (int64_t j = 0; j < size; j += kSize)
      std::memcpy(out + filled.words + j, bits + j, sizeof(uint32_t) * kWords);
    filled.words += size;
  }
  return filled;
}

// The rows of one tile, and what they show of the keys that exist. bits: [query_len, kWords]. Out
// of line: the common cases of fill_words need the registers.
template <size_t kWords>
[[gnu::noinline]] DecodeRows::Seen DecodeRows::cut_rows(const Row& row, const Request& request,
                                                        const Tile& tile, const uint32_t* from,
                                                        uint32_t* bits) const {
  uint32_t existing[kWords];
  const bool is_last = tile.tile == (row.end_query - 1) / tile_kv_;
  for (size_t w = 0; is_last && w < kWords; ++w) {
    const int64_t keys = request.seq_len - tile.tile * tile_kv_ - 32 * static_cast<int64_t>(w);
    existing[w] = static_cast<uint32_t>((uint64_t{1} << std::clamp<int64_t>(keys, 0, 32)) - 1);
  }
  const int64_t before = row.end_query - 1 - (request.seq_len - request.query_len);
  Seen seen;
  for (int64_t j = 0; j < request.query_len; ++j, bits += kWords) {
    const auto at = static_cast<uint64_t>(tile.kind == Kind::sliding ? before - j : 0);
    cut<kWords>(from + at / 32, at % 32, is_last ? existing : nullptr, bits, &seen);
    if (tile.kind == Kind::general) from += kWords;
  }
  return seen;
}

void DecodeRows::emit(const Row& row, int64_t words, TileWriter& writer) const {
  uint64_t shown = row.shown, hidden = row.hidden;
  for (const Run* run = row.runs; run != row.runs + row.num_runs; ++run) {
    const bool is_shown = run->is_full || (shown & 1) != 0;
    const bool is_hidden = !run->is_full && (hidden & 1) != 0;
    if (!run->is_full) shown >>= 1, hidden >>= 1;
    if (is_shown && !is_hidden) writer.full(run->first, run->end);
    if (is_shown && is_hidden) writer.partial(run->first, words);
  }
}

}  // namespace pagoda::mask
