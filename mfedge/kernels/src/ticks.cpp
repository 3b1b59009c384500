// See ticks.h.
#include "ticks.h"

#if defined(MFEDGE_COUNT)
uint64_t mfedge_ticks[3];
int32_t mfedge_copies;

namespace {

uint64_t tick_cost() {
  constexpr int kReadings = 1000;
  uint64_t total = 0;
  for (int i = 0; i < kReadings; ++i) {
    const uint64_t start = __builtin_ia32_rdtsc();
    total += __builtin_ia32_rdtsc() - start;
  }
  return total / kReadings;
}

}  // namespace

const uint64_t mfedge_tick_cost = tick_cost();
#endif
