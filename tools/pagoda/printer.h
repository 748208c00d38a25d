// What `pagoda run` writes to stdout: the text of one request as it comes, of several in the order
// of their prompts, or a line of JSON for each.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/runner.h"

namespace pagoda::cli {

struct PrinterOptions {
  bool json = false;
  bool quiet = false;      // no headings between several texts
  bool token_ids = false;  // ids in place of text
};

class Printer {
 public:
  explicit Printer(const PrinterOptions& options) : options_(options) {}

  // In the order in which texts are to appear.
  void expect(uint64_t id, const std::string& prompt);

  void text(const engine::Generation& generation, const std::string& new_text);
  void finished(const engine::Generation& generation);

 private:
  struct Entry {
    uint64_t id;
    std::string prompt;
  };

  bool is_next(uint64_t id) const { return next_ < entries_.size() && entries_[next_].id == id; }
  void begin_entry();
  void write_whole(const engine::Generation& generation);

  PrinterOptions options_;
  std::vector<Entry> entries_;
  size_t next_ = 0;                              // the entry whose turn it is
  bool begun_ = false;                           // its heading is written
  bool written_ = false;                         // some of its text is written
  std::map<uint64_t, engine::Generation> done_;  // finished before their turn
};

std::string json_line(const engine::Generation& generation, const std::string& prompt);

}  // namespace pagoda::cli
