#include "tools/pagoda/printer.h"

#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

namespace pagoda::cli {
namespace {

std::string joined(const std::vector<int32_t>& ids) {
  std::ostringstream text;
  const char* separator = "";
  for (int32_t id : ids) text << std::exchange(separator, " ") << id;
  return text.str();
}

}  // namespace

std::string json_line(const engine::Generation& generation, const std::string& prompt) {
  nlohmann::ordered_json line = {{"prompt", prompt},
                                 {"text", generation.text},
                                 {"tokens", generation.tokens},
                                 {"finish", engine::name_of(generation.finish)},
                                 {"prompt_tokens", generation.num_prompt},
                                 {"cached_tokens", generation.num_cached},
                                 {"preemptions", generation.num_preemptions}};
  if (generation.num_drafted > 0) {
    line["drafted_tokens"] = generation.num_drafted;
    line["accepted_tokens"] = generation.num_accepted;
  }
  if (!generation.sampled.empty()) {
    auto& logprobs = line["logprobs"] = nlohmann::ordered_json::array();
    for (const engine::Sampled& sampled : generation.sampled) {
      nlohmann::ordered_json most = nlohmann::ordered_json::array();
      for (const engine::TokenLogprob& other : sampled.most)
        most.push_back({{"token", other.token}, {"logprob", other.logprob}});
      logprobs.push_back({{"token", sampled.token}, {"logprob", sampled.logprob}, {"most", most}});
    }
  }
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void Printer::expect(uint64_t id, const std::string& prompt) {
  entries_.push_back({.id = id, .prompt = prompt});
}

void Printer::begin_entry() {
  if (std::exchange(begun_, true) || entries_.size() == 1 || options_.quiet) return;
  std::cout << (next_ > 0 ? "\n> " : "> ") << entries_[next_].prompt << '\n';
}

void Printer::text(const engine::Generation& generation, const std::string& new_text) {
  if (options_.json || options_.token_ids || !is_next(generation.id)) return;
  begin_entry();
  // Text that came before the request's turn is caught up with.
  std::cout << (std::exchange(written_, true) ? new_text : generation.text) << std::flush;
}

void Printer::finished(const engine::Generation& generation) {
  done_.emplace(generation.id, generation);
  while (next_ < entries_.size() && done_.contains(entries_[next_].id)) {
    write_whole(done_.at(entries_[next_].id));
    done_.erase(entries_[next_].id);
    next_++;
    begun_ = written_ = false;
  }
}

void Printer::write_whole(const engine::Generation& generation) {
  if (options_.json) {
    std::cout << json_line(generation, entries_[next_].prompt) << std::endl;
    return;
  }
  begin_entry();
  if (options_.token_ids)
    std::cout << joined(generation.tokens);
  else if (!written_)
    std::cout << generation.text;
  std::cout << std::endl;
}

}  // namespace pagoda::cli
