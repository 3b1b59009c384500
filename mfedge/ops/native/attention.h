// The two directions of the bridge, and Former's self-attention. Included only by kernels_isa.cpp, inside the
// namespace of one instruction set.
#pragma once

constexpr int kMaxTokens = 16;
constexpr int kGatherVectors = 16;  // whose scores are held at once: 6 tokens x 256 pixels are 6 KiB
constexpr float kLowest = -3.402823466e38f;

// Rows (M, depth) as [depth][M], the order of a tile's weights.
static void transpose_rows(const float* rows, ptrdiff_t stride, int count, int depth, float scale, float* out) {
  for (int k = 0; k < depth; ++k)
    for (int m = 0; m < count; ++m) *out++ = scale * rows[m * stride + k];
}

// weighted[c][m] += sum over pixels of attention[m] features[c], lane by lane.
template <int C, int M>
static void gather_channels(int vectors, const float* features, ptrdiff_t stride, const float* attention, float* weighted) {
  vec sum[C][M];
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c)
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) sum[c][m] = load(weighted + (c * M + m) * kLanes);
  for (int v = 0; v < vectors; ++v) {
    vec x[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) x[c] = load(features + c * stride + v * kLanes);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const vec a = load(attention + (m * kGatherVectors + v) * kLanes);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sum[c][m] += x[c] * a;
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < C; ++c)
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) store(weighted + (c * M + m) * kLanes, sum[c][m]);
}

// Mobile->Former for up to six tokens: softmax over pixels tile by tile, corrected whenever a maximum rises.
template <int M>
class Gather {
  static constexpr int kChannels = kTileVectors == 4 ? 4 : 2;  // M * kChannels accumulators

 public:
  // Floats of scratch.
  static size_t scratch(int channels) {
    return static_cast<size_t>(M) * kGatherVectors * kLanes + static_cast<size_t>(channels) * M * (kLanes + 1) +
           static_cast<size_t>(channels) * kGatherVectors * kLanes + 4 * kMaxTokens;
  }

  static void run(const float* features, int pixels, int channels, int heads, const float* query, ptrdiff_t query_stride,
                  float* out, ptrdiff_t out_stride, float* scratch) {
    const int depth = channels / heads;
    constexpr int kTile = kGatherVectors * kLanes;
    float* scores = scratch;
    float* weighted = scores + M * kTile;
    float* packed = weighted + static_cast<ptrdiff_t>(channels) * M * kLanes;
    float* tail = packed + static_cast<ptrdiff_t>(channels) * M;
    for (ptrdiff_t i = 0; i < static_cast<ptrdiff_t>(channels) * M * kLanes; ++i) weighted[i] = 0.f;
    float top[64][M];
    vec sums[64][M];
    for (int h = 0; h < heads; ++h) {
      transpose_rows(query + h * depth, query_stride, M, depth, kLog2E, packed + static_cast<ptrdiff_t>(h) * depth * M);
      for (int m = 0; m < M; ++m) top[h][m] = kLowest, sums[h][m] = vec{};
    }
    for (int start = 0; start < pixels; start += kTile) {
      const int count = at_most(pixels - start, kTile);
      const int vectors = divide_up(count, kLanes);
      const float* map = features + start;
      ptrdiff_t stride = pixels;
      if (start + vectors * kLanes > pixels) {  // the last, incomplete tile: nothing behind the map is read
        for (int c = 0; c < channels; ++c) {
          const float* row = map + c * stride;
          float* copy = tail + static_cast<ptrdiff_t>(c) * kTile;
          for (int v = 0; v < vectors; ++v)
            store(copy + v * kLanes, (v + 1) * kLanes <= count ? load(row + v * kLanes)
                                                                : load_first(row + v * kLanes, count - v * kLanes));
        }
        map = tail;
        stride = kTile;
      }
      for (int h = 0; h < heads; ++h) {
        const float* head = map + h * depth * stride;
        step(head, stride, depth, count, vectors, packed + static_cast<ptrdiff_t>(h) * depth * M, scores, top[h], sums[h],
             weighted + static_cast<ptrdiff_t>(h) * depth * M * kLanes);
      }
    }
    for (int h = 0; h < heads; ++h)
      for (int m = 0; m < M; ++m) {
        const float scale = 1.f / add_lanes(sums[h][m]);
        for (int c = h * depth; c < (h + 1) * depth; ++c)
          out[m * out_stride + c] = scale * add_lanes(load(weighted + (static_cast<ptrdiff_t>(c) * M + m) * kLanes));
      }
  }

 private:
  static void step(const float* head, ptrdiff_t stride, int depth, int count, int vectors, const float* query,
                   float* scores, float* top, vec* sums, float* weighted) {
    constexpr int kTile = kGatherVectors * kLanes;
    static const float zero[M] = {};
    const int blocks = divide_up(vectors, kTileVectors);
    for (int b = 0; b < blocks; ++b) {
      const int v = vectors * b / blocks, width = vectors * (b + 1) / blocks - v;
      TileCall<Strided> call = {depth, query, {head + v * kLanes, stride}, {}, scores + v * kLanes, kTile};
      call.epilogue.bias = zero;
      run_any_tile(M, width, call);
    }
    if (count < vectors * kLanes)
      for (int m = 0; m < M; ++m)
        for (int i = count; i < vectors * kLanes; ++i) scores[m * kTile + i] = kLowest;
    vec highest[M];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) highest[m] = load(scores + m * kTile);
    for (int v = 1; v < vectors; ++v)
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) highest[m] = maximum(highest[m], load(scores + m * kTile + v * kLanes));
    for (int m = 0; m < M; ++m) {
      const float peak = max_lanes(highest[m]);
      if (peak > top[m]) correct(m, depth, exponential2(splat(top[m] - peak)), sums, weighted);
      top[m] = peak > top[m] ? peak : top[m];
    }
    for (int m = 0; m < M; ++m) {
      float* row = scores + m * kTile;
      const vec shift = splat(top[m]);
      vec sum = sums[m];
      for (int v = 0; v < vectors; ++v) {
        const vec e = exponential2(load(row + v * kLanes) - shift);
        sum += e;
        store(row + v * kLanes, e);
      }
      sums[m] = sum;
    }
    const int groups = divide_up(depth, kChannels);
    for (int g = 0; g < groups; ++g) {
      const int c = depth * g / groups, count = depth * (g + 1) / groups - c;  // as even as possible
      const float* from = head + c * stride;
      float* to = weighted + c * M * kLanes;
      switch (count) {
        case 1: gather_channels<1, M>(vectors, from, stride, scores, to); break;
        case 2: gather_channels<2, M>(vectors, from, stride, scores, to); break;
        case 3: gather_channels<3, M>(vectors, from, stride, scores, to); break;
        default: gather_channels<4, M>(vectors, from, stride, scores, to);
      }
    }
  }

  // What was gathered so far, to a new maximum. Before the first tile it is 0, and so is the correction.
  static void correct(int m, int depth, vec correction, vec* sums, float* weighted) {
    sums[m] *= correction;
    for (int c = 0; c < depth; ++c) {
      float* at = weighted + (c * M + m) * kLanes;
      store(at, load(at) * correction);
    }
  }
};

static size_t gather_scratch(int channels) { return Gather<6>::scratch(channels); }

// out (M, C) = softmax over pixels (query . features) features, any number of tokens in groups of up to six.
static void gather(const float* features, int pixels, int channels, int heads, int tokens, const float* query,
                   ptrdiff_t query_stride, float* out, ptrdiff_t out_stride, float* scratch) {
  for (int m = 0; m < tokens;) {
    const float* q = query + m * query_stride;
    float* o = out + m * out_stride;
    switch (at_most(tokens - m, 6)) {
      case 1: Gather<1>::run(features, pixels, channels, heads, q, query_stride, o, out_stride, scratch); m += 1; break;
      case 2: Gather<2>::run(features, pixels, channels, heads, q, query_stride, o, out_stride, scratch); m += 2; break;
      case 3: Gather<3>::run(features, pixels, channels, heads, q, query_stride, o, out_stride, scratch); m += 3; break;
      case 4: Gather<4>::run(features, pixels, channels, heads, q, query_stride, o, out_stride, scratch); m += 4; break;
      case 5: Gather<5>::run(features, pixels, channels, heads, q, query_stride, o, out_stride, scratch); m += 5; break;
      default: Gather<6>::run(features, pixels, channels, heads, q, query_stride, o, out_stride, scratch); m += 6;
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

// One block of V vectors; unless kWhole, only `count` pixels of it exist.
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
      for (int j = 0; j < V; ++j) x[j] = load(row + j * kLanes);
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
      sum = 1.f / sum;
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
  if (pixel < call.pixels) scatter_block<M, V, false>(call, pixel, call.pixels - pixel);
}

static void scatter(int tokens, const ScatterCall& call) {
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
