#include "sharing.h"

#include <string>
#include <unordered_map>

#include "../core/error.h"

namespace pagoda {
namespace {

constexpr const char* kTypeNames[] = {"decoder", "encoder", "encoder-only", "encoder-decoder"};

void check_layer(const pagoda_shared_layer& layer, size_t i) {
  expect(layer.name != nullptr, PAGODA_INVALID_ARGUMENT, "layers[", i, "].name is NULL");
  expect(layer.type >= PAGODA_DECODER && layer.type <= PAGODA_ENCODER_DECODER,
         PAGODA_INVALID_ARGUMENT, "layers[", i, "].type is ", static_cast<int>(layer.type),
         "; it is a value of pagoda_attention_type, 0 to 3");
}

void check_target(const std::vector<pagoda_shared_layer>& layers, size_t current, size_t target) {
  const pagoda_shared_layer& layer = layers[current];
  const std::string start =
      std::string("the KV sharing target of ") + layer.name + ", " + layer.target + ", ";
  expect(target != current, PAGODA_INVALID_ARGUMENT, start,
         "cannot be the same as the current layer.");
  expect(target < current, PAGODA_INVALID_ARGUMENT, start, "must come before the current layer.");
  expect(layers[target].type == layer.type, PAGODA_INVALID_ARGUMENT, start,
         "must be the same type as the current layer (", kTypeNames[layer.type], ").");
  expect(layers[target].target == nullptr, PAGODA_INVALID_ARGUMENT, start,
         "has no cache of its own; name the layer that it reads, ",
         layers[target].target == nullptr ? "" : layers[target].target, ".");
}

}  // namespace

std::vector<int32_t> check_sharing(const std::vector<pagoda_shared_layer>& layers) {
  std::unordered_map<std::string, size_t> index;
  for (size_t i = 0; i < layers.size(); ++i) {
    check_layer(layers[i], i);
    expect(index.emplace(layers[i].name, i).second, PAGODA_INVALID_ARGUMENT, "layers[", i,
           "].name is ", layers[i].name, ", which another layer has");
  }
  std::vector<int32_t> cache(layers.size());
  for (size_t i = 0; i < layers.size(); ++i) {
    cache[i] = static_cast<int32_t>(i);
    if (layers[i].target == nullptr) continue;
    const auto target = index.find(layers[i].target);
    expect(target != index.end(), PAGODA_INVALID_ARGUMENT, "the KV sharing target of ",
           layers[i].name, ", ", layers[i].target,
           ", is not a valid Attention layer in the model.");
    check_target(layers, i, target->second);
    cache[i] = static_cast<int32_t>(target->second);
  }
  return cache;
}

}  // namespace pagoda
