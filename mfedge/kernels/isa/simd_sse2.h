// SSE2, the baseline of x86-64: vector.h says at the plain form of an operation what it is for.
#pragma once

#include <immintrin.h>

#include "isa.h"

MFEDGE_BEGIN_ISA
constexpr int kVectorBytes = 16;
constexpr int kTileVectors = 2;   // a tile is 12 accumulators, 2 vectors of pixels and 1 broadcast of 16 registers
constexpr int kMostLeftOver = 0;  // four lanes hold no six rows
MFEDGE_END_ISA

#include "vector.h"

MFEDGE_BEGIN_ISA

using plain::add_lanes;
using plain::all_but;
using plain::by_sign;
using plain::clamp;
using plain::first_or;
using plain::join;
using plain::lane_mask;
using plain::load_first;
using plain::load_masked;
using plain::max_lanes;
using plain::reciprocal;
using plain::split;
using plain::store_first;
using plain::times_power;
using plain::transpose;

MFEDGE_INLINE vec in_register(vec v) {
  asm("" : "+v"(v));
  return v;
}

constexpr ivec kEvenLanes = {0, 2, 4, 6};  // of two vectors

MFEDGE_INLINE vec maximum(vec a, vec b) {
  return reinterpret_cast<vec>(_mm_max_ps(reinterpret_cast<__m128>(a), reinterpret_cast<__m128>(b)));
}
MFEDGE_INLINE vec minimum(vec a, vec b) {
  return reinterpret_cast<vec>(_mm_min_ps(reinterpret_cast<__m128>(a), reinterpret_cast<__m128>(b)));
}

MFEDGE_INLINE bool any_beyond(vec v, float limit) {
  return _mm_movemask_ps(_mm_cmpnle_ps(reinterpret_cast<__m128>(v), _mm_set1_ps(limit))) != 0;
}

MFEDGE_INLINE vec load(const float16* p) { return plain::load_float16(p); }

MFEDGE_INLINE vec take_whole(vec& x) {
  x = minimum(splat(128.f), maximum(splat(-127.f), x));
  return plain::take_whole(x);
}

MFEDGE_END_ISA
