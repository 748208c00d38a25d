// A tokenizer.json of any bytes, loaded and used on text that is not all UTF-8.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "engine/error.h"
#include "engine/tokenizer/tokenizer.h"

namespace {

// One folder for the process; the file in it is written anew each time.
const std::filesystem::path& folder() {
  static const std::filesystem::path path = [] {
    auto own =
        std::filesystem::temp_directory_path() / ("tokenizer_fuzz_" + std::to_string(getpid()));
    std::filesystem::create_directories(own);
    return own;
  }();
  return path;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  {
    std::ofstream file(folder() / "tokenizer.json", std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  }
  try {
    const auto tokenizer = pagoda::engine::Tokenizer::from_folder(folder());
    tokenizer.decode(tokenizer.encode("hi there 123\xff <s> \xC3\xA9  ", {.parse_special = true}));
  } catch (const pagoda::engine::Error&) {
  }
  return 0;
}
