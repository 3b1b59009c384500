// What one instruction set offers. Everything with a loop over pixels or weights is compiled once for each of them
// (kernels_isa.cpp); checking, memory and the C API are compiled once, for the baseline (operators.cpp).
//
// Sources compiled for an instruction set must not instantiate templates or inline functions of the standard library:
// the linker would keep one copy for all, perhaps the AVX-512 one, and a CPU without AVX-512 would run it.
#pragma once

#include "mfedge_kernels.h"

// With MFEDGE_COUNT, where the time of one thread goes, in ticks of the time-stamp counter: for `mfedge.bench.studies.bridge`.
#if defined(MFEDGE_COUNT)
extern "C" __attribute__((visibility("default"))) uint64_t mfedge_ticks[3];  // Mobile->Former, Mobile<-Former, everything
extern "C" __attribute__((visibility("default"))) int32_t mfedge_copies;  // not 0: Mobile<-Former is a plain copy instead
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

namespace mfedge {

// An operator's packed form lives in memory of the caller. Both steps run over nullptr first and return their size.
struct Implementation {
  const char* name;
  size_t (*pack)(mfedge_kind kind, const mfedge_config& config, const float* weights, const void* matrices, bool half,
                 void* memory);
  // One image: inputs and outputs point at it. Returns the bytes of scratch.
  size_t (*run)(mfedge_kind kind, const mfedge_config& config, const void* packed, const mfedge_tensor* inputs,
                const float* const* in, float* const* out, void* scratch);
};

// The best that this CPU runs, or a smaller one named by the environment variable MFEDGE_ISA.
const Implementation* implementation();

}  // namespace mfedge
