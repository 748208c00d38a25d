#include "kv_read.h"

#include <algorithm>
#include <limits>

#include "guard.h"

namespace pagoda::capi {
namespace {

// A struct's first field says how far the next one of its array is.
template <class Struct>
std::vector<Struct> read_array(const Struct* given, int32_t count, const char* name) {
  expect(count >= 0, PAGODA_INVALID_ARGUMENT, "the number of ", name, " is ", count,
         "; it is not below 0");
  expect(count == 0 || given != nullptr, PAGODA_INVALID_ARGUMENT, name, " is NULL, but there are ",
         count);
  std::vector<Struct> own;
  for (int32_t i = 0; i < count; ++i) {
    const auto* bytes = reinterpret_cast<const char*>(given);
    const auto* next =
        reinterpret_cast<const Struct*>(bytes + size_t{given->struct_size} * size_t(i));
    own.push_back(read_struct(next, name));
    expect(own.back().struct_size == given->struct_size, PAGODA_INVALID_ARGUMENT, name, "[", i,
           "].struct_size is ", own.back().struct_size, ", but that of the first is ",
           given->struct_size);
  }
  return own;
}

Bytes read_bytes(const void* data, size_t size, const char* name) {
  expect(data != nullptr || size == 0, PAGODA_INVALID_ARGUMENT, name, " is NULL, but its size is ",
         size);
  const auto* bytes = static_cast<const std::byte*>(data);
  return size == 0 ? Bytes() : Bytes(bytes, bytes + size);
}

Group read_group(const pagoda_cache_group& given, const pagoda_cache_options& options, size_t g) {
  expect(given.kernel_page_size >= 0 && given.kernel_page_size <= given.page_size,
         PAGODA_INVALID_ARGUMENT, "groups[", g, "].kernel_page_size is ", given.kernel_page_size,
         "; it divides the page_size, ", given.page_size, ", or is 0 for the same");
  const int32_t kernel = given.kernel_page_size == 0 ? given.page_size : given.kernel_page_size;
  expect(kernel > 0 && given.page_size % kernel == 0, PAGODA_INVALID_ARGUMENT, "groups[", g,
         "].page_size is ", given.page_size,
         "; it is at least 1 and a multiple of kernel_page_size, ", given.kernel_page_size);
  return {.layout = {.page_size = given.page_size,
                     .kernel_pages = given.page_size / kernel,
                     .num_ranks = options.num_ranks == 0 ? 1 : options.num_ranks,
                     .rank = options.rank,
                     .interleave = options.interleave == 0 ? 1 : options.interleave},
          .window = given.window,
          .pool = given.pool,
          .page_bytes = given.page_bytes};
}

Extra read_extra(const pagoda_cache_extra& given, int32_t num_tokens) {
  expect(given.start >= 0 && given.length >= 1 && given.length <= num_tokens - given.start,
         PAGODA_INVALID_ARGUMENT, "an extra covers ", given.length, " tokens from position ",
         given.start, " on; the request has ", num_tokens);
  expect(given.key_size > 0, PAGODA_INVALID_ARGUMENT, "the extra at position ", given.start,
         " has no key; it says what is there");
  return {given.start, given.length, read_bytes(given.key, given.key_size, "extra.key")};
}

}  // namespace

CacheSettings read_settings(const pagoda_cache_options* given) {
  const pagoda_cache_options options = read_struct(given, "pagoda_cache_options");
  expect(options.num_pools >= 0 && (options.num_pools == 0 || options.num_pages != nullptr),
         PAGODA_INVALID_ARGUMENT, "num_pages is NULL or num_pools is ", options.num_pools,
         "; there is a number of pages for each pool");
  expect(options.max_reqs >= 0 && options.max_seq_len >= 0, PAGODA_INVALID_ARGUMENT, "max_reqs is ",
         options.max_reqs, " and max_seq_len ", options.max_seq_len, "; neither is below 0");
  std::vector<Group> groups;
  for (const pagoda_cache_group& group : read_array(options.groups, options.num_groups, "groups"))
    groups.push_back(read_group(group, options, groups.size()));
  return {.shape = make_shape(std::move(groups),
                              {options.num_pages, options.num_pages + options.num_pools}),
          .prefix_cache = options.no_prefix_cache == 0,
          .seed = read_bytes(options.seed, options.seed_size, "seed"),
          .max_reqs = options.max_reqs,
          .max_seq_len = options.max_seq_len,
          .events = {options.on_event, options.on_event_user}};
}

Prompt read_prompt(const pagoda_cache_request* given, bool keeps_tokens) {
  const pagoda_cache_request request = read_struct(given, "pagoda_cache_request");
  expect(request.num_tokens >= 1, PAGODA_INVALID_ARGUMENT, "request ", request.id, " has ",
         request.num_tokens, " tokens; a request starts with at least one");
  Prompt prompt{.id = request.id,
                .num_tokens = request.num_tokens,
                .domain = {.salt = read_bytes(request.salt, request.salt_size, "salt"),
                           .adapter = read_bytes(request.adapter, request.adapter_size, "adapter")},
                .sharing = request.no_prefix_cache == 0};
  for (const pagoda_cache_extra& extra : read_array(request.extras, request.num_extras, "extras"))
    prompt.domain.extras.push_back(read_extra(extra, request.num_tokens));
  std::sort(prompt.domain.extras.begin(), prompt.domain.extras.end());
  if (!keeps_tokens || !prompt.sharing) return prompt;
  expect(request.tokens != nullptr, PAGODA_INVALID_ARGUMENT, "request ", request.id,
         " has no token ids; they are needed to find its prefix (or set no_prefix_cache)");
  prompt.tokens = {request.tokens, static_cast<size_t>(request.num_tokens)};
  return prompt;
}

}  // namespace pagoda::capi
