// 3x3 depthwise convolutions over planes. Included only by kernels_isa.cpp, inside the namespace of one instruction set.
//
// Planes are dense. The padding left and right of a row is made in registers: in the first and last vector of a row, the
// lane that has no neighbour is masked. Above and below a map there is a row of zeros.
#pragma once

constexpr int kTaps = 9;
constexpr int kMaxMultiplier = 6;  // output channels of one input channel at a time, where they share their loads

// What becomes of a depthwise convolution's output, from the first of its channels on.
struct Slopes {
  Activation activation;
  const float* above;  // dynamic ReLU: x > 0 ? above * x : below * x
  const float* below;
  MFEDGE_MEMBER Slopes from(int channel) const {
    return {activation, above ? above + channel : nullptr, below ? below + channel : nullptr};
  }
};

struct DepthwiseCall {
  const float* plane;  // the row above the first output row
  ptrdiff_t pitch;     // of the plane's rows
  int rows, width;     // of the output
  const float* weights;  // [multiplier][9]
  const float* bias;
  Slopes slopes;
  float* out;  // dense rows; up to a vector is written behind the last
  ptrdiff_t out_stride;  // from output channel to output channel
};

// Of one output channel, in registers: to broadcast a weight is a load, of which there are no more a cycle than
// multiply-adds.
struct Filter {
  vec taps[kTaps];

  MFEDGE_MEMBER explicit Filter(const float* weights) {
#pragma GCC unroll 9
    for (int t = 0; t < kTaps; ++t) taps[t] = splat(weights[t]);
  }
};

// A sum to its activation and its place.
MFEDGE_INLINE void store_activated(const DepthwiseCall& call, int n, ptrdiff_t pixel, vec sum) {
  if (call.slopes.activation == Activation::kDynamicRelu)
    sum *= sum > vec{} ? splat(call.slopes.above[n]) : splat(call.slopes.below[n]);
  else if (call.slopes.activation == Activation::kRelu6)
    sum = minimum(maximum(sum, vec{}), splat(6.f));
  store(call.out + n * call.out_stride + pixel, sum);
}

// The last vector of a row is moved back onto it. A row shorter than a vector spills into the next, which is written
// after it.
MFEDGE_INLINE int last_vector(const DepthwiseCall& call, int x) {
  return call.width >= kLanes ? at_most(x, call.width - kLanes) : 0;
}

// Stride 1: one vector of R rows of one output channel. 3 (R + 2) loads for 9 R multiply-adds.
template <int R, bool kEdge>
MFEDGE_INLINE void depthwise_vector(const DepthwiseCall& call, const Filter& filter, int row, int x) {
  vec sum[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) sum[r] = splat(call.bias[0]);
  const lane_mask left_mask = all_but(x == 0 ? 0 : kLanes), right_mask = all_but(call.width - 1 - x);
#pragma GCC unroll 16
  for (int y = 0; y < R + 2; ++y) {
    const float* p = call.plane + (row + y) * call.pitch + x;
    vec taps[3] = {load(p - 1), load(p), load(p + 1)};
    if (kEdge) taps[0] = masked(taps[0], left_mask), taps[2] = masked(taps[2], right_mask);
#pragma GCC unroll 3
    for (int line = 2; line >= 0; --line) {
      const int r = y - line;
      if (r < 0 || r >= R) continue;
#pragma GCC unroll 3
      for (int t = 0; t < 3; ++t) sum[r] += taps[t] * filter.taps[line * 3 + t];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
    store_activated(call, 0, (row + r) * static_cast<ptrdiff_t>(call.width) + x, sum[r]);
}

// As many rows at once as leave registers for the filter; more are neither asked for nor compiled.
constexpr int kDepthwiseRows = kTileVectors == 4 ? 8 : 3;

template <int R, bool kEdge>
static void depthwise_rows(const DepthwiseCall& call, const Filter& filter, int row, int x) {
  if constexpr (R <= kDepthwiseRows) depthwise_vector<R, kEdge>(call, filter, row, x);
}

template <bool kEdge>
static void depthwise_column(const DepthwiseCall& call, const Filter& filter, int x) {
  const int groups = divide_up(call.rows, kDepthwiseRows);
  for (int g = 0, row = 0; g < groups; ++g) {
    const int next = static_cast<int>(static_cast<int64_t>(call.rows) * (g + 1) / groups);  // as even as possible
    switch (next - row) {
      case 1: depthwise_rows<1, kEdge>(call, filter, row, x); break;
      case 2: depthwise_rows<2, kEdge>(call, filter, row, x); break;
      case 3: depthwise_rows<3, kEdge>(call, filter, row, x); break;
      case 4: depthwise_rows<4, kEdge>(call, filter, row, x); break;
      case 5: depthwise_rows<5, kEdge>(call, filter, row, x); break;
      case 6: depthwise_rows<6, kEdge>(call, filter, row, x); break;
      case 7: depthwise_rows<7, kEdge>(call, filter, row, x); break;
      default: depthwise_rows<8, kEdge>(call, filter, row, x);
    }
    row = next;
  }
}

static void depthwise_channel(const DepthwiseCall& call) {
  const Filter filter(call.weights);
  for (int start = 0; start < call.width; start += kLanes) {
    const int x = last_vector(call, start);
    if (x == 0 || x + kLanes >= call.width)
      depthwise_column<true>(call, filter, x);
    else
      depthwise_column<false>(call, filter, x);
  }
}

// Stride 2, from a map taken apart (split_plane): V vectors of one row of N output channels.
template <int N, int V>
MFEDGE_INLINE void halving_vectors(const DepthwiseCall& call, const ptrdiff_t* offsets, int row, int x) {
  vec sum[N][V];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) sum[n][v] = splat(call.bias[n]);
  const float* p = call.plane + row * call.pitch + x;
#pragma GCC unroll 9
  for (int t = 0; t < kTaps; ++t) {
    vec tap[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) tap[v] = load(p + offsets[t] + v * kLanes);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n)
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) sum[n][v] += tap[v] * call.weights[n * kTaps + t];
  }
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n)
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v)
      store_activated(call, n, row * static_cast<ptrdiff_t>(call.width) + x + v * kLanes, sum[n][v]);
}

template <int N>
static void halving_channels(const DepthwiseCall& call, const ptrdiff_t* offsets) {
  for (int row = 0; row < call.rows; ++row) {
    int x = 0;
    for (; x + 2 * kLanes <= call.width; x += 2 * kLanes) halving_vectors<N, 2>(call, offsets, row, x);
    for (; x < call.width; x += kLanes)
      halving_vectors<N, 1>(call, offsets, row, last_vector(call, x));
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

// One row of a map, `width` wide, into even and odd columns of a row of `pitch`. The last vectors spill into the next row,
// which is written after it, or into the planes' margin.
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
