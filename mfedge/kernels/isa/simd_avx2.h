// AVX2 with FMA and F16C: vector.h says at the plain form of an operation what it is for.
#pragma once

#include <immintrin.h>

#include "isa.h"

#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "simd_avx2.h needs FLAGS_avx2 of isas.cmake"
#endif

MFEDGE_BEGIN_ISA
constexpr int kVectorBytes = 32;
constexpr int kTileVectors = 2;  // a tile is 12 accumulators, 2 vectors of pixels and 1 broadcast of 16 registers
constexpr int kMostLeftOver = 4;
MFEDGE_END_ISA

#include "rows_avx.h"
#include "vector.h"

MFEDGE_BEGIN_ISA

using plain::add_lanes;
using plain::all_but;
using plain::first_or;
using plain::lane_mask;
using plain::load_first;
using plain::load_masked;
using plain::max_lanes;
using plain::reciprocal;
using plain::store_first;
using plain::times_power;

MFEDGE_INLINE vec in_register(vec v) {
  asm("" : "+v"(v));
  return v;
}

constexpr ivec kEvenLanes = {0, 2, 4, 6, 8, 10, 12, 14};  // of two vectors

MFEDGE_INLINE vec maximum(vec a, vec b) {
  return reinterpret_cast<vec>(_mm256_max_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
}
MFEDGE_INLINE vec minimum(vec a, vec b) {
  return reinterpret_cast<vec>(_mm256_min_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
}

// By its sign bit: a comparison would be an instruction more.
MFEDGE_INLINE vec by_sign(vec x, vec positive, vec negative) {
  return reinterpret_cast<vec>(_mm256_blendv_ps(reinterpret_cast<__m256>(positive), reinterpret_cast<__m256>(negative),
                                                reinterpret_cast<__m256>(x)));
}

MFEDGE_INLINE vec load(const float16* p) {
  return reinterpret_cast<vec>(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

MFEDGE_INLINE bool any_beyond(vec v, float limit) {
  return _mm256_movemask_ps(_mm256_cmp_ps(reinterpret_cast<__m256>(v), _mm256_set1_ps(limit), _CMP_NLE_UQ)) != 0;
}

MFEDGE_INLINE vec take_whole(vec& x) {
  x = minimum(splat(128.f), maximum(splat(-127.f), x));
  return plain::take_whole(x);
}

MFEDGE_END_ISA
