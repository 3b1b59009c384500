// One vector type for every instruction set, by the compiler's vector extensions, and the few functions that need more.
// Included only by kernels_isa.cpp, inside the namespace of one instruction set.
#pragma once

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int kLanes = kVectorBytes / 4;

typedef float vec __attribute__((vector_size(kVectorBytes)));
typedef int32_t ivec __attribute__((vector_size(kVectorBytes)));
// Unaligned, may alias: for loads and stores only.
typedef float vec_memory __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));

#define MFEDGE_INLINE static inline __attribute__((always_inline))

MFEDGE_INLINE vec load(const float* p) { return *reinterpret_cast<const vec_memory*>(p); }
MFEDGE_INLINE void store(float* p, vec v) { *reinterpret_cast<vec_memory*>(p) = v; }
MFEDGE_INLINE vec splat(float x) { return x - vec{}; }
MFEDGE_INLINE vec maximum(vec a, vec b) { return a > b ? a : b; }
MFEDGE_INLINE vec minimum(vec a, vec b) { return a < b ? a : b; }

// The first `count` lanes, the others 0; nothing behind them is touched.
MFEDGE_INLINE vec load_first(const float* p, int count) {
#if defined(__AVX512F__)
  return reinterpret_cast<vec>(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p));
#else
  vec v = {};
  __builtin_memcpy(&v, p, static_cast<size_t>(count) * sizeof(float));
  return v;
#endif
}
MFEDGE_INLINE void store_first(float* p, vec v, int count) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), reinterpret_cast<__m512>(v));
#else
  __builtin_memcpy(p, &v, static_cast<size_t>(count) * sizeof(float));
#endif
}

// float16 to float32. The portable form is exact for all finite values: the exponent is rebiased by a multiplication.
MFEDGE_INLINE vec load(const uint16_t* p) {
#if defined(__AVX512F__)
  return reinterpret_cast<vec>(_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
#elif defined(__F16C__)
  return reinterpret_cast<vec>(_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__aarch64__)
  return reinterpret_cast<vec>(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))));
#else
  ivec bits;
  for (int i = 0; i < kLanes; ++i) bits[i] = p[i];
  const vec magnitude = reinterpret_cast<vec>((bits & 0x7fff) << 13) * 0x1p112f;
  return reinterpret_cast<vec>(reinterpret_cast<ivec>(magnitude) | ((bits & 0x8000) << 16));
#endif
}

// x[0], x[2], ... and x[1], x[3], ... of two neighbouring vectors.
MFEDGE_INLINE void deinterleave(const float* p, vec* even, vec* odd) {
  const vec a = load(p), b = load(p + kLanes);
#if defined(__AVX512F__)
  typedef int32_t index __attribute__((vector_size(64)));
  const index e = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
#elif defined(__AVX2__)
  typedef int32_t index __attribute__((vector_size(32)));
  const index e = {0, 2, 4, 6, 8, 10, 12, 14};
#else
  typedef int32_t index __attribute__((vector_size(16)));
  const index e = {0, 2, 4, 6};
#endif
#if defined(__clang__)
  for (int i = 0; i < kLanes; ++i) {
    (*even)[i] = p[2 * i];
    (*odd)[i] = p[2 * i + 1];
  }
  (void)a, (void)b, (void)e;
#else
  *even = __builtin_shuffle(a, b, e);
  *odd = __builtin_shuffle(a, b, e + 1);
#endif
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

// e^x, relative error below 2e-7; below -87.3 it stays at e^-87.3 (1e-38) instead of going subnormal.
// Cody-Waite reduction and the degree-5 polynomial of Cephes' expf.
MFEDGE_INLINE vec exponential(vec x) {
  x = minimum(maximum(x, splat(-87.33f)), splat(88.37f));
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low mantissa bits.
  const vec shifted = x * 1.44269504088896341f + 12582912.f;
  const vec n = shifted - 12582912.f;
  const vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
  vec p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.f;
  const ivec exponent = (reinterpret_cast<ivec>(shifted) - (0x4B400000 - 127)) << 23;
  return p * reinterpret_cast<vec>(exponent);
}

// erf(x), absolute error below 3e-7: the odd rational minimax on [-4, 4] that Eigen and XLA use.
MFEDGE_INLINE vec error_function(vec x) {
  x = minimum(maximum(x, splat(-4.f)), splat(4.f));
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
