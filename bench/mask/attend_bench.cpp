// Attention under masks and scores as expressions beside the built-in ones. The two of a pair run
// in turn, so that a busy machine slows both; times are of the processor on one thread, of the
// clock on more.
//
//   attend_mask_bench [rounds [threads [isa [part of a case's name]]]]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "bench/cpu/layer.h"

namespace pagoda::bench {
namespace {

struct Choice {
  int rounds = 9, threads = 1;
  std::string isa, name;  // empty: the best one; all

  bool takes(const char* which) const { return std::string(which).find(name) != std::string::npos; }
};

double milliseconds(const Choice& choice) {
  timespec now;
  clock_gettime(choice.threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &now);
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

// share: of the choice's rounds
void compare(const Choice& choice, const char* name, const Shape& a, const Shape& b, double share) {
  if (!choice.takes(name)) return;
  const int rounds = std::max(1, static_cast<int>(choice.rounds * share));
  LayerRun first(a, choice.threads, choice.isa, 1), second(b, choice.threads, choice.isa, 1);
  LayerRun* const runs[] = {&first, &second};
  Times times[2];
  for (int round = 0; round < rounds; ++round)
    for (int i = 0; i < 2; ++i) {
      const double start = milliseconds(choice);
      runs[i]->forward();
      times[i].all.push_back(milliseconds(choice) - start);
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

void compare_masks(const Choice& choice) {
  const Shape prefill{.query_len = 2048, .seq_len = 2048, .num_heads = 8, .num_kv_heads = 2};
  compare(choice, "causal 2048: expression / built-in", with(prefill, "q >= k"), prefill, 3);
  const Shape decode{
      .num_reqs = 16, .query_len = 1, .seq_len = 4096, .num_heads = 8, .num_kv_heads = 2};
  compare(choice, "causal decode 16 x 4096: expression / built-in", with(decode, "q >= k"), decode,
          20);
  Shape window = prefill;
  window.window = 512;
  compare(choice, "window 512 of 2048: expression / built-in",
          with(prefill, "q >= k && q - k < 512"), window, 3);
  const Shape lengthy{.query_len = 16384, .seq_len = 16384, .num_heads = 4, .num_kv_heads = 1};
  const Shape by_expr = with(lengthy, "q >= k && q - k < 1024");
  Shape built_in = lengthy;
  built_in.window = 1024;
  compare(choice, "16384: causal / window 1024 as expression", lengthy, by_expr, 0.34);
  compare(choice, "16384: causal / built-in window 1024", lengthy, built_in, 0.34);
  compare(choice, "window 1024 of 16384: expression / built-in", by_expr, built_in, 1);
}

void compare_scores(const Choice& choice) {
  const Shape prefill{.query_len = 2048, .seq_len = 2048, .num_heads = 8, .num_kv_heads = 2};
  Shape capped = prefill;
  capped.softcap = 30;
  compare(choice, "soft-cap 2048: expression / built-in",
          with(prefill, "", "30.0 * tanh(score / 30.0)"), capped, 1);
  Shape alibi = prefill;
  alibi.alibi = true;
  compare(choice, "ALiBi 2048: expression / built-in",
          with(prefill, "", "score + 0.05 * float(k - q)"), alibi, 1);
}

}  // namespace
}  // namespace pagoda::bench

int main(int argc, char** argv) {
  pagoda::bench::Choice choice;
  if (argc > 1) choice.rounds = std::atoi(argv[1]);
  if (argc > 2) choice.threads = std::atoi(argv[2]);
  if (argc > 3) choice.isa = argv[3];
  if (argc > 4) choice.name = argv[4];
  pagoda::bench::compare_masks(choice);
  pagoda::bench::compare_scores(choice);
}
