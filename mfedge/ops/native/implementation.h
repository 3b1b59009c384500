// What one instruction set offers. Everything with a loop over pixels or weights is compiled once for each of them
// (kernels_isa.cpp); checking, memory and the C API are compiled once, for the baseline (operators.cpp).
//
// Sources compiled for an instruction set must not instantiate templates or inline functions of the standard library:
// the linker would keep one copy for all, perhaps the AVX-512 one, and a CPU without AVX-512 would run it.
#pragma once

#include "mfedge_kernels.h"

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
