// The vector types of one instruction set, by the compiler's vector extensions, and in namespace `plain` the primitive
// operations in those terms alone.
//
// simd_NAME.h has the instructions of a set, and says by `using` for which operations the plain form does. The plain
// forms are also the twins that tests/kernels/test_simd.cpp holds the instructions against.
#include "isa.h"
#include MFEDGE_ISA_FILE  // kVectorBytes; that file includes this one in turn, once it has said so

#ifndef MFEDGE_VECTOR_H
#define MFEDGE_VECTOR_H

MFEDGE_BEGIN_ISA

constexpr int kLanes = kVectorBytes / 4;

typedef float vec __attribute__((vector_size(kVectorBytes)));
typedef int32_t ivec __attribute__((vector_size(kVectorBytes)));
// Unaligned, may alias: for loads and stores only.
typedef float vec_memory __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));

// Half a vector of AVX-512, a whole one of AVX2: the rows of a tile at one pixel.
typedef float rows_vec __attribute__((vector_size(32)));
typedef float rows_vec_memory __attribute__((vector_size(32), aligned(4), may_alias));

struct float16 {
  uint16_t bits;
};

MFEDGE_INLINE vec load(const float* p) { return *reinterpret_cast<const vec_memory*>(p); }
MFEDGE_INLINE void store(float* p, vec v) { *reinterpret_cast<vec_memory*>(p) = v; }
MFEDGE_INLINE vec splat(float x) { return x - vec{}; }

namespace plain {

// Loaded once: x86 compilers would rather take a load into each instruction that needs it, though there are two loads
// per cycle, or one that crosses a cache line.
MFEDGE_INLINE vec in_register(vec v) { return v; }

// Where a or b is NaN, x86's instructions give b, and NEON's give NaN. So NaN passes a bound if the bound comes first.
MFEDGE_INLINE vec maximum(vec a, vec b) { return a > b ? a : b; }
MFEDGE_INLINE vec minimum(vec a, vec b) { return a < b ? a : b; }

// x > 0 ? positive : negative, where x is not 0.
MFEDGE_INLINE vec by_sign(vec x, vec positive, vec negative) { return x > vec{} ? positive : negative; }

// All lanes except one; a lane outside the vector leaves all.
typedef ivec lane_mask;
MFEDGE_INLINE lane_mask all_but(int lane) {
  ivec index;
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) index[i] = i;
  return index != lane;
}
// The lanes of a mask, the others 0. All of them may be read.
MFEDGE_INLINE vec load_masked(const float* p, lane_mask mask) {
  return reinterpret_cast<vec>(reinterpret_cast<ivec>(load(p)) & mask);
}

// The first `count` lanes, the others 0; nothing after them is touched.
MFEDGE_INLINE vec load_first(const float* p, int count) {
  vec v = {};
  __builtin_memcpy(&v, p, static_cast<size_t>(count) * sizeof(float));
  return v;
}
MFEDGE_INLINE void store_first(float* p, vec v, int count) {
  __builtin_memcpy(p, &v, static_cast<size_t>(count) * sizeof(float));
}
// The first `count` lanes of v, the others `other`.
MFEDGE_INLINE vec first_or(vec v, int count, float other) {
  for (int i = count; i < kLanes; ++i) v[i] = other;
  return v;
}

// The exponent's bias grows by 112; infinity and NaN keep the highest exponent. A subnormal gets the exponent of 2^-14
// and with it a leading one, which is subtracted: its float32 form never is subnormal, which would count as 0.
MFEDGE_INLINE vec load_float16(const float16* p) {
  constexpr int32_t kBias = 112 << 23, kOne = 1 << 23, kHighest = 31 << 23, kLeadingOne = 0x38800000;  // 2^-14
  ivec bits;
  for (int i = 0; i < kLanes; ++i) bits[i] = p[i].bits;
  const ivec magnitude = (bits & 0x7fff) << 13, subnormal = magnitude < kOne, unbounded = magnitude >= kHighest;
  const ivec wide = magnitude + kBias + (unbounded & kBias) + (subnormal & kOne);
  const vec value = reinterpret_cast<vec>(wide) - reinterpret_cast<vec>(subnormal & kLeadingOne);
  return reinterpret_cast<vec>(reinterpret_cast<ivec>(value) | ((bits & 0x8000) << 16));
}

MFEDGE_INLINE float add_lanes(vec v) {
  alignas(kVectorBytes) float lane[kLanes];
  store(lane, v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  return lane[0];
}
MFEDGE_INLINE float max_lanes(vec v) {
  alignas(kVectorBytes) float lane[kLanes];
  store(lane, v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lane[i] = lane[i] > lane[i + width] ? lane[i] : lane[i + width];
  return lane[0];
}
// Whether any lane is above the limit, or NaN.
MFEDGE_INLINE bool any_beyond(vec v, float limit) {
  bool within = true;
  for (int i = 0; i < kLanes; ++i) within &= v[i] <= limit;
  return !within;
}

// Subtracts from x, which is between -127 and 128, its nearest integer, and returns that integer in the form that
// times_power() takes: to add 1.5 * 2^23 rounds, and leaves the integer, 127 higher, in the low bits of the mantissa.
constexpr float kRounds = 12582912.f + 127.f;
MFEDGE_INLINE vec take_whole(vec& x) {
  const vec whole = x + kRounds;
  x -= whole - kRounds;
  return whole;
}
// p * 2^whole. Moved to the exponent, the low bits are 2^whole, from 0 in place of 2^-127 to infinity for 2^128. A
// multiplication, as an addition to p's own exponent would turn many a NaN into a number.
MFEDGE_INLINE vec times_power(vec p, vec whole) {
  return p * reinterpret_cast<vec>(reinterpret_cast<ivec>(whole) << 23);
}

// 1 / x of an x that is neither tiny nor huge, relative error below 2e-7.
MFEDGE_INLINE vec reciprocal(vec x) { return 1.f / x; }

// Four floats from each of two places, zeros for nullptr, and back. By reference: where there is no AVX, GCC warns of a
// vector of 32 bytes as an argument.
MFEDGE_INLINE void join(const float* low, const float* high, rows_vec& v) {
  for (int i = 0; i < 4; ++i) v[i] = low ? low[i] : 0.f, v[4 + i] = high ? high[i] : 0.f;
}
MFEDGE_INLINE void split(const rows_vec& v, float* low, float* high) {
  for (int i = 0; i < 4 && low; ++i) low[i] = v[i];
  for (int i = 0; i < 4 && high; ++i) high[i] = v[4 + i];
}
// Both halves of four vectors, 4 x 4 floats each.
MFEDGE_INLINE void transpose(rows_vec (&v)[4]) {
  const rows_vec from[4] = {v[0], v[1], v[2], v[3]};
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) v[i][j] = from[j][i], v[i][4 + j] = from[j][4 + i];
}
// To [0, high].
MFEDGE_INLINE void clamp(rows_vec& v, float high) {
  for (int i = 0; i < 8; ++i) v[i] = v[i] < 0.f ? 0.f : v[i] > high ? high : v[i];
}

}  // namespace plain

MFEDGE_END_ISA

#endif
