// select.hpp - select.h in C++20. Header-only.
#pragma once

#include <pagoda/select.h>

#include <algorithm>
#include <pagoda/pagoda.hpp>
#include <string>
#include <vector>

namespace pagoda {
inline namespace v1 {

inline std::vector<std::string> backend_names() {
  std::vector<std::string> names;
  for (int32_t i = 0; const char* name = pagoda_backend_name(i); ++i) names.emplace_back(name);
  return names;
}

struct Answer {
  pagoda_verdict verdict = PAGODA_NOT_USABLE;
  std::string kernel;                // if it serves
  std::vector<std::string> reasons;  // otherwise, in order
};

inline Answer select(const std::string& backend, const Spec& spec, const Limits* limits = nullptr,
                     const Tuning* tuning = nullptr) {
  Answer answer;
  const std::string text = text_of([&](char* buffer, size_t size) {
    return pagoda_select(backend.c_str(), &spec, limits, tuning, &answer.verdict, buffer, size);
  });
  if (answer.verdict == PAGODA_SERVES) {
    answer.kernel = text;
    return answer;
  }
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
    end = std::min(text.find('\n', begin), text.size());
    answer.reasons.push_back(text.substr(begin, end - begin));
  }
  return answer;
}

}  // namespace v1
}  // namespace pagoda
