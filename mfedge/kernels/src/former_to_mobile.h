// Mobile<-Former, the direction of the bridge from tokens to pixels: softmax over tokens.
#pragma once

#include "implementation.h"
#include "kinds.h"
#include "memory.h"
#include "simd.h"
#include "ticks.h"
#include "tile.h"
#include "weights.h"

MFEDGE_BEGIN_ISA

// The tokens of Mobile<-Former as its tiles read them, head by head. A softmax does not change if the same is subtracted
// from every score. So one token's key is subtracted from all: its score is 0, which needs no product and no
// exponential. It is the token with the smallest key, beside which no other key loses what it is made of.
struct ScatterTokens {
  int count, channels, heads;
  const float *keys, *values;  // (M, C), rows `stride` apart
  ptrdiff_t stride;
  float scale;             // of the keys, times log2 e
  float* key_differences;  // [C][M - 1], scaled
  float* value_columns;    // [C][M]; the token with the smallest key comes last

  static ScatterTokens take(Arena& arena, int count, int channels, int heads) {
    const size_t both = static_cast<size_t>(count) * channels;
    return {count, channels, heads, nullptr, nullptr, 0, 0.f, arena.floats(both), arena.floats(both)};
  }

  void start(const float* of_keys, const float* of_values, ptrdiff_t row_stride, float of_scale) {
    keys = of_keys, values = of_values, stride = row_stride, scale = of_scale * kLog2E;
    const int depth = channels / heads;
    float *difference = key_differences, *value = value_columns;
    for (int first = 0; first < channels; first += depth) {
      ptrdiff_t rows[kMaxTokens];  // the others in their order, then the one with the smallest key
      const int smallest = smallest_key(first, depth), others = count - 1;
      for (int m = 0, i = 0; m < count; ++m) rows[m == smallest ? others : i++] = m * stride;
      for (int c = first; c < first + depth; ++c) {
        for (int m = 0; m < others; ++m) *difference++ = scale * (keys[rows[m] + c] - keys[rows[others] + c]);
        for (int m = 0; m < count; ++m) *value++ = values[rows[m] + c];
      }
    }
  }

 private:
  int smallest_key(int first, int depth) const {
    int smallest = 0;
    float least = __builtin_inff();
    for (int m = 0; m < count; ++m) {
      const float* key = keys + m * stride + first;
      vec sum = {};
      for (int c = 0; c < depth; c += kLanes) {
        const vec part = load_first(key + c, at_most(kLanes, depth - c));
        sum += maximum(part, -part);
      }
      const float size = add_lanes(sum);
      if (size < least) least = size, smallest = m;
    }
    return smallest;
  }
};

// Mobile<-Former over a strip of planes: x + softmax(key . x) value.
struct ScatterCall {
  const ScatterTokens& tokens;
  int pixels;
  float* strip;  // readable and writable to whole blocks of pixels; written where there is a residual
  ptrdiff_t strip_stride;
  const float* residual;  // added to the strip first; nullptr: nothing. Read up to `pixels` only.
  ptrdiff_t residual_stride;
  float* out;  // written up to `pixels` only
  ptrdiff_t out_stride;
};

// The softmax as it is written, for scores that are huge, infinite or NaN: one head, of pixels whose residual has been
// added.
MFEDGE_NOINLINE static void scatter_plainly(const ScatterCall& call, int head, int first_pixel, int count) {
  const ScatterTokens& tokens = call.tokens;
  const int depth = tokens.channels / tokens.heads, first = head * depth;
  for (int pixel = first_pixel; pixel < first_pixel + count; pixel += kLanes) {
    const int n = at_most(kLanes, first_pixel + count - pixel);
    const float* strip = call.strip + first * call.strip_stride + pixel;
    vec share[kMaxTokens], highest = splat(-__builtin_inff()), sum = {};
    for (int m = 0; m < tokens.count; ++m) {
      share[m] = vec{};
      for (int c = 0; c < depth; ++c)
        share[m] += load_first(strip + c * call.strip_stride, n) * tokens.keys[m * tokens.stride + first + c];
      share[m] *= tokens.scale;
      highest = maximum(share[m], highest);
    }
    for (int m = 0; m < tokens.count; ++m) sum += share[m] = exponential2_of_any(share[m] - highest);
    for (int c = 0; c < depth; ++c) {
      vec x = load_first(strip + c * call.strip_stride, n);
      for (int m = 0; m < tokens.count; ++m) x += share[m] / sum * tokens.values[m * tokens.stride + first + c];
      store_first(call.out + (first + c) * call.out_stride + pixel, x, n);
    }
  }
}

// A sum of exponentials up to this is as good as any. Above it, the softmax is computed as it is written.
constexpr float kFar = 0x1p64f;

// One block of V vectors, N tokens beside the last; unless kWhole, the last vector is incomplete: only `count` pixels
// of the block exist.
template <int N, int V, bool kWhole>
static void scatter_block(const ScatterCall& call, int pixel, int count) {
  const int heads = call.tokens.heads, depth = call.tokens.channels / heads;
  const ptrdiff_t strip_stride = call.strip_stride, out_stride = call.out_stride;
  const ptrdiff_t residual_stride = call.residual_stride;
  const float *key = call.tokens.key_differences, *value = call.tokens.value_columns;
  for (int h = 0; h < heads; ++h) {
    float* strip = call.strip + h * depth * strip_stride + pixel;
    float* out = call.out + h * depth * out_stride + pixel;
    const float* residual = call.residual ? call.residual + h * depth * call.residual_stride + pixel : nullptr;
    vec share[N + 1][V];
#pragma GCC unroll 16
    for (int m = 0; m < N; ++m)
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) share[m][j] = vec{};
    for (int c = 0; c < depth; ++c, key += N) {
      float* row = strip + c * strip_stride;
      vec x[V];
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) {
        x[j] = load(row + j * kLanes);
        __builtin_prefetch(out + c * out_stride + j * kLanes, 1);
      }
      if (residual) {
        const float* r = residual + c * residual_stride;
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) {
          if (kWhole || count >= (j + 1) * kLanes)
            x[j] += load(r + j * kLanes);
          else if (count > j * kLanes)
            x[j] += load_first(r + j * kLanes, count - j * kLanes);
          store(row + j * kLanes, x[j]);
        }
      }
#pragma GCC unroll 16
      for (int m = 0; m < N; ++m)
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) share[m][j] += x[j] * key[m];
    }
    vec most = {};
#pragma GCC unroll 8
    for (int j = 0; j < V; ++j) {
      vec sum = splat(1.f);  // of the token with the smallest key
#pragma GCC unroll 16
      for (int m = 0; m < N; ++m) sum += share[m][j] = exponential2(share[m][j]);
      most += kWhole || j + 1 < V ? sum : first_or(sum, count - j * kLanes, 1.f);
      share[N][j] = reciprocal(sum);
#pragma GCC unroll 16
      for (int m = 0; m < N; ++m) share[m][j] *= share[N][j];
    }
    if (N == 0 || any_beyond(most, kFar)) {  // one token: its share is 1, unless its score is not finite
      scatter_plainly(call, h, pixel, count);
      value += static_cast<ptrdiff_t>(depth) * (N + 1);
      continue;
    }
    for (int c = 0; c < depth; ++c, value += N + 1) {
      vec x[V];
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) x[j] = load(strip + c * strip_stride + j * kLanes);
#pragma GCC unroll 16
      for (int m = 0; m <= N; ++m)
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) x[j] += share[m][j] * value[m];
      float* o = out + c * out_stride;
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) {
        if (kWhole || count >= (j + 1) * kLanes)
          store(o + j * kLanes, x[j]);
        else if (count > j * kLanes)
          store_first(o + j * kLanes, x[j], count - j * kLanes);
      }
    }
  }
}

template <int M>
static void scatter_tokens(const ScatterCall& call) {
  constexpr int V = M <= 6 ? kTileVectors : 1;
  int pixel = 0;
  for (; pixel + V * kLanes <= call.pixels; pixel += V * kLanes) scatter_block<M - 1, V, true>(call, pixel, V * kLanes);
  const int rest = call.pixels - pixel;
  switch (divide_up(rest, kLanes)) {
    case 0: return;
    case 1: return scatter_block<M - 1, 1, false>(call, pixel, rest);
    case 2: return scatter_block<M - 1, V < 2 ? V : 2, false>(call, pixel, rest);
    case 3: return scatter_block<M - 1, V < 3 ? V : 3, false>(call, pixel, rest);
    default: return scatter_block<M - 1, V, false>(call, pixel, rest);
  }
}

static void scatter(const ScatterCall& call) {
  MFEDGE_TICKS(1);
  switch (call.tokens.count) {
    case 1: return scatter_tokens<1>(call);
    case 2: return scatter_tokens<2>(call);
    case 3: return scatter_tokens<3>(call);
    case 4: return scatter_tokens<4>(call);
    case 5: return scatter_tokens<5>(call);
    case 6: return scatter_tokens<6>(call);
    case 7: return scatter_tokens<7>(call);
    case 8: return scatter_tokens<8>(call);
    case 9: return scatter_tokens<9>(call);
    case 10: return scatter_tokens<10>(call);
    case 11: return scatter_tokens<11>(call);
    case 12: return scatter_tokens<12>(call);
    case 13: return scatter_tokens<13>(call);
    case 14: return scatter_tokens<14>(call);
    case 15: return scatter_tokens<15>(call);
    default: return scatter_tokens<16>(call);
  }
}

// MFEDGE_FORMER_TO_MOBILE: features (C, H, W), key and value (M, C) -> (C, H, W). Whole blocks are read and written
// where they are, the pixels after the last from a copy.
struct FormerToMobile {
  int heads;
  float scale;

  static FormerToMobile read(WeightReader&, Arena&, const mfedge_config& c) { return {c.heads, c.scale}; }

  void run(Arena& arena, const Call& call) const {
    const int channels = call.size(0, 1), pixels = call.size(0, 2) * call.size(0, 3), tokens = call.size(1, 1);
    const int whole = pixels / kBlock * kBlock, rest = pixels - whole;
    const float* features = call.in[0];
    ScatterTokens of = ScatterTokens::take(arena, tokens, channels, heads);
    const Planes last = take_planes(arena, channels, 0, kBlock, 0);
    if (arena.measuring()) return;
    of.start(call.in[1], call.in[2], channels, scale);
    for (int c = 0; c < channels; ++c)
      __builtin_memcpy(last.plane(c), features + static_cast<ptrdiff_t>(c) * pixels + whole, sizeof(float) * rest);
    // Without a residual the features are not written.
    scatter({of, whole, const_cast<float*>(features), pixels, nullptr, 0, call.out[0], pixels});
    scatter({of, rest, last.data, last.stride, nullptr, 0, call.out[0] + whole, pixels});
  }
};

MFEDGE_END_ISA
