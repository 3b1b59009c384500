// The functions of one instruction set. Everything with a loop over pixels or weights is compiled once for each set
// (kernels_isa.cpp); checks, memory and the C API are compiled once, for the baseline (api.cpp).
#pragma once

#include "../include/mfedge_kernels.h"
#include "../isa/arithmetic.h"

namespace mfedge {

// The two vectors of an operator's weights; nullptr to find out how long they are.
struct Weights {
  const float* vectors;
  const void* matrices;
  mfedge_type type;  // of `matrices`
};

// The bytes of an operator's packed form, and the elements of both vectors that it is packed from.
struct Packing {
  size_t bytes, vectors, matrices;
};

// One image: `in` and `out` point at it. `inputs` has the shapes of the whole batch.
struct Call {
  const mfedge_tensor* inputs;
  const float* const* in;
  float* const* out;

  // The size of an input along a dimension. Always inlined: see isa/isa.h.
  inline __attribute__((always_inline)) int size(int input, int dimension) const {
    return static_cast<int>(inputs[input].shape[dimension]);
  }
};

struct Implementation {
  const char* name;
  // Packs into memory of the caller; into nullptr it only measures.
  Packing (*pack)(mfedge_kind kind, const mfedge_config& config, const Weights& weights, void* memory);
  // Runs a packed operator, and returns the bytes of scratch that this takes; with nullptr it only measures.
  size_t (*run)(mfedge_kind kind, const void* packed, const Call& call, void* scratch);
};

// The best that this CPU runs, or a smaller one named by the environment variable MFEDGE_ISA.
const Implementation* implementation();

}  // namespace mfedge
