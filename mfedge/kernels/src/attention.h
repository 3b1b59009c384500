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

// What Mobile->Former has seen of a map so far, for one head and up to six tokens (M).
struct GatherState {
  int depth;        // channels of the head
  float* query;     // [depth][M], times log2 e
  float* weighted;  // [depth][M], lane by lane: sum over pixels of 2^(score - top) features
  float* sums;      // [M], lane by lane: sum over pixels of 2^(score - top)
  float* top;       // [M], in units of log 2: about the highest score
};

// Adds a strip to it, block by block. The scores of a block stay in registers until its features have been added up.
template <int M>
struct GatherStrip {
  const float* features;
  ptrdiff_t stride;  // from channel to channel
  GatherState state;

  // What a block may add to a lane of `sums`; for more, `top` is raised and everything corrected.
  static constexpr float kMost = 65536.f;
  static_assert(M <= kTileRows, "scores of one tile");

  void add(int pixels, bool first) const {
    int pixel = 0;
    for (; pixel + kBlock <= pixels; pixel += kBlock, first = false)
      add_block<kTileVectors, true>(pixel, kBlock, first);
    const int rest = pixels - pixel;
    switch (divide_up(rest, kLanes)) {
      case 0: return;
      case 1: return add_block<1, false>(pixel, rest, first);
#if defined(__AVX512F__) || defined(__aarch64__)
      case 2: return add_block<2, false>(pixel, rest, first);
      case 3: return add_block<3, false>(pixel, rest, first);
#endif
      default: return add_block<kTileVectors, false>(pixel, rest, first);
    }
  }

 private:
  // A block of V vectors; unless kWhole, the last of them is incomplete: only `count` pixels of the block exist. The
  // first block of a map sets `top`.
  template <int V, bool kWhole>
  MFEDGE_NOINLINE void add_block(int pixel, int count, bool first) const {
    const GatherState at = state;  // here, where no store can change it
    const ptrdiff_t step = stride;
    const float* map = features + pixel;
    const int rest = count - (V - 1) * kLanes;  // pixels of the last vector
    const auto pixels = [&](int c, int j) MFEDGE_LAMBDA {
      const float* p = map + c * step + j * kLanes;
      return kWhole || j + 1 < V ? load(p) : load_first(p, rest);
    };
    vec score[M][V];
    for (bool raised = false;; raised = true) {
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) score[m][j] = splat(-at.top[m]);
      for (int c = 0; c < at.depth; ++c) {
        vec x[V];
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) {
          x[j] = pixels(c, j);
          __builtin_prefetch(map + c * step + (V + j) * kLanes);  // of the next block
        }
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m)
#pragma GCC unroll 8
          for (int j = 0; j < V; ++j) score[m][j] += x[j] * at.query[c * M + m];
      }
      vec most = {};
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        if (!kWhole) score[m][V - 1] = first_or(score[m][V - 1], rest, kLowest);
        if (first) {
          vec highest = score[m][0];
#pragma GCC unroll 8
          for (int j = 1; j < V; ++j) highest = maximum(highest, score[m][j]);
          at.top[m] = max_lanes(highest);
#pragma GCC unroll 8
          for (int j = 0; j < V; ++j) score[m][j] -= at.top[m];
        }
        exponential2(score[m]);
        most = maximum(most, total(score[m]));
      }
      if (raised || !any_above(most, kMost)) break;
      raise(pixel, count);
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) store(at.sums + m * kLanes, load(at.sums + m * kLanes) + total(score[m]));
    for (int c = 0; c < at.depth; ++c) {
      vec x[V];
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) x[j] = pixels(c, j);
      float* to = at.weighted + static_cast<ptrdiff_t>(c) * M * kLanes;
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m) {
        vec weighted = load(to + m * kLanes);
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) weighted += x[j] * score[m][j];
        store(to + m * kLanes, weighted);
      }
    }
  }

  template <int V>
  MFEDGE_MEMBER static vec total(const vec (&of)[V]) {
    vec sum = of[0];
#pragma GCC unroll 8
    for (int j = 1; j < V; ++j) sum += of[j];
    return sum;
  }

  // Corrects what was added up so far to the highest scores of a block, where they are higher than `top`. Rare.
  __attribute__((noinline)) void raise(int pixel, int count) const {
    for (int m = 0; m < M; ++m) {
      float rise = 0.f;
      for (int start = 0; start < count; start += kLanes) {
        const int n = at_most(kLanes, count - start);
        vec score = splat(-state.top[m]);
        for (int c = 0; c < state.depth; ++c)
          score += load_first(features + c * stride + pixel + start, n) * state.query[c * M + m];
        const float highest = max_lanes(first_or(score, n, 0.f));
        rise = highest > rise ? highest : rise;
      }
      const vec correction = exponential2(splat(-rise));
      state.top[m] += rise;
      store(state.sums + m * kLanes, load(state.sums + m * kLanes) * correction);
      for (int c = 0; c < state.depth; ++c) {
        float* at = state.weighted + (static_cast<ptrdiff_t>(c) * M + m) * kLanes;
        store(at, load(at) * correction);
      }
    }
  }
};

// Mobile->Former: attended (M, C) = softmax over pixels (query . features) features, of a map that comes in strips.
class Gather {
 public:
  static Gather take(Arena& arena, int channels, int heads, int tokens) {
    const size_t both = static_cast<size_t>(channels) * tokens, scores = static_cast<size_t>(heads) * tokens;
    Gather made = {};
    made.channels_ = channels, made.depth_ = channels / heads, made.tokens_ = tokens;
    made.query_ = arena.floats(both);
    made.weighted_ = arena.floats(both * kLanes);
    made.sums_ = arena.floats(scores * kLanes);
    made.top_ = arena.floats(scores);
    return made;
  }

  // query (M, C), its rows this far apart
  void start(const float* query, ptrdiff_t query_stride) {
    first_ = true;
    each([&](int c, int m, int count, const GatherState& state) {
      transpose_rows(query + m * query_stride + c, query_stride, count, depth_, kLog2E, state.query);
      for (int i = 0; i < depth_ * count; ++i) store(state.weighted + i * kLanes, vec{});
      for (int i = 0; i < count; ++i) state.top[i] = 0.f, store(state.sums + i * kLanes, vec{});
    });
  }

  void add(const float* features, ptrdiff_t stride, int pixels) {
    MFEDGE_TICKS(0);
    if (pixels == 0) return;
    each([&](int c, int, int count, const GatherState& state) {
      const float* of_head = features + c * stride;
      switch (count) {
        case 1: return GatherStrip<1>{of_head, stride, state}.add(pixels, first_);
        case 2: return GatherStrip<2>{of_head, stride, state}.add(pixels, first_);
        case 3: return GatherStrip<3>{of_head, stride, state}.add(pixels, first_);
        case 4: return GatherStrip<4>{of_head, stride, state}.add(pixels, first_);
        case 5: return GatherStrip<5>{of_head, stride, state}.add(pixels, first_);
        default: return GatherStrip<kTileRows>{of_head, stride, state}.add(pixels, first_);
      }
    });
    first_ = false;
  }

  // attended (M, C), dense
  void finish(float* attended) const {
    MFEDGE_TICKS(0);
    each([&](int c, int m, int count, const GatherState& state) {
      float scale[kTileRows], totals[kTotals * kTileRows];
      for (int i = 0; i < count; ++i) scale[i] = 1.f / add_lanes(load(state.sums + i * kLanes));
      for (int first = 0; first < depth_; first += kTotals) {
        const int n = at_most(kTotals, depth_ - first);
        add_lanes_of(state.weighted + static_cast<ptrdiff_t>(first) * count * kLanes, n * count, totals);
        for (int i = 0; i < count; ++i)
          for (int k = 0; k < n; ++k)
            attended[static_cast<ptrdiff_t>(m + i) * channels_ + c + first + k] = scale[i] * totals[k * count + i];
      }
    });
  }

 private:
  static constexpr int kTotals = 32;  // channels whose lanes are added up at once

  // Head by head, and in it by up to six tokens: f(first channel, first token, tokens, what is kept of them).
  template <class Function>
  void each(Function f) const {
    ptrdiff_t at = 0, score = 0;
    for (int c = 0; c < channels_; c += depth_)
      for (int m = 0; m < tokens_; m += kTileRows) {
        const int count = at_most(kTileRows, tokens_ - m);
        f(c, m, count,
          GatherState{depth_, query_ + at, weighted_ + at * kLanes, sums_ + score * kLanes, top_ + score});
        at += depth_ * count, score += count;
      }
  }

  int channels_, depth_, tokens_;
  float *query_, *weighted_, *sums_, *top_;  // see GatherState
  bool first_;  // strip
};

// Mobile<-Former over a strip of planes: x + softmax(key . x) value. A softmax is one of differences as well: to the last
// token there is no product, exponential or weight of its own. What is left of 1 is its weight,
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

// One block of V vectors, N tokens beside the last; unless kWhole, the last vector is incomplete: only `count` pixels of
// the block exist.
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
