// Text generation with a model, a tokenizer and a paged cache: requests go in, text comes out as it
// is made. Everything a request gets is what it would get alone.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/draft/draft_model.h"
#include "engine/formats/model_file.h"
#include "engine/model/executor.h"
#include "engine/sched/scheduler.h"
#include "engine/tokenizer/tokenizer.h"

namespace pagoda::engine {

// Speculative decoding: guesses that one step verifies together. Every token is the one that the
// model would have given without them.
struct DraftOptions {
  int32_t num_tokens = 0;  // guessed at a time, at most; 0: none
  int32_t max_suffix = 3;  // guesses from the text itself: tokens that have to have stood before
  const ModelFile* file = nullptr;  // guesses by a smaller model, with its tokenizer; both outlive
  const Tokenizer* tokenizer = nullptr;  // the runner
};

struct RunnerOptions {
  Device device = Device::kCpu;  // who computes everything but the text
  int num_threads = 0;           // 0: all usable cores
  std::string backend = "cpu";   // one whose memory is the host's: cpu or reference
  std::string isa;               // of attention; empty: the best of the machine
  std::string product_isa;       // of products; empty: the best of the machine
  bool expand_weights = false;   // multiply weights of 4 to 8 bits as floats
  pagoda_dtype dtype = PAGODA_F32;
  KvChoice kv;  // what the cache holds
  int32_t page_size = 16;
  int64_t num_pages = 0;  // the null page included; 0: for max_reqs sequences of max_seq_len
  bool prefix_cache = true;
  int32_t prefill_chunk = 512;
  int32_t max_reqs = 16;    // in one step
  int32_t max_seq_len = 0;  // 0: the model's context length
  MaskText mask;            // of every layer, besides its own
  ContextParallel context_parallel = {};
  TensorShare tensor_parallel = {};
  DraftOptions draft;
  int32_t cascade = 0;  // pages that requests share: 0 read once where it pays, 1 always, -1 never
};

struct GenerationOptions {
  int32_t max_tokens = 256;
  SamplingOptions sampling;
  std::vector<std::string> stop;  // the text ends before the first of these
  bool ignore_eos = false;
  bool at_text_start = false;  // the output is the beginning of a text, not of a continuation
};

enum class FinishReason { kNone, kEndToken, kStopString, kLength };

const char* name_of(FinishReason reason);  // "none", "end-token", "stop-string", "length"

struct Generation {
  uint64_t id = 0;
  std::vector<int32_t> tokens;   // generated; without the end token
  std::vector<Sampled> sampled;  // of each of them, if logprobs were asked for
  std::string text;
  FinishReason finish = FinishReason::kNone;
  int32_t num_prompt = 0;  // tokens
  int32_t num_cached = 0;  // of these, found in the prefix cache
  int32_t num_preemptions = 0;
  int32_t num_drafted = 0;   // guessed tokens that were verified
  int32_t num_accepted = 0;  // of these, right
};

struct RunnerStats {
  int64_t prompt_tokens = 0;     // computed of prompts, and again after preemptions
  int64_t decode_tokens = 0;     // generated behind the first
  int64_t generated_tokens = 0;  // the first after each prompt included
  double prompt_seconds = 0;     // a step's time is shared by its tokens
  double decode_seconds = 0;
  int64_t num_pages = 0;         // that can be given out
  int64_t max_used_pages = 0;    // at a time
  int64_t max_shared_pages = 0;  // of these, held by several requests
  int64_t prefix_hit_tokens = 0;
  int64_t drafted_tokens = 0;   // guessed and verified
  int64_t accepted_tokens = 0;  // of these, right
  KeyReads key_reads;
  SchedulerStats scheduler;
};

class Runner {
 public:
  // `file` and `tokenizer` outlive the runner. Errors: those of
  // make_executor.
  Runner(const ModelFile& file, const Tokenizer& tokenizer, const RunnerOptions& options,
         const Progress& progress = {});
  ~Runner();

  // Called from step: text that is new and will not change, perhaps empty, and the generation so
  // far.
  std::function<void(const Generation&, const std::string& new_text)> on_text;

  // Called after each step with the requests that hold pages, e.g. to look at the cache.
  std::function<void(const Cache&, const std::vector<uint64_t>& running)> on_step;

  // Called while prompts are read: tokens of running requests computed and known.
  std::function<void(int64_t computed, int64_t known)> on_prompt_progress;

  // Returns the request's id. Errors: kInvalidArgument, with what to change.
  uint64_t add(std::vector<int32_t> prompt, const GenerationOptions& options);

  // Computes one step of the requests that are under way. False if there is nothing to do.
  bool step();

  // Steps until every request is done.
  void run();

  // The generations that are done, in the order in which they ended, since the last call.
  std::vector<Generation> take_finished();

  RunnerStats stats() const;
  const Executor& executor() const;
  const Cache& cache() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pagoda::engine
