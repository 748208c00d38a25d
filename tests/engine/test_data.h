// Where tests find data that is not part of the repository, and how they read files.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace pagoda::engine {

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// A file of the shared test data; may not exist.
inline std::filesystem::path shared_data(const std::string& name) {
  return std::filesystem::path(PAGODA_SHARED_DIR) / "data" / name;
}

inline std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(PAGODA_SOURCE_DIR) / "tests/engine/golden" / name;
}

// SmolLM2-135M-Instruct, where PAGODA_SMOLLM2 names the file; else empty.
inline std::filesystem::path smollm2_file() {
  const char* path = std::getenv("PAGODA_SMOLLM2");
  return path == nullptr ? "" : path;
}

}  // namespace pagoda::engine
