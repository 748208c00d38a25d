// Random mask expressions over random cases: both forms of the reference and the CPU backend with
// the block mask that the library builds, against the oracle with the expression's own meaning;
// and the CPU backend bit for bit against itself with the same mask written down densely.
//
//   mask_conformance --cases=N [--first=F]   cases F .. F+N-1
//   mask_conformance --case=I                one case, with what it is
#include <gtest/gtest.h>

#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <mutex>
#include <thread>

#include "check_case.h"
#include "mask_case.h"
#include "program.h"
#include "src/mask/parse.h"
#include "src/mask/print.h"
#include "tests/unit/mask/random_expr.h"

namespace pagoda::conformance {
namespace {

struct Options {
  uint64_t first = 0, cases = 500;
  bool one = false;
};
Options options;

// Pure chance, which is mostly all or nothing or noise, and what looks like the masks of models.
std::string draw_text(uint64_t seed, Random& random) {
  mask::RandomExpr expressions(seed);
  const std::string any =
      mask::print(expressions.mask(random.between(1, 12)), mask::test_symbols());
  const auto number = [&](int32_t low, int32_t high) {
    return std::to_string(random.between(low, high));
  };
  switch (random.between(0, 11)) {
    case 0:
      return "q >= k && q - k < " + number(1, 200);
    case 1:
      return "abs(q - k) <= " + number(0, 150);
    case 2:
      return "q >= k && q // " + number(1, 130) + " == k // " + number(1, 130);
    case 3:
      return "a[q] == a[k] && (q >= k || " + any + ")";
    case 4:
      return "q >= k && q - k < " + number(10, 300) + " * (h + 1)";
    case 5:
      return "(q - k) % " + number(1, 9) + " == 0 || k < " + number(0, 80) + " && g % 2 == 0";
    case 6:
      return "k < seq_len - query_len && k % 64 < " + number(0, 64) + " || q == k";
    case 7:
      return "q >= k && (" + any + ")";
    default:
      return any;
  }
}

struct Case {
  explicit Case(uint64_t index)
      : geometry(draw_geometry(index + 5'000'000)), names(index), random(stream_of(index, 77)) {
    text = draw_text(index, random);
    tile_q = random.weighted<int32_t>({{128, 30}, {64, 20}, {16, 15}, {1, 10}, {0, 25}});
    if (tile_q == 0) tile_q = random.between(1, 256);
    tile_kv = random.pick({32, 64, 128, 256});
  }

  Geometry geometry;
  MaskNames names;
  Random random;
  std::string text;
  int32_t tile_q, tile_kv;
};

std::string describe(const Case& it) {
  return it.text + "\n  tiles " + std::to_string(it.tile_q) + " x " + std::to_string(it.tile_kv) +
         ", " + describe(it.geometry);
}

struct Checker {
  const Case& it;
  uint64_t index;
  Backends& backends;
  const mask::Expr expr;
  const ShownPairs pairs;
  Values values;
  BuiltBlockMask block_mask;
  Verdict verdict = {};

  Checker(const Case& of, uint64_t number, Backends& on)
      : it(of),
        index(number),
        backends(on),
        expr(mask::parse_mask(of.text, mask::test_symbols())),
        pairs(of.geometry, expr, of.names.bindings()),
        values(draw_values(of.geometry, number)),
        block_mask(of.text, PAGODA_EXPR_MASK, of.names) {
    pairs.spoil_hidden(values);
  }

  void complain(const char* who, const std::string& what) {
    if (verdict.complaint.empty() && !what.empty())
      verdict.complaint = std::string(who) + ": " + what;
  }

  // dense: null, or what takes the place of the mask that the library builds.
  Result run(const Context& context, uint64_t fill_seed, const char* kernel,
             const DenseBlockMask* dense = nullptr) {
    Step step(it.geometry, values, {.pages_seed = index, .fill_seed = fill_seed});
    step.spec.has_block_mask = 1;
    step.batch.block_mask =
        dense != nullptr ? &dense->get() : &block_mask.build(step, it.tile_q, it.tile_kv);
    return step.run(context, kernel);
  }

  void check_all() {
    const Expected expected = attend<double>(
        it.geometry, values,
        [&](size_t r, int32_t head, int32_t i, int32_t j) { return pairs.shows(r, head, i, j); });
    const auto check_reference = [&](const char* kernel) {
      const Comparison comparison =
          compare(it.geometry, expected, run(backends.reference(), index | 1, kernel), kDouble);
      complain(kernel, comparison.complaint);
    };
    if (it.geometry.num_splits <= 1) check_reference("reference.direct");
    check_reference("reference.online");
    const Context& cpu = backends.cpu(it.geometry.isa, it.geometry.num_threads);
    const Result first = run(cpu, 0, nullptr);
    const Comparison comparison =
        compare(it.geometry, expected, first, Backends::arithmetic(it.geometry, it.geometry.isa));
    complain("cpu", comparison.complaint);
    verdict.ratios.include({.cpu_out = comparison.out_ratio, .cpu_lse = comparison.lse_ratio});
    complain("cpu with other garbage", differing_bits(first, run(cpu, index | 1, nullptr)));
    // Tiles of another shape, too.
    const DenseBlockMask dense(pairs, 1 + it.tile_q / 2, it.tile_kv == 64 ? 256 : 64);
    complain("cpu with the dense mask", differing_bits(first, run(cpu, 0, nullptr, &dense)));
  }
};

std::string check_index(uint64_t index, Backends& backends, Ratios& ratios) {
  const Case it(index);
  Checker checker(it, index, backends);
  try {
    checker.check_all();
  } catch (const std::exception& error) {
    checker.complain("exception", error.what());
  }
  ratios.include(checker.verdict.ratios);
  if (checker.verdict.complaint.empty()) return {};
  return checker.verdict.complaint + "\n  " + describe(it) +
         "\n  again: mask_conformance --case=" + std::to_string(index);
}

struct Sweep {
  std::atomic<uint64_t> next{0};
  std::mutex mutex;
  std::vector<std::string> complaints;
  Ratios ratios;

  void work() {
    Backends backends;
    Ratios own;
    for (uint64_t i; (i = next++) < options.cases;) {
      const std::string complaint = check_index(options.first + i, backends, own);
      if (complaint.empty()) continue;
      const std::lock_guard lock(mutex);
      complaints.push_back(complaint);
    }
    const std::lock_guard lock(mutex);
    ratios.include(own);
  }
};

TEST(MaskConformance, RandomExpressions) {
  if (options.one) GTEST_SKIP() << "--case runs one case alone";
  Sweep sweep;
  std::thread other([&] { sweep.work(); });
  sweep.work();
  other.join();
  std::printf("%" PRIu64 " expressions from %" PRIu64
              "; largest error / bound: out %.3f lse %.3f\n",
              options.cases, options.first, sweep.ratios.cpu_out, sweep.ratios.cpu_lse);
  for (size_t i = 0; i < sweep.complaints.size() && i < 10; ++i)
    ADD_FAILURE() << sweep.complaints[i];
  EXPECT_EQ(sweep.complaints.size(), 0u) << "cases failed, of " << options.cases;
}

TEST(MaskConformance, OneCase) {
  if (!options.one) GTEST_SKIP() << "no --case=I was given";
  Backends backends;
  Ratios ratios;
  std::printf("%s\n", describe(Case(options.first)).c_str());
  EXPECT_EQ(check_index(options.first, backends, ratios), "");
}

bool read_option(const char* text) {
  if (std::sscanf(text, "--cases=%" SCNu64, &options.cases) == 1) return true;
  if (std::sscanf(text, "--first=%" SCNu64, &options.first) == 1) return true;
  options.one = std::sscanf(text, "--case=%" SCNu64, &options.first) == 1;
  return options.one;
}

}  // namespace
}  // namespace pagoda::conformance

int main(int argc, char** argv) {
  using namespace pagoda::conformance;
  return run_tests(argc, argv, "mask_conformance", read_option);
}
