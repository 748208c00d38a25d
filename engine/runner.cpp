#include "engine/runner.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <utility>

#include "engine/draft/ngram.h"
#include "engine/error.h"
#include "engine/sample/stop_strings.h"
#include "engine/step_arrays.h"

namespace pagoda::engine {
namespace {

constexpr const char* kFinishNames[] = {"none", "end-token", "stop-string", "length"};

double seconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

DecoderOptions decoder_options(const RunnerOptions& options, const ModelConfig& config) {
  const auto context = static_cast<int32_t>(
      std::min<int64_t>(config.context_length, std::numeric_limits<int32_t>::max()));
  const int32_t max_seq_len = options.max_seq_len > 0 ? options.max_seq_len : context;
  require(options.page_size > 0, ErrorKind::kInvalidArgument, "a page size of ", options.page_size,
          " tokens; it must be a positive multiple of 8");
  const DraftOptions& draft = options.draft;
  require(draft.num_tokens >= 0 && draft.num_tokens <= 1024 && draft.max_suffix > 0,
          ErrorKind::kInvalidArgument, "drafts of ", draft.num_tokens, " tokens after ",
          draft.max_suffix, "; they have 0 to 1024 after at least 1");
  require(options.device == Device::kCpu || draft.file == nullptr, ErrorKind::kUnsupported,
          "a draft model computes on the CPU and would hold device ", name_of(options.device),
          " up; guess from the text instead (--draft ngram:3:4)");
  const int32_t page_size = options.page_size * options.context_parallel.num_ranks();
  const int64_t pages_of_one = (max_seq_len + page_size - 1) / page_size;
  return {
      .num_threads = options.num_threads,
      .backend = options.backend,
      .isa = options.isa,
      .product_isa = options.product_isa,
      .expand_weights = options.expand_weights,
      .dtype = options.dtype,
      .kv = options.kv,
      .page_size = options.page_size,
      .num_pages = options.num_pages > 0 ? options.num_pages : options.max_reqs * pages_of_one + 1,
      .max_reqs = options.max_reqs,
      .max_tokens = options.prefill_chunk + options.max_reqs * (1 + draft.num_tokens) - 1,
      .max_seq_len = max_seq_len,
      .mask = options.mask,
      .context_parallel = options.context_parallel,
      .tensor_parallel = options.tensor_parallel,
      .cascade = options.cascade};
}

// A group of layers has pages of its own: their bytes differ with the number of layers.
Cache make_cache(const Executor& executor, bool prefix_cache) {
  const DecoderOptions& options = executor.options();
  std::vector<CacheGroup> groups;
  for (const LayerGroup& layers : executor.groups()) {
    CacheGroup group;
    group.page_size = options.shared_page_size();
    group.window = layers.window;
    group.pool = static_cast<int32_t>(groups.size());
    group.page_bytes = page_bytes(executor.config(), layers, options.page_size, options.dtype);
    groups.push_back(group);
  }
  const std::vector<int64_t> num_pages(groups.size(), options.num_pages);
  CacheOptions cache;
  cache.num_groups = static_cast<int32_t>(groups.size());
  cache.groups = groups.data();
  cache.num_pools = cache.num_groups;
  cache.num_pages = num_pages.data();
  cache.no_prefix_cache = prefix_cache ? 0 : 1;
  cache.max_reqs = options.max_reqs;
  return Cache(cache);
}

// Tokens of a step that read a prompt (or recompute after a preemption), and those that follow one.
struct StepWork {
  int64_t prompt_tokens = 0;
  int64_t decode_rows = 0;    // guesses included
  int64_t decode_tokens = 0;  // generated
};

bool decodes(const ScheduledTokens& part) {
  return part.num_tokens == 1 && part.gives_token() &&
         part.request->num_computed >= part.request->num_prompt;
}

}  // namespace

const char* name_of(FinishReason reason) {
  return kFinishNames[static_cast<int>(reason)];
}

struct Runner::State {
  // What belongs to a request besides its tokens.
  struct Writer {
    Writer(const Tokenizer& tokenizer, const GenerationOptions& of)
        : options(of),
          decoder(tokenizer, {.skip_special = true, .at_text_start = of.at_text_start}),
          stop(of.stop) {}

    GenerationOptions options;
    StreamDecoder decoder;
    StopStrings stop;
    Generation generation;
  };

  State(const ModelFile& file, const Tokenizer& words, const RunnerOptions& options,
        const Progress& progress)
      : tokenizer(words),
        executor(make_executor(options.device, file, decoder_options(options, file.config()),
                               num_drawable(file.config(), words), progress)),
        cache(make_cache(*executor, options.prefix_cache)),
        scheduler(cache, static_cast<int32_t>(executor->groups().size()),
                  {.max_reqs = options.max_reqs,
                   .max_step_tokens = executor->options().max_tokens,
                   .prefill_chunk = options.prefill_chunk,
                   .max_seq_len = executor->options().max_seq_len}),
        arrays(static_cast<int32_t>(executor->groups().size()), table_width(executor->options())),
        draft(options.draft) {
    if (draft.file != nullptr && draft.num_tokens > 0)
      draft_model = std::make_unique<DraftModel>(*draft.file, *draft.tokenizer, words,
                                                 executor->options(), progress);
  }

  // Models may have rows for tokens that their vocabulary does not have; nothing could be written
  // for those.
  static int32_t num_drawable(const ModelConfig& config, const Tokenizer& tokenizer) {
    return static_cast<int32_t>(std::min<int64_t>(config.vocab_size, tokenizer.vocab_size()));
  }

  static int32_t table_width(const DecoderOptions& options) {
    const int32_t page_size = options.shared_page_size();
    return (options.max_seq_len + page_size - 1) / page_size;
  }

  bool step(const Runner& runner);
  void propose_drafts();
  void collect_draws(const std::vector<ScheduledTokens>& step);
  int64_t take_tokens(const Runner& runner, const ScheduledTokens& part,
                      std::span<const Sampled> sampled);
  bool take_token(const Runner& runner, Request& request, const Sampled& sampled);
  FinishReason write(Writer& writer, const Request& request, const Sampled& sampled,
                     std::string& new_text);
  void finish(const Request& request, Writer& writer);
  std::vector<uint64_t> running_ids() const;
  StepWork work_of(const std::vector<ScheduledTokens>& step) const;
  void count(const StepWork& work, double duration);

  const Tokenizer& tokenizer;
  const std::unique_ptr<Executor> executor;
  Cache cache;
  Scheduler scheduler;
  StepArrays arrays;
  std::vector<Draw> draws;  // of the step's logit rows
  const DraftOptions draft;
  std::unique_ptr<DraftModel> draft_model;  // null: guesses come from the text
  std::map<uint64_t, Writer> writers;       // by request
  std::vector<Generation> finished;
  RunnerStats stats;
};

bool Runner::State::step(const Runner& runner) {
  if (!scheduler.has_work()) return false;
  const double start = seconds();
  propose_drafts();
  const std::vector<ScheduledTokens> step = scheduler.next_step();
  StepWork work = work_of(step);
  collect_draws(step);
  const std::span<const Sampled> sampled = executor->step(arrays.fill(cache, step), draws);
  scheduler.step_done();
  if (runner.on_step) runner.on_step(cache, running_ids());

  size_t row = 0;
  for (const ScheduledTokens& part : step) {
    // step_done has moved num_computed on: a request that has all its tokens gets the next one.
    if (part.request->num_computed == part.request->num_known()) {
      const auto num_rows = static_cast<size_t>(part.num_draft) + 1;
      const bool is_first = part.request->num_generated() == 0;
      const int64_t taken = take_tokens(runner, part, sampled.subspan(row, num_rows));
      row += num_rows;
      if (!is_first) work.decode_tokens += taken;
    } else if (runner.on_prompt_progress) {
      runner.on_prompt_progress(part.request->num_computed, part.request->num_known());
    }
  }
  count(work, seconds() - start);
  return true;
}

// In the order of StepBatch::logit_rows: a guess's row is drawn as if the guesses before were
// right.
void Runner::State::collect_draws(const std::vector<ScheduledTokens>& step) {
  draws.clear();
  for (const ScheduledTokens& part : step) {
    if (!part.gives_token()) continue;
    const Request& request = *part.request;
    const std::span<const int32_t> guesses = request.draft;
    for (size_t i = 0; i <= static_cast<size_t>(part.num_draft); i++)
      draws.push_back({.tokens = request.tokens,
                       .guesses = guesses.first(i),
                       .counter = static_cast<uint64_t>(request.num_generated()) + i,
                       .options = &writers.at(request.id).options.sampling});
  }
}

std::vector<uint64_t> Runner::State::running_ids() const {
  std::vector<uint64_t> ids;
  for (const auto& request : scheduler.running()) ids.push_back(request->id);
  return ids;
}

StepWork Runner::State::work_of(const std::vector<ScheduledTokens>& step) const {
  StepWork work;
  for (const ScheduledTokens& part : step)
    (decodes(part) ? work.decode_rows : work.prompt_tokens) += part.num_tokens + part.num_draft;
  return work;
}

void Runner::State::count(const StepWork& work, double duration) {
  const auto all = static_cast<double>(work.prompt_tokens + work.decode_rows);
  stats.prompt_seconds += duration * static_cast<double>(work.prompt_tokens) / all;
  stats.decode_seconds += duration * static_cast<double>(work.decode_rows) / all;
  stats.prompt_tokens += work.prompt_tokens;
  stats.decode_tokens += work.decode_tokens;
  const CacheStats pages = cache.stats();
  stats.max_used_pages = pages.max_used;
  stats.max_shared_pages = std::max(stats.max_shared_pages, pages.num_shared);
}

// Guesses are of use where one token is to be computed and several may still follow.
void Runner::State::propose_drafts() {
  if (draft.num_tokens == 0) return;
  std::vector<Request*> requests;
  for (const auto& request : scheduler.running()) {
    const int32_t room = request->max_generated - request->num_generated() - 1;
    const bool is_ready = request->num_known() - request->num_computed == 1;
    request->max_draft = is_ready ? std::min(draft.num_tokens, room) : 0;
    requests.push_back(request.get());
  }
  if (draft_model) return draft_model->propose(requests);
  for (Request* request : requests) {
    const std::span<const int32_t> found =
        ngram_draft(request->tokens, draft.max_suffix, request->max_draft);
    request->draft.assign(found.begin(), found.end());
  }
}

// The token that follows, and while it is the one that was guessed, the token behind the guess.
// Each was drawn from logits that are those without guesses. Returns how many.
int64_t Runner::State::take_tokens(const Runner& runner, const ScheduledTokens& part,
                                   std::span<const Sampled> sampled) {
  Request& request = *part.request;
  const std::vector<int32_t> guesses = std::exchange(request.draft, {});
  const auto num_guesses = static_cast<size_t>(part.num_draft);
  request.num_drafted += part.num_draft;
  stats.drafted_tokens += part.num_draft;
  for (size_t i = 0;; i++) {
    const auto taken = static_cast<int64_t>(i) + 1;
    if (!take_token(runner, request, sampled[i])) return taken;
    if (i == num_guesses || request.tokens.back() != guesses[i]) {
      if (num_guesses > 0) scheduler.end_draft(request);
      return taken;
    }
    scheduler.accept_draft(request);
    request.num_accepted++;
    stats.accepted_tokens++;
  }
}

// False if the request ends with it, and is gone.
bool Runner::State::take_token(const Runner& runner, Request& request, const Sampled& sampled) {
  Writer& writer = writers.at(request.id);
  std::string new_text;
  const FinishReason reason = write(writer, request, sampled, new_text);
  writer.generation.finish = reason;
  writer.generation.text += new_text;
  if (runner.on_text) runner.on_text(writer.generation, new_text);
  if (reason == FinishReason::kNone)
    scheduler.append(request, sampled.token);
  else
    finish(request, writer);
  return reason == FinishReason::kNone;
}

// Adds the token to the generation and its text to new_text.
FinishReason Runner::State::write(Writer& writer, const Request& request, const Sampled& sampled,
                                  std::string& new_text) {
  if (tokenizer.is_stop(sampled.token) && !writer.options.ignore_eos) {
    new_text = writer.stop.add(writer.decoder.finish()) + writer.stop.finish();
    return FinishReason::kEndToken;
  }
  writer.generation.tokens.push_back(sampled.token);
  if (writer.options.sampling.num_logprobs >= 0) writer.generation.sampled.push_back(sampled);
  new_text = writer.stop.add(writer.decoder.add(sampled.token));
  if (writer.stop.stopped()) return FinishReason::kStopString;
  if (request.num_generated() + 1 < request.max_generated) return FinishReason::kNone;
  new_text += writer.stop.add(writer.decoder.finish());
  new_text += writer.stop.finish();
  return FinishReason::kLength;
}

void Runner::State::finish(const Request& request, Writer& writer) {
  writer.generation.num_cached = request.num_cached;
  writer.generation.num_preemptions = request.num_preemptions;
  writer.generation.num_drafted = request.num_drafted;
  writer.generation.num_accepted = request.num_accepted;
  stats.prefix_hit_tokens += request.num_cached;
  stats.generated_tokens += static_cast<int64_t>(writer.generation.tokens.size());
  finished.push_back(std::move(writer.generation));
  writers.erase(request.id);
  scheduler.finish(request);
}

Runner::Runner(const ModelFile& file, const Tokenizer& tokenizer, const RunnerOptions& options,
               const Progress& progress)
    : state_(std::make_unique<State>(file, tokenizer, options, progress)) {}
Runner::~Runner() = default;

uint64_t Runner::add(std::vector<int32_t> prompt, const GenerationOptions& options) {
  check_sampling(options.sampling);
  State::Writer writer(state_->tokenizer, options);
  const auto vocab_size = static_cast<int32_t>(state_->executor->config().vocab_size);
  for (int32_t token : prompt)
    require(token >= 0 && token < vocab_size, ErrorKind::kInvalidArgument, "token id ", token,
            " is outside the model's vocabulary of ", vocab_size);
  writer.generation.num_prompt = static_cast<int32_t>(prompt.size());
  const uint64_t id = state_->scheduler.add(std::move(prompt), options.max_tokens).id;
  writer.generation.id = id;
  state_->writers.emplace(id, std::move(writer));
  return id;
}

bool Runner::step() {
  return state_->step(*this);
}

void Runner::run() {
  while (step()) {
  }
}

std::vector<Generation> Runner::take_finished() {
  return std::exchange(state_->finished, {});
}

RunnerStats Runner::stats() const {
  RunnerStats stats = state_->stats;
  stats.scheduler = state_->scheduler.stats();
  stats.key_reads = state_->executor->key_reads();
  const CacheStats pages = state_->cache.stats();
  stats.num_pages = pages.num_pages - static_cast<int64_t>(state_->executor->groups().size());
  return stats;
}

const Executor& Runner::executor() const {
  return *state_->executor;
}
const Cache& Runner::cache() const {
  return state_->cache;
}

}  // namespace pagoda::engine
