// AVX-512 (F, DQ, BW, VL): vector.h says at the plain form of an operation what it is for.
#pragma once

#include <immintrin.h>

#include "isa.h"

#if !defined(__AVX512F__) || !defined(__F16C__)
#error "simd_avx512.h needs FLAGS_avx512 of isas.cmake"
#endif

MFEDGE_BEGIN_ISA
constexpr int kVectorBytes = 64;
constexpr int kTileVectors = 4;  // a tile is 24 accumulators, 4 vectors of pixels and 1 broadcast of 32 registers
constexpr int kMostLeftOver = 4;
MFEDGE_END_ISA

#include "rows_avx.h"
#include "vector.h"

MFEDGE_BEGIN_ISA

MFEDGE_INLINE vec in_register(vec v) {
  asm("" : "+v"(v));
  return v;
}

constexpr ivec kEvenLanes = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};  // of two vectors

MFEDGE_INLINE vec maximum(vec a, vec b) {
  return reinterpret_cast<vec>(_mm512_max_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
}
MFEDGE_INLINE vec minimum(vec a, vec b) {
  return reinterpret_cast<vec>(_mm512_min_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
}

// By its sign bit: comparing into a mask would occupy a port that a multiply-add needs.
MFEDGE_INLINE vec by_sign(vec x, vec positive, vec negative) {
  constexpr int kFirstPicks = 0xca;  // bit by bit: first ? second : third
  return reinterpret_cast<vec>(_mm512_ternarylogic_epi32(
      _mm512_srai_epi32(reinterpret_cast<__m512i>(x), 31), reinterpret_cast<__m512i>(negative),
      reinterpret_cast<__m512i>(positive), kFirstPicks));
}

typedef __mmask16 lane_mask;
MFEDGE_INLINE lane_mask all_but(int lane) {
  return static_cast<lane_mask>(static_cast<unsigned>(lane) < kLanes ? ~(1u << lane) : ~0u);
}
MFEDGE_INLINE vec load_masked(const float* p, lane_mask mask) {
  return reinterpret_cast<vec>(_mm512_maskz_loadu_ps(mask, p));
}
MFEDGE_INLINE vec load_first(const float* p, int count) {
  return reinterpret_cast<vec>(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p));
}
MFEDGE_INLINE void store_first(float* p, vec v, int count) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), reinterpret_cast<__m512>(v));
}
MFEDGE_INLINE vec first_or(vec v, int count, float other) {
  return reinterpret_cast<vec>(_mm512_mask_blend_ps(static_cast<__mmask16>((1u << count) - 1), _mm512_set1_ps(other),
                                                    reinterpret_cast<__m512>(v)));
}

MFEDGE_INLINE vec load(const float16* p) {
  return reinterpret_cast<vec>(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
}

MFEDGE_INLINE float add_lanes(vec v) { return _mm512_reduce_add_ps(reinterpret_cast<__m512>(v)); }
MFEDGE_INLINE float max_lanes(vec v) { return _mm512_reduce_max_ps(reinterpret_cast<__m512>(v)); }
MFEDGE_INLINE bool any_beyond(vec v, float limit) {
  return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(v), _mm512_set1_ps(limit), _CMP_NLE_UQ) != 0;
}

// Of any finite x: the scaling goes to 0 or infinity by itself. An infinite x leaves NaN.
MFEDGE_INLINE vec take_whole(vec& x) {
  const vec whole = reinterpret_cast<vec>(
      _mm512_roundscale_ps(reinterpret_cast<__m512>(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  x -= whole;
  return whole;
}
MFEDGE_INLINE vec times_power(vec p, vec whole) {
  return reinterpret_cast<vec>(_mm512_scalef_ps(reinterpret_cast<__m512>(p), reinterpret_cast<__m512>(whole)));
}

MFEDGE_INLINE vec reciprocal(vec x) {
  const vec estimate = reinterpret_cast<vec>(_mm512_rcp14_ps(reinterpret_cast<__m512>(x)));
  return estimate * (2.f - x * estimate);
}

MFEDGE_END_ISA
