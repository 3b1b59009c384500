// 3x3 depthwise convolutions over planes.
//
// Planes are dense. The padding left and right of a row is made in registers: in the first and last vector of a row,
// the lane that has no neighbour is masked. Above and below a map one row of zeros is read instead of the plane's.
#pragma once

#include "memory.h"
#include "tile.h"

MFEDGE_BEGIN_ISA

constexpr int kTaps = 9;
constexpr int kMaxMultiplier = 6;  // output channels of one input channel at a time, where they share their loads

// The activation after a depthwise convolution, from the first of its channels on.
struct Slopes {
  Activation activation;
  const float* above;  // dynamic ReLU: x > 0 ? above * x : below * x
  const float* below;
  MFEDGE_MEMBER Slopes from(int channel) const {
    return {activation, above ? above + channel : nullptr, below ? below + channel : nullptr};
  }
};

// Rows of zeros above the first output row and below the last, where the map ends; nullptr where it goes on.
struct Edges {
  const float* above;
  const float* below;
};

struct DepthwiseCall {
  const float* plane;  // the row above the first output row
  Edges edges;         // for stride 1
  ptrdiff_t pitch;     // of the plane's rows
  int rows, width;     // of the output
  const float* weights;  // [multiplier][9]
  const float* bias;
  Slopes slopes;
  float* out;          // dense rows; up to a vector is written past the last
  ptrdiff_t out_stride;  // from output channel to output channel
};

// The activation of N vectors of one output channel's sums.
template <int N>
MFEDGE_INLINE void activate(const Slopes& slopes, vec (&sums)[N]) {
  if (slopes.activation == Activation::kDynamicRelu) {
    const vec above = splat(slopes.above[0]), below = splat(slopes.below[0]);
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) sums[i] *= by_sign(sums[i], above, below);
  } else if (slopes.activation == Activation::kRelu6) {
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) sums[i] = clamp(sums[i], 0.f, 6.f);
  }
}

// The last vector of a row is moved back onto it. A row shorter than a vector spills into the next, which is written
// after it.
MFEDGE_INLINE int last_vector(int width, int x) { return width >= kLanes ? at_most(x, width - kLanes) : 0; }

// Stride 1: R rows of one output channel. Its filter stays in registers: to broadcast a weight is a load, and there are
// no more loads per cycle than multiply-adds. A vector of the R rows takes 3 (R + 2) loads for 9 R multiply-adds. Every
// R is a function of its own, which has all registers to itself. Fields that a store might change are copied before the
// loop, or the compiler loads them again after each store.
template <int R>
MFEDGE_NOINLINE static void depthwise_rows(const DepthwiseCall& call, int row) {
  const int width = call.width;
  const ptrdiff_t pitch = call.pitch;
  const float* plane = call.plane + row * pitch;
  const float* above = row == 0 && call.edges.above ? call.edges.above : plane;
  const float* below = row + R == call.rows && call.edges.below ? call.edges.below : plane + (R + 1) * pitch;
  float* out = call.out + row * static_cast<ptrdiff_t>(width);
  const Slopes slopes = call.slopes;
  const vec bias = splat(call.bias[0]);
  vec filter[kTaps];
#pragma GCC unroll 9
  for (int t = 0; t < kTaps; ++t) filter[t] = splat(call.weights[t]);
  for (int start = 0; start < width; start += kLanes) {
    const int x = last_vector(width, start);
    const lane_mask left = all_but(x == 0 ? 0 : kLanes), right = all_but(width - 1 - x);
    vec sum[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum[r] = bias;
    const float* between = plane + x;
#pragma GCC unroll 16
    for (int y = 0; y < R + 2; ++y, between += pitch) {
      const float* p = y == 0 ? above + x : y == R + 1 ? below + x : between;
      const vec taps[3] = {load_masked(p - 1, left), in_register(load(p)), load_masked(p + 1, right)};
#pragma GCC unroll 3
      for (int line = 2; line >= 0; --line) {
        const int r = y - line;
        if (r < 0 || r >= R) continue;
#pragma GCC unroll 3
        for (int t = 0; t < 3; ++t) sum[r] += taps[t] * filter[line * 3 + t];
      }
    }
    activate(slopes, sum);
    float* to = out + x;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r, to += width) store(to, sum[r]);
  }
}

// As many rows at once as leave registers for the filter; more are neither asked for nor compiled.
constexpr int kDepthwiseRows = kTileVectors == 4 ? 8 : 3;

template <int R>
static void depthwise_rows_if_any(const DepthwiseCall& call, int row) {
  if constexpr (R <= kDepthwiseRows) depthwise_rows<R>(call, row);
}

static void depthwise_channel(const DepthwiseCall& call) {
  for (int row = 0; row < call.rows;) {
    const int left = call.rows - row;  // the last two groups are as even as can be
    const int rows = left >= 2 * kDepthwiseRows ? kDepthwiseRows : left > kDepthwiseRows ? divide_up(left, 2) : left;
    switch (rows) {
      case 1: depthwise_rows_if_any<1>(call, row); break;
      case 2: depthwise_rows_if_any<2>(call, row); break;
      case 3: depthwise_rows_if_any<3>(call, row); break;
      case 4: depthwise_rows_if_any<4>(call, row); break;
      case 5: depthwise_rows_if_any<5>(call, row); break;
      case 6: depthwise_rows_if_any<6>(call, row); break;
      case 7: depthwise_rows_if_any<7>(call, row); break;
      default: depthwise_rows_if_any<8>(call, row);
    }
    row += rows;
  }
}

// Vectors of a map at the same places of its input and output.
struct Places {
  const float* from[kTileVectors];
  ptrdiff_t to[kTileVectors];
};

// Stride 2, from a map taken apart (split_plane): V vectors of N output channels, which share their loads.
template <int N, int V>
MFEDGE_NOINLINE static void halving_vectors(const DepthwiseCall& call, const ptrdiff_t* offsets, const Places& places) {
  vec sum[N][V];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[n][v] = splat(call.bias[n]);
  const float* weights = call.weights;
#pragma GCC unroll 9
  for (int t = 0; t < kTaps; ++t) {
    vec tap[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) tap[v] = in_register(load(places.from[v] + offsets[t]));
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      const vec w = splat(weights[n * kTaps + t]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[n][v] += tap[v] * w;
    }
  }
  const Slopes slopes = call.slopes;
  const ptrdiff_t stride = call.out_stride;
  float* out = call.out;
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n, out += stride) {
    activate(slopes.from(n), sum[n]);
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(out + places.to[v], sum[n][v]);
  }
}

// A tile's worth of vectors at a time, of one row or several.
template <int N>
static void halving_channels(const DepthwiseCall& call, const ptrdiff_t* offsets) {
  Places places;
  int count = 0;
  for (int row = 0; row < call.rows; ++row)
    for (int start = 0; start < call.width; start += kLanes) {
      const int x = last_vector(call.width, start);
      places.from[count] = call.plane + row * call.pitch + x;
      places.to[count] = row * static_cast<ptrdiff_t>(call.width) + x;
      if (++count < kTileVectors) continue;
      halving_vectors<N, kTileVectors>(call, offsets, places);
      count = 0;
    }
  switch (count) {
    case 1: halving_vectors<N, 1>(call, offsets, places); break;
    case 2:
      if constexpr (kTileVectors > 2) halving_vectors<N, 2>(call, offsets, places);
      break;
    case 3:
      if constexpr (kTileVectors > 3) halving_vectors<N, 3>(call, offsets, places);
      break;
  }
}

// All output channels of one input channel; `offsets` of the taps for stride 2, nullptr for stride 1.
static void depthwise(int multiplier, DepthwiseCall call, const ptrdiff_t* offsets) {
  for (int done = 0; done < multiplier;) {
    const int count = offsets ? at_most(multiplier - done, kMaxMultiplier) : 1;
    switch (offsets ? count : 0) {
      case 0: depthwise_channel(call); break;
      case 1: halving_channels<1>(call, offsets); break;
      case 2: halving_channels<2>(call, offsets); break;
      case 3: halving_channels<3>(call, offsets); break;
      case 4: halving_channels<4>(call, offsets); break;
      case 5: halving_channels<5>(call, offsets); break;
      default: halving_channels<6>(call, offsets);
    }
    done += count;
    call.weights += count * kTaps;
    call.bias += count;
    call.slopes = call.slopes.from(count);
    call.out += count * call.out_stride;
  }
}

// A map taken apart for a convolution of stride 2: plane 4 c + 2 (odd rows) + (odd columns) of channel c, rows `pitch`
// apart with a column of zeros between them. Row j of the planes holds rows 2 (first + j) and 2 (first + j) + 1 of the
// map, `first` being the row above the first output row.
struct TapOffsets {
  ptrdiff_t at[kTaps];
};
MFEDGE_INLINE TapOffsets halving_offsets(const Planes& quarters, int pitch) {
  TapOffsets offsets;
  for (int t = 0; t < kTaps; ++t) {
    const int dy = t / 3, dx = t % 3;
    const int plane = 2 * (dy != 1) + (dx != 1);
    offsets.at[t] = plane * quarters.stride + (dy == 0 ? 0 : pitch) + (dx == 0 ? -1 : 0);
  }
  return offsets;
}

constexpr int kPixelsAhead = 1024;  // prefetched

// One row of a map, `width` wide, into even and odd columns of a row of `pitch`. The last vectors spill into the next
// row, which is written after it, or into the planes' margin.
static void split_row(const float* row, int width, float* even, float* odd, int pitch) {
  for (int x = 0; x < pitch; x += kLanes) {
    const int left = width - 2 * x;
#pragma GCC unroll 4
    for (int ahead = 0; ahead < 2 * kLanes; ahead += kLine) __builtin_prefetch(row + 2 * x + ahead + kPixelsAhead);
    vec a, b;
    if (left >= 2 * kLanes)
      a = load(row + 2 * x), b = load(row + 2 * x + kLanes);
    else
      a = load_first(row + 2 * x, at_most(at_least(left, 0), kLanes)),
      b = load_first(row + 2 * x + kLanes, at_most(at_least(left - kLanes, 0), kLanes));
    deinterleave(a, b, even + x, odd + x);
  }
}

// Takes rows of one channel apart, for output rows [first + 1, last].
static void split_plane(const float* map, int height, int width, int first, int last, int pitch, const Planes& quarters,
                        int channel) {
  float* planes[4];
  for (int i = 0; i < 4; ++i) planes[i] = quarters.plane(4 * channel + i);
  for (int i = 0; i < 4; ++i) planes[i][-1] = 0.f;
  for (int j = first; j <= last; ++j) {
    const ptrdiff_t at = static_cast<ptrdiff_t>(j - first) * pitch;
    for (int odd = 0; odd < 2; ++odd) {
      const int y = 2 * j + odd;
      float *even_columns = planes[2 * odd] + at, *odd_columns = planes[2 * odd + 1] + at;
      // Of the even row above only the column of padding is read, to the left of the row below it.
      if (y < 0 || y >= height || (j == first && !odd)) {
        for (int x = 0; x < pitch; ++x) even_columns[x] = odd_columns[x] = 0.f;
      } else {
        split_row(map + static_cast<ptrdiff_t>(y) * width, width, even_columns, odd_columns, pitch);
      }
    }
  }
}

MFEDGE_END_ISA
