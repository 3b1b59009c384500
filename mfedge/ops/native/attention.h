// The two directions of the bridge, and Former's self-attention. Included only by kernels_isa.cpp, inside the
// namespace of one instruction set.
#pragma once

constexpr int kMaxTokens = 16;
constexpr float kLowest = -3.402823466e38f;

// Rows (M, depth) as [depth][M], the order of a tile's weights.
static void transpose_rows(const float* rows, ptrdiff_t stride, int count, int depth, float scale, float* out) {
  for (int k = 0; k < depth; ++k)
    for (int m = 0; m < count; ++m) *out++ = scale * rows[m * stride + k];
}

// Mobile->Former for up to six tokens: softmax over the pixels of one head, block by block. The scores of a block stay in
// registers until its features have been added up.
template <int M>
struct Gather {
  const float* features;
  ptrdiff_t stride;    // from channel to channel
  int depth;           // channels
  const float* query;  // [depth][M], times log2 e
  float* weighted;     // [depth][M], lane by lane: sum over pixels of 2^(score - top) features
  float top[M];        // in units of log 2: the highest score up to kSlack
  vec sums[M];         // lane by lane: sum over pixels of 2^(score - top)

  static constexpr float kSlack = 16.f;  // how far a score may exceed `top` before everything is corrected
  static constexpr int kTotals = 32;     // channels whose lanes are added up at once
  static_assert(M <= kTileRows, "scores of one tile");

  void run(int pixels) {
    for (int i = 0; i < depth * M; ++i) store(weighted + i * kLanes, vec{});
    for (int m = 0; m < M; ++m) top[m] = 0.f, sums[m] = vec{};
    int pixel = 0;
    for (; pixel + kBlock <= pixels; pixel += kBlock) add<kTileVectors, true>(pixel, kBlock);
    const int rest = pixels - pixel;
    switch (divide_up(rest, kLanes)) {
      case 0: return;
      case 1: return add<1, false>(pixel, rest);
#if defined(__AVX512F__) || defined(__aarch64__)
      case 2: return add<2, false>(pixel, rest);
      case 3: return add<3, false>(pixel, rest);
#endif
      default: return add<kTileVectors, false>(pixel, rest);
    }
  }

  // Adds a block of V vectors; unless kWhole, the last of them is incomplete: only `count` pixels of the block exist.
  template <int V, bool kWhole>
  void add(int pixel, int count) {
    const float* map = features + pixel;
    const int rest = count - (V - 1) * kLanes;  // pixels of the last vector
    const auto pixels = [&](int c, int j) MFEDGE_LAMBDA {
      const float* p = map + c * stride + j * kLanes;
      return kWhole || j + 1 < V ? load(p) : load_first(p, rest);
    };
    vec score[M][V];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) score[m][j] = splat(-top[m]);
    for (int c = 0; c < depth; ++c) {
      vec x[V];
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) {
        x[j] = pixels(c, j);
        __builtin_prefetch(map + c * stride + (V + j) * kLanes);  // of the next block
      }
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) score[m][j] += x[j] * query[c * M + m];
    }
    vec highest[M];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      if (!kWhole) score[m][V - 1] = first_or(score[m][V - 1], rest, kLowest);
      highest[m] = score[m][0];
#pragma GCC unroll 8
      for (int j = 1; j < V; ++j) highest[m] = maximum(highest[m], score[m][j]);
    }
    vec most = highest[0];
#pragma GCC unroll 8
    for (int m = 1; m < M; ++m) most = maximum(most, highest[m]);
    if (pixel == 0 || any_above(most, kSlack)) {
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        const float rise = max_lanes(highest[m]);
        if (pixel > 0) {
          if (rise <= 0.f) continue;
          correct(m, exponential2(splat(-rise)));
        }
        top[m] += rise;
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) score[m][j] -= rise;
      }
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) sums[m] += score[m][j] = exponential2(score[m][j]);
    for (int c = 0; c < depth; ++c) {
      vec x[V];
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) x[j] = pixels(c, j);
      float* to = weighted + static_cast<ptrdiff_t>(c) * M * kLanes;
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        vec sum = load(to + m * kLanes);
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) sum += x[j] * score[m][j];
        store(to + m * kLanes, sum);
      }
    }
  }

  // What was added up so far, to a higher `top`.
  void correct(int m, vec correction) {
    sums[m] *= correction;
    for (int c = 0; c < depth; ++c) {
      float* at = weighted + (static_cast<ptrdiff_t>(c) * M + m) * kLanes;
      store(at, load(at) * correction);
    }
  }

  void finish(float* out, ptrdiff_t out_stride) const {
    float scale[M], totals[kTotals * M];
    for (int m = 0; m < M; ++m) scale[m] = 1.f / add_lanes(sums[m]);
    for (int first = 0; first < depth; first += kTotals) {
      const int n = at_most(kTotals, depth - first);
      add_lanes_of(weighted + static_cast<ptrdiff_t>(first) * M * kLanes, n * M, totals);
      for (int m = 0; m < M; ++m)
        for (int i = 0; i < n; ++i) out[m * out_stride + first + i] = scale[m] * totals[i * M + m];
    }
  }
};

// Floats of scratch.
static size_t gather_scratch(int channels) { return static_cast<size_t>(channels) * kTileRows * (kLanes + 1); }

template <int M>
static void gather_tokens(const float* features, int pixels, int channels, int heads, const float* query,
                          ptrdiff_t query_stride, float* out, ptrdiff_t out_stride, float* scratch) {
  const int depth = channels / heads;
  float* columns = scratch + static_cast<ptrdiff_t>(depth) * M * kLanes;
  for (int c = 0; c < channels; c += depth) {
    transpose_rows(query + c, query_stride, M, depth, kLog2E, columns);
    Gather<M> head = {features + static_cast<ptrdiff_t>(c) * pixels, pixels, depth, columns, scratch, {}, {}};
    head.run(pixels);
    head.finish(out + c, out_stride);
  }
}

// out (M, C) = softmax over pixels (query . features) features, any number of tokens in groups of up to six.
static void gather(const float* features, int pixels, int channels, int heads, int tokens, const float* query,
                   ptrdiff_t query_stride, float* out, ptrdiff_t out_stride, float* scratch) {
  MFEDGE_TICKS(0);
  for (int m = 0; m < tokens; m += kTileRows) {
    const float* q = query + m * query_stride;
    float* o = out + m * out_stride;
    switch (at_most(tokens - m, kTileRows)) {
      case 1: gather_tokens<1>(features, pixels, channels, heads, q, query_stride, o, out_stride, scratch); break;
      case 2: gather_tokens<2>(features, pixels, channels, heads, q, query_stride, o, out_stride, scratch); break;
      case 3: gather_tokens<3>(features, pixels, channels, heads, q, query_stride, o, out_stride, scratch); break;
      case 4: gather_tokens<4>(features, pixels, channels, heads, q, query_stride, o, out_stride, scratch); break;
      case 5: gather_tokens<5>(features, pixels, channels, heads, q, query_stride, o, out_stride, scratch); break;
      default: gather_tokens<6>(features, pixels, channels, heads, q, query_stride, o, out_stride, scratch);
    }
  }
}

// Mobile<-Former over a strip of planes.
struct ScatterCall {
  int channels, heads, pixels;
  float* strip;  // readable and writable to whole blocks of pixels; written where there is a residual
  ptrdiff_t strip_stride;
  const float* residual;  // added to the strip first; nullptr: nothing. Read up to `pixels` only.
  ptrdiff_t residual_stride;
  float* out;  // written up to `pixels` only
  ptrdiff_t out_stride;
  const float* key;    // [C][M], times log2 e
  const float* value;  // [C][M]
};

// One block of V vectors; unless kWhole, the last of them is incomplete: only `count` pixels of the block exist.
template <int M, int V, bool kWhole>
static void scatter_block(const ScatterCall& call, int pixel, int count) {
  const int depth = call.channels / call.heads;
  for (int h = 0; h < call.heads; ++h) {
    float* strip = call.strip + h * depth * call.strip_stride + pixel;
    const float* residual = call.residual ? call.residual + h * depth * call.residual_stride + pixel : nullptr;
    const float* key = call.key + static_cast<ptrdiff_t>(h) * depth * M;
    vec score[M][V] = {};
    for (int c = 0; c < depth; ++c, key += M) {
      float* row = strip + c * call.strip_stride;
      vec x[V];
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) {
        x[j] = load(row + j * kLanes);
        __builtin_prefetch(call.out + (h * depth + c) * call.out_stride + pixel + j * kLanes, 1);
      }
      if (residual) {
        const float* r = residual + c * call.residual_stride;
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
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) score[m][j] += x[j] * key[m];
    }
#pragma GCC unroll 8
    for (int j = 0; j < V; ++j) {
      vec highest = score[0][j], sum = {};
#pragma GCC unroll 16
      for (int m = 1; m < M; ++m) highest = maximum(highest, score[m][j]);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) sum += score[m][j] = exponential2(score[m][j] - highest);
      sum = reciprocal(sum);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) score[m][j] *= sum;
    }
    const float* value = call.value + static_cast<ptrdiff_t>(h) * depth * M;
    float* out = call.out + h * depth * call.out_stride + pixel;
    for (int c = 0; c < depth; ++c, value += M) {
      vec x[V];
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) x[j] = load(strip + c * call.strip_stride + j * kLanes);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) x[j] += score[m][j] * value[m];
      float* o = out + c * call.out_stride;
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
  for (; pixel + V * kLanes <= call.pixels; pixel += V * kLanes) scatter_block<M, V, true>(call, pixel, V * kLanes);
  const int rest = call.pixels - pixel;
  switch (divide_up(rest, kLanes)) {
    case 0: return;
    case 1: return scatter_block<M, 1, false>(call, pixel, rest);
    case 2: return scatter_block<M, V < 2 ? V : 2, false>(call, pixel, rest);
    case 3: return scatter_block<M, V < 3 ? V : 3, false>(call, pixel, rest);
    default: return scatter_block<M, V, false>(call, pixel, rest);
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

// Former: out[m] = softmax over j (query[m] . tokens[j]) tokens[j], head by head; the scale is in the query.
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
      for (int j = 0; j < count; ++j) sum += score[j] = exponential2(splat(kLog2E * (score[j] - top)))[0];
      float* o = out + m * stride + h * depth;
      for (int d = 0; d < depth; d += kLanes) {
        const int left = at_most(kLanes, depth - d);
        vec total = {};
        for (int j = 0; j < count; ++j) total += (score[j] / sum) * load_first(tokens + j * stride + h * depth + d, left);
        store_first(o + d, total, left);
      }
    }
}
