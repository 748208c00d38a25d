#include "backend.h"

#include <cstring>

#include "../backend/check_batch.h"
#include "../core/error.h"
#include "../core/ids.h"

namespace pagoda::reference {

const Kernel kDirect{"reference.direct"}, kOnline{"reference.online"};

namespace {

void refuse_stream(Stream stream) {
  expect(stream == nullptr, PAGODA_INVALID_ARGUMENT,
         "a stream was given, but backend reference works in the call; pass NULL");
}

}  // namespace

std::string ReferenceBackend::machine() const {
  return "double precision, one thread, in two forms (direct, online)";
}

Selection ReferenceBackend::select(const Problem& problem) const {
  Selection selection;
  if (problem.kv_format != PAGODA_KV_SAME)
    selection.reasons.push_back(
        "kv_format " + std::to_string(static_cast<int>(problem.kv_format)) +
        " is not served; backend reference keeps keys and values in the query's type "
        "(PAGODA_KV_SAME)");
  const std::string& wanted = problem.tuning.kernel;
  const bool online = wanted == kOnline.name;
  if (!wanted.empty() && !online && wanted != kDirect.name)
    selection.reasons.push_back("there is no kernel \"" + wanted +
                                "\" in backend reference; it has " + kDirect.name + " and " +
                                kOnline.name);
  if (problem.tuning.num_splits > 1 && !online && wanted == kDirect.name)
    selection.reasons.push_back(
        "reference.direct takes all keys at once and cannot honour "
        "tuning.num_splits " +
        std::to_string(problem.tuning.num_splits) + "; reference.online can");
  const bool splits = problem.tuning.num_splits > 1;
  if (selection.reasons.empty()) selection.kernel = online || splits ? &kOnline : &kDirect;
  return selection;
}

void ReferenceBackend::add_workspace(const Problem&, const Kernel&, WorkspaceMap&) const {}

void ReferenceBackend::schedule(const Prepared& prepared) {
  refuse_stream(prepared.stream);
  check_batch_on_host(prepared.problem, prepared.batch);
}

void ReferenceBackend::update_cache(const Prepared& prepared, const Layer& layer,
                                    const TensorView& key, const TensorView& value) {
  refuse_stream(prepared.stream);
  const int32_t page_size = prepared.problem.page_size;
  const auto copy_row = [&](const TensorView& from, const TensorView& to, int32_t token,
                            Slot slot) {
    const size_t row_bytes = static_cast<size_t>(from.shape[2]) * size_of(from.dtype);
    const auto element = static_cast<int64_t>(size_of(from.dtype));
    for (int64_t head = 0; head < from.shape[1]; ++head) {
      const int64_t source = token * from.stride[0] + head * from.stride[1];
      const int64_t target = page_of(slot, page_size).value * to.stride[0] +
                             offset_of(slot, page_size) * to.stride[1] + head * to.stride[2];
      std::memcpy(static_cast<char*>(to.data) + target * element,
                  static_cast<const char*>(from.data) + source * element, row_bytes);
    }
  };
  for (int32_t token = 0; token < prepared.batch.num_tokens; ++token) {
    const Slot slot{prepared.batch.slot_mapping[token]};
    if (slot.value < 0) continue;
    copy_row(key, layer.key_cache, token, slot);
    copy_row(value, layer.value_cache, token, slot);
  }
}

std::unique_ptr<Backend> make_backend(const BackendOptions& options) {
  expect(options.isa.empty(), PAGODA_INVALID_ARGUMENT, "options.isa is \"", options.isa,
         "\", but backend reference has no instruction sets to choose from; leave it NULL");
  return std::make_unique<ReferenceBackend>();
}

}  // namespace pagoda::reference
