#include "tile_decider.h"

#include <algorithm>
#include <utility>

#include "tape.h"

namespace pagoda::mask {
namespace {

// These change speed, never results: below them a tile is evaluated without dividing it.
constexpr int64_t kMinRowsToDivide = 8;
constexpr int32_t kMinKeysToDivide = 64;

// The bits of the keys below `limit` in the word whose first key is `first`.
uint32_t existing(int64_t first, int64_t limit) {
  const int64_t count = std::clamp<int64_t>(limit - first, 0, 32);
  return static_cast<uint32_t>((uint64_t{1} << count) - 1);
}

}  // namespace

TileDecider::TileDecider(const Program& program, const Bindings& bindings, int32_t tile_q,
                         int32_t tile_kv, const Shard& shard)
    : program_(program),
      tile_kv_(tile_kv),
      shard_(shard),
      analyzer_(program, bindings),
      rows_(program, bindings),
      bits_(static_cast<size_t>(tile_q) * static_cast<size_t>(tile_kv / 32)) {
  rows_.deal_keys(shard);
}

void TileDecider::set_request(const Box& box, const Point& point) {
  analyzer_.set_request(box);
  rows_.set_request(point);
}

TileBits TileDecider::resolve(int64_t tile) {
  const int64_t num_queries = last_query_ - first_query_ + 1;
  const Pruning whole = pruning();
  const bool is_small = num_queries < kMinRowsToDivide || tile_kv_ < kMinKeysToDivide;
  if (is_small || whole.same_rows || whole.same_distance)
    return evaluate(tile, first_query_, num_queries, num_keys_, whole);
  divide(tile);
  return classify(tile, num_queries, num_keys_);
}

int64_t TileDecider::steady_end(int64_t first, int64_t end, int64_t shortest) {
  if (end - first <= shortest || analyzer_.is_steady(first, end - 1)) return end;
  int64_t steady = first + 1, unsteady = end;
  while (unsteady - steady > 1) {
    const int64_t middle = steady + (unsteady - steady) / 2;
    (analyzer_.is_steady(first, middle - 1) ? steady : unsteady) = middle;
  }
  return std::max(steady, first + shortest);
}

// The keys of a shard lie between the positions of the first and the last.
Truth TileDecider::decide(int64_t first_key, int64_t last_key) {
  return analyzer_.decide(position_of(shard_, static_cast<int32_t>(first_key)),
                          position_of(shard_, static_cast<int32_t>(last_key)));
}

void TileDecider::divide(int64_t tile) {
  ++num_evaluated;
  const int64_t middle = first_query_ + (last_query_ - first_query_ + 1) / 2;
  for (const auto& [first, last] : {std::pair{first_query_, middle - 1}, {middle, last_query_}}) {
    analyzer_.set_queries(first, last);
    evaluate_part(first, last, tile * tile_kv_);
    evaluate_part(first, last, tile * tile_kv_ + tile_kv_ / 2);
  }
  analyzer_.set_queries(first_query_, last_query_);
}

void TileDecider::evaluate_part(int64_t first_query, int64_t last_query, int64_t first_key) {
  const int32_t words = tile_kv_ / 64, stride = tile_kv_ / 32;
  uint32_t* to = bits_.data() + (first_query - first_query_) * stride + first_key % tile_kv_ / 32;
  const int64_t last_key = std::min<int64_t>(first_key + tile_kv_ / 2, num_keys_) - 1;
  Truth truth = Truth::empty;
  if (last_key >= first_key) truth = decide(first_key, last_key);
  if (truth == Truth::undecided) rows_.set_keys(first_key, tile_kv_ / 2, analyzer_.pruning());
  for (int64_t query = first_query; query <= last_query; ++query, to += stride) {
    if (truth == Truth::undecided)
      rows_.mask_row(query, to);
    else
      std::fill_n(to, words, truth == Truth::full ? ~0u : 0u);
  }
}

TileBits TileDecider::evaluate(int64_t tile, int64_t first_query, int64_t num_queries,
                               int64_t num_keys, const Pruning& pruning) {
  ++num_evaluated;
  const int64_t words = tile_kv_ / 32;
  const int64_t valid = std::clamp<int64_t>(num_keys - tile * tile_kv_, 0, tile_kv_);
  rows_.set_keys(tile * tile_kv_, tile_kv_, pruning);
  if (pruning.same_rows) {
    rows_.mask_row(first_query, bits_.data());
    for (int64_t i = 1; i < num_queries; ++i)
      std::copy_n(bits_.data(), words, bits_.data() + i * words);
  } else if (pruning.same_distance && num_queries > 2 && fits_tape(num_queries - 1, valid)) {
    evaluate_tape(first_query, num_queries, valid);
  } else {
    for (int64_t i = 0; i < num_queries; ++i)
      rows_.mask_row(first_query + i, bits_.data() + i * words);
  }
  return classify(tile, num_queries, num_keys);
}

void TileDecider::evaluate_tape(int64_t first_query, int64_t num_queries, int64_t valid) {
  const int64_t words = tile_kv_ / 32;
  uint32_t first[kMaxLanes / 32], last[kMaxLanes / 32], tape[tape_words(kMaxLanes / 32)];
  rows_.mask_row(first_query, first);
  rows_.mask_row(first_query + num_queries - 1, last);
  lay_tape(first, last, num_queries - 1, valid, words, tape);
  for (int64_t i = 0; i < num_queries; ++i)
    for (int64_t w = 0; w < words; ++w)
      bits_[static_cast<size_t>(i * words + w)] =
          tape_word(tape, num_queries - 1 - i, static_cast<size_t>(w));
}

TileBits TileDecider::classify(int64_t tile, int64_t num_queries, int64_t num_keys) {
  const int64_t stride = tile_kv_ / 32;
  uint32_t any_shown = 0, any_hidden = 0;
  for (int64_t w = 0; w < stride; ++w) {
    const uint32_t exists = existing(tile * tile_kv_ + 32 * w, num_keys);
    for (int64_t at = w; at < num_queries * stride; at += stride) {
      uint32_t& word = bits_[static_cast<size_t>(at)];
      word &= exists;
      any_shown |= word;
      any_hidden |= word ^ exists;
    }
  }
  const Truth truth = any_shown == 0    ? Truth::empty
                      : any_hidden == 0 ? Truth::full
                                        : Truth::undecided;
  return {truth, bits_.data(), num_queries * stride};
}

}  // namespace pagoda::mask
