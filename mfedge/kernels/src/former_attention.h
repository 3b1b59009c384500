// Former's self-attention among the tokens.
#pragma once

#include "kinds.h"
#include "memory.h"
#include "simd.h"

MFEDGE_BEGIN_ISA

// out[m] = softmax over j (query[m] . tokens[j]) tokens[j], head by head; the scale is in the query.
static void self_attention(const float* query, const float* tokens, int count, int width, ptrdiff_t stride, int heads,
                           float* out) {
  const int depth = width / heads;
  for (int h = 0; h < heads; ++h)
    for (int m = 0; m < count; ++m) {
      const float* q = query + m * stride + h * depth;
      float score[kMaxTokens], top = kLowest, sum = 0;
      for (int j = 0; j < count; ++j) {
        const float* z = tokens + j * stride + h * depth;
        vec dot = {};
        int d = 0;
        for (; d + kLanes <= depth; d += kLanes) dot += load(q + d) * load(z + d);
        if (d < depth) dot += load_first(q + d, depth - d) * load_first(z + d, depth - d);
        score[j] = add_lanes(dot);
        top = score[j] > top ? score[j] : top;
      }
      for (int j = 0; j < count; ++j) sum += score[j] = exponential2_of_any(splat(kLog2E * (score[j] - top)))[0];
      float* o = out + m * stride + h * depth;
      for (int d = 0; d < depth; d += kLanes) {
        const int left = at_most(kLanes, depth - d);
        vec total = {};
        for (int j = 0; j < count; ++j)
          total += (score[j] / sum) * load_first(tokens + j * stride + h * depth + d, left);
        store_first(o + d, total, left);
      }
    }
}

MFEDGE_END_ISA
