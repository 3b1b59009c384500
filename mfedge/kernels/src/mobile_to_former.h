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

// query . pixel of up to a vector of pixels, its other lanes 0. `query` is [depth], `step` apart.
MFEDGE_INLINE vec score_of(const float* pixels, ptrdiff_t stride, int count, int depth, const float* query, int step) {
  vec score = {};
  for (int c = 0; c < depth; ++c) score += load_first(pixels + c * stride, count) * query[c * step];
  return score;
}

// The attention over the pixels added so far, for one head and up to six tokens (M). A score is query . pixel, added up
// from 0, always in the same order, so that equal pixels have equal scores, and none is above the highest.
struct GatherState {
  int depth;        // channels of the head
  float* query;     // [depth][M], times log2 e
  float* weighted;  // [depth][M], lane by lane: sum over pixels of 2^(score - top) features
  float* sums;      // [M], lane by lane: sum over pixels of 2^(score - top)
  float* top;       // [M], in units of log 2: about the highest score
  double* totals;   // [depth + 1][M]: what has been taken out of `weighted` and `sums`
};

// Adds a strip to it, block by block. The scores of a block stay in registers until its features have been added up.
template <int M>
struct GatherStrip {
  const float* features;
  ptrdiff_t stride;  // from channel to channel
  GatherState state;

  // The most that a block may add to a lane of `sums`, over all tokens: for more, `top` is raised and everything
  // corrected.
  static constexpr float kMost = 65536.f;
  static_assert(M <= kTileRows, "scores of one tile");

  void add(int pixels) const {
    int pixel = 0;
    for (; pixel + kBlock <= pixels; pixel += kBlock) add_block<kTileVectors, true>(pixel, kBlock);
    const int rest = pixels - pixel;
    switch (divide_up(rest, kLanes)) {
      case 0: return;
      case 1: return add_block<1, false>(pixel, rest);
      case 2:
        if constexpr (kTileVectors > 2) return add_block<2, false>(pixel, rest);
        [[fallthrough]];
      case 3:
        if constexpr (kTileVectors > 3) return add_block<3, false>(pixel, rest);
        [[fallthrough]];
      default: return add_block<kTileVectors, false>(pixel, rest);
    }
  }

 private:
  // A block of V vectors; unless kWhole, the last of them is incomplete: only `count` pixels of the block exist.
  template <int V, bool kWhole>
  MFEDGE_NOINLINE void add_block(int pixel, int count) const {
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
        for (int j = 0; j < V; ++j) score[m][j] = vec{};
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
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) score[m][j] -= at.top[m];
        if (!kWhole) score[m][V - 1] = first_or(score[m][V - 1], rest, kLowest);
        exponential2(score[m]);
        most += total(score[m]);
      }
      if (raised || !any_beyond(most, kMost)) break;
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

  // Raises `top` to the highest scores of a block where they are higher, and corrects everything so far. The first block
  // of a map finds kLowest there, and nothing to correct; later blocks rarely come here.
  MFEDGE_NOINLINE void raise(int pixel, int count) const {
    for (int m = 0; m < M; ++m) {
      const float before = state.top[m];
      float highest = before;
      for (int start = 0; start < count; start += kLanes) {
        const int n = at_most(kLanes, count - start);
        const vec score = score_of(features + pixel + start, stride, n, state.depth, state.query + m, M);
        const float of_vector = max_lanes(first_or(score, n, kLowest));
        highest = of_vector > highest ? of_vector : highest;
      }
      state.top[m] = highest;
      if (before == kLowest || highest == before) continue;
      const vec correction = exponential2(splat(before - highest));
      store(state.sums + m * kLanes, load(state.sums + m * kLanes) * correction);
      for (int c = 0; c < state.depth; ++c) {
        float* at = state.weighted + (static_cast<ptrdiff_t>(c) * M + m) * kLanes;
        store(at, load(at) * correction);
      }
      for (int c = 0; c <= state.depth; ++c) state.totals[c * M + m] *= static_cast<double>(correction[0]);
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
    made.totals_ = arena.take<double>(both + scores);
    return made;
  }

  // query (M, C), its rows this far apart
  void start(const float* query, ptrdiff_t query_stride) {
    pixels_ = 0;
    each([&](int c, int m, int count, const GatherState& state) {
      transpose_rows(query + m * query_stride + c, query_stride, count, depth_, kLog2E, state.query);
      for (int i = 0; i < depth_ * count; ++i) store(state.weighted + i * kLanes, vec{});
      for (int i = 0; i < count; ++i) state.top[i] = kLowest, store(state.sums + i * kLanes, vec{});
      for (int i = 0; i < (depth_ + 1) * count; ++i) state.totals[i] = 0.;
    });
  }

  void add(const float* features, ptrdiff_t stride, int pixels) {
    MFEDGE_TICKS(0);
    while (pixels > 0) {
      const int part = at_most(pixels, kApart);
      each([&](int c, int, int count, const GatherState& state) {
        const float* of_head = features + c * stride;
        switch (count) {
          case 1: return GatherStrip<1>{of_head, stride, state}.add(part);
          case 2: return GatherStrip<2>{of_head, stride, state}.add(part);
          case 3: return GatherStrip<3>{of_head, stride, state}.add(part);
          case 4: return GatherStrip<4>{of_head, stride, state}.add(part);
          case 5: return GatherStrip<5>{of_head, stride, state}.add(part);
          default: return GatherStrip<kTileRows>{of_head, stride, state}.add(part);
        }
      });
      features += part, pixels -= part;
      if ((pixels_ += part) >= kApart) add_up();
    }
  }

  // attended (M, C), dense; from the whole map once more where the sums cannot tell.
  void finish(const float* map, ptrdiff_t stride, int pixels, float* attended) {
    MFEDGE_TICKS(0);
    add_up();
    each([&](int c, int m, int count, const GatherState& state) {
      for (int i = 0; i < count; ++i) {
        float* to = attended + static_cast<ptrdiff_t>(m + i) * channels_ + c;
        const double sum = state.totals[depth_ * count + i];
        bool finite = sum - sum == 0.;
        for (int k = 0; k < depth_; ++k) {
          const double mean = state.totals[k * count + i] / sum;
          finite &= mean - mean == 0.;
          to[k] = static_cast<float>(mean);
        }
        if (!finite) attend_plainly(map + c * stride, stride, pixels, state.query + i, state.totals + i, count, to);
      }
    });
  }

 private:
  // Pixels that are added up in float32, lane by lane. Over 2^26 of them the roundings would add up as well.
  static constexpr int kApart = 4096;
  static constexpr int kTotals = 32;  // channels whose lanes are added up at once

  // Takes the sums over lanes out of `weighted` and `sums`.
  void add_up() {
    pixels_ = 0;
    each([&](int, int, int count, const GatherState& state) {
      move(state.weighted, depth_ * count, state.totals);
      move(state.sums, count, state.totals + depth_ * count);
    });
  }
  static void move(float* vectors, int count, double* totals) {
    float sums[kTotals * kTileRows];
    for (int first = 0; first < count; first += kTotals * kTileRows) {
      const int n = at_most(kTotals * kTileRows, count - first);
      float* from = vectors + static_cast<ptrdiff_t>(first) * kLanes;
      add_lanes_of(from, n, sums);
      for (int i = 0; i < n; ++i) totals[first + i] += static_cast<double>(sums[i]), store(from + i * kLanes, vec{});
    }
  }

  // One token of one head by the softmax as it is written, for scores and features that are huge, infinite or NaN.
  // Reads the map three times. `query` and `means` are [depth], `step` apart.
  void attend_plainly(const float* map, ptrdiff_t stride, int pixels, const float* query, double* means, int step,
                      float* to) const {
    const auto each_vector = [&](auto function) {
      for (int pixel = 0; pixel < pixels; pixel += kLanes) {
        const int n = at_most(kLanes, pixels - pixel);
        function(map + pixel, n, score_of(map + pixel, stride, n, depth_, query, step));
      }
    };
    float top = -__builtin_inff();
    each_vector([&](const float*, int n, vec score) {
      const float highest = max_lanes(first_or(score, n, top));
      top = highest > top ? highest : top;
    });
    double sum = 0.;
    const auto weight = [&](vec score, int n) { return first_or(exponential2_of_any(score - top), n, 0.f); };
    each_vector([&](const float*, int n, vec score) { sum += static_cast<double>(add_lanes(weight(score, n))); });
    for (int k = 0; k < depth_; ++k) means[k * step] = 0.;
    each_vector([&](const float* from, int n, vec score) {
      const vec share = weight(score, n) / static_cast<float>(sum);
      for (int k = 0; k < depth_; ++k)
        means[k * step] += static_cast<double>(add_lanes(load_first(from + k * stride, n) * share));
    });
    for (int k = 0; k < depth_; ++k) to[k] = static_cast<float>(means[k * step]);
  }

  // Calls f(first channel, first token, tokens, their state) for every head, and in it for up to six tokens at a time.
  template <class Function>
  void each(Function f) const {
    ptrdiff_t at = 0, score = 0;
    for (int c = 0; c < channels_; c += depth_)
      for (int m = 0; m < tokens_; m += kTileRows) {
        const int count = at_most(kTileRows, tokens_ - m);
        f(c, m, count,
          GatherState{depth_, query_ + at, weighted_ + at * kLanes, sums_ + score * kLanes, top_ + score,
                      totals_ + at + score});
        at += depth_ * count, score += count;
      }
  }

  int channels_, depth_, tokens_;
  float *query_, *weighted_, *sums_, *top_;  // see GatherState
  double* totals_;
  int pixels_;  // since the lanes were added up
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
    gather.finish(call.in[0], pixels, pixels, call.out[0]);
  }
};

MFEDGE_END_ISA
