// NaN, infinities, subnormals and scores of any size: what the kernels make of them, against the twin, in whatever mode of
// rounding and of traps a thread is. run_kernel() holds every call to leave that mode as it was.
#include <cfenv>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernel.h"
#include "tests.h"

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double nan_of(uint64_t bits) {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

Result run_once(const Case& given, const Data& data, const Pool& pool) {
  const Kernel kernel(given, data, Against::kBack);
  if (kernel.status.code != MFEDGE_OK) return {kernel.status, {}, {}};
  return run_kernel(kernel, data.inputs, pool, Against::kBack);
}

bool agrees(const Case& given, const Data& data, const Pool& pool, Undefined undefined) {
  const Result found = run_once(given, data, pool);
  if (found.status.code != MFEDGE_OK) return fail("run: " + found.status.message);
  return compare(given, mfedge_plain::run(given.kind, given.config, data.weights, data.matrices, data.inputs), found,
                 undefined);
}

// Puts a value into up to three places of an input. What is NaN there already is padding.
void spoil_input(Data& data, double value, Random& random) {
  auto& input = data.inputs[between(random, 0, static_cast<int64_t>(data.inputs.size()) - 1)].data;
  for (int64_t places = between(random, 1, 3); places > 0; --places) {
    double& place = input[between(random, 0, static_cast<int64_t>(input.size()) - 1)];
    if (!std::isnan(place)) place = value;
  }
}

bool test_spoilt(const Case& given, const Pool& pool, Random& random) {
  const Data whole = make_data(given);
  // NaN as x86 makes it, and one whose low bits are set.
  for (const double value : {nan_of(0xfff8000000000000), nan_of(0x7fffffffffffffff), kInfinity, -kInfinity}) {
    Data data = whole;
    spoil_input(data, value, random);
    begin(given.describe() + "; an input has " + std::to_string(value));
    if (!agrees(given, data, pool, std::isnan(value) ? Undefined::kNan : Undefined::kAnything)) return false;
  }
  if (!whole.matrices.empty()) {
    Data data = whole;
    const size_t i = random() % data.matrices.size();
    data.matrices[i] = std::nanf("");
    if (given.type == MFEDGE_FLOAT16) data.halves[i] = 0x7e01;
    begin(given.describe() + "; a matrix has NaN");
    if (!agrees(given, data, pool, Undefined::kNan)) return false;
  }
  if (!whole.weights.empty()) {
    Data data = whole;
    data.weights[random() % data.weights.size()] = std::nanf("");
    begin(given.describe() + "; a vector has NaN");
    // The kernels multiply the zeros beside a map by the taps of a filter, which the twin leaves out.
    if (!agrees(given, data, pool, Undefined::kNanAndElsewhere)) return false;
  }
  return true;
}

Case attention(mfedge_kind kind, Random& random) {
  Case given = random_case(kind, random);
  given.batch = given.token_batch = 1;
  given.config.scale = 1;
  return given;
}

// One channel of each head decides: its values are multiples of 1/64, so that scores are equal or far apart, and its
// query is huge. The rest is what is attended to.
bool test_huge_queries(double magnitude, const Pool& pool, Random& random) {
  const Case given = attention(MFEDGE_MOBILE_TO_FORMER, random);
  begin(given.describe() + "; scores of " + std::to_string(magnitude));
  Data data = make_data(given);
  const int64_t pixels = given.height * given.width, depth = given.channels / given.config.heads;
  for (int64_t c = 0; c < given.channels; ++c) {
    const bool decides = c % depth == 0;
    for (int64_t p = 0; p < pixels && decides; ++p)
      data.inputs[0].data[c * pixels + p] = static_cast<double>(between(random, 1, 128)) / 64;
    for (int64_t m = 0; m < given.tokens; ++m)
      data.inputs[1].data[m * given.channels + c] = decides ? (m % 2 ? -magnitude : magnitude) : 0;
  }
  return agrees(given, data, pool, Undefined::kNan);
}

// Keys of all sizes beside one another, and one that is -infinity now and then.
bool test_keys_of_all_sizes(const Pool& pool, Random& random) {
  constexpr double kSizes[] = {0,    0.5,  -1.25, 3.5,  -8,    20,    -60,  150, -1e3,
                               2e4, -1e7, 1e8,   -1e9, 1e10, -1e20, 1e30, -1e30, -kInfinity};
  const Case given = attention(MFEDGE_FORMER_TO_MOBILE, random);
  Data data = make_data(given);
  const int64_t depth = given.channels / given.config.heads;
  for (int64_t c = 0; c < given.channels; ++c) {
    int64_t size = between(random, 0, 17);
    for (int64_t m = 0; m < given.tokens; ++m, size = (size + 1) % 18)
      data.inputs[1].data[m * given.channels + c] = c % depth ? 0 : kSizes[size];
  }
  for (double& x : data.inputs[0].data) x = (x < 0 ? -1 : 1) * (0.5 + std::fabs(x));  // not 0, which times infinity is NaN
  begin(given.describe() + "; keys of all sizes");
  return agrees(given, data, pool, Undefined::kNan);
}

// A value that is far larger than the others leaves nothing of itself where its weight is small.
bool test_values_of_all_sizes(const Pool& pool, Random& random) {
  const Case given = attention(MFEDGE_FORMER_TO_MOBILE, random);
  Data data = make_data(given);
  const int64_t huge = between(random, 0, given.tokens - 1);
  for (int64_t c = 0; c < given.channels; ++c)
    for (int64_t m = 0; m < given.tokens; ++m) {
      data.inputs[1].data[m * given.channels + c] = m == huge ? -60 : 0.1 * data.inputs[1].data[m * given.channels + c];
      if (m == huge) data.inputs[2].data[m * given.channels + c] *= 1e9;
    }
  for (double& x : data.inputs[0].data) x = 0.5 + std::fabs(x);
  begin(given.describe() + "; a huge value");
  return agrees(given, data, pool, Undefined::kNan);
}

// Features near the end of float32, evenly attended to: their sum is beyond it, their mean is not.
bool test_huge_features(const Pool& pool, Random& random) {
  const Case given = attention(MFEDGE_MOBILE_TO_FORMER, random);
  Data data = make_data(given);
  for (double& x : data.inputs[0].data) x = static_cast<float>(x * 1.9e38);
  for (double& q : data.inputs[1].data) q = 0;
  begin(given.describe() + "; huge features");
  return agrees(given, data, pool, Undefined::kNan);
}

bool equal(const Case& given, const Result& a, const Result& b) {
  for (size_t i = 0; i < a.outputs.size(); ++i) {
    if (given.kind == MFEDGE_TOKENS && !given.config.hyper && (i == 1 || i == 2)) continue;
    if (a.outputs[i] != b.outputs[i]) return false;
  }
  return true;
}

}  // namespace

bool test_undefined(uint64_t seed, int count) {
  Random random(seed);
  const Pool pool;
  bool held = true;
  for (const mfedge_kind kind : kKinds)
    for (int i = 0; i < count && held; ++i) held = test_spoilt(random_case(kind, random), pool, random);
  return held;
}

bool test_scores(uint64_t seed, int count) {
  Random random(seed);
  const Pool pool;
  bool held = true;
  for (int i = 0; i < count; ++i) {
    for (const double magnitude : {1e1, 1e3, 1e5, 1e6, 1e8, 1e10, 1e20, 1e30})
      held &= test_huge_queries(magnitude, pool, random);
    for (int j = 0; j < 4; ++j) held &= test_keys_of_all_sizes(pool, random);
    held &= test_values_of_all_sizes(pool, random) && test_huge_features(pool, random);
  }
  std::printf("%s: scores within %.1e\n", mfedge_isa(), worst_seen());
  return held;
}

bool test_modes(uint64_t seed) {
  Random random(seed);
  const Pool pool;
  for (const mfedge_kind kind : kKinds) {
    const Case given = random_case(kind, random);
    begin(given.describe() + "; subnormals");
    Data nothing = make_data(given), data = nothing;
    for (size_t i = 0; i < data.inputs.size(); ++i)
      for (size_t j = 0; j < data.inputs[i].data.size(); ++j) {
        nothing.inputs[i].data[j] = 0;
        data.inputs[i].data[j] = j % 2 ? 1e-39 : -1e-40;
      }
    if (!data.weights.empty()) nothing.weights.back() = 0, data.weights.back() = 1e-39f;
    const Result zero = run_once(given, nothing, pool), small = run_once(given, data, pool);
    if (zero.status.code != MFEDGE_OK || small.status.code != MFEDGE_OK) return fail("run");
    if (!equal(given, zero, small)) return fail("subnormals are not taken as 0");

    begin(given.describe() + "; in another mode");
    data = make_data(given);
    const Kernel kernel(given, data, Against::kBack);
    const Result expected = run_kernel(kernel, data.inputs, pool, Against::kBack);
    std::fenv_t before;
    std::fegetenv(&before);
    for (const int rounding : {FE_UPWARD, FE_TONEAREST, FE_TOWARDZERO}) {
      std::fesetround(rounding);
      std::feclearexcept(FE_ALL_EXCEPT);
      if (rounding == FE_UPWARD) std::feraiseexcept(FE_DIVBYZERO);
      if (rounding == FE_TOWARDZERO) feenableexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);  // where a CPU traps
      const Result found = run_kernel(kernel, data.inputs, pool, Against::kBack);
      std::fesetenv(&before);
      if (found.status.code != MFEDGE_OK) return fail("run: " + found.status.message);
      if (!equal(given, expected, found)) return fail("another result in another mode");
    }
  }
  return true;
}
