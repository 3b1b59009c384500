// With MFEDGE_COUNT, where the time of one thread goes, in ticks of the time-stamp counter: for
// mfedge/bench/studies/bridge.py.
#pragma once

#include <stdint.h>

#include "../isa/arithmetic.h"

#if defined(MFEDGE_COUNT)
// Mobile->Former, Mobile<-Former, everything.
extern "C" __attribute__((visibility("default"))) uint64_t mfedge_ticks[3];
// If it is not 0, Mobile<-Former is a plain copy instead.
extern "C" __attribute__((visibility("default"))) int32_t mfedge_copies;
extern const uint64_t mfedge_tick_cost;  // of reading the counter twice

struct MfedgeTicks {
  uint64_t& total;
  const uint64_t start = __builtin_ia32_rdtsc();
  inline __attribute__((always_inline)) explicit MfedgeTicks(int what) : total(mfedge_ticks[what]) {}
  inline __attribute__((always_inline)) ~MfedgeTicks() { total += __builtin_ia32_rdtsc() - start - mfedge_tick_cost; }
};
#define MFEDGE_TICKS(what) const MfedgeTicks ticks(what)
#else
#define MFEDGE_TICKS(what) static_cast<void>(0)
#endif
