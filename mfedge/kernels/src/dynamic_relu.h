// Dynamic ReLU. It is the smallest kernel, and the one to copy for another operator: a struct with the name of its row
// in tables/kinds.inc, which says what its inputs and outputs are.
#pragma once

#include "implementation.h"
#include "memory.h"
#include "simd.h"
#include "weights.h"

MFEDGE_BEGIN_ISA

// MFEDGE_DYNAMIC_RELU: features (C, H, W), two slopes (C) or (C, H, W) -> max(slope1 x, slope2 x).
struct DynamicRelu {
  // Packs the weights, and returns the struct that run() will be called on. It takes its memory from the arena and its
  // weights from the reader, both in the order in which run() will read them. It is first called with an arena that
  // only measures, whose pieces are nullptr. This operator has neither weights nor a configuration.
  static DynamicRelu read(WeightReader&, Arena&, const mfedge_config&) { return {}; }

  // Runs on one image. It takes its scratch from the arena, whose content is undefined, and returns early where the
  // arena only measures. The shapes have been checked before (src/shapes.cpp).
  void run(Arena& arena, const Call& call) const {
    if (arena.measuring()) return;
    const int channels = call.size(0, 1), pixels = call.size(0, 2) * call.size(0, 3);
    const bool spatial = call.inputs[1].rank == 4;
    const float *slope1 = call.in[1], *slope2 = call.in[2];
    for (int c = 0; c < channels; ++c) {
      const ptrdiff_t plane = static_cast<ptrdiff_t>(c) * pixels;
      for (int i = 0; i < pixels; i += kLanes) {
        const int left = at_most(kLanes, pixels - i);
        const vec x = load_first(call.in[0] + plane + i, left);
        const vec a = spatial ? load_first(slope1 + plane + i, left) : splat(slope1[c]);
        const vec b = spatial ? load_first(slope2 + plane + i, left) : splat(slope2[c]);
        store_first(call.out[0] + plane + i, greatest(a * x, b * x), left);
      }
    }
  }
};

MFEDGE_END_ISA
