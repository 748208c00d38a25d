// See model_file.h.
#include "engine/formats/model_file.h"

#include <map>
#include <optional>
#include <unordered_map>
#include <utility>

#include "engine/error.h"
#include "engine/formats/config_readers.h"
#include "engine/formats/gguf.h"
#include "engine/formats/quoted.h"
#include "engine/formats/safetensors.h"
#include "engine/formats/tensor_names.h"

namespace pagoda::engine {
namespace {

namespace fs = std::filesystem;

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

bool file_exists(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// The one GGUF file in a folder without config.json.
fs::path only_gguf_in(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (entry.path().extension() == ".gguf") found.push_back(entry.path());
  require(!error, ErrorKind::kIo, "cannot list ", folder.string(), ": ", error.message());
  require(!found.empty(), ErrorKind::kNotFound, folder.string(),
          " holds no model: neither config.json nor a .gguf file");
  require(found.size() == 1, ErrorKind::kInvalidArgument, folder.string(), " holds ", found.size(),
          " GGUF files; name the one to load");
  return found.front();
}

}  // namespace

struct ModelFile::State {
  std::optional<GgufFile> gguf;
  std::optional<SafetensorsFile> safetensors;
  fs::path folder;
  fs::path path;  // what sentences call the model
  ModelConfig config;
  std::string chat_template;
  std::vector<TensorView> tensors;  // under GGUF names, in file order
  std::vector<std::string> names;   // owns the names of safetensors' tensors
  std::unordered_map<std::string_view, size_t> index;

  void load_gguf(const fs::path& file);
  void load_folder(const fs::path& directory, const fs::path& single_file);
  void add_renamed();
  void build_index();
  void check_tensors() const;
  void check_tensor(const ExpectedTensor& expected) const;
};

void ModelFile::State::load_gguf(const fs::path& file) {
  path = file;
  gguf = GgufFile::open(file);
  config = read_gguf_config(*gguf);
  chat_template = std::string(gguf->find_string("tokenizer.chat_template").value_or(""));
  tensors.assign(gguf->tensors().begin(), gguf->tensors().end());
  build_index();
  check_tensors();
}

void ModelFile::State::load_folder(const fs::path& directory, const fs::path& single_file) {
  path = folder = directory;
  config = read_folder_config(directory);
  safetensors = single_file.empty() ? SafetensorsFile::open_folder(directory)
                                    : SafetensorsFile::open(single_file);
  chat_template = read_folder_chat_template(directory);
  add_renamed();
  build_index();
  add_biases(config, [&](std::string_view name) { return index.contains(name); });
  check_tensors();
}

void ModelFile::State::add_renamed() {
  names.reserve(safetensors->tensors().size());  // views into it must not move
  for (const TensorView& tensor : safetensors->tensors()) {
    if (is_ignorable_tensor(tensor.name)) continue;
    // A tied head may be stored all the same; the embedding is used.
    if (config.tied_embeddings && tensor.name == "lm_head.weight") continue;
    std::string name = gguf_name_of(tensor.name);
    require(!name.empty(), ErrorKind::kUnsupported, path.string(), ": tensor ", quoted(tensor.name),
            " is none that ", name_of(config.architecture), " models are known to have");
    names.push_back(std::move(name));
    tensors.push_back(tensor);
    tensors.back().name = names.back();
  }
}

void ModelFile::State::build_index() {
  for (size_t i = 0; i < tensors.size(); ++i) index.emplace(tensors[i].name, i);
}

// All expected tensors are there with their shapes, and no others: a bias or a scale that the
// forward pass would leave out makes plausible and wrong text.
void ModelFile::State::check_tensors() const {
  const std::vector<ExpectedTensor> expected = expected_tensors(config);
  for (const ExpectedTensor& tensor : expected) check_tensor(tensor);
  size_t ignorable = 0;
  for (const TensorView& tensor : tensors) ignorable += is_ignorable_tensor(tensor.name);
  if (tensors.size() == expected.size() + ignorable) return;
  std::unordered_map<std::string_view, bool> known;
  for (const ExpectedTensor& tensor : expected) known.emplace(tensor.name, true);
  for (const TensorView& tensor : tensors)
    require(known.contains(tensor.name) || is_ignorable_tensor(tensor.name),
            ErrorKind::kUnsupported, path.string(), ": tensor ", quoted(tensor.name),
            " is none that ", name_of(config.architecture), " models are known to have");
}

void ModelFile::State::check_tensor(const ExpectedTensor& expected) const {
  const auto found = index.find(expected.name);
  require(found != index.end(), ErrorKind::kNotFound, path.string(), " has no tensor ",
          quoted(expected.name));
  const TensorView& tensor = tensors[found->second];
  require(tensor.shape == expected.shape, ErrorKind::kMalformed, path.string(), ": tensor ",
          quoted(tensor.name), " has the shape ", shape_text(tensor.shape),
          ", the configuration says ", shape_text(expected.shape));
}

ModelFile ModelFile::open(const fs::path& path) {
  require(!path.empty() && file_exists(path), ErrorKind::kNotFound, "there is no model at ",
          quoted(path.string()));
  auto state = std::make_unique<State>();
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    if (file_exists(path / "config.json"))
      state->load_folder(path, {});
    else
      state->load_gguf(only_gguf_in(path));
  } else if (path.filename() == "model.safetensors.index.json") {
    state->load_folder(path.parent_path(), {});
  } else if (path.extension() == ".safetensors") {
    const fs::path folder = path.parent_path();
    require(file_exists(folder / "config.json"), ErrorKind::kNotFound, path.string(),
            " has no config.json beside it, which says what model it is");
    state->load_folder(folder, path);
  } else {
    state->load_gguf(path);
  }
  return ModelFile(std::move(state));
}

ModelFile::ModelFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
ModelFile::~ModelFile() = default;
ModelFile::ModelFile(ModelFile&&) noexcept = default;
ModelFile& ModelFile::operator=(ModelFile&&) noexcept = default;

const ModelConfig& ModelFile::config() const {
  return state_->config;
}
const std::string& ModelFile::chat_template() const {
  return state_->chat_template;
}
const fs::path& ModelFile::folder() const {
  return state_->folder;
}
const GgufFile* ModelFile::gguf() const {
  return state_->gguf ? &*state_->gguf : nullptr;
}

bool ModelFile::has_tensor(std::string_view name) const {
  return state_->index.contains(name);
}

TensorView ModelFile::tensor(std::string_view name) const {
  const auto found = state_->index.find(name);
  require(found != state_->index.end(), ErrorKind::kNotFound, state_->path.string(),
          " has no tensor ", quoted(name));
  if (state_->gguf)
    state_->gguf->require_not_shortened();
  else
    state_->safetensors->require_not_shortened();
  return state_->tensors[found->second];
}

std::vector<std::string> ModelFile::tensor_names() const {
  std::vector<std::string> names;
  for (const TensorView& tensor : state_->tensors) names.emplace_back(tensor.name);
  return names;
}

int64_t ModelFile::tensor_bytes() const {
  int64_t bytes = 0;
  for (const TensorView& tensor : state_->tensors)
    bytes += static_cast<int64_t>(tensor.bytes.size());
  return bytes;
}

}  // namespace pagoda::engine
