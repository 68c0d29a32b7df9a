#include "cpu/isa/select.h"

#ifdef MOE_HAVE_avx2
#include <cpuid.h>
#endif

#include <atomic>
#include <cstdlib>

#include "core/error.h"
#include "core/os.h"

namespace moe {

#ifdef MOE_HAVE_neon
extern const Kernels kernels_neon, kernels_neondot;
#else
extern const Kernels kernels_baseline;
#endif
#ifdef MOE_HAVE_avx2
extern const Kernels kernels_avx2, kernels_avx2vnni;
extern const Kernels kernels_avx512, kernels_avx512vnni, kernels_avx512bf16;
#endif

namespace {

struct Candidate {
  const Kernels* kernels;
  bool supported;
};

#ifdef MOE_HAVE_avx2
// Not among the names that every compiler's __builtin_cpu_supports knows. Their registers are
// AVX2's.
bool has_f16c() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && c & 1u << 29;
}
bool has_avx_vnni() {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & 1u << 4;
}
#endif

// __builtin_cpu_supports asks CPUID and XGETBV: the CPU has the instructions and the system saves
// their registers.
const std::vector<Candidate>& candidates() {
  static const std::vector<Candidate> list = [] {
#ifdef MOE_HAVE_neon
    std::vector<Candidate> all{{&kernels_neon, true}, {&kernels_neondot, os::arm_dot_products()}};
#else
    std::vector<Candidate> all{{&kernels_baseline, true}};
#endif
#ifdef MOE_HAVE_avx2
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
    const bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
    all.push_back({&kernels_avx2, avx2});
    all.push_back({&kernels_avx2vnni, avx2 && has_avx_vnni()});
    all.push_back({&kernels_avx512, avx512});
    all.push_back({&kernels_avx512vnni, vnni});
    all.push_back({&kernels_avx512bf16, vnni && __builtin_cpu_supports("avx512bf16")});
#endif
    return all;
  }();
  return list;
}

const Kernels& find(const std::string& name) {
  std::string known;
  for (const Candidate& c : candidates()) {
    if (!c.supported) continue;
    if (name == c.kernels->name) return *c.kernels;
    known += (known.empty() ? "" : " | ") + std::string(c.kernels->name);
  }
  fail(Code::option, "MOE_CPU_ISA: instruction set must be ", known, ", got ", name);
}

const Kernels& best() {
  const Kernels* chosen = candidates().front().kernels;
  for (const Candidate& c : candidates())
    if (c.supported) chosen = c.kernels;
  return *chosen;
}

std::atomic<const Kernels*> selected{nullptr};

}  // namespace

const Kernels& kernels() {
  const Kernels* current = selected.load();
  if (!current) {
    const char* forced = std::getenv("MOE_CPU_ISA");
    current = forced && *forced ? &find(forced) : &best();
    selected = current;
  }
  return *current;
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Candidate& c : candidates())
    if (c.supported) names.emplace_back(c.kernels->name);
  return names;
}

void select_isa(const std::string& name) { selected = &find(name); }

}  // namespace moe
