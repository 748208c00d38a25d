#include "engine/model/kv_format.h"

#include <algorithm>

#include "engine/error.h"

namespace pagoda::engine {

void check_kv_choice(const ModelConfig& config, const KvChoice& choice) {
  const auto num_layers = static_cast<int>(config.layers.size());
  for (int layer : choice.same_layers)
    require(layer >= 0 && layer < num_layers, ErrorKind::kInvalidArgument, "there is no layer ",
            layer, " to keep unquantised; the model has layers 0 to ", num_layers - 1);
}

pagoda_kv_format kv_format_of_layer(const ModelConfig& config, const KvChoice& choice, int layer) {
  const bool slides = config.layers[static_cast<size_t>(layer)].sliding_window > 0;
  const bool named = std::find(choice.same_layers.begin(), choice.same_layers.end(), layer) !=
                     choice.same_layers.end();
  return named || (slides && choice.sliding_is_same) ? PAGODA_KV_SAME : choice.format;
}

int64_t KvSide::row_bytes(int64_t head_dim) const {
  const int64_t element = dtype == PAGODA_F32                           ? 4
                          : dtype == PAGODA_F16 || dtype == PAGODA_BF16 ? 2
                                                                        : 1;
  return head_dim * element + (scale == Scale::token ? static_cast<int64_t>(sizeof(float)) : 0);
}

KvSide key_side(pagoda_kv_format format, pagoda_dtype same) {
  using Scale = KvSide::Scale;
  switch (format) {
    case PAGODA_KV_FP8_E4M3:
      return {PAGODA_FP8_E4M3, Scale::head};
    case PAGODA_KV_FP8_E4M3_TOKEN:
      return {PAGODA_FP8_E4M3, Scale::token};
    case PAGODA_KV_INT8_TOKEN:
    case PAGODA_KV_INT8_CHANNEL_V:
    case PAGODA_KV_INT8_KEYS:
      return {PAGODA_INT8, Scale::token};
    default:
      return {same, Scale::none};
  }
}

KvSide value_side(pagoda_kv_format format, pagoda_dtype same) {
  if (format == PAGODA_KV_INT8_CHANNEL_V) return {PAGODA_INT8, KvSide::Scale::channel};
  if (format == PAGODA_KV_INT8_KEYS) return {same, KvSide::Scale::none};
  return key_side(format, same);
}

}  // namespace pagoda::engine
