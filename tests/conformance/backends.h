// The contexts that cases run on, made once per thread of the harness.
#pragma once

#include <map>
#include <memory>
#include <pagoda/pagoda.hpp>
#include <string>
#include <utility>

#include "compare.h"
#include "isas.h"

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
    const bool with_tiles = isa == "amx" && has(isa) && g.dtype == PAGODA_BF16;
    return with_tiles ? kTiles : kFloat;
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
