// NEON, the baseline of 64-bit ARM: vector.h says at the plain form of an operation what it is for.
#pragma once

#include <arm_neon.h>

#include "isa.h"

MFEDGE_BEGIN_ISA
constexpr int kVectorBytes = 16;
constexpr int kTileVectors = 4;   // a tile is 24 accumulators, 4 vectors of pixels and 1 broadcast of 32 registers
constexpr int kMostLeftOver = 0;  // four lanes hold no six rows
MFEDGE_END_ISA

#include "vector.h"

MFEDGE_BEGIN_ISA

using plain::add_lanes;
using plain::all_but;
using plain::by_sign;
using plain::clamp;
using plain::first_or;
using plain::in_register;
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

constexpr ivec kEvenLanes = {0, 2, 4, 6};  // of two vectors

MFEDGE_INLINE vec maximum(vec a, vec b) {
  return reinterpret_cast<vec>(vmaxq_f32(reinterpret_cast<float32x4_t>(a), reinterpret_cast<float32x4_t>(b)));
}
MFEDGE_INLINE vec minimum(vec a, vec b) {
  return reinterpret_cast<vec>(vminq_f32(reinterpret_cast<float32x4_t>(a), reinterpret_cast<float32x4_t>(b)));
}

MFEDGE_INLINE bool any_beyond(vec v, float limit) {
  return vminvq_u32(vcleq_f32(reinterpret_cast<float32x4_t>(v), vdupq_n_f32(limit))) == 0;
}

MFEDGE_INLINE vec load(const float16* p) {
  return reinterpret_cast<vec>(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(&p->bits))));
}

MFEDGE_INLINE vec take_whole(vec& x) {
  x = minimum(splat(128.f), maximum(splat(-127.f), x));
  return plain::take_whole(x);
}

MFEDGE_END_ISA
