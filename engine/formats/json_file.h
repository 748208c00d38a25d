// JSON from files that may be hostile: size and depth are limited, a key given twice is an error
// (which of the two counts would depend on the reader), and messages never repeat the content.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace pagoda::engine {

struct JsonLimits {
  int64_t max_bytes = int64_t{16} << 20;
  int max_depth = 32;
};

// `where` begins the sentence. Errors: kMalformed, kLimit.
nlohmann::json parse_json(std::string_view text, const std::string& where, JsonLimits limits = {});

// Errors also: kNotFound, kIo, kWrongFileType, kTruncated.
nlohmann::json read_json_file(const std::filesystem::path& path, JsonLimits limits = {});

}  // namespace pagoda::engine
