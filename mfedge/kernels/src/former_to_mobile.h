// Mobile<-Former, the direction of the bridge from tokens to pixels: softmax over tokens.
#pragma once

#include "implementation.h"
#include "memory.h"
#include "simd.h"
#include "ticks.h"
#include "tile.h"
#include "weights.h"

MFEDGE_BEGIN_ISA

// Mobile<-Former over a strip of planes: x + softmax(key . x) value. A softmax does not change if the same is
// subtracted from every score. So the last token's key and value are subtracted from all: its score is 0, it needs no
// product and no exponential, and its weight is what the others leave of 1,
//   x + value[last] + sum over the other tokens of p (value - value[last]),  p = 2^score / (1 + sum of 2^score).
struct ScatterCall {
  int channels, heads, pixels;
  float* strip;  // readable and writable to whole blocks of pixels; written where there is a residual
  ptrdiff_t strip_stride;
  const float* residual;  // added to the strip first; nullptr: nothing. Read up to `pixels` only.
  ptrdiff_t residual_stride;
  float* out;  // written up to `pixels` only
  ptrdiff_t out_stride;
  const float* key;    // [C][M - 1], less the last token's, times log2 e
  const float* value;  // [C][M - 1], less the last token's
  const float* last;   // [C], the last token's value
};

// Rows (M, depth) less the last of them as [depth][M - 1].
static void transpose_differences(const float* rows, ptrdiff_t stride, int count, int depth, float scale, float* out) {
  const float* last = rows + (count - 1) * stride;
  for (int k = 0; k < depth; ++k)
    for (int m = 0; m + 1 < count; ++m) *out++ = scale * (rows[m * stride + k] - last[k]);
}

// A sum of exponentials up to this is as good as any. Above it, the highest score is subtracted first.
constexpr float kFar = 0x1p64f;

// One block of V vectors, N tokens beside the last; unless kWhole, the last vector is incomplete: only `count` pixels
// of the block exist.
template <int N, int V, bool kWhole>
static void scatter_block(const ScatterCall& call, int pixel, int count) {
  const int depth = call.channels / call.heads;
  const ptrdiff_t strip_stride = call.strip_stride, out_stride = call.out_stride;
  const ptrdiff_t residual_stride = call.residual_stride;
  for (int h = 0; h < call.heads; ++h) {
    float* strip = call.strip + h * depth * strip_stride + pixel;
    float* out = call.out + h * depth * out_stride + pixel;
    const float* residual = call.residual ? call.residual + h * depth * call.residual_stride + pixel : nullptr;
    const float* keys = call.key + static_cast<ptrdiff_t>(h) * depth * N;
    vec score[N > 0 ? N : 1][V];
    for (bool careful = false;; careful = true) {
      const float* key = keys;
#pragma GCC unroll 16
      for (int m = 0; m < N; ++m)
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) score[m][j] = vec{};
      for (int c = 0; c < depth; ++c, key += N) {
        float* row = strip + c * strip_stride;
        vec x[V];
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) {
          x[j] = load(row + j * kLanes);
          __builtin_prefetch(out + c * out_stride + j * kLanes, 1);
        }
        if (residual && !careful) {
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
          for (int j = 0; j < V; ++j) score[m][j] += x[j] * key[m];
      }
      vec most = {};
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) {
        vec highest = {};  // the last token's score
        if (careful) {
#pragma GCC unroll 16
          for (int m = 0; m < N; ++m) highest = maximum(highest, score[m][j]);
#pragma GCC unroll 16
          for (int m = 0; m < N; ++m) score[m][j] -= highest;
        }
        vec sum = careful ? exponential2(-highest) : splat(1.f);
#pragma GCC unroll 16
        for (int m = 0; m < N; ++m) sum += score[m][j] = exponential2(score[m][j]);
        most = maximum(kWhole || j + 1 < V ? sum : first_or(sum, count - j * kLanes, 1.f), most);
        sum = reciprocal(sum);
#pragma GCC unroll 16
        for (int m = 0; m < N; ++m) score[m][j] *= sum;
      }
      if (careful || !any_above(most, kFar)) break;
    }
    const float* value = call.value + static_cast<ptrdiff_t>(h) * depth * N;
    const float* last = call.last + static_cast<ptrdiff_t>(h) * depth;
    for (int c = 0; c < depth; ++c, value += N) {
      vec x[V];
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) x[j] = load(strip + c * strip_stride + j * kLanes) + last[c];
#pragma GCC unroll 16
      for (int m = 0; m < N; ++m)
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) x[j] += score[m][j] * value[m];
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

static void scatter(int tokens, const ScatterCall& call) {
  MFEDGE_TICKS(1);
  switch (tokens) {
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
    const float *features = call.in[0], *value = call.in[2];
    float* key_columns = arena.floats(static_cast<size_t>(tokens) * channels);
    float* value_columns = arena.floats(static_cast<size_t>(tokens) * channels);
    const Planes last = take_planes(arena, channels, 0, kBlock, 0);
    if (arena.measuring()) return;
    transpose_differences(call.in[1], channels, tokens, channels, kLog2E * scale, key_columns);
    transpose_differences(value, channels, tokens, channels, 1.f, value_columns);
    for (int c = 0; c < channels; ++c)
      __builtin_memcpy(last.plane(c), features + static_cast<ptrdiff_t>(c) * pixels + whole, sizeof(float) * rest);
    const float* last_value = value + static_cast<ptrdiff_t>(tokens - 1) * channels;
    ScatterCall part = {channels, heads, whole, const_cast<float*>(features), pixels, nullptr, 0, call.out[0], pixels,
                        key_columns, value_columns, last_value};  // without a residual the features are not written
    scatter(tokens, part);
    part.pixels = rest, part.strip = last.data, part.strip_stride = last.stride, part.out = call.out[0] + whole;
    scatter(tokens, part);
  }
};

MFEDGE_END_ISA
