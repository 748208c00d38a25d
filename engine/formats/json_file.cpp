// See json_file.h.
#include "engine/formats/json_file.h"

#include <utility>
#include <vector>

#include "engine/error.h"
#include "engine/formats/in_quotes.h"
#include "engine/formats/mapped_file.h"

namespace pagoda::engine {
namespace {

using nlohmann::json;

// Builds the document from the parser's events, and refuses what the limits forbid on the way.
class Builder : public nlohmann::json_sax<json> {
 public:
  Builder(const std::string& where, JsonLimits limits) : where_(where), limits_(limits) {}

  json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(int64_t value) override { return put(value); }
  bool number_unsigned(uint64_t value) override { return put(value); }
  bool number_float(double value, const std::string&) override { return put(value); }
  bool string(std::string& value) override { return put(std::move(value)); }
  bool binary(json::binary_t& value) override { return put(std::move(value)); }
  bool start_object(size_t) override { return open(json::object()); }
  bool start_array(size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    auto& members = open_.back()->get_ref<json::object_t&>();
    const auto [member, is_new] = members.try_emplace(std::move(name));
    require(is_new, ErrorKind::kMalformed, where_, ": the key ", in_quotes(member->first),
            " occurs twice in one JSON object");
    member_ = &member->second;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    fail(ErrorKind::kMalformed, where_, ": not valid JSON at byte ", position);
  }

 private:
  // Where the next value belongs: it is the document, an element, or the member of the last key.
  json* place(json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    if (open_.back()->is_object()) return &(*member_ = std::move(value));
    auto& elements = open_.back()->get_ref<json::array_t&>();
    return &elements.emplace_back(std::move(value));
  }

  bool put(json value) {
    place(std::move(value));
    return true;
  }

  // The pointers stay good: an array grows only while it is the innermost that is open.
  bool open(json value) {
    require(static_cast<int>(open_.size()) < limits_.max_depth, ErrorKind::kLimit, where_,
            ": the JSON is nested deeper than ", limits_.max_depth, " levels");
    open_.push_back(place(std::move(value)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  const std::string& where_;
  JsonLimits limits_;
  json root_;
  std::vector<json*> open_;  // the objects and arrays around the parser's place
  json* member_ = nullptr;
};

}  // namespace

json parse_json(std::string_view text, const std::string& where, JsonLimits limits) {
  require(static_cast<int64_t>(text.size()) <= limits.max_bytes, ErrorKind::kLimit, where, " has ",
          text.size(), " bytes of JSON, the limit is ", limits.max_bytes);
  Builder builder(where, limits);
  json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

json read_json_file(const std::filesystem::path& path, JsonLimits limits) {
  const MappedFile file = MappedFile::open(path);
  const std::vector<std::byte> bytes = file.read_front(limits.max_bytes + 1);
  require_no_lookalike(bytes, path);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return parse_json(text, path.string(), limits);
}

}  // namespace pagoda::engine
