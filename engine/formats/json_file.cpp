// See json_file.h.
#include "engine/formats/json_file.h"

#include <unordered_set>
#include <vector>

#include "engine/error.h"
#include "engine/formats/mapped_file.h"
#include "engine/formats/quoted.h"

namespace pagoda::engine {
namespace {

using nlohmann::json;

// Watches a parse and refuses what the limits forbid. One set of keys for every open object.
class Watch {
 public:
  Watch(const std::string& where, JsonLimits limits) : where_(where), limits_(limits) {}

  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
        keys_.emplace_back();
        [[fallthrough]];
      case json::parse_event_t::array_start:
        require(depth < limits_.max_depth, ErrorKind::kLimit, where_,
                ": the JSON is nested deeper than ", limits_.max_depth, " levels");
        break;
      case json::parse_event_t::object_end:
        keys_.pop_back();
        break;
      case json::parse_event_t::key: {
        const auto& key = parsed.get_ref<const std::string&>();
        require(keys_.back().insert(key).second, ErrorKind::kMalformed, where_, ": the key ",
                quoted(key), " occurs twice in one JSON object");
        break;
      }
      default:
        break;
    }
    return true;
  }

 private:
  const std::string& where_;
  JsonLimits limits_;
  std::vector<std::unordered_set<std::string>> keys_;
};

}  // namespace

json parse_json(std::string_view text, const std::string& where, JsonLimits limits) {
  require(static_cast<int64_t>(text.size()) <= limits.max_bytes, ErrorKind::kLimit, where, " has ",
          text.size(), " bytes of JSON, the limit is ", limits.max_bytes);
  Watch watch(where, limits);
  try {
    return json::parse(text.begin(), text.end(), std::ref(watch));
  } catch (const json::parse_error& error) {
    fail(ErrorKind::kMalformed, where, ": not valid JSON at byte ", error.byte);
  } catch (const json::exception&) {  // a number beyond double
    fail(ErrorKind::kMalformed, where, ": a JSON value is out of range");
  }
}

json read_json_file(const std::filesystem::path& path, JsonLimits limits) {
  const MappedFile file = MappedFile::open(path);
  const std::vector<std::byte> bytes = file.read_front(limits.max_bytes + 1);
  require_no_lookalike(bytes, path);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return parse_json(text, path.string(), limits);
}

}  // namespace pagoda::engine
