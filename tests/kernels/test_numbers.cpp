// The kernels' numbers against the twin's.
#include <cmath>
#include <cstring>

#include "kernel.h"
#include "tests.h"

namespace {

// Bit by bit, but for what is anything.
bool same(const Case& given, const Result& a, const Result& b) {
  for (size_t i = 0; i < a.outputs.size(); ++i) {
    if (given.kind == MFEDGE_TOKENS && !given.config.hyper && (i == 1 || i == 2)) continue;
    if (std::memcmp(a.outputs[i].data(), b.outputs[i].data(), a.outputs[i].size() * sizeof(float)) != 0) return false;
  }
  return true;
}

bool test_data(const Case& given, const Data& data, const Pool& pool);

bool test_case(const Case& given, const Pool& pool) {
  begin(given.describe());
  if (!mfedge_plain::valid(given.kind, given.config)) return fail("the test made an invalid configuration");
  const Data data = make_data(given);
  const mfedge_plain::Counts counts = mfedge_plain::count(given.kind, given.config);
  if (counts.weights != data.weights.size() || counts.matrices != data.matrices.size())
    return fail("the test made another number of weights than the twin expects");
  size_t weights = 0, matrices = 0;
  if (mfedge_count_weights(given.kind, &given.config, &weights, &matrices, nullptr) != MFEDGE_OK)
    return fail("mfedge_count_weights refuses a valid configuration");
  if (weights != counts.weights || matrices != counts.matrices) return fail("mfedge_count_weights is wrong");
  return test_data(given, data, pool);
}

bool test_data(const Case& given, const Data& data, const Pool& pool) {
  const auto expected = mfedge_plain::run(given.kind, given.config, data.weights, data.matrices, data.inputs);
  Result results[2];
  for (const Against side : {Against::kFront, Against::kBack}) {
    const Kernel kernel(given, data, side);
    if (kernel.status.code != MFEDGE_OK) return fail("create: " + kernel.status.message);
    if (mfedge_operator_inputs(kernel.get()) != mfedge_plain::input_count(given.kind) ||
        mfedge_operator_outputs(kernel.get()) != mfedge_plain::output_count(given.kind))
      return fail("the number of inputs or outputs");
    // Leaves NaN in all of the scratch that the next run gets, so that reading what it has not written shows.
    const Result poisoned = run_kernel(kernel, data.inputs, pool, side, true);
    if (poisoned.status.code != MFEDGE_OK) return fail("run on NaN: " + poisoned.status.message);
    Result& result = results[side == Against::kBack];
    result = run_kernel(kernel, data.inputs, pool, side);
    if (result.status.code != MFEDGE_OK) return fail("run: " + result.status.message);
    if (!compare(given, expected, result)) return false;
  }
  return same(given, results[0], results[1]) || fail("other alignment, other bits");
}

// The score of a pixel that is `at` of the way through the map: what a softmax over pixels, with its running maximum,
// or over tokens may meet.
struct Peaks {
  const char* name;
  double (*score)(double at);
};
constexpr Peaks kPeaks[] = {
    {"far below zero", [](double) { return -400.; }},
    {"far above zero", [](double) { return 400.; }},
    {"low, then high", [](double at) { return at < 0.5 ? -300. : 300.; }},
    {"high, then low", [](double at) { return at < 0.5 ? 300. : -300.; }},
    {"rising steadily", [](double at) { return 400 * at - 200; }},
    {"rising slowly", [](double at) { return 14 * at; }},
    {"one peak", [](double at) { return 250 - 900 * std::fabs(at - 0.7); }},
};

}  // namespace

bool test_peaks(uint64_t seed) {
  Random random(seed);
  const Pool pool;
  bool held = true;
  const int64_t sizes[][2] = {{1, 1}, {1, 17}, {7, 7}, {5, 13}, {9, 37}, {40, 41}};
  for (const mfedge_kind kind : {MFEDGE_MOBILE_TO_FORMER, MFEDGE_FORMER_TO_MOBILE})
    for (const Peaks& peaks : kPeaks)
      for (const auto& size : sizes)
        for (const bool both : {true, false}) {
          Case given;
          given.kind = kind;
          given.height = size[0], given.width = size[1], given.channels = 12, given.tokens = 8;
          given.seed = random() >> 16;
          given.config.heads = 2, given.config.scale = 1;
          begin(std::string(peaks.name) + (both ? ", both ways: " : ": ") + given.describe());
          Data data = make_data(given);
          const int64_t pixels = given.height * given.width, depth = given.channels / given.config.heads;
          for (int64_t i = 0; i < given.channels * pixels; ++i) {
            const double at = pixels > 1 ? static_cast<double>(i % pixels) / static_cast<double>(pixels - 1) : 0;
            double& feature = data.inputs[0].data[i];
            feature = static_cast<float>(0.1 * feature + peaks.score(at) / static_cast<double>(depth));
          }
          for (int64_t i = 0; i < given.channels * given.tokens; ++i)  // every other token may see the map upside down
            data.inputs[1].data[i] = both && i / given.channels % 2 ? -1 : 1;
          held &= test_data(given, data, pool);
        }
  // The same over the strips of a map: a stem whose image gets brighter, or darker, from top to bottom.
  for (const bool brighter : {true, false})
    for (const int stride : {1, 2}) {
      Case given;
      given.kind = MFEDGE_STEM;
      given.height = 150, given.width = 130, given.seed = random() >> 16;
      given.config.in_channels = given.config.out_channels = 12, given.config.expand = 24, given.config.stride = stride;
      given.config.tokens = 8, given.config.heads = 2;
      begin(std::string(brighter ? "brighter: " : "darker: ") + given.describe());
      Data data = make_data(given);
      for (size_t i = data.weights.size() - 8 * 12; i < data.weights.size(); ++i) data.weights[i] *= 12;  // the query
      const int64_t pixels = given.height * given.width;
      for (int64_t i = 0; i < 3 * pixels; ++i) {
        const double at = static_cast<double>(i % pixels) / static_cast<double>(pixels);
        double& value = data.inputs[0].data[i];
        value = static_cast<float>(value * 2 * (brighter ? at : 1 - at));
      }
      held &= test_data(given, data, pool);
    }
  std::printf("%s: peaks within %.1e\n", mfedge_isa(), worst_seen());
  return held;
}

bool test_random(uint64_t seed, int count) {
  Random random(seed);
  const Pool pool;
  bool held = true;
  for (const mfedge_kind kind : kKinds)
    for (int i = 0; i < count; ++i) held &= test_case(random_case(kind, random), pool);
  std::printf("%s: within %.1e\n", mfedge_isa(), worst_seen());
  return held;
}

bool test_cases(FILE* file) {
  const Pool pool;
  bool held = true;
  int count = 0;
  for (Case given; read_case(file, &given); ++count) held &= test_case(given, pool);
  std::printf("%s: %d cases within %.1e\n", mfedge_isa(), count, worst_seen());
  return held && (count > 0 || fail("no cases were read"));
}
