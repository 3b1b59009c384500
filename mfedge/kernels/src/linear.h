// Linear layers on a few tokens, and the element by element functions and LayerNorms between them.
//
// These weights are read once per inference and are most of its memory traffic, so they lie packed in the order in
// which they are read, in the type in which they came.
#pragma once

#include "../include/mfedge_kernels.h"
#include "memory.h"
#include "simd.h"
#include "tile.h"

MFEDGE_BEGIN_ISA

// Rows of tokens are padded to whole cache lines; nothing in the padding is ever read into a result.
MFEDGE_INLINE int padded(int width) { return round_up(width, 16); }

struct Linear {
  int in, out;
  mfedge_type type;
  const void* weights;  // [block of kTileVectors vectors of outputs][in][outputs of the block]
  const float* bias;    // padded(out)
};

constexpr int kPrefetchBytes = 16384;  // ahead of the weights being read

template <int R, int V, class Element>
static void linear_block(int depth, const float* tokens, ptrdiff_t stride, const Element* weights, const float* bias,
                         float* out, ptrdiff_t out_stride) {
  vec sum[R][V];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < V; ++j) sum[i][j] = load(bias + j * kLanes);
  for (int k = 0; k < depth; ++k, weights += V * kLanes) {
    vec w[V];
#pragma GCC unroll 8
    for (int j = 0; j < V; ++j) {
      w[j] = load(weights + j * kLanes);
      if (j * kVectorBytes % 64 == 0)
        __builtin_prefetch(reinterpret_cast<const char*>(weights + j * kLanes) + kPrefetchBytes);
    }
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const vec x = splat(tokens[i * stride + k]);
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) sum[i][j] += x * w[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < V; ++j) store(out + i * out_stride + j * kLanes, sum[i][j]);
}

template <int R, class Element>
static void linear_rows(const Linear& layer, const float* tokens, ptrdiff_t stride, float* out, ptrdiff_t out_stride) {
  const Element* weights = static_cast<const Element*>(layer.weights);
  int column = 0;
  for (; column + kBlock <= layer.out; column += kBlock, weights += static_cast<ptrdiff_t>(layer.in) * kBlock)
    linear_block<R, kTileVectors>(layer.in, tokens, stride, weights, layer.bias + column, out + column, out_stride);
  const float* bias = layer.bias + column;
  switch (divide_up(layer.out - column, kLanes)) {
    case 0: return;
    case 1: return linear_block<R, 1>(layer.in, tokens, stride, weights, bias, out + column, out_stride);
    case 2: return linear_block<R, 2>(layer.in, tokens, stride, weights, bias, out + column, out_stride);
    case 3:
      if constexpr (kTileVectors > 3)
        return linear_block<R, 3>(layer.in, tokens, stride, weights, bias, out + column, out_stride);
      [[fallthrough]];
    default: return linear_block<R, kTileVectors>(layer.in, tokens, stride, weights, bias, out + column, out_stride);
  }
}

template <class Element>
static void linear_of(const Linear& layer, int count, const float* tokens, ptrdiff_t stride, float* out,
                      ptrdiff_t out_stride) {
  while (count > 0) {
    const int rows = at_most(count, kTileRows);
    switch (rows) {
      case 1: linear_rows<1, Element>(layer, tokens, stride, out, out_stride); break;
      case 2: linear_rows<2, Element>(layer, tokens, stride, out, out_stride); break;
      case 3: linear_rows<3, Element>(layer, tokens, stride, out, out_stride); break;
      case 4: linear_rows<4, Element>(layer, tokens, stride, out, out_stride); break;
      case 5: linear_rows<5, Element>(layer, tokens, stride, out, out_stride); break;
      default: linear_rows<kTileRows, Element>(layer, tokens, stride, out, out_stride);
    }
    count -= rows;
    tokens += rows * stride;
    out += rows * out_stride;
  }
}

// out (count, out) = tokens (count, in) W^T + b
static void linear(const Linear& layer, int count, const float* tokens, ptrdiff_t stride, float* out,
                   ptrdiff_t out_stride) {
  switch (layer.type) {
#define MFEDGE_TYPE(NAME, number, name, bytes, Element) \
  case MFEDGE_##NAME: return linear_of<Element>(layer, count, tokens, stride, out, out_stride);
#include "../tables/types.inc"
  }
}

MFEDGE_INLINE void clip(float* x, int count, float low, float high) {
  for (int i = 0; i < count; i += kLanes) store(x + i, clamp(load(x + i), low, high));
}
MFEDGE_INLINE void multiply_into(float* x, const float* by, int count) {
  for (int i = 0; i < count; i += kLanes) store(x + i, load(x + i) * load(by + i));
}
MFEDGE_INLINE void gelu(float* x, int count) {
  for (int i = 0; i < count; i += kLanes) {
    const vec v = load(x + i);
    store(x + i, 0.5f * v * (1.f + error_function(v * 0.70710678118654752f)));
  }
}
// x * ReLU6(x + 3) / 6
MFEDGE_INLINE void hard_swish(float* x, int count) {
  for (int i = 0; i < count; i += kLanes) {
    const vec v = load(x + i);
    store(x + i, v * clamp(v + 3.f, 0.f, 6.f) * (1.f / 6.f));
  }
}

struct LayerNorm {
  const float* gain;
  const float* bias;
};

// tokens = LayerNorm(tokens + added), each of `width` features; epsilon as PyTorch's.
static void add_layer_norm(float* tokens, const float* added, int count, int width, ptrdiff_t stride,
                           const LayerNorm& norm) {
  for (int m = 0; m < count; ++m) {
    float* z = tokens + m * stride;
    const float* a = added + m * stride;
    vec total = {};
    for (int i = 0; i < width; i += kLanes) {
      const int left = at_most(kLanes, width - i);
      const vec v = load_first(z + i, left) + load_first(a + i, left);
      store_first(z + i, v, left);
      total += v;
    }
    const float mean = add_lanes(total) / static_cast<float>(width);
    vec squares = {};
    for (int i = 0; i < width; i += kLanes) {
      const int left = at_most(kLanes, width - i);
      vec v = load_first(z + i, left) - mean;
      if (left < kLanes) {  // the lanes after the last feature are not features
        vec only = {};
        __builtin_memcpy(&only, &v, static_cast<size_t>(left) * sizeof(float));
        v = only;
      }
      squares += v * v;
    }
    const float scale = 1.f / __builtin_sqrtf(add_lanes(squares) / static_cast<float>(width) + 1e-5f);
    for (int i = 0; i < width; i += kLanes) {
      const int left = at_most(kLanes, width - i);
      const vec v = (load_first(z + i, left) - mean) * scale;
      store_first(z + i, v * load(norm.gain + i) + load(norm.bias + i), left);
    }
  }
}

MFEDGE_END_ISA
