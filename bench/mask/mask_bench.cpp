// How long a block mask takes to build, on one core: whole prefills of one request, and decode
// steps of a batch that grows by one token per request.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "src/mask/builder.h"
#include "src/mask/gallery.h"
#include "src/mask/parse.h"

namespace {

using namespace pagoda::mask;
double micros() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

double median(std::vector<double> times) {
  std::nth_element(times.begin(), times.begin() + static_cast<long>(times.size() / 2), times.end());
  return times[times.size() / 2];
}

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// Memory of exactly the size of a step, touched before it is timed.
struct Room {
  explicit Room(const Capacity& capacity)
      : bytes(std::aligned_alloc(64, capacity.bytes())), memory{bytes.get(), capacity} {
    std::fill_n(static_cast<char*>(bytes.get()), capacity.bytes(), 0);
  }
  std::unique_ptr<void, Free> bytes;
  Memory memory;
};

void bench_prefill(const GalleryMask& mask, int32_t length) {
  const GalleryData data(1, length, 1);
  BlockMaskBuilder builder(parse_mask(mask.text, gallery_symbols()), data.bindings(), {},
                           {.max_reqs = 1, .max_tokens = length, .max_seq_len = length});
  const int32_t starts[] = {0, length};
  const Step step{1, starts, &length};
  const Room room(builder.measure(step));
  std::vector<double> times;
  const double begin = micros();
  while (times.size() < 3 || (micros() - begin < 1e6 && times.size() < 101)) {
    const double start = micros();
    builder.build(step, room.memory);
    times.push_back(micros() - start);
  }
  const Capacity& need = room.memory.capacity;
  const int64_t partial = need.words / (128 * 4), tiles = (length + 127) / 128;
  std::printf("%-18s %7d %12.1f us %9lld full %7lld partial %7.2f %% of tiles read %8.1f MiB\n",
              mask.name, length, median(times), static_cast<long long>(need.entries - partial),
              static_cast<long long>(partial),
              100.0 * static_cast<double>(need.entries) / static_cast<double>(tiles * tiles),
              static_cast<double>(need.bytes()) / 1048576);
}

// Requests of different lengths, so that tile boundaries are crossed at different steps.
void bench_decode(const GalleryMask& mask, int32_t num_reqs, int32_t length) {
  constexpr int kSteps = 512;
  const int32_t longest = length + num_reqs + kSteps;
  const GalleryData data(num_reqs, longest, 1);
  const BlockMaskLimits limits{
      .max_reqs = num_reqs, .max_tokens = num_reqs, .max_seq_len = longest};
  BlockMaskBuilder builder(parse_mask(mask.text, gallery_symbols()), data.bindings(), {}, limits);
  const Room room(builder.upper_bound());
  std::vector<int32_t> starts, lens;
  for (int32_t r = 0; r <= num_reqs; ++r) starts.push_back(r);
  for (int32_t r = 0; r < num_reqs; ++r) lens.push_back(length + r * 37 % num_reqs);
  const Step step{num_reqs, starts.data(), lens.data()};
  double start = micros();
  builder.build(step, room.memory);
  const double first = micros() - start;
  std::vector<double> times;
  for (int i = 0; i < kSteps; ++i) {
    for (int32_t& len : lens) ++len;
    start = micros();
    builder.build(step, room.memory);
    times.push_back(micros() - start);
  }
  std::sort(times.begin(), times.end());
  std::printf(
      "%-18s %4d x %6d   first %9.1f us   step: best %7.2f us, median %7.2f us, 90 %% %7.2f us, "
      "worst %7.2f us\n",
      mask.name, num_reqs, length, first, times[0], times[kSteps / 2], times[kSteps * 9 / 10],
      times.back());
}

bool among(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

// mask_bench [prefill | decode] [name of a mask]..
int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  const bool prefill = !among(words, "decode"), decode = !among(words, "prefill");
  words.erase(std::remove_if(words.begin(), words.end(),
                             [](const auto& it) { return it == "prefill" || it == "decode"; }),
              words.end());
  const auto wanted = [&](const char* name, std::initializer_list<std::string> by_default) {
    return words.empty() ? among(by_default, name) : among(words, name);
  };
  if (prefill) std::printf("prefill of one request, tiles of 128 x 128, median\n");
  for (const GalleryMask& mask : gallery())
    for (const int32_t length : {4096, 16384, 131072})
      if (prefill &&
          wanted(mask.name, {"causal", "window", "document", "neighbourhood", "shared-prefix"}))
        bench_prefill(mask, length);
  if (decode) std::printf("\ndecode, one token per request and step\n");
  for (const GalleryMask& mask : gallery())
    for (const int32_t length : {4096, 16384})
      if (decode && (words.empty() || among(words, mask.name))) bench_decode(mask, 256, length);
}
