// The structs of kv.h read into what src/kv works with.
#pragma once

#include <pagoda/kv.h>

#include "../kv/cache_manager.h"

namespace pagoda::capi {

CacheSettings read_settings(const pagoda_cache_options* given);

// The ids stay the caller's; `keeps_tokens` says whether they will be read.
Prompt read_prompt(const pagoda_cache_request* given, bool keeps_tokens);

}  // namespace pagoda::capi
