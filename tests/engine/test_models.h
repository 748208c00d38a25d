// Where tests find trained models, and the sentence to skip with where they are absent.
#pragma once

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

inline constexpr const char* kNoSmolLm2 =
    "SmolLM2 is not there; `pagoda pull smollm2` fetches it (or PAGODA_SMOLLM2 names the file)";

}  // namespace pagoda::engine
