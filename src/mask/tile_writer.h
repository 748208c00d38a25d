// Appends to the lists of a block mask as long as there is room, and counts on where there is none,
// so that a refusal can say how much would have been enough.
#pragma once

#include <algorithm>

#include "block_mask.h"

namespace pagoda::mask {

class TileWriter {
 public:
  TileWriter() = default;  // only counts
  TileWriter(const MemoryMap& map, const Capacity& room)
      : tile_(map.tile), bits_at_(map.bits_at), bits_(map.bits), room_(room) {}

  int64_t entries() const { return entries_; }
  int64_t words() const { return words_; }

  void full(int64_t first, int64_t last) {  // tiles [first, last)
    const int64_t count = last - first;
    if (entries_ + count <= room_.entries) {
      for (int64_t i = 0; i < count; ++i) tile_[entries_ + i] = static_cast<int32_t>(first + i);
      std::fill_n(bits_at_ + entries_, count, -1);
    }
    entries_ += count;
  }

  void partial(int64_t tile, const uint32_t* bits, int64_t words) {
    if (words <= room_for_words()) std::copy_n(bits, words, bits_here());
    partial(tile, words);
  }

  // The same with bits that are there already.
  void partial(int64_t tile, int64_t words) {
    if (entries_ < room_.entries) {
      tile_[entries_] = static_cast<int32_t>(tile);
      bits_at_[entries_] = static_cast<int32_t>(words_);
    }
    ++entries_;
    words_ += words;
  }

  // Where the next bits go, and for how many words there is room.
  uint32_t* bits_here() const { return bits_ + words_; }
  int64_t room_for_words() const { return std::max<int64_t>(room_.words - words_, 0); }

  // What an earlier step has written from here on stays, but for bits changed in place.
  void keep(int64_t entries, int64_t words) {
    entries_ += entries;
    words_ += words;
  }

 private:
  int32_t* tile_ = nullptr;
  int32_t* bits_at_ = nullptr;
  uint32_t* bits_ = nullptr;
  Capacity room_;
  int64_t entries_ = 0, words_ = 0;
};

}  // namespace pagoda::mask
