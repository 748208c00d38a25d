// Failure in the engine: one exception type with a kind that code can branch on and a sentence
// that a person can act on. The tools print the sentence; nothing in the engine prints or exits.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace pagoda::engine {

enum class ErrorKind {
  kNotFound,         // no such file, folder, tensor or metadata key
  kIo,               // the operating system refused a read
  kWrongFileType,    // a file of another kind: a Git-LFS pointer, a pickle, an archive
  kTruncated,        // the file ends before what its header promises
  kMalformed,        // the file contradicts itself or its format
  kLimit,            // well formed, but beyond a limit of this reader
  kUnsupported,      // well formed, but something this engine does not do
  kInvalidArgument,  // the caller's value makes no sense
  kTemplate,         // a chat template cannot be parsed or rendered
  kDevice,           // the CUDA runtime, or a library on it, reported an error
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& sentence) : std::runtime_error(sentence), kind_(kind) {}

  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// Joins the parts and throws. For places where no condition is left to test.
template <class... Parts>
[[noreturn]] void fail(ErrorKind kind, const Parts&... parts) {
  static_assert(sizeof...(Parts) > 0, "say what is wrong");
  std::ostringstream text;
  (text << ... << parts);
  throw Error(kind, text.str());
}

// require(rank <= kMaxRank, ErrorKind::kLimit, "tensor '", name, "' has rank ", rank, "...");
// The parts are joined only if `ok` is false.
template <class... Parts>
void require(bool ok, ErrorKind kind, const Parts&... parts) {
  if (ok) [[likely]]
    return;
  fail(kind, parts...);
}

}  // namespace pagoda::engine
