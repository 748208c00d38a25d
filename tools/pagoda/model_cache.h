// Where `pagoda pull` keeps models.
#pragma once

#include <filesystem>
#include <string>

namespace pagoda::cli {

// $PAGODA_CACHE, else $XDG_CACHE_HOME/pagoda, else ~/.cache/pagoda.
std::filesystem::path cache_folder();

// The path itself if something is there, otherwise the pulled model of that name. Throws
// std::runtime_error with a sentence that says how to get it.
std::filesystem::path resolve_model(const std::string& path_or_name);

}  // namespace pagoda::cli
