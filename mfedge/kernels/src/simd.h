// Functions that are written once, in terms of the primitive operations of an instruction set (isa/): sums of many
// vectors, the exponential and the error function.
#pragma once

#include "../isa/isa.h"
#include MFEDGE_ISA_FILE

MFEDGE_BEGIN_ISA

constexpr float kLowest = -3.402823466e38f;
constexpr float kLog2E = 1.44269504088896341f;

// x, held between two bounds. NaN stays NaN: it is the second operand of both (isa/vector.h).
MFEDGE_INLINE vec clamp(vec x, float low, float high) { return minimum(splat(high), maximum(splat(low), x)); }

// The greater of two, as torch.maximum has it: NaN if either is.
MFEDGE_INLINE vec greatest(vec a, vec b) { return a != a ? a : maximum(a, b); }

// x[0], x[2], ... and x[1], x[3], ... of two neighbouring vectors.
MFEDGE_INLINE void deinterleave(vec a, vec b, float* even, float* odd) {
#if defined(__clang__)
  for (int i = 0; i < kLanes / 2; ++i) {
    even[i] = a[2 * i], even[kLanes / 2 + i] = b[2 * i];
    odd[i] = a[2 * i + 1], odd[kLanes / 2 + i] = b[2 * i + 1];
  }
#else
  store(even, __builtin_shuffle(a, b, kEvenLanes));
  store(odd, __builtin_shuffle(a, b, kEvenLanes + 1));
#endif
}

// Sums of the lanes of `count` vectors. Whole groups of kLanes vectors are folded together: three instructions per
// vector instead of a dozen.
#if defined(__GNUC__) && !defined(__clang__)
template <int W>
MFEDGE_INLINE vec fold(vec a, vec b) {
  ivec low = {};
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    const int within = i % (2 * W), group = i - within;
    low[i] = group + (within < W ? within : kLanes + within - W);
  }
  return __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, low + W);
}
template <int W>
MFEDGE_INLINE vec fold_from(const float* vectors) {
  if constexpr (W == kLanes)
    return load(vectors);
  else
    return fold<W>(fold_from<2 * W>(vectors), fold_from<2 * W>(vectors + static_cast<ptrdiff_t>(W) * kLanes));
}
#endif
MFEDGE_INLINE void add_lanes_of(const float* vectors, int count, float* sums) {
  int i = 0;
#if defined(__GNUC__) && !defined(__clang__)
  for (; i + kLanes <= count; i += kLanes) store(sums + i, fold_from<1>(vectors + static_cast<ptrdiff_t>(i) * kLanes));
#endif
  for (; i < count; ++i) sums[i] = add_lanes(load(vectors + static_cast<ptrdiff_t>(i) * kLanes));
}

// 2^x of a finite x, relative error below 2e-7; 0 below -127 and infinity above 128; NaN of NaN. Of an infinite x,
// AVX-512 gives NaN as well: see exponential2_of_any().
//
// A softmax takes its scores in units of log 2, which costs nothing: the factor goes into the query. 2^x is
// 2^n (1 + r q(r)): n is the nearest integer, r the rest, at most a half, and q a minimax polynomial. N vectors are
// computed step by step, so that the latency of one is hidden by the others.
template <int N>
MFEDGE_INLINE void exponential2(vec (&x)[N]) {
  vec whole[N], p[N];
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
    whole[i] = take_whole(x[i]);
    p[i] = x[i] * 1.326469880e-3f + 9.671508823e-3f;
  }
  constexpr float kCoefficients[] = {5.550733776e-2f, 2.402224215e-1f, 6.931469776e-1f, 1.f};
#pragma GCC unroll 8
  for (float coefficient : kCoefficients)
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) p[i] = p[i] * x[i] + coefficient;
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) x[i] = times_power(p[i], whole[i]);
}
MFEDGE_INLINE vec exponential2(vec x) {
  vec one[1] = {x};
  exponential2(one);
  return one[0];
}
// 2^x of any x.
MFEDGE_INLINE vec exponential2_of_any(vec x) { return exponential2(clamp(x, -200.f, 200.f)); }

// erf(x), absolute error below 5e-7 for every float32 (measured: 4.4e-7 with FMA, 4.7e-7 without): the odd rational
// minimax on [-4, 4] that Eigen and XLA use.
MFEDGE_INLINE vec error_function(vec x) {
  x = clamp(x, -4.f, 4.f);
  const vec s = x * x;
  vec a = s * -2.72614225801306e-10f + 2.77068142495902e-08f;
  a = a * s + -2.10102402082508e-06f;
  a = a * s + -5.69250639462346e-05f;
  a = a * s + -7.34990630326855e-04f;
  a = a * s + -2.95459980854025e-03f;
  a = a * s + -1.60960333262415e-02f;
  vec b = s * -1.45660718464996e-05f + -2.13374055278905e-04f;
  b = b * s + -1.68282697438203e-03f;
  b = b * s + -7.37332916720468e-03f;
  b = b * s + -1.42647390514189e-02f;
  return x * a / b;
}

MFEDGE_END_ISA
