#include "check_case.h"

#include <cmath>

namespace pagoda::conformance {
namespace {

struct Checker {
  const Geometry& g;
  const Values& values;
  const Expected& expected;
  Backends& backends;
  uint64_t data_seed;
  Verdict verdict = {};

  Result run(const Context& context, uint64_t fill_seed, const char* kernel) const {
    return Step(g, values, {.pages_seed = data_seed, .fill_seed = fill_seed}).run(context, kernel);
  }

  void complain(const std::string& who, const std::string& what) {
    if (verdict.complaint.empty() && !what.empty()) verdict.complaint = who + ": " + what;
  }

  void check_reference(const char* kernel) {
    const Result result = run(backends.reference(), data_seed | 1, kernel);
    const Comparison comparison = compare(g, expected, result, kDouble);
    complain(kernel, comparison.complaint);
    verdict.ratios.include(
        {.reference_out = comparison.out_ratio, .reference_lse = comparison.lse_ratio});
  }

  void check_cpu() {
    const Context& context = backends.cpu(g.isa, g.num_threads);
    const Result first = run(context, 0, nullptr);
    const Comparison comparison = compare(g, expected, first, Backends::arithmetic(g, g.isa));
    complain("cpu", comparison.complaint);
    verdict.ratios.include({.cpu_out = comparison.out_ratio, .cpu_lse = comparison.lse_ratio});
    const Result second = run(context, data_seed | 1, nullptr);
    complain("cpu with other garbage in unused memory", differing_bits(first, second));
  }
};

}  // namespace

void Ratios::include(const Ratios& other) {
  reference_out = std::fmax(reference_out, other.reference_out);
  reference_lse = std::fmax(reference_lse, other.reference_lse);
  cpu_out = std::fmax(cpu_out, other.cpu_out);
  cpu_lse = std::fmax(cpu_lse, other.cpu_lse);
}

Verdict check_geometry(const Geometry& geometry, uint64_t data_seed, Backends& backends) {
  const Values values = draw_values(geometry, data_seed);
  const Expected expected = attend<double>(geometry, values);
  Checker checker{geometry, values, expected, backends, data_seed};
  if (geometry.num_splits <= 1) checker.check_reference("reference.direct");
  checker.check_reference("reference.online");
  checker.check_cpu();
  return checker.verdict;
}

Verdict check_case(const CaseId& id, Backends& backends) {
  const Geometry geometry = draw_geometry(id.geometry);
  Verdict verdict = check_geometry(geometry, id.data, backends);
  if (!verdict.complaint.empty())
    verdict.complaint += "\n  " + describe(geometry) + "\n  again: " + command_of(id);
  return verdict;
}

std::string command_of(const CaseId& id) {
  return "attend_conformance --case=" + std::to_string(id.geometry) + ":" + std::to_string(id.data);
}

}  // namespace pagoda::conformance
