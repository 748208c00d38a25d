// Attention under masks and scores as expressions beside the built-in ones, on one thread. The two
// of a pair run in turn, so that a busy machine slows both; times are of the processor.
//
//   attend_mask_bench [rounds]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <vector>

#include "bench/cpu/layer.h"

namespace pagoda::bench {
namespace {

double milliseconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

struct Times {
  std::vector<double> all;
  double best() const { return *std::min_element(all.begin(), all.end()); }
  double median() const {
    std::vector<double> sorted = all;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
};

void compare(const char* name, const Shape& a, const Shape& b, int rounds) {
  LayerRun first(a, 1, "", 1), second(b, 1, "", 1);
  LayerRun* const runs[] = {&first, &second};
  Times times[2];
  for (int round = 0; round < rounds; ++round)
    for (int i = 0; i < 2; ++i) {
      const double start = milliseconds();
      runs[i]->forward();
      times[i].all.push_back(milliseconds() - start);
    }
  std::printf("%-44s best %9.3f / %9.3f ms = %6.3f   median %9.3f / %9.3f ms = %6.3f\n", name,
              times[0].best(), times[1].best(), times[0].best() / times[1].best(),
              times[0].median(), times[1].median(), times[0].median() / times[1].median());
  std::fflush(stdout);
}

Shape with(Shape shape, const char* mask, const char* score = "") {
  shape.mask = mask;
  shape.score = score;
  return shape;
}

void compare_all(int rounds) {
  const Shape prefill{.query_len = 2048, .seq_len = 2048, .num_heads = 8, .num_kv_heads = 2};
  compare("causal 2048: expression / built-in", with(prefill, "q >= k"), prefill, 3 * rounds);
  const Shape decode{
      .num_reqs = 16, .query_len = 1, .seq_len = 4096, .num_heads = 8, .num_kv_heads = 2};
  compare("causal decode 16 x 4096: expression / built-in", with(decode, "q >= k"), decode,
          20 * rounds);
  Shape window = prefill;
  window.window = 512;
  compare("window 512 of 2048: expression / built-in", with(prefill, "q >= k && q - k < 512"),
          window, 3 * rounds);
  Shape capped = prefill;
  capped.softcap = 30;
  compare("soft-cap 2048: expression / built-in", with(prefill, "", "30.0 * tanh(score / 30.0)"),
          capped, rounds);
  Shape alibi = prefill;
  alibi.alibi = true;
  compare("ALiBi 2048: expression / built-in", with(prefill, "", "score + 0.05 * float(k - q)"),
          alibi, rounds);
  const Shape lengthy{.query_len = 16384, .seq_len = 16384, .num_heads = 2, .num_kv_heads = 1};
  compare("16384: causal / window 1024 as expression", lengthy,
          with(lengthy, "q >= k && q - k < 1024"), std::max(1, rounds / 3));
}

}  // namespace
}  // namespace pagoda::bench

int main(int argc, char** argv) {
  pagoda::bench::compare_all(argc > 1 ? std::atoi(argv[1]) : 9);
}
