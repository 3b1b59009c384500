// 3x3 depthwise convolutions over planes. Included only by kernels_isa.cpp, inside the namespace of one instruction set.
//
// Planes are dense. The padding left and right of a row is made in registers: in the first and last vector of a row, the
// lane that has no neighbour is masked. Above and below a map there is a row of zeros.
#pragma once

constexpr int kTaps = 9;
constexpr int kMaxMultiplier = 6;  // output channels of one input channel at a time

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

template <int N, int R>
MFEDGE_INLINE void store_channels(const DepthwiseCall& call, int row, int x, vec (&sum)[N][R]) {
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) {
    float* out = call.out + n * call.out_stride + row * static_cast<ptrdiff_t>(call.width) + x;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      if (call.slopes.activation == Activation::kDynamicRelu)
        sum[n][r] *= sum[n][r] > vec{} ? splat(call.slopes.above[n]) : splat(call.slopes.below[n]);
      else if (call.slopes.activation == Activation::kRelu6)
        sum[n][r] = minimum(maximum(sum[n][r], vec{}), splat(6.f));
      store(out + r * static_cast<ptrdiff_t>(call.width), sum[n][r]);
    }
  }
}

// Stride 1: one vector of R rows of N output channels of one input channel. All read the same R + 2 rows:
// 3 (R + 2) loads for 9 N R multiply-adds.
template <int N, int R, bool kEdge>
MFEDGE_INLINE void depthwise_vector(const DepthwiseCall& call, int row, int x) {
  vec sum[N][R];
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum[n][r] = splat(call.bias[n]);
  const lane_mask left_mask = all_but(x == 0 ? 0 : kLanes), right_mask = all_but(call.width - 1 - x);
#pragma GCC unroll 8
  for (int y = 0; y < R + 2; ++y) {
    const float* p = call.plane + (row + y) * call.pitch + x;
    vec taps[3] = {load(p - 1), load(p), load(p + 1)};
    if (kEdge) taps[0] = masked(taps[0], left_mask), taps[2] = masked(taps[2], right_mask);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n)
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const int line = y - r;
        if (line < 0 || line > 2) continue;
#pragma GCC unroll 3
        for (int t = 0; t < 3; ++t) sum[n][r] += taps[t] * call.weights[n * kTaps + line * 3 + t];
      }
  }
  store_channels<N, R>(call, row, x, sum);
}

template <int N, int R>
static void depthwise_rows(const DepthwiseCall& call, int row) {
  for (int start = 0; start < call.width; start += kLanes) {
    // The last vector is moved back onto the row. In a row shorter than a vector it spills into the next, which is
    // written after it.
    const int x = call.width >= kLanes ? at_most(start, call.width - kLanes) : 0;
    if (x == 0 || x + kLanes >= call.width)
      depthwise_vector<N, R, true>(call, row, x);
    else
      depthwise_vector<N, R, false>(call, row, x);
  }
}

template <int N>
static void depthwise_channels(const DepthwiseCall& call) {
  constexpr int R = N == 1 ? 4 : N <= 4 ? 2 : 1;
  int row = 0;
  for (; row + R <= call.rows; row += R) depthwise_rows<N, R>(call, row);
  switch (R > 1 ? call.rows - row : 0) {
    case 1: return depthwise_rows<N, 1>(call, row);
    case 2: return depthwise_rows<N, R < 2 ? 1 : 2>(call, row);
    case 3: return depthwise_rows<N, R < 3 ? 1 : 3>(call, row);
    default: return;
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
  for (int v = 0; v < V; ++v) {
    vec one[N][1];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) one[n][0] = sum[n][v];
    store_channels<N, 1>(call, row, x + v * kLanes, one);
  }
}

template <int N>
static void halving_channels(const DepthwiseCall& call, const ptrdiff_t* offsets) {
  for (int row = 0; row < call.rows; ++row) {
    int x = 0;
    for (; x + 2 * kLanes <= call.width; x += 2 * kLanes) halving_vectors<N, 2>(call, offsets, row, x);
    for (; x < call.width; x += kLanes)
      halving_vectors<N, 1>(call, offsets, row, call.width >= kLanes ? at_most(x, call.width - kLanes) : 0);
  }
}

// All output channels of one input channel; `offsets` of the taps for stride 2, nullptr for stride 1.
static void depthwise(int multiplier, DepthwiseCall call, const ptrdiff_t* offsets) {
  for (int done = 0; done < multiplier;) {
    const int count = at_most(multiplier - done, kMaxMultiplier);
    switch (count) {
      case 1: offsets ? halving_channels<1>(call, offsets) : depthwise_channels<1>(call); break;
      case 2: offsets ? halving_channels<2>(call, offsets) : depthwise_channels<2>(call); break;
      case 3: offsets ? halving_channels<3>(call, offsets) : depthwise_channels<3>(call); break;
      case 4: offsets ? halving_channels<4>(call, offsets) : depthwise_channels<4>(call); break;
      case 5: offsets ? halving_channels<5>(call, offsets) : depthwise_channels<5>(call); break;
      default: offsets ? halving_channels<6>(call, offsets) : depthwise_channels<6>(call);
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

// One row of a map, `width` wide, into even and odd columns of a row of `pitch`.
static void split_row(const float* row, int width, float* even, float* odd, int pitch) {
  int x = 0;
  for (; 2 * x + 2 * kLanes <= width; x += kLanes) {
    vec e, o;
    deinterleave(row + 2 * x, &e, &o);
    store(even + x, e);
    store(odd + x, o);
  }
  for (; 2 * x < width; ++x) {
    even[x] = row[2 * x];
    odd[x] = 2 * x + 1 < width ? row[2 * x + 1] : 0.f;
  }
  for (; x < pitch; ++x) even[x] = odd[x] = 0.f;
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
