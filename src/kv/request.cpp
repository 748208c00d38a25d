#include "request.h"

namespace pagoda {

void extend(Chain& chain, const Request& request, int32_t page_size, int32_t num_pages,
            PrefixHasher& hasher) {
  const std::span tokens(request.tokens);
  const auto size = static_cast<size_t>(page_size);
  for (size_t i = chain.digests.size(); i < static_cast<size_t>(num_pages); ++i) {
    const Digest parent = i == 0 ? hasher.root() : chain.digests[i - 1];
    chain.digests.push_back(hasher.hash_page(parent, static_cast<int32_t>(i),
                                             tokens.subspan(i * size, size), request.domain));
  }
}

}  // namespace pagoda
