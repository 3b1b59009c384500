// Mobile->Former, the direction of the bridge from pixels to tokens: softmax over pixels.
#pragma once

#include "implementation.h"
#include "memory.h"
#include "simd.h"
#include "ticks.h"
#include "tile.h"
#include "weights.h"

MFEDGE_BEGIN_ISA

// Rows (M, depth) as [depth][M], the order of a tile's weights.
static void transpose_rows(const float* rows, ptrdiff_t stride, int count, int depth, float scale, float* out) {
  for (int k = 0; k < depth; ++k)
    for (int m = 0; m < count; ++m) *out++ = scale * rows[m * stride + k];
}

// The attention over the pixels added so far, for one head and up to six tokens (M).
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

  // The most that a block may add to a lane of `sums`: for more, `top` is raised and everything corrected.
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
      case 2:
        if constexpr (kTileVectors > 2) return add_block<2, false>(pixel, rest, first);
        [[fallthrough]];
      case 3:
        if constexpr (kTileVectors > 3) return add_block<3, false>(pixel, rest, first);
        [[fallthrough]];
      default: return add_block<kTileVectors, false>(pixel, rest, first);
    }
  }

 private:
  // A block of V vectors; unless kWhole, the last of them is incomplete: only `count` pixels of the block exist. The
  // first block of a map sets `top`.
  template <int V, bool kWhole>
  MFEDGE_NOINLINE void add_block(int pixel, int count, bool first) const {
    const GatherState at = state;  // a local copy: the compiler then knows that stores to the map cannot alias it
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

  // Corrects the sums so far to the highest scores of a block, where they are higher than `top`. This is rare.
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

// Mobile->Former: attended (M, C) = softmax over pixels (query . features) features, of a map that arrives in strips.
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

  // Calls f(first channel, first token, tokens, their state) for every head, and in it for up to six tokens at a time.
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

// MFEDGE_MOBILE_TO_FORMER: features (C, H, W), query (M, C) -> (M, C); the scale goes into the query.
struct MobileToFormer {
  int heads;
  float scale;

  static MobileToFormer read(WeightReader&, Arena&, const mfedge_config& c) { return {c.heads, c.scale}; }

  void run(Arena& arena, const Call& call) const {
    const int channels = call.size(0, 1), pixels = call.size(0, 2) * call.size(0, 3), tokens = call.size(1, 1);
    float* query = arena.floats(static_cast<size_t>(tokens) * channels);
    Gather gather = Gather::take(arena, channels, heads, tokens);
    if (arena.measuring()) return;
    for (int i = 0; i < tokens * channels; ++i) query[i] = scale * call.in[1][i];
    gather.start(query, channels);
    gather.add(call.in[0], pixels, pixels);
    gather.finish(call.out[0]);
  }
};

MFEDGE_END_ISA
