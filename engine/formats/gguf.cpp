// See gguf.h. The layout, all little-endian:
//   "GGUF", version u32, number of tensors u64, number of metadata entries u64,
//   entries: key string, type u32, value; an array is element type u32, count u64, elements,
//   tensors: name string, rank u32, dims u64 (innermost first), type u32, offset u64,
//   padding to the alignment, tensor data. A string is a length u64 and its bytes.
#include "engine/formats/gguf.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <unordered_map>
#include <utility>

#include "engine/error.h"
#include "engine/formats/gguf_types.h"
#include "engine/formats/header_reader.h"
#include "engine/formats/mapped_file.h"
#include "engine/formats/quoted.h"
#include "engine/formats/spans.h"

namespace pagoda::engine {
namespace {

// One metadata value, left as it lies in the header.
struct Entry {
  GgufType type;  // of the value, or of an array's elements
  bool is_array;
  uint64_t count;  // 1, or an array's length
  std::span<const std::byte> payload;
};

template <class T>
T load(std::span<const std::byte> bytes, size_t index = 0) {
  T value;
  std::memcpy(&value, bytes.data() + index * sizeof(T), sizeof(T));
  return value;
}

// Calls `use` with the element at `index` in its own C++ type; strings are not scalars.
template <class Use>
auto visit_scalar(const Entry& entry, size_t index, Use use) {
  switch (entry.type) {
    case GgufType::kUint8:
      return use(load<uint8_t>(entry.payload, index));
    case GgufType::kInt8:
      return use(load<int8_t>(entry.payload, index));
    case GgufType::kUint16:
      return use(load<uint16_t>(entry.payload, index));
    case GgufType::kInt16:
      return use(load<int16_t>(entry.payload, index));
    case GgufType::kUint32:
      return use(load<uint32_t>(entry.payload, index));
    case GgufType::kInt32:
      return use(load<int32_t>(entry.payload, index));
    case GgufType::kUint64:
      return use(load<uint64_t>(entry.payload, index));
    case GgufType::kInt64:
      return use(load<int64_t>(entry.payload, index));
    case GgufType::kFloat32:
      return use(load<float>(entry.payload, index));
    case GgufType::kFloat64:
      return use(load<double>(entry.payload, index));
    default:
      return use(load<uint8_t>(entry.payload, index));  // bool
  }
}

std::vector<std::string_view> split_strings(const Entry& entry) {
  std::vector<std::string_view> strings;
  strings.reserve(entry.count);
  size_t position = 0;
  for (uint64_t i = 0; i < entry.count; ++i) {
    const auto length = load<uint64_t>(entry.payload.subspan(position));
    const auto* text = reinterpret_cast<const char*>(entry.payload.data()) + position + 8;
    strings.emplace_back(text, length);
    position += 8 + length;
  }
  return strings;
}

}  // namespace

struct GgufFile::State {
  MappedFile file;
  std::vector<std::byte> header;
  uint32_t version = 0;
  std::unordered_map<std::string_view, Entry> metadata;
  std::vector<TensorView> tensors;
  std::unordered_map<std::string_view, size_t> tensor_index;

  explicit State(MappedFile mapped) : file(std::move(mapped)) {}

  std::string where() const { return file.path().string(); }

  void parse();
  void check_magic() const;
  void parse_metadata(HeaderReader& reader);
  Entry parse_value(HeaderReader& reader, std::string_view key);
  void check_bools(const Entry& entry, std::string_view key) const;
  int64_t alignment() const;
  TensorView parse_tensor(HeaderReader& reader, uint64_t& offset);
  void place_tensors(int64_t data_start, const std::vector<uint64_t>& offsets);

  const Entry* find(std::string_view key) const {
    const auto found = metadata.find(key);
    return found == metadata.end() ? nullptr : &found->second;
  }

  // The entry under `key` if its type is among those that `accept` takes.
  template <class Accept>
  const Entry* find_typed(std::string_view key, bool is_array, const char* wanted,
                          Accept accept) const {
    const Entry* entry = find(key);
    if (entry == nullptr) return nullptr;
    require(entry->is_array == is_array && accept(entry->type), ErrorKind::kMalformed, where(),
            ": metadata ", quoted(key), " is ", entry->is_array ? "an array of " : "of type ",
            name_of(entry->type), ", not ", wanted);
    return entry;
  }
};

void GgufFile::State::check_magic() const {
  const std::string_view front(reinterpret_cast<const char*>(header.data()), header.size());
  if (!front.starts_with("GGUF")) {
    require_no_lookalike(header, file.path());
    fail(ErrorKind::kWrongFileType, where(),
         " is not a GGUF file: it does not begin with the letters GGUF");
  }
}

void GgufFile::State::parse() {
  header = file.read_front(kMaxGgufHeaderBytes);
  check_magic();
  HeaderReader reader(header, file.size(), file.path());
  reader.take(4, "the magic");
  version = reader.read<uint32_t>("the version");
  require(version != 0x02000000 && version != 0x03000000, ErrorKind::kUnsupported, where(),
          " is a big-endian GGUF file; this engine reads little-endian ones");
  require(version == 2 || version == 3, ErrorKind::kUnsupported, where(), " has GGUF version ",
          version, "; versions 2 and 3 are read");
  const auto num_tensors = reader.read<uint64_t>("the number of tensors");
  const auto num_entries = reader.read<uint64_t>("the number of metadata entries");
  require(num_tensors <= kMaxGgufEntries, ErrorKind::kLimit, where(), " claims ", num_tensors,
          " tensors, the limit is ", kMaxGgufEntries);
  require(num_entries <= kMaxGgufEntries, ErrorKind::kLimit, where(), " claims ", num_entries,
          " metadata entries, the limit is ", kMaxGgufEntries);
  for (uint64_t i = 0; i < num_entries; ++i) parse_metadata(reader);

  std::vector<uint64_t> offsets;
  for (uint64_t i = 0; i < num_tensors; ++i) {
    uint64_t offset = 0;
    TensorView tensor = parse_tensor(reader, offset);
    require(tensor_index.emplace(tensor.name, tensors.size()).second, ErrorKind::kMalformed,
            where(), ": two tensors are called ", quoted(tensor.name));
    tensors.push_back(std::move(tensor));
    offsets.push_back(offset);
  }
  place_tensors(reader.position(), offsets);
}

void GgufFile::State::parse_metadata(HeaderReader& reader) {
  const std::string_view key = reader.read_string(kMaxGgufNameBytes, "a metadata key");
  require(!key.empty(), ErrorKind::kMalformed, where(), ": a metadata key is empty");
  const Entry entry = parse_value(reader, key);
  require(metadata.emplace(key, entry).second, ErrorKind::kMalformed, where(),
          ": two metadata entries are called ", quoted(key));
}

Entry GgufFile::State::parse_value(HeaderReader& reader, std::string_view key) {
  const auto read_type = [&] {
    const auto raw = reader.read<uint32_t>("a value type");
    require(raw < kNumGgufTypes, ErrorKind::kMalformed, where(), ": metadata ", quoted(key),
            " has value type ", raw, ", which does not exist");
    return static_cast<GgufType>(raw);
  };
  Entry entry{.type = read_type(), .is_array = false, .count = 1, .payload = {}};
  if (entry.type == GgufType::kArray) {
    entry.is_array = true;
    entry.type = read_type();
    require(entry.type != GgufType::kArray, ErrorKind::kUnsupported, where(), ": metadata ",
            quoted(key), " is an array of arrays, which no supported model uses");
    entry.count = reader.read<uint64_t>("an array length");
    const auto least = static_cast<uint64_t>(size_of(entry.type));  // a string's: its length field
    require(entry.count <= static_cast<uint64_t>(file.size()) / least, ErrorKind::kTruncated,
            where(), ": metadata ", quoted(key), " claims ", entry.count,
            " elements, more than the file can hold");
  }
  if (entry.type == GgufType::kString) {
    const auto start = static_cast<size_t>(reader.position());
    for (uint64_t i = 0; i < entry.count; ++i)
      reader.read_string(kMaxGgufStringBytes, "a metadata string");
    const size_t end = static_cast<size_t>(reader.position());
    entry.payload = std::span<const std::byte>(header).subspan(start, end - start);
    return entry;
  }
  entry.payload =
      reader.take(entry.count * static_cast<uint64_t>(size_of(entry.type)), "a metadata value");
  check_bools(entry, key);
  return entry;
}

void GgufFile::State::check_bools(const Entry& entry, std::string_view key) const {
  if (entry.type != GgufType::kBool) return;
  for (std::byte value : entry.payload)
    require(std::to_integer<int>(value) <= 1, ErrorKind::kMalformed, where(), ": metadata ",
            quoted(key), " is a boolean with the value ", std::to_integer<int>(value));
}

int64_t GgufFile::State::alignment() const {
  const Entry* entry = find("general.alignment");
  if (entry == nullptr) return 32;
  require(!entry->is_array && entry->type == GgufType::kUint32, ErrorKind::kMalformed, where(),
          ": general.alignment is not a UINT32");
  const auto value = load<uint32_t>(entry->payload);
  require(std::has_single_bit(value), ErrorKind::kMalformed, where(), ": the alignment is ", value,
          ", not a power of two");
  require(value <= kMaxGgufAlignment, ErrorKind::kLimit, where(), ": the alignment is ", value,
          ", the limit is ", kMaxGgufAlignment);
  return value;
}

// The view without its bytes, which need the alignment and so the end of the directory.
TensorView GgufFile::State::parse_tensor(HeaderReader& reader, uint64_t& offset) {
  TensorView tensor;
  tensor.name = reader.read_string(kMaxGgufNameBytes, "a tensor name");
  require(!tensor.name.empty(), ErrorKind::kMalformed, where(), ": a tensor has an empty name");
  const auto rank = reader.read<uint32_t>("a tensor rank");
  require(rank <= kMaxGgufRank, ErrorKind::kLimit, where(), ": tensor ", quoted(tensor.name),
          " has rank ", rank, ", the limit is ", kMaxGgufRank);
  for (uint32_t i = 0; i < rank; ++i) {
    const auto dim = reader.read<uint64_t>("a tensor dimension");
    require(dim <= kMaxGgufDim, ErrorKind::kLimit, where(), ": tensor ", quoted(tensor.name),
            " has a dimension of ", dim, ", the limit is ", kMaxGgufDim);
    tensor.shape.push_back(static_cast<int64_t>(dim));
  }
  std::reverse(tensor.shape.begin(), tensor.shape.end());  // the file has the innermost first
  const auto raw_type = reader.read<uint32_t>("a tensor type");
  const std::optional<TensorType> type = tensor_type_of_ggml(raw_type);
  require(type.has_value(), ErrorKind::kUnsupported, where(), ": tensor ", quoted(tensor.name),
          " has the element type ", raw_type, " (", ggml_type_name(raw_type),
          "), which is not read; use a file in one of ", kReadableGgmlTypes);
  tensor.type = *type;
  offset = reader.read<uint64_t>("a tensor offset");
  return tensor;
}

void GgufFile::State::place_tensors(int64_t header_end, const std::vector<uint64_t>& offsets) {
  const int64_t align = alignment();
  const int64_t data_start = (header_end + align - 1) / align * align;
  if (tensors.empty()) {
    require(file.size() <= data_start, ErrorKind::kMalformed, where(), " has ",
            file.size() - data_start, " bytes after its header but no tensor");
    return;
  }
  require(data_start <= file.size(), ErrorKind::kTruncated, where(), " ends at byte ", file.size(),
          ", before the tensor data at ", data_start);
  const int64_t data_size = file.size() - data_start;
  std::vector<NamedSpan> spans;
  for (size_t i = 0; i < tensors.size(); ++i) {
    TensorView& tensor = tensors[i];
    const int64_t size = checked_tensor_bytes(tensor, where());
    require(offsets[i] % static_cast<uint64_t>(align) == 0, ErrorKind::kMalformed, where(),
            ": tensor ", quoted(tensor.name), " starts at offset ", offsets[i],
            ", not a multiple of the alignment ", align);
    require(size <= data_size && offsets[i] <= static_cast<uint64_t>(data_size - size),
            ErrorKind::kTruncated, where(), ": tensor ", quoted(tensor.name), " needs ", size,
            " bytes at offset ", offsets[i], ", the file has ", data_size, " bytes of tensor data");
    const auto offset = static_cast<int64_t>(offsets[i]);
    tensor.bytes =
        file.bytes().subspan(static_cast<size_t>(data_start + offset), static_cast<size_t>(size));
    spans.push_back({.name = tensor.name, .begin = offset, .end = offset + size});
  }
  require_spans_cover(std::move(spans), data_size, align, where());
}

GgufFile GgufFile::open(const std::filesystem::path& path) {
  auto state = std::make_unique<State>(MappedFile::open(path));
  state->parse();
  return GgufFile(std::move(state));
}

GgufFile::GgufFile(std::unique_ptr<State> state) : state_(std::move(state)) {}
GgufFile::~GgufFile() = default;
GgufFile::GgufFile(GgufFile&&) noexcept = default;
GgufFile& GgufFile::operator=(GgufFile&&) noexcept = default;

const std::filesystem::path& GgufFile::path() const {
  return state_->file.path();
}
uint32_t GgufFile::version() const {
  return state_->version;
}
int64_t GgufFile::num_metadata() const {
  return static_cast<int64_t>(state_->metadata.size());
}
std::span<const TensorView> GgufFile::tensors() const {
  return state_->tensors;
}
void GgufFile::require_not_shortened() const {
  state_->file.require_not_shortened();
}

const TensorView* GgufFile::find_tensor(std::string_view name) const {
  const auto found = state_->tensor_index.find(name);
  return found == state_->tensor_index.end() ? nullptr : &state_->tensors[found->second];
}

bool GgufFile::is_array(std::string_view key) const {
  const Entry* entry = state_->find(key);
  return entry != nullptr && entry->is_array;
}

namespace {

// A UINT64 beyond INT64_MAX has no meaning in any key, so it saturates and fails the next check.
int64_t to_int64(auto value) {
  if constexpr (std::is_same_v<decltype(value), uint64_t>)
    return static_cast<int64_t>(std::min<uint64_t>(value, INT64_MAX));
  else
    return static_cast<int64_t>(value);
}

int64_t int_at(const Entry& entry, size_t index) {
  return visit_scalar(entry, index, [](auto value) { return to_int64(value); });
}

double float_at(const Entry& entry, size_t index) {
  return visit_scalar(entry, index, [](auto value) { return static_cast<double>(value); });
}

}  // namespace

std::optional<int64_t> GgufFile::find_int(std::string_view key) const {
  const Entry* entry = state_->find_typed(key, false, "an integer", is_integer);
  if (entry == nullptr) return std::nullopt;
  return int_at(*entry, 0);
}

std::optional<double> GgufFile::find_float(std::string_view key) const {
  const Entry* entry = state_->find_typed(key, false, "a float", is_float);
  if (entry == nullptr) return std::nullopt;
  return float_at(*entry, 0);
}

std::optional<bool> GgufFile::find_bool(std::string_view key) const {
  const Entry* entry = state_->find_typed(key, false, "a boolean",
                                          [](GgufType type) { return type == GgufType::kBool; });
  if (entry == nullptr) return std::nullopt;
  return load<uint8_t>(entry->payload) != 0;
}

std::optional<std::string_view> GgufFile::find_string(std::string_view key) const {
  const Entry* entry = state_->find_typed(key, false, "a string", is_string);
  if (entry == nullptr) return std::nullopt;
  return split_strings(*entry).front();
}

std::optional<std::vector<int64_t>> GgufFile::find_ints(std::string_view key) const {
  const Entry* entry = state_->find_typed(key, true, "an array of integers", is_integer);
  if (entry == nullptr) return std::nullopt;
  std::vector<int64_t> values(entry->count);
  for (size_t i = 0; i < values.size(); ++i) values[i] = int_at(*entry, i);
  return values;
}

std::optional<std::vector<float>> GgufFile::find_floats(std::string_view key) const {
  const Entry* entry = state_->find_typed(key, true, "an array of floats", is_float);
  if (entry == nullptr) return std::nullopt;
  std::vector<float> values(entry->count);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(float_at(*entry, i));
  return values;
}

std::optional<std::vector<std::string_view>> GgufFile::find_strings(std::string_view key) const {
  const Entry* entry = state_->find_typed(key, true, "an array of strings", is_string);
  if (entry == nullptr) return std::nullopt;
  return split_strings(*entry);
}

}  // namespace pagoda::engine
