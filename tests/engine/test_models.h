// Where tests find trained models, and the sentence to skip with where they are absent.
#pragma once

#include <cstdlib>
#include <filesystem>

#include "tests/engine/test_data.h"

namespace pagoda::engine {

inline std::filesystem::path stories_folder() {
  return shared_data("models/stories260K");
}

inline std::filesystem::path stories_model() {
  return stories_folder() / "stories260K.f32.gguf";
}

inline constexpr const char* kNoStories =
    "the shared test data with stories260K is not there (PAGODA_SHARED_DIR)";

// SmolLM2-135M-Instruct: named by PAGODA_SMOLLM2, or where `pagoda pull smollm2` puts it.
inline std::filesystem::path smollm2_model() {
  const auto variable = [](const char* name) -> std::filesystem::path {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  if (const auto named = smollm2_file(); !named.empty()) return named;
  std::filesystem::path folder = variable("PAGODA_CACHE");
  if (folder.empty() && !variable("XDG_CACHE_HOME").empty())
    folder = variable("XDG_CACHE_HOME") / "pagoda";
  if (folder.empty()) folder = variable("HOME") / ".cache" / "pagoda";
  return folder / "SmolLM2-135M-Instruct.Q4_1.gguf";
}

inline constexpr const char* kNoSmolLm2 =
    "SmolLM2 is not there; `pagoda pull smollm2` fetches it (or PAGODA_SMOLLM2 names the file)";

}  // namespace pagoda::engine
