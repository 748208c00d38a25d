// See safetensors.h. The layout: length of the directory u64, little-endian; the directory
//   {"name": {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [begin, end]}, ...}
// perhaps padded with spaces; tensor data. "__metadata__" maps strings to strings and is not used.
#include "engine/formats/safetensors.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "engine/error.h"
#include "engine/formats/in_quotes.h"
#include "engine/formats/json_file.h"
#include "engine/formats/mapped_file.h"
#include "engine/formats/spans.h"

namespace pagoda::engine {
namespace {

using nlohmann::json;

constexpr int kMaxHeaderDepth = 8;

std::optional<TensorType> type_of(const std::string& dtype) {
  if (dtype == "F32") return TensorType::kF32;
  if (dtype == "F16") return TensorType::kF16;
  if (dtype == "BF16") return TensorType::kBf16;
  if (dtype == "I64") return TensorType::kI64;
  return std::nullopt;
}

// The parser of one file. Names live in `names`, a set whose nodes never move.
struct Parser {
  const MappedFile& file;
  std::set<std::string, std::less<>>& names;

  std::string where() const { return file.path().string(); }

  std::vector<TensorView> parse() const;
  int64_t header_size() const;
  TensorView parse_tensor(const std::string& name, const json& entry, int64_t& begin) const;
  std::vector<int64_t> parse_shape(const std::string& name, const json& shape) const;
};

// A non-negative JSON integer. nlohmann keeps those that fit into 64 bits as unsigned.
std::optional<uint64_t> unsigned_of(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<uint64_t>();
}

int64_t Parser::header_size() const {
  require(file.size() >= 8, ErrorKind::kTruncated, where(), " has ", file.size(),
          " bytes; a safetensors file begins with 8 that say how long its directory is");
  const std::vector<std::byte> front = file.read_front(64);
  uint64_t size = 0;
  std::memcpy(&size, front.data(), sizeof size);
  if (size > kMaxSafetensorsHeaderBytes) {
    require_no_lookalike(front, file.path());
    require(std::memcmp(front.data(), "GGUF", 4) != 0, ErrorKind::kWrongFileType, where(),
            " is a GGUF file under another name; call it .gguf");
    fail(ErrorKind::kLimit, where(), " claims a directory of ", size, " bytes, the limit is ",
         kMaxSafetensorsHeaderBytes);
  }
  require(size >= 2, ErrorKind::kMalformed, where(), " claims a directory of ", size,
          " bytes; the smallest has 2");
  require(static_cast<int64_t>(size) <= file.size() - 8, ErrorKind::kTruncated, where(),
          " claims a directory of ", size, " bytes and ends after ", file.size() - 8);
  return static_cast<int64_t>(size);
}

std::vector<TensorView> Parser::parse() const {
  const int64_t size = header_size();
  const std::vector<std::byte> front = file.read_front(8 + size);
  const std::string_view text(reinterpret_cast<const char*>(front.data()) + 8,
                              static_cast<size_t>(size));
  require(text.front() == '{', ErrorKind::kMalformed, where(),
          ": the directory does not begin with '{'");
  const json directory = parse_json(text, where(),
                                    {.max_bytes = static_cast<int64_t>(kMaxSafetensorsHeaderBytes),
                                     .max_depth = kMaxHeaderDepth});
  require(static_cast<int64_t>(directory.size()) <= kMaxSafetensorsTensors, ErrorKind::kLimit,
          where(), " lists ", directory.size(), " tensors, the limit is ", kMaxSafetensorsTensors);

  const int64_t data_size = file.size() - 8 - size;
  std::vector<TensorView> tensors;
  std::vector<NamedSpan> spans;
  for (const auto& [name, entry] : directory.items()) {
    if (name == "__metadata__") continue;
    int64_t begin = 0;
    TensorView tensor = parse_tensor(name, entry, begin);
    const int64_t bytes = checked_tensor_bytes(tensor, where());
    const json& offsets = entry["data_offsets"];
    const auto end = offsets[1].get<uint64_t>();
    require(end <= static_cast<uint64_t>(data_size), ErrorKind::kTruncated, where(), ": tensor ",
            in_quotes(name), " ends at offset ", end, ", the file has ", data_size,
            " bytes of tensor data");
    require(static_cast<int64_t>(end) - begin == bytes, ErrorKind::kMalformed, where(), ": tensor ",
            in_quotes(name), " needs ", bytes, " bytes and has ",
            static_cast<int64_t>(end) - begin);
    tensor.bytes =
        file.bytes().subspan(static_cast<size_t>(8 + size + begin), static_cast<size_t>(bytes));
    spans.push_back({.name = tensor.name, .begin = begin, .end = begin + bytes});
    tensors.push_back(std::move(tensor));
  }
  require_spans_cover(std::move(spans), data_size, 1, where());
  return tensors;
}

TensorView Parser::parse_tensor(const std::string& name, const json& entry, int64_t& begin) const {
  require(!name.empty(), ErrorKind::kMalformed, where(), ": a tensor has an empty name");
  require(static_cast<int64_t>(name.size()) <= kMaxSafetensorsNameBytes, ErrorKind::kLimit, where(),
          ": the name of tensor ", in_quotes(name), " has ", name.size(), " bytes, the limit is ",
          kMaxSafetensorsNameBytes);
  const bool complete = entry.is_object() && entry.size() == 3 && entry.contains("dtype") &&
                        entry.contains("shape") && entry.contains("data_offsets");
  require(complete, ErrorKind::kMalformed, where(), ": the entry of tensor ", in_quotes(name),
          " does not consist of dtype, shape and data_offsets");
  require(entry["dtype"].is_string(), ErrorKind::kMalformed, where(), ": the dtype of tensor ",
          in_quotes(name), " is not a string");
  const auto& dtype = entry["dtype"].get_ref<const std::string&>();
  const std::optional<TensorType> type = type_of(dtype);
  require(type.has_value(), ErrorKind::kUnsupported, where(), ": tensor ", in_quotes(name),
          " has the dtype ", in_quotes(dtype), ", which is not read; F32, F16, BF16 and I64 are");

  const json& offsets = entry["data_offsets"];
  const bool ordered = offsets.is_array() && offsets.size() == 2 && unsigned_of(offsets[0]) &&
                       unsigned_of(offsets[1]) &&
                       *unsigned_of(offsets[0]) <= *unsigned_of(offsets[1]);
  require(ordered, ErrorKind::kMalformed, where(), ": the data_offsets of tensor ", in_quotes(name),
          " are not two ascending non-negative integers");
  begin = static_cast<int64_t>(std::min<uint64_t>(*unsigned_of(offsets[0]), INT64_MAX));
  return {.name = *names.insert(name).first,
          .type = *type,
          .shape = parse_shape(name, entry["shape"]),
          .bytes = {}};
}

std::vector<int64_t> Parser::parse_shape(const std::string& name, const json& shape) const {
  require(shape.is_array(), ErrorKind::kMalformed, where(), ": the shape of tensor ",
          in_quotes(name), " is not an array");
  require(static_cast<int64_t>(shape.size()) <= kMaxSafetensorsRank, ErrorKind::kLimit, where(),
          ": tensor ", in_quotes(name), " has rank ", shape.size(), ", the limit is ",
          kMaxSafetensorsRank);
  std::vector<int64_t> dims;
  for (const json& dim : shape) {
    const std::optional<uint64_t> value = unsigned_of(dim);
    require(value.has_value(), ErrorKind::kMalformed, where(), ": a dimension of tensor ",
            in_quotes(name), " is not a non-negative integer");
    require(*value <= static_cast<uint64_t>(kMaxSafetensorsDim), ErrorKind::kLimit, where(),
            ": tensor ", in_quotes(name), " has a dimension of ", *value, ", the limit is ",
            kMaxSafetensorsDim);
    dims.push_back(static_cast<int64_t>(*value));
  }
  return dims;
}

// name -> file name, as the index says.
std::map<std::string, std::string> read_index(const std::filesystem::path& path) {
  const json index = read_json_file(path, {.max_depth = kMaxHeaderDepth});
  require(index.is_object() && index.contains("weight_map") && index["weight_map"].is_object(),
          ErrorKind::kMalformed, path.string(), " has no object 'weight_map'");
  std::map<std::string, std::string> weight_map;
  for (const auto& [name, file] : index["weight_map"].items()) {
    require(file.is_string(), ErrorKind::kMalformed, path.string(), ": the file of tensor ",
            in_quotes(name), " is not a string");
    const auto& file_name = file.get_ref<const std::string&>();
    const bool plain = !file_name.empty() && file_name.find('/') == std::string::npos &&
                       file_name.find('\0') == std::string::npos && file_name.front() != '.';
    require(plain, ErrorKind::kMalformed, path.string(), ": tensor ", in_quotes(name), " lies in ",
            in_quotes(file_name), ", which is not the name of a file in this folder");
    weight_map.emplace(name, file_name);
  }
  return weight_map;
}

}  // namespace

struct SafetensorsFile::State {
  std::vector<MappedFile> files;
  std::set<std::string, std::less<>> names;
  std::vector<TensorView> tensors;

  // Maps a file and appends its tensors.
  void add_file(const std::filesystem::path& path) {
    files.push_back(MappedFile::open(path));
    std::vector<TensorView> parsed = Parser{files.back(), names}.parse();
    std::move(parsed.begin(), parsed.end(), std::back_inserter(tensors));
  }

  void sort_by_name() {
    std::sort(tensors.begin(), tensors.end(),
              [](const TensorView& a, const TensorView& b) { return a.name < b.name; });
  }

  void add_shards(const std::filesystem::path& index_path);
};

void SafetensorsFile::State::add_shards(const std::filesystem::path& index_path) {
  const std::map<std::string, std::string> weight_map = read_index(index_path);
  std::set<std::string> shards;
  for (const auto& [name, shard] : weight_map) shards.insert(shard);
  require(shards.size() <= kMaxSafetensorsShards, ErrorKind::kLimit, index_path.string(), " names ",
          shards.size(), " files, the limit is ", kMaxSafetensorsShards);
  files.reserve(shards.size());
  for (const std::string& shard : shards) {
    const size_t first = tensors.size();
    add_file(index_path.parent_path() / shard);
    for (size_t i = first; i < tensors.size(); ++i) {
      const auto listed = weight_map.find(std::string(tensors[i].name));
      require(listed != weight_map.end() && listed->second == shard, ErrorKind::kMalformed,
              index_path.string(), ": tensor ", in_quotes(tensors[i].name), " lies in ",
              in_quotes(shard), ", where the index does not place it");
    }
  }
  require(tensors.size() == weight_map.size(), ErrorKind::kMalformed, index_path.string(),
          " lists ", weight_map.size(), " tensors, its files hold ", tensors.size());
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  auto state = std::make_unique<State>();
  state->add_file(path);
  state->sort_by_name();
  return SafetensorsFile(std::move(state));
}

SafetensorsFile SafetensorsFile::open_folder(const std::filesystem::path& folder) {
  const std::filesystem::path index = folder / "model.safetensors.index.json";
  const std::filesystem::path single = folder / "model.safetensors";
  std::error_code ignored;
  if (!std::filesystem::exists(index, ignored)) {
    require(std::filesystem::exists(single, ignored), ErrorKind::kNotFound, folder.string(),
            " holds neither model.safetensors nor model.safetensors.index.json");
    return open(single);
  }
  auto state = std::make_unique<State>();
  state->add_shards(index);
  state->sort_by_name();
  return SafetensorsFile(std::move(state));
}

SafetensorsFile::SafetensorsFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;

std::span<const TensorView> SafetensorsFile::tensors() const {
  return state_->tensors;
}

const TensorView* SafetensorsFile::find_tensor(std::string_view name) const {
  const auto& tensors = state_->tensors;
  const auto found = std::lower_bound(
      tensors.begin(), tensors.end(), name,
      [](const TensorView& tensor, std::string_view n) { return tensor.name < n; });
  return found == tensors.end() || found->name != name ? nullptr : &*found;
}

void SafetensorsFile::require_not_shortened() const {
  for (const MappedFile& file : state_->files) file.require_not_shortened();
}

}  // namespace pagoda::engine
