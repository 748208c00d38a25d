// Counts the instructions that a call of the CPU backend executes: count_instructions [ISA...]
//
// A child process runs each case on one thread; the parent walks it through the measured call one
// instruction at a time (ptrace), so that every instruction counts that the processor knows, those
// of tiles included, and two runs agree to a few in a thousand where a clock does not. Cases whose
// instruction set the machine lacks are left out. Prints one JSON object: what built it, and the
// count of each case. Exit 77: the system does not let a process be traced.
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bench/cpu/layer.h"

namespace pagoda::bench {
namespace {

constexpr int kCannotTrace = 77;

enum class Call { kAttend, kUpdate };
// Instruction sets: every one, those with tiles, those with tiles of f16.
enum class On { kAll, kTiles, kHalfTiles };

struct Case {
  std::string name;
  On on;
  Shape shape;
  Call call = Call::kAttend;
};

Shape prefill(Shape shape) {
  shape.query_len = shape.seq_len = 48;
  return shape;
}

Shape decode(Shape shape) {
  shape.seq_len = 256;
  return shape;
}

Shape update(pagoda_kv_format format) {
  return {.query_len = 48, .seq_len = 48, .kv_format = format};
}

// 4 heads over one: a step of a process costs microseconds, so the vectors, which need more of
// them, have only the cases whose code differs.
std::vector<Case> cases() {
  std::vector<Case> all = {
      {"prefill/bf16", On::kAll, prefill({})},
      {"prefill/bf16/softcap", On::kTiles, prefill({.softcap = 30})},
      {"prefill/bf16/alibi", On::kTiles, prefill({.alibi = true})},
      {"prefill/bf16/window16_sinks", On::kTiles, prefill({.sinks = true, .window = 16})},
      {"prefill/bf16/d80", On::kTiles, prefill({.head_dim = 80})},
      {"prefill/bf16/kv_fp8", On::kTiles, prefill({.kv_format = PAGODA_KV_FP8_E4M3})},
      {"prefill/f16", On::kHalfTiles, prefill({.dtype = PAGODA_F16})},
      {"prefill/bf16/mask", On::kTiles, prefill({.mask = "q >= k && (q - k) % 3 != 1"})},
      {"prefill/bf16/score", On::kTiles, prefill({.score = "30 * tanh(score / 30)"})},
      {"decode/bf16", On::kAll, decode({})},
      {"decode/f16", On::kHalfTiles, decode({.dtype = PAGODA_F16})},
      {"decode/bf16/4queries", On::kTiles, decode({.query_len = 4})},
      {"decode/bf16/kv_fp8", On::kAll, decode({.kv_format = PAGODA_KV_FP8_E4M3})},
      {"decode/bf16/kv_int8", On::kAll, decode({.kv_format = PAGODA_KV_INT8_TOKEN})},
      {"update_cache/bf16", On::kTiles, update(PAGODA_KV_SAME), Call::kUpdate},
      {"update_cache/fp8", On::kAll, update(PAGODA_KV_FP8_E4M3), Call::kUpdate},
      {"update_cache/int8", On::kAll, update(PAGODA_KV_INT8_TOKEN), Call::kUpdate},
  };
  for (Case& c : all) c.shape.num_heads = 4, c.shape.num_kv_heads = 1;
  return all;
}

// In the child: stops before and after an empty region, then before and after the call.
[[noreturn]] void run_traced(const Case& c, const std::string& isa) {
  if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(kCannotTrace);
  LayerRun layer(c.shape, 1, isa, 1);
  const auto call = [&] { c.call == Call::kUpdate ? layer.update_cache() : layer.forward(); };
  layer.forward();
  call();
  raise(SIGSTOP);
  raise(SIGSTOP);
  call();
  raise(SIGSTOP);
  _exit(0);
}

// Steps the child to its next SIGSTOP.
std::optional<int64_t> steps_to_stop(pid_t child) {
  for (int64_t steps = 0;; ++steps) {
    int status = 0;
    if (ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) != 0 ||
        waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
      return std::nullopt;
    if (WSTOPSIG(status) == SIGSTOP) return steps;
  }
}

// Instructions of the case's call, or nothing if the child could not run it.
std::optional<int64_t> count(const Case& c, const std::string& isa) {
  const pid_t child = fork();
  if (child == 0) run_traced(c, isa);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kCannotTrace) std::exit(kCannotTrace);
  if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGSTOP) return std::nullopt;
  const auto empty = steps_to_stop(child), whole = steps_to_stop(child);
  kill(child, SIGKILL);
  waitpid(child, &status, 0);
  if (!empty || !whole) return std::nullopt;
  return *whole - *empty;
}

bool machine_has(const std::string& isa) {
  const pid_t child = fork();
  if (child == 0) {
    std::freopen("/dev/null", "w", stderr);
    const LayerRun layer({.num_heads = 1, .num_kv_heads = 1}, 1, isa, 1);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// Tiles of f16 have their own code for f16 and for codes; the rest is that of "amx" there.
bool runs_on(const Case& c, const std::string& isa) {
  if (isa == "amx_fp16") return c.on == On::kHalfTiles || c.shape.kv_format != PAGODA_KV_SAME;
  return c.on == On::kAll || (c.on == On::kTiles && isa == "amx");
}

void print_counts(const std::vector<std::string>& isas) {
  std::printf("{\n \"compiler\": \"%s\",\n \"counts\": {", __VERSION__);
  const char* separator = "";
  for (const std::string& isa : isas) {
    if (!machine_has(isa)) continue;
    for (const Case& c : cases()) {
      if (!runs_on(c, isa)) continue;
      const auto steps = count(c, isa);
      if (!steps) continue;
      std::printf("%s\n  \"%s/%s\": %lld", separator, isa.c_str(), c.name.c_str(),
                  static_cast<long long>(*steps));
      separator = ",";
    }
  }
  std::printf("\n }\n}\n");
}

}  // namespace
}  // namespace pagoda::bench

int main(int argc, char** argv) {
  // Addresses are drawn anew at each start, and with them how rows lie to vectors and pages.
  if ((personality(0xffffffff) & ADDR_NO_RANDOMIZE) == 0) {
    if (personality(ADDR_NO_RANDOMIZE) < 0) return pagoda::bench::kCannotTrace;
    execv("/proc/self/exe", argv);
    return pagoda::bench::kCannotTrace;
  }
  std::vector<std::string> isas(argv + 1, argv + argc);
  if (isas.empty()) isas = {"avx2", "avx512", "amx", "amx_fp16"};
  pagoda::bench::print_counts(isas);
}
