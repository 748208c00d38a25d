// pagoda doctor: what this program and this machine can do, and why not more.
#include <unistd.h>

#include <iomanip>
#include <iostream>
#include <pagoda/pagoda.hpp>
#include <thread>

#include "tools/pagoda/commands.h"
#include "tools/pagoda/model_cache.h"

namespace pagoda::cli {
namespace {

double gibibytes(long pages) {
  return static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 30);
}

void print_doctor() {
  std::cout << doctor();
  std::cout << "machine: " << std::thread::hardware_concurrency() << " cores, " << std::fixed
            << std::setprecision(1) << gibibytes(sysconf(_SC_AVPHYS_PAGES)) << " GiB free of "
            << gibibytes(sysconf(_SC_PHYS_PAGES)) << " GiB\n";
  try {
    std::cout << "smollm2: " << resolve_model("smollm2").string() << "\n";
  } catch (const std::runtime_error& error) {
    std::cout << "smollm2: " << error.what() << "\n";
  }
}

}  // namespace

void add_doctor(CLI::App& app) {
  app.add_subcommand("doctor",
                     "what this machine has, which backends are present and why others are not")
      ->callback(print_doctor);
}

}  // namespace pagoda::cli
