// Linear layers on a few tokens, and what stands between them. Included only by kernels_isa.cpp, inside the namespace
// of one instruction set.
//
// These weights are read once an inference and are most of its memory traffic, so they lie packed in the order in which
// they are read, in float32 or float16.
#pragma once

// Rows of tokens are padded to whole cache lines; what is in the padding is never read into a result.
MFEDGE_INLINE int padded(int width) { return round_up(width, 16); }

struct Linear {
  int in, out;
  bool half;
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
#if defined(__AVX512F__) || defined(__aarch64__)
    case 3: return linear_block<R, 3>(layer.in, tokens, stride, weights, bias, out + column, out_stride);
#endif
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
  if (layer.half)
    linear_of<uint16_t>(layer, count, tokens, stride, out, out_stride);
  else
    linear_of<float>(layer, count, tokens, stride, out, out_stride);
}

template <class Element>
static void pack_linear_weights(const Element* weights, int in, int out, Element* packed) {
  for (int column = 0; column < out;) {
    const int width = at_most(round_up(out - column, kLanes), kBlock);
    for (int k = 0; k < in; ++k)
      for (int j = 0; j < width; ++j)
        *packed++ = column + j < out ? weights[static_cast<ptrdiff_t>(column + j) * in + k] : Element{};
    column += width;
  }
}

// Reads the two vectors of weights of an operator, in the order of mfedge_kernels.h.
class WeightReader {
 public:
  WeightReader(const float* weights, const void* matrices, bool half)
      : weights_(weights), matrices_(static_cast<const char*>(matrices)), half_(half) {}

  const float* take(size_t count) {
    const float* at = weights_;
    weights_ += count;
    return at;
  }
  // A vector of its own, zero-padded to whole cache lines.
  const float* vector(Arena& arena, int count) {
    const float* from = take(count);
    float* to = arena.floats(padded(count));
    if (arena.measuring()) return nullptr;
    for (int i = 0; i < padded(count); ++i) to[i] = i < count ? from[i] : 0.f;
    return to;
  }
  // The bias comes from the one vector, the matrix from the other. A tile of four vectors may read behind a bias.
  Linear linear(Arena& arena, int in, int out) {
    const size_t count = static_cast<size_t>(in) * round_up(out, kLanes);
    const char* from = matrices_;
    matrices_ += static_cast<size_t>(in) * out * (half_ ? 2 : 4);
    Linear layer = {in, out, half_, nullptr, vector(arena, out)};
    if (half_) {
      uint16_t* packed = arena.take<uint16_t>(count);
      layer.weights = packed;
      if (!arena.measuring()) pack_linear_weights(reinterpret_cast<const uint16_t*>(from), in, out, packed);
    } else {
      float* packed = arena.floats(count);
      layer.weights = packed;
      if (!arena.measuring()) pack_linear_weights(reinterpret_cast<const float*>(from), in, out, packed);
    }
    return layer;
  }

 private:
  const float* weights_;
  const char* matrices_;
  bool half_;
};

MFEDGE_INLINE void clip(float* x, int count, float low, float high) {
  for (int i = 0; i < count; i += kLanes) store(x + i, minimum(maximum(load(x + i), splat(low)), splat(high)));
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
    store(x + i, v * minimum(maximum(v + 3.f, vec{}), splat(6.f)) * (1.f / 6.f));
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
      if (left < kLanes) {  // the lanes behind the last feature are not features
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
