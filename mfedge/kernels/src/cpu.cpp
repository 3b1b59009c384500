// Which instruction set to run.
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <atomic>

#include "implementation.h"

namespace mfedge {

#define MFEDGE_ISA(name, runs)                   \
  namespace name {                               \
  extern const Implementation kImplementation;   \
  }
#include "../isa/isas.inc"

namespace {

struct Candidate {
  const Implementation* implementation;
  bool runs;
};

#if defined(__x86_64__)
#define HAS(feature) __builtin_cpu_supports(#feature)

// __builtin_cpu_supports() knows this name from GCC 11 and clang 15 on.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

const Implementation* select() {
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  const Candidate candidates[] = {
#define MFEDGE_ISA(name, runs) {&name::kImplementation, runs},
#include "../isa/isas.inc"
  };
  const char* wanted = getenv("MFEDGE_ISA");
  const Implementation* best = nullptr;
  for (const Candidate& candidate : candidates) {
    if (!candidate.runs) continue;
    if (wanted && strcmp(wanted, candidate.implementation->name) == 0) return candidate.implementation;
    if (!best) best = candidate.implementation;
  }
  return best;
}

}  // namespace

// Not a local static: whoever makes one holds a lock, and a child that is forked meanwhile would wait for it forever. Two
// threads that both select find the same.
const Implementation* implementation() {
  static std::atomic<const Implementation*> selected{nullptr};
  const Implementation* found = selected.load(std::memory_order_relaxed);
  if (!found) selected.store(found = select(), std::memory_order_relaxed);
  return found;
}

}  // namespace mfedge
