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

// The folder where `pagoda pull` keeps models; may not exist.
inline std::filesystem::path pulled_models() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::filesystem::path(value == nullptr ? "" : value);
  };
  if (const auto own = variable("PAGODA_CACHE"); !own.empty()) return own;
  if (const auto xdg = variable("XDG_CACHE_HOME"); !xdg.empty()) return xdg / "pagoda";
  return variable("HOME") / ".cache" / "pagoda";
}

// SmolLM2-135M-Instruct: the file that PAGODA_SMOLLM2 names, else the one in the folder where
// `pagoda pull` keeps models; empty when there is none.
inline std::filesystem::path smollm2_file() {
  if (const char* own = std::getenv("PAGODA_SMOLLM2"); own != nullptr && *own != '\0') return own;
  const auto file = pulled_models() / "SmolLM2-135M-Instruct.Q4_1.gguf";
  return std::filesystem::exists(file) ? file : std::filesystem::path();
}

// all-MiniLM-L6-v2, the folder that `pagoda pull minilm` leaves; empty when it is not there.
inline std::filesystem::path minilm_folder() {
  const auto folder = pulled_models() / "minilm";
  return std::filesystem::exists(folder / "model.safetensors") ? folder : std::filesystem::path();
}

}  // namespace pagoda::engine
