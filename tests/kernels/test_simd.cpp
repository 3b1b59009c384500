// The primitive operations of one instruction set against their plain forms, and what simd.h makes of them against the
// C library. Compiled once for each set, so nothing of the C++ library is used here: see isa/isa.h.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../../mfedge/kernels/isa/float_mode.h"
#include "../../mfedge/kernels/src/simd.h"

MFEDGE_BEGIN_ISA

constexpr int kRounds = 200;
constexpr double kErrorOfErf = 5e-7;  // as src/simd.h says
constexpr float kOutside = 77.f;  // stands where nothing may be written

struct Random {
  uint32_t state = 1;
  // -scale to scale, never 0.
  float next(float scale) {
    state = state * 1664525u + 1013904223u;
    return scale * (static_cast<float>(static_cast<int32_t>(state | 1)) * 0x1p-31f);
  }
  void fill(float* values, int count, float scale) {
    for (int i = 0; i < count; ++i) values[i] = next(scale);
  }
};

bool holds(bool held, const char* what) {
  if (!held) printf("FAILED: %s (%s)\n", what, MFEDGE_STRING(MFEDGE_ISA_NAME));
  return held;
}

// Bit by bit, but for NaN, which is NaN.
bool same(vec a, vec b) {
  const ivec bits = reinterpret_cast<ivec>(a), others = reinterpret_cast<ivec>(b);
  for (int i = 0; i < kLanes; ++i)
    if (bits[i] != others[i] && !(isnan(a[i]) && isnan(b[i]))) return false;
  return true;
}

bool test_lanes(Random& random) {
  float p[2 * kLanes], q[kLanes];
  random.fill(p, 2 * kLanes, 3), random.fill(q, kLanes, 3);
  const vec a = load(p), b = load(q);
  bool held = holds(same(in_register(a), a), "in_register");
  held &= holds(same(maximum(a, b), plain::maximum(a, b)), "maximum");
  held &= holds(same(minimum(a, b), plain::minimum(a, b)), "minimum");
  held &= holds(same(by_sign(a, b, a), plain::by_sign(a, b, a)), "by_sign");
  held &= holds(max_lanes(a) == plain::max_lanes(a), "max_lanes");
  held &= holds(fabsf(add_lanes(a) - plain::add_lanes(a)) <= 1e-5f, "add_lanes");
  for (int lane = 0; lane < kLanes; ++lane) {
    held &= holds(any_beyond(a, p[lane]) == plain::any_beyond(a, p[lane]), "any_beyond");
    held &= holds(any_beyond(a, p[lane] - 0.001f), "any_beyond one of its lanes");
  }
  for (int lane = -1; lane <= kLanes; ++lane)
    held &= holds(same(load_masked(p, all_but(lane)), plain::load_masked(p, plain::all_but(lane))), "load_masked");
  float even[kLanes], odd[kLanes];
  deinterleave(a, load(p + kLanes), even, odd);
  for (int i = 0; i < kLanes; ++i) held &= holds(even[i] == p[2 * i] && odd[i] == p[2 * i + 1], "deinterleave");
  return held;
}

bool test_first(Random& random) {
  float p[kLanes];
  random.fill(p, kLanes, 3);
  bool held = true;
  for (int count = 0; count <= kLanes; ++count) {
    const vec v = load(p);
    held &= holds(same(load_first(p, count), plain::load_first(p, count)), "load_first");
    held &= holds(same(first_or(v, count, -9.f), plain::first_or(v, count, -9.f)), "first_or");
    float to[2][kLanes];
    for (int i = 0; i < kLanes; ++i) to[0][i] = to[1][i] = kOutside;
    store_first(to[0], v, count), plain::store_first(to[1], v, count);
    held &= holds(memcmp(to[0], to[1], sizeof to[0]) == 0, "store_first");
  }
  return held;
}

bool test_rows(Random& random) {
  float from[4][8], to[2][8];
  random.fill(from[0], 32, 9);
  rows_vec mine[4], twin[4];
  bool held = true;
  for (int some = 0; some < 4; ++some) {  // neither half, the low one, the high one, both
    const float *low = some & 1 ? from[0] : nullptr, *high = some & 2 ? from[0] + 4 : nullptr;
    join(low, high, mine[0]), plain::join(low, high, twin[0]);
    held &= holds(memcmp(mine, twin, sizeof mine[0]) == 0, "join");
    for (float(&row)[8] : to)
      for (float& value : row) value = kOutside;
    memcpy(&mine[1], from[1], sizeof from[1]);
    split(mine[1], some & 1 ? to[0] : nullptr, some & 2 ? to[0] + 4 : nullptr);
    plain::split(mine[1], some & 1 ? to[1] : nullptr, some & 2 ? to[1] + 4 : nullptr);
    held &= holds(memcmp(to[0], to[1], sizeof to[0]) == 0, "split");
  }
  memcpy(mine, from, sizeof from), memcpy(twin, from, sizeof from);
  transpose(mine), plain::transpose(twin);
  held &= holds(memcmp(mine, twin, sizeof mine) == 0, "transpose");
  clamp(mine[0], 6.f), plain::clamp(twin[0], 6.f);
  held &= holds(memcmp(mine, twin, sizeof mine[0]) == 0, "clamp");
  return held;
}

// Every float16, as the formula has it: also where subnormal float32 numbers count as 0, as in a call of the kernels.
bool test_float16() {
  const mfedge::FloatMode mode;
  bool held = true;
  for (int first = 0; first < 1 << 16; first += kLanes) {
    float16 p[kLanes];
    vec expected;
    for (int i = 0; i < kLanes; ++i) {
      const int bits = first + i, exponent = bits >> 10 & 31, fraction = bits & 1023;
      p[i].bits = static_cast<uint16_t>(bits);
      const float size = exponent == 31  ? fraction ? NAN : INFINITY
                         : exponent == 0 ? ldexpf(static_cast<float>(fraction), -24)
                                         : ldexpf(static_cast<float>(1024 + fraction), exponent - 25);
      expected[i] = bits >> 15 ? -size : size;
    }
    held &= holds(same(load(p), expected), "load float16");
    held &= holds(same(plain::load_float16(p), expected), "plain load float16");
  }
  return held;
}

bool test_functions(Random& random) {
  float p[kLanes], of[kLanes];
  random.fill(p, kLanes, 126.f);
  store(of, exponential2(load(p)));
  bool held = true;
  for (int i = 0; i < kLanes; ++i) held &= holds(fabs(of[i] / exp2(double{p[i]}) - 1) <= 2e-7, "exponential2");
  store(of, reciprocal(load(p)));
  for (int i = 0; i < kLanes; ++i) held &= holds(fabs(of[i] * double{p[i]} - 1) <= 2e-7, "reciprocal");
  constexpr int kVectors = 37;  // whole groups, and a few
  float many[kVectors * kLanes], sums[kVectors];
  random.fill(many, kVectors * kLanes, 3);
  add_lanes_of(many, kVectors, sums);
  for (int i = 0; i < kVectors; ++i)
    held &= holds(fabsf(sums[i] - plain::add_lanes(load(many + i * kLanes))) <= 1e-5f, "add_lanes_of");
  return held;
}

bool test_far_exponents() {
  bool held = true;
  for (float x = 127.f; x < 1e30f; x *= 10.f) {
    const float small = exponential2(splat(-x))[0], large = exponential2(splat(x))[0];
    held &= holds(small >= 0.f && small <= 1.2e-38f, "exponential2 far below");
    held &= holds(large >= 1.7e38f, "exponential2 far above");
  }
  held &= holds(exponential2(splat(-200.f))[0] == 0.f, "exponential2 of -200");
  held &= holds(exponential2(splat(200.f))[0] == INFINITY, "exponential2 of 200");
  held &= holds(exponential2_of_any(splat(-INFINITY))[0] == 0.f, "exponential2 of -infinity");
  held &= holds(exponential2_of_any(splat(INFINITY))[0] == INFINITY, "exponential2 of infinity");
  return held;
}

// NaN in each lane, with the bits that x86 gives it and with others. Bounds come first: see maximum().
bool test_nan() {
  bool held = true;
  constexpr uint32_t kNan[] = {0xffc00000u, 0x7fc00000u, 0x7fc00001u, 0xffffffffu, 0x7fffff80u};
  for (const uint32_t bits : kNan)
    for (int lane = 0; lane < kLanes; ++lane) {
      vec x = splat(0.5f);
      float nan;
      memcpy(&nan, &bits, sizeof nan);
      x[lane] = nan;
      const vec ones = splat(1.f);
      const vec results[] = {maximum(ones, x),  minimum(ones, x),    plain::maximum(ones, x), plain::minimum(ones, x),
                             clamp(x, 0.f, 6.f), exponential2(x),     exponential2_of_any(x),  error_function(x),
                             greatest(x, ones), greatest(ones, x),   reciprocal(x),           x * by_sign(x, ones, ones)};
      for (const vec& result : results)
        for (int i = 0; i < kLanes; ++i) held &= holds(isnan(result[i]) == (i == lane), "NaN of NaN alone");
      held &= holds(any_beyond(x, 9.f) && plain::any_beyond(x, 9.f), "any_beyond NaN");
      rows_vec rows = {}, twin = {};
      if (lane >= static_cast<int>(sizeof rows / sizeof(float))) continue;
      rows[lane] = twin[lane] = nan;
      clamp(rows, 6.f), plain::clamp(twin, 6.f);
      held &= holds(isnan(rows[lane]) && isnan(twin[lane]), "clamp NaN");
    }
  return held;
}

// Every `stride`th float32 from 0 to 5, where erf is 1 to all its bits, and a few beyond.
bool test_error_function(int stride) {
  double worst = 0;
  for (uint32_t first = 0; first <= 0x40a00000u; first += static_cast<uint32_t>(stride) * kLanes) {
    float p[kLanes], of[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      const uint32_t bits = first + static_cast<uint32_t>(i * stride);
      memcpy(&p[i], &bits, sizeof bits);
    }
    store(of, error_function(load(p)));
    for (int i = 0; i < kLanes; ++i) {
      const double error = fabs(of[i] - erf(double{p[i]}));
      if (!(error <= worst)) worst = error;
    }
  }
  bool held = holds(worst <= kErrorOfErf, "error_function");
  constexpr float kSome[] = {1e-3f, 0.7f, 3.f, 5.f, 1e10f, INFINITY};
  for (const float x : kSome)
    held &= holds(error_function(splat(-x))[0] == -error_function(splat(x))[0], "error_function is odd");
  held &= holds(fabs(error_function(splat(INFINITY))[0] - 1) <= kErrorOfErf, "error_function of infinity");
  printf("%s: erf within %.2e\n", MFEDGE_STRING(MFEDGE_ISA_NAME), worst);
  return held;
}

MFEDGE_END_ISA

namespace mfedge {
namespace MFEDGE_ISA_NAME {

bool test_simd(int stride) {
  Random random;
  bool held = test_float16() && test_far_exponents() && test_nan() && test_error_function(stride);
  for (int i = 0; i < kRounds && held; ++i)
    held = test_lanes(random) && test_first(random) && test_rows(random) && test_functions(random);
  return held;
}

}  // namespace MFEDGE_ISA_NAME
}  // namespace mfedge
