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

// Half a vector of AVX-512, a whole one of AVX2: the rows of a tile at one pixel.
typedef float rows_vec __attribute__((vector_size(32)));
typedef float rows_vec_memory __attribute__((vector_size(32), aligned(4), may_alias));

#define MFEDGE_MEMBER inline __attribute__((always_inline))
#define MFEDGE_INLINE static MFEDGE_MEMBER
#define MFEDGE_NOINLINE __attribute__((noinline))
#define MFEDGE_LAMBDA __attribute__((always_inline))

MFEDGE_INLINE vec load(const float* p) { return *reinterpret_cast<const vec_memory*>(p); }
MFEDGE_INLINE void store(float* p, vec v) { *reinterpret_cast<vec_memory*>(p) = v; }
// Loaded once: x86 compilers would rather take a load into each instruction that needs it, though there are two loads a
// cycle, or one that crosses a cache line.
MFEDGE_INLINE vec in_register(vec v) {
#if defined(__x86_64__)
  asm("" : "+v"(v));
#endif
  return v;
}
MFEDGE_INLINE vec splat(float x) { return x - vec{}; }
// The compilers do not find the one instruction in a > b ? a : b, because of what it does with NaN.
MFEDGE_INLINE vec maximum(vec a, vec b) {
#if defined(__AVX512F__)
  return reinterpret_cast<vec>(_mm512_max_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<vec>(_mm256_max_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
#elif defined(__SSE2__)
  return reinterpret_cast<vec>(_mm_max_ps(reinterpret_cast<__m128>(a), reinterpret_cast<__m128>(b)));
#else
  return reinterpret_cast<vec>(vmaxq_f32(reinterpret_cast<float32x4_t>(a), reinterpret_cast<float32x4_t>(b)));
#endif
}
MFEDGE_INLINE vec minimum(vec a, vec b) {
#if defined(__AVX512F__)
  return reinterpret_cast<vec>(_mm512_min_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b)));
#elif defined(__AVX2__)
  return reinterpret_cast<vec>(_mm256_min_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b)));
#elif defined(__SSE2__)
  return reinterpret_cast<vec>(_mm_min_ps(reinterpret_cast<__m128>(a), reinterpret_cast<__m128>(b)));
#else
  return reinterpret_cast<vec>(vminq_f32(reinterpret_cast<float32x4_t>(a), reinterpret_cast<float32x4_t>(b)));
#endif
}
// x > 0 ? positive : negative where x is not 0, by its sign: a comparison into a mask takes a multiply-add's place.
MFEDGE_INLINE vec by_sign(vec x, vec positive, vec negative) {
#if defined(__AVX512F__)
  constexpr int kFirstPicks = 0xca;  // bit by bit: first ? second : third
  return reinterpret_cast<vec>(_mm512_ternarylogic_epi32(
      _mm512_srai_epi32(reinterpret_cast<__m512i>(x), 31), reinterpret_cast<__m512i>(negative),
      reinterpret_cast<__m512i>(positive), kFirstPicks));
#elif defined(__AVX2__)
  return reinterpret_cast<vec>(_mm256_blendv_ps(reinterpret_cast<__m256>(positive), reinterpret_cast<__m256>(negative),
                                                reinterpret_cast<__m256>(x)));
#else
  return x > vec{} ? positive : negative;
#endif
}
#if defined(__AVX2__)
// Four floats from each of two places, zeros for nullptr, and back.
MFEDGE_INLINE rows_vec join(const float* low, const float* high) {
  const __m256 half = _mm256_castps128_ps256(low ? _mm_loadu_ps(low) : _mm_setzero_ps());
  return reinterpret_cast<rows_vec>(_mm256_insertf128_ps(half, high ? _mm_loadu_ps(high) : _mm_setzero_ps(), 1));
}
MFEDGE_INLINE void split(rows_vec v, float* low, float* high) {
  if (low) _mm_storeu_ps(low, _mm256_castps256_ps128(reinterpret_cast<__m256>(v)));
  if (high) _mm_storeu_ps(high, _mm256_extractf128_ps(reinterpret_cast<__m256>(v), 1));
}
// Both halves of four vectors, 4 x 4 floats each.
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
// To [0, high].
MFEDGE_INLINE rows_vec clamp(rows_vec v, float high) {
  const __m256 positive = _mm256_max_ps(reinterpret_cast<__m256>(v), _mm256_setzero_ps());
  return reinterpret_cast<rows_vec>(_mm256_min_ps(positive, _mm256_set1_ps(high)));
}
#endif
// All lanes but one; a lane outside the vector leaves all.
#if defined(__AVX512F__)
typedef __mmask16 lane_mask;
MFEDGE_INLINE lane_mask all_but(int lane) {
  return static_cast<lane_mask>(static_cast<unsigned>(lane) < kLanes ? ~(1u << lane) : ~0u);
}
MFEDGE_INLINE vec load(const float* p, lane_mask mask) {
  return reinterpret_cast<vec>(_mm512_maskz_loadu_ps(mask, p));
}
#else
typedef ivec lane_mask;
MFEDGE_INLINE lane_mask all_but(int lane) {
  ivec index;
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) index[i] = i;
  return index != lane;
}
MFEDGE_INLINE vec load(const float* p, lane_mask mask) {
  return reinterpret_cast<vec>(reinterpret_cast<ivec>(load(p)) & mask);
}
#endif

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

// The first `count` lanes of v, the others `other`.
MFEDGE_INLINE vec first_or(vec v, int count, float other) {
#if defined(__AVX512F__)
  return reinterpret_cast<vec>(_mm512_mask_blend_ps(static_cast<__mmask16>((1u << count) - 1), _mm512_set1_ps(other),
                                                    reinterpret_cast<__m512>(v)));
#else
  for (int i = count; i < kLanes; ++i) v[i] = other;
  return v;
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
MFEDGE_INLINE void deinterleave(vec a, vec b, float* even, float* odd) {
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
  for (int i = 0; i < kLanes / 2; ++i) {
    even[i] = a[2 * i], even[kLanes / 2 + i] = b[2 * i];
    odd[i] = a[2 * i + 1], odd[kLanes / 2 + i] = b[2 * i + 1];
  }
  (void)e;
#else
  store(even, __builtin_shuffle(a, b, e));
  store(odd, __builtin_shuffle(a, b, e + 1));
#endif
}

MFEDGE_INLINE float add_lanes(vec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps(reinterpret_cast<__m512>(v));
#endif
  alignas(kVectorBytes) float lane[kLanes];
  store(lane, v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  return lane[0];
}
MFEDGE_INLINE float max_lanes(vec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(reinterpret_cast<__m512>(v));
#endif
  alignas(kVectorBytes) float lane[kLanes];
  store(lane, v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lane[i] = lane[i] > lane[i + width] ? lane[i] : lane[i + width];
  return lane[0];
}

// Sums of the lanes of `count` vectors. Whole groups of kLanes vectors are folded together: three instructions a vector
// instead of a dozen.
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

MFEDGE_INLINE bool any_above(vec v, float limit) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(v), _mm512_set1_ps(limit), _CMP_GT_OQ) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps(reinterpret_cast<__m256>(v), _mm256_set1_ps(limit), _CMP_GT_OQ)) != 0;
#else
  return max_lanes(v) > limit;
#endif
}

constexpr float kLog2E = 1.44269504088896341f;

// 2^x, relative error below 2e-7. Below -126 it goes to 0, or stays at 2^-126 (1e-38); above 127 it goes to infinity, or
// stays at 2^127. A softmax takes its scores in units of log 2, which costs nothing: the factor goes into the query.
// Rounding to an integer, and the minimax polynomial 1 + r q(r) on what is left, at most a half. Of N vectors step by step,
// so that the latency of one hides behind the others.
template <int N>
MFEDGE_INLINE void exponential2(vec (&x)[N]) {
  vec whole[N], p[N];
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
#if defined(__AVX512F__)
    whole[i] = reinterpret_cast<vec>(_mm512_roundscale_ps(reinterpret_cast<__m512>(x[i]),
                                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    x[i] -= whole[i];
#else
    x[i] = minimum(maximum(x[i], splat(-126.f)), splat(127.f));
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low mantissa bits.
    whole[i] = x[i] + 12582912.f;
    x[i] -= whole[i] - 12582912.f;
#endif
    p[i] = x[i] * 1.326469880e-3f + 9.671508823e-3f;
  }
  constexpr float kCoefficients[] = {5.550733776e-2f, 2.402224215e-1f, 6.931469776e-1f, 1.f};
#pragma GCC unroll 8
  for (float coefficient : kCoefficients)
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) p[i] = p[i] * x[i] + coefficient;
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i)
#if defined(__AVX512F__)
    x[i] = reinterpret_cast<vec>(_mm512_scalef_ps(reinterpret_cast<__m512>(p[i]), reinterpret_cast<__m512>(whole[i])));
#else
    // The integer goes onto the exponent of p, which is between 0.7 and 1.5.
    x[i] = reinterpret_cast<vec>(reinterpret_cast<ivec>(p[i]) + (reinterpret_cast<ivec>(whole[i]) << 23));
#endif
}
MFEDGE_INLINE vec exponential2(vec x) {
  vec one[1] = {x};
  exponential2(one);
  return one[0];
}

// 1 / x of what is neither tiny nor huge, relative error below 2e-7.
MFEDGE_INLINE vec reciprocal(vec x) {
#if defined(__AVX512F__)
  const vec estimate = reinterpret_cast<vec>(_mm512_rcp14_ps(reinterpret_cast<__m512>(x)));
  return estimate * (2.f - x * estimate);
#else
  return 1.f / x;
#endif
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
