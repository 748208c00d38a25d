// Who computes the steps of a model. On this side of it are requests, pages and text, which know
// no device; behind it are weights, the memory of the cache, and everything from token ids in to
// token ids out.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/model/decoder.h"
#include "engine/sample/sampler.h"

namespace pagoda::engine {

enum class Device { kCpu, kCuda };

const char* name_of(Device device);  // "cpu", "cuda"

// How the token behind one row of logits is drawn. Everything is borrowed for the step.
struct Draw {
  std::span<const int32_t> tokens;   // of the request so far, for the repetition penalty
  std::span<const int32_t> guesses;  // of the step's draft, before the row: as if they were known
  uint64_t counter = 0;              // tokens generated so far, those guesses included
  const SamplingOptions* options = nullptr;
};

class Executor {
 public:
  virtual ~Executor() = default;

  virtual const ModelConfig& config() const = 0;
  virtual const DecoderOptions& options() const = 0;  // max_seq_len and num_threads as resolved
  virtual const std::vector<LayerGroup>& groups() const = 0;  // each has a page table of its own
  virtual std::string describe() const = 0;                   // the plans, as text
  virtual KeyReads key_reads() const = 0;                     // zero where lengths are not known
  virtual std::string mask_picture() const = 0;  // of the largest step so far; empty without a mask

  // Writes the step's keys and values to their pages and draws a token behind each of
  // batch.logit_rows.
  //   draws   [batch.logit_rows.size()]
  //   result  likewise, valid until the next call
  // Errors: those of Sampler::sample; pagoda::Error.
  virtual std::span<const Sampled> step(const StepBatch& batch, std::span<const Draw> draws) = 0;
};

// num_drawable: the first tokens of the vocabulary, which may be drawn. `file` outlives the result.
// Errors: those of Decoder; kUnsupported for a device that this build or machine does not have, and
// for what it does not compute.
std::unique_ptr<Executor> make_executor(Device device, const ModelFile& file,
                                        const DecoderOptions& options, int32_t num_drawable,
                                        const Progress& progress = {});

}  // namespace pagoda::engine
