// The rows of a tile as the eight lanes of a 256-bit vector, for the pixels left over (src/tile.h): AVX2 and AVX-512.
#pragma once

#include <immintrin.h>

#include "isa.h"
#include "vector.h"

MFEDGE_BEGIN_ISA

MFEDGE_INLINE void join(const float* low, const float* high, rows_vec& v) {
  const __m256 half = _mm256_castps128_ps256(low ? _mm_loadu_ps(low) : _mm_setzero_ps());
  v = reinterpret_cast<rows_vec>(_mm256_insertf128_ps(half, high ? _mm_loadu_ps(high) : _mm_setzero_ps(), 1));
}
MFEDGE_INLINE void split(const rows_vec& v, float* low, float* high) {
  if (low) _mm_storeu_ps(low, _mm256_castps256_ps128(reinterpret_cast<__m256>(v)));
  if (high) _mm_storeu_ps(high, _mm256_extractf128_ps(reinterpret_cast<__m256>(v), 1));
}
MFEDGE_INLINE void transpose(rows_vec (&v)[4]) {
  __m256d pair[4];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m256 a = reinterpret_cast<__m256>(v[2 * i]), b = reinterpret_cast<__m256>(v[2 * i + 1]);
    pair[2 * i] = _mm256_castps_pd(_mm256_unpacklo_ps(a, b));
    pair[2 * i + 1] = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    v[2 * i] = reinterpret_cast<rows_vec>(_mm256_unpacklo_pd(pair[i], pair[2 + i]));
    v[2 * i + 1] = reinterpret_cast<rows_vec>(_mm256_unpackhi_pd(pair[i], pair[2 + i]));
  }
}
MFEDGE_INLINE void clamp(rows_vec& v, float high) {
  const __m256 positive = _mm256_max_ps(_mm256_setzero_ps(), reinterpret_cast<__m256>(v));
  v = reinterpret_cast<rows_vec>(_mm256_min_ps(_mm256_set1_ps(high), positive));
}

MFEDGE_END_ISA
