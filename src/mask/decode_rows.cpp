#include "decode_rows.h"

#include <algorithm>

namespace pagoda::mask {

DecodeRows::DecodeRows(int32_t tile_kv, int64_t num_rows)
    : tile_kv_(tile_kv),
      rows_(static_cast<size_t>(num_rows)),
      bits_(static_cast<size_t>(kMaxVolatile * kMaxDecodeQueries * (tile_kv / 32))) {}

void DecodeRows::begin_step(bool kept) {
  ++step_;
  kept_ = kept;
}

bool DecodeRows::write(const Request& request, TileDecider& decider, TileWriter& writer) {
  Row& row = rows_[static_cast<size_t>(request.row)];
  if (!covers(row, request)) analyse(request, decider, row);
  if (row.num_runs < 0) return false;
  const uint64_t outcome = evaluate(request, row, decider);
  const bool stays = kept_ && row.step + 1 == step_ && outcome == row.outcome &&
                     row.first_entry == writer.entries() && row.first_word == writer.words();
  row.step = step_;
  if (stays) {
    writer.replace(row.entries, bits_.data(), num_words_);
    return true;
  }
  row.first_entry = writer.entries();
  row.first_word = writer.words();
  row.outcome = outcome;
  emit(row, outcome, request.query_len * (tile_kv_ / 32), writer);
  row.entries = writer.entries() - row.first_entry;
  return true;
}

bool DecodeRows::covers(const Row& row, const Request& request) const {
  return request.seq_len - request.query_len >= row.first_query &&
         request.seq_len <= row.end_query && request.query_len == row.query_len &&
         request.generation == row.generation;
}

void DecodeRows::analyse(const Request& request, TileDecider& decider, Row& row) const {
  row.first_query = request.seq_len - request.query_len;
  row.end_query = (request.seq_len + tile_kv_ - 1) / tile_kv_ * tile_kv_;
  row.query_len = request.query_len;
  row.generation = request.generation;
  row.step = 0;
  row.num_runs = 0;
  int num_volatile = 0;
  const auto append = [&row](int64_t first, int64_t end, bool is_volatile, const Pruning& pruning) {
    if (row.num_runs == kMaxRuns) row.num_runs = -1;
    if (row.num_runs < 0) return;
    row.runs[row.num_runs++] = {static_cast<int32_t>(first), static_cast<int32_t>(end), is_volatile,
                                pruning};
  };
  Box box = box_of(request.point);
  box.set(Variable::seq_len, request.seq_len, row.end_query);
  box.min_distance = 1 - request.query_len;
  decider.set_request(box, request.point);
  decider.visit(
      row.first_query, row.end_query - 1, row.end_query,
      [&](int64_t first, int64_t end) { append(first, end, false, {}); },
      [&](int64_t tile) {
        append(tile, tile + 1, true, decider.pruning());
        if (++num_volatile > kMaxVolatile) row.num_runs = -1;
      });
  for (Run* run = row.runs; run < row.runs + row.num_runs; ++run)
    if (run->is_volatile && run->pruning.same_rows)
      decider.evaluate_row(run->first, row.first_query, run->pruning, run->bits);
}

// Into bits_, those of partial tiles one after another. Returns the outcome.
uint64_t DecodeRows::evaluate(const Request& request, const Row& row, TileDecider& decider) {
  uint64_t outcome = 0;
  int at = 0;
  num_words_ = 0;
  for (const Run* run = row.runs; run != row.runs + row.num_runs; ++run) {
    if (!run->is_volatile) continue;
    if (at == 0) decider.set_point(request.point);
    const TileBits found =
        run->pruning.same_rows
            ? decider.repeat(run->first, run->bits, request.query_len, request.seq_len)
            : decider.evaluate(run->first, request.seq_len - request.query_len, request.query_len,
                               request.seq_len, run->pruning);
    outcome |= static_cast<uint64_t>(found.truth) << at;
    at += 2;
    if (found.truth != Truth::undecided) continue;
    std::copy_n(found.bits, found.words, bits_.data() + num_words_);
    num_words_ += found.words;
  }
  return outcome;
}

void DecodeRows::emit(const Row& row, uint64_t outcome, int64_t words, TileWriter& writer) const {
  const uint32_t* bits = bits_.data();
  for (const Run* run = row.runs; run != row.runs + row.num_runs; ++run) {
    const auto truth = run->is_volatile ? static_cast<Truth>(outcome & 3) : Truth::full;
    if (run->is_volatile) outcome >>= 2;
    if (truth == Truth::full) writer.full(run->first, run->end);
    if (truth != Truth::undecided) continue;
    writer.partial(run->first, bits, words);
    bits += words;
  }
}

}  // namespace pagoda::mask
