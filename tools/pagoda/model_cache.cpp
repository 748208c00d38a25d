#include "tools/pagoda/model_cache.h"

#include <cstdlib>
#include <map>
#include <stdexcept>

namespace pagoda::cli {
namespace {

const std::map<std::string, std::string> kFileOfModel{
    {"smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"},
    {"minilm", "minilm"},
};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

}  // namespace

std::filesystem::path cache_folder() {
  if (const std::string own = variable("PAGODA_CACHE"); !own.empty()) return own;
  if (const std::string xdg = variable("XDG_CACHE_HOME"); !xdg.empty())
    return std::filesystem::path(xdg) / "pagoda";
  const std::string home = variable("HOME");
  if (home.empty())
    throw std::runtime_error("HOME is not set; set PAGODA_CACHE to a folder for models");
  return std::filesystem::path(home) / ".cache" / "pagoda";
}

std::filesystem::path resolve_model(const std::string& path_or_name) {
  if (std::filesystem::exists(path_or_name)) return path_or_name;
  const auto known = kFileOfModel.find(path_or_name);
  if (known == kFileOfModel.end())
    throw std::runtime_error("there is no file or folder " + path_or_name +
                             "; give a .gguf file, a folder with config.json and safetensors, or "
                             "the name of a pulled model (smollm2, minilm)");
  const std::filesystem::path pulled = cache_folder() / known->second;
  if (!std::filesystem::exists(pulled))
    throw std::runtime_error(path_or_name + " is not here yet (" + pulled.string() +
                             "); run `pagoda pull " + path_or_name + "`");
  return pulled;
}

}  // namespace pagoda::cli
