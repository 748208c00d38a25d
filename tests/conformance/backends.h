// The contexts that cases run on, made once per thread of the harness.
#pragma once

#include <map>
#include <memory>
#include <pagoda/pagoda.hpp>
#include <string>
#include <utility>

#include "compare.h"
#include "isas.h"
#include "src/core/kv_format.h"

namespace pagoda::conformance {

class Backends {
 public:
  Context& reference() {
    if (!reference_) {
      ContextOptions options;
      options.backend = "reference";
      reference_ = std::make_unique<Context>(options);
    }
    return *reference_;
  }

  // The CPU backend with this instruction set, or with "scalar" where the machine lacks it.
  Context& cpu(const std::string& isa, int32_t num_threads) {
    std::unique_ptr<Context>& context = cpu_[{isa, num_threads}];
    if (!context) context = create(has(isa) ? isa : "scalar", num_threads);
    return *context;
  }

  static bool has(const std::string& isa) {
    static std::map<std::string, bool> known = [] {
      std::map<std::string, bool> all;
      for (const char* name : kIsas) {
        try {
          create(name, 1);
          all[name] = true;
        } catch (const Error& error) {
          if (error.status() != PAGODA_UNSUPPORTED) throw;
          all[name] = false;
        }
      }
      return all;
    }();
    return known[isa];
  }

  // Of the kernel that this instruction set serves such cases with.
  static Arithmetic arithmetic(const Geometry& g, const std::string& isa) {
    if (!has(isa) || g.dtype == PAGODA_F32) return kFloat;
    const KvFormat format = kv_format_of(g.kv_format);
    const bool only_codes = format.key.code != Code::same && format.value.code != Code::same;
    const bool of_f16 = isa == "amx_fp16" && (g.dtype == PAGODA_F16 || only_codes);
    if (of_f16 && format.key.code == Code::int8) return kTilesOfWhole;
    if (isa == "amx_fp16" && g.dtype == PAGODA_F16) return kTilesOfF16;
    if (isa == "amx_fp16" && only_codes) return kTilesOfF16ForBf16;
    const bool of_bf16 = (isa == "amx" || isa == "amx_fp16") && g.dtype == PAGODA_BF16;
    return of_bf16 ? kTilesOfBf16 : kFloat;
  }

 private:
  static std::unique_ptr<Context> create(const std::string& isa, int32_t num_threads) {
    ContextOptions options;
    options.backend = "cpu";
    options.isa = isa.c_str();
    options.num_threads = num_threads;
    return std::make_unique<Context>(options);
  }

  std::unique_ptr<Context> reference_;
  std::map<std::pair<std::string, int32_t>, std::unique_ptr<Context>> cpu_;
};

}  // namespace pagoda::conformance
