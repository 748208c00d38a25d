// A request on its way through the scheduler: what it asked for, and how far it has come.
#pragma once

#include <cstdint>
#include <vector>

namespace pagoda::engine {

struct Request {
  uint64_t id = 0;              // in order of arrival
  std::vector<int32_t> tokens;  // the prompt, then what was generated
  int32_t num_prompt = 0;
  int32_t max_generated = 0;  // tokens

  int32_t num_computed = 0;  // tokens whose keys and values are in the cache
  int32_t num_cached = 0;    // of these, found there when the request first began
  int32_t num_preemptions = 0;
  std::vector<int32_t> draft;  // guesses of what follows the known tokens, to be verified together
  int32_t max_draft = 0;       // as many are of use in the next step
  int32_t num_drafted = 0;     // verified so far
  int32_t num_accepted = 0;    // of these, as the model would have chosen
  bool has_begun = false;      // was admitted at least once

  int32_t num_known() const { return static_cast<int32_t>(tokens.size()); }
  int32_t num_generated() const { return num_known() - num_prompt; }
};

}  // namespace pagoda::engine
