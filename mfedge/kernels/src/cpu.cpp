// Which instruction set to run.
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "implementation.h"

namespace mfedge {

#if defined(__x86_64__)
namespace avx512 {
extern const Implementation kImplementation;
}
namespace avx2 {
extern const Implementation kImplementation;
}
namespace sse2 {
extern const Implementation kImplementation;
}
#elif defined(__aarch64__)
namespace neon {
extern const Implementation kImplementation;
}
#else
#error "mfedge's kernels know x86-64 and aarch64"
#endif

namespace {

struct Candidate {
  const Implementation* implementation;
  bool runs;
};

#if defined(__x86_64__)
// __builtin_cpu_supports() knows this name from GCC 11 and clang 15 on.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

const Implementation* select() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  const Candidate candidates[] = {
      {&avx512::kImplementation, avx512}, {&avx2::kImplementation, avx2}, {&sse2::kImplementation, true}};
#else
  const Candidate candidates[] = {{&neon::kImplementation, true}};
#endif
  const char* wanted = std::getenv("MFEDGE_ISA");
  const Implementation* best = nullptr;
  for (const Candidate& candidate : candidates) {
    if (!candidate.runs) continue;
    if (wanted && std::strcmp(wanted, candidate.implementation->name) == 0) return candidate.implementation;
    if (!best) best = candidate.implementation;
  }
  return best;
}

}  // namespace

const Implementation* implementation() {
  static const Implementation* const selected = select();
  return selected;
}

}  // namespace mfedge
