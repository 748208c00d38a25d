// See byte_alphabet.h.
#include "engine/tokenizer/byte_alphabet.h"

#include <array>

#include "engine/tokenizer/utf8.h"

namespace pagoda::engine {
namespace {

constexpr uint32_t kFirstStandIn = 0x100;
constexpr uint32_t kNumStandIns = 68;

constexpr bool stands_for_itself(uint32_t byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// byte -> code point
constexpr std::array<uint32_t, 256> make_code_points() {
  std::array<uint32_t, 256> code_points{};
  uint32_t next = kFirstStandIn;
  for (uint32_t byte = 0; byte < 256; ++byte)
    code_points[byte] = stands_for_itself(byte) ? byte : next++;
  return code_points;
}

// code point -> byte, or -1
constexpr std::array<int, kFirstStandIn + kNumStandIns> make_bytes() {
  std::array<int, kFirstStandIn + kNumStandIns> bytes{};
  for (int& byte : bytes) byte = -1;
  const auto code_points = make_code_points();
  for (int byte = 0; byte < 256; ++byte) bytes[code_points[static_cast<size_t>(byte)]] = byte;
  return bytes;
}

constexpr auto kCodePoints = make_code_points();
constexpr auto kBytes = make_bytes();

}  // namespace

std::optional<std::string> bytes_from_alphabet(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const Utf8Character character = first_character(text);
    if (character.state != Utf8State::kComplete) return std::nullopt;
    const uint32_t code_point = first_code_point(text);
    if (code_point >= kBytes.size() || kBytes[code_point] < 0) return std::nullopt;
    bytes += static_cast<char>(kBytes[code_point]);
    text.remove_prefix(character.length);
  }
  return bytes;
}

std::string alphabet_character(uint8_t byte) {
  std::string text;
  append_code_point(text, kCodePoints[byte]);
  return text;
}

}  // namespace pagoda::engine
