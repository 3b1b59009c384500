// 3x3 depthwise convolutions over planes. Included only by kernels_isa.cpp, inside the namespace of one instruction set.
//
// Rows of a plane lie `pitch = width + 1` apart: the one zero column between them is the padding on the right of a row
// and on the left of the next, so that every tap is a constant distance.
#pragma once

constexpr int kTaps = 9;

// Sets the zero column of `rows` rows.
MFEDGE_INLINE void clear_column(float* plane, int rows, int pitch) {
  for (int y = 0; y < rows; ++y) plane[y * pitch + pitch - 1] = 0.f;
}

// The three taps of a row around pixel x.
struct TapRow {
  vec left, middle, right;
};
MFEDGE_INLINE TapRow load_taps(const float* p) { return {load(p - 1), load(p), load(p + 1)}; }

// R rows of one channel's output, stride 1, without padding columns. `plane` is the row above the first.
// All R rows read the same R + 2 rows: 3 (R + 2) loads for 9 R multiply-adds.
template <int R>
MFEDGE_INLINE void depthwise_rows(const float* plane, int pitch, int width, const vec (&weights)[kTaps], float bias,
                                  Activation activation, float above, float below, float* out) {
  for (int start = 0; start < width; start += kLanes) {
    // The last vector is moved back onto the row. In a row shorter than a vector it spills into the next, which is
    // written after it.
    const int x = width >= kLanes ? at_most(start, width - kLanes) : 0;
    vec sum[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum[r] = splat(bias);
#pragma GCC unroll 8
    for (int y = 0; y < R + 2; ++y) {
      const TapRow taps = load_taps(plane + y * pitch + x);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const int tap = (y - r) * 3;
        if (tap < 0 || tap > 6) continue;
        sum[r] += taps.left * weights[tap];
        sum[r] += taps.middle * weights[tap + 1];
        sum[r] += taps.right * weights[tap + 2];
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      if (activation == Activation::kDynamicRelu)
        sum[r] *= sum[r] > vec{} ? splat(above) : splat(below);
      else if (activation == Activation::kRelu6)
        sum[r] = minimum(maximum(sum[r], vec{}), splat(6.f));
      store(out + r * width + x, sum[r]);
    }
  }
}

// One channel: `rows` rows of output, dense (rows * width), from the plane whose row -1 is at `plane`.
// Writes up to a vector behind the last row.
static void depthwise_plane(const float* plane, int pitch, int rows, int width, const float* weights, float bias,
                            Activation activation, float above, float below, float* out) {
  vec w[kTaps];
  for (int t = 0; t < kTaps; ++t) w[t] = splat(weights[t]);
  int y = 0;
  for (; y + 4 <= rows; y += 4)
    depthwise_rows<4>(plane + y * pitch, pitch, width, w, bias, activation, above, below, out + y * width);
  for (; y + 2 <= rows; y += 2)
    depthwise_rows<2>(plane + y * pitch, pitch, width, w, bias, activation, above, below, out + y * width);
  if (y < rows)
    depthwise_rows<1>(plane + y * pitch, pitch, width, w, bias, activation, above, below, out + y * width);
}

// A depthwise convolution with a multiplier is a product of depth 9 for each input channel.
static void pack_taps(const float* weights, int channels, int multiplier, float* packed) {
  const ptrdiff_t size = static_cast<ptrdiff_t>(multiplier) * kTaps;
  for (int c = 0; c < channels; ++c) pack_rows(weights + c * size, kTaps, multiplier, kTaps, packed + c * size);
}

// The distances of the nine taps in a plane, from the row above and pixel 0.
struct TapOffsets {
  ptrdiff_t at[kTaps];
};
MFEDGE_INLINE TapOffsets stride_one_offsets(int pitch) {
  TapOffsets offsets;
  for (int t = 0; t < kTaps; ++t) offsets.at[t] = t / 3 * pitch + t % 3 - 1;
  return offsets;
}

// A map taken apart for a convolution of stride 2: plane 4 c + 2 (odd rows) + (odd columns) of channel c.
// Row j of the planes holds rows 2 (first + j) and 2 (first + j) + 1 of the map, `first` being the row above the first
// output row.
MFEDGE_INLINE TapOffsets stride_two_offsets(const Planes& quarters, int pitch) {
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

// Takes rows of one channel apart, for output rows [first + 1, last]; `row_of(y)` is row y of the map.
static void split_plane(const float* map, ptrdiff_t map_pitch, int height, int width, int first, int last, int pitch,
                        const Planes& quarters, int channel) {
  float* planes[4];
  for (int i = 0; i < 4; ++i) planes[i] = quarters.plane(4 * channel + i);
  for (int j = first; j <= last; ++j) {
    const ptrdiff_t at = static_cast<ptrdiff_t>(j - first) * pitch;
    for (int odd = 0; odd < 2; ++odd) {
      const int y = 2 * j + odd;
      float *even_columns = planes[2 * odd] + at, *odd_columns = planes[2 * odd + 1] + at;
      // Of the even row above only the column of padding is read, to the left of the row below it.
      if (y < 0 || y >= height || (j == first && !odd)) {
        for (int x = 0; x < pitch; ++x) even_columns[x] = odd_columns[x] = 0.f;
      } else {
        split_row(map + y * map_pitch, width, even_columns, odd_columns, pitch);
      }
    }
  }
}
