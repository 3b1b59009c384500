// One operator and one pool, many threads: each gets, bit by bit, what one thread alone gets.
#include <atomic>
#include <cstring>
#include <thread>

#include "kernel.h"
#include "tests.h"

namespace {

constexpr int kThreads = 4, kRuns = 6;

bool same(const Result& a, const Result& b) {
  if (a.status.code || b.status.code || a.outputs.size() != b.outputs.size()) return false;
  for (size_t i = 0; i < a.outputs.size(); ++i)
    if (std::memcmp(a.outputs[i].data(), b.outputs[i].data(), a.outputs[i].size() * sizeof(float)) != 0) return false;
  return true;
}

}  // namespace

bool test_threads(uint64_t seed) {
  Random random(seed);
  const Pool pool, own;
  for (const mfedge_kind kind : kKinds) {
    Case given = random_case(kind, random);
    if (kind == MFEDGE_TOKENS) given.config.hyper = 5;  // else two outputs are anything
    begin(given.describe());
    const Data data = make_data(given);
    const Kernel kernel(given, data, Against::kBack);
    if (kernel.status.code != MFEDGE_OK) return fail("create: " + kernel.status.message);
    // Sizes of their own, so that the pool's buffers are of many.
    std::vector<std::vector<mfedge_plain::Array>> inputs;
    std::vector<Result> expected;
    for (int t = 0; t < kThreads; ++t) {
      Case other = given;
      other.seed += static_cast<uint64_t>(t);
      if (kind != MFEDGE_TOKENS) other.height += t, other.width += 3 * t;
      inputs.push_back(make_data(other).inputs);
      expected.push_back(run_kernel(kernel, inputs.back(), own, Against::kBack));
    }
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        for (int run = 0; run < kRuns; ++run) {
          const int which = (t + run) % kThreads;
          if (!same(run_kernel(kernel, inputs[which], pool, Against::kBack), expected[which])) ++wrong;
        }
      });
    for (std::thread& thread : threads) thread.join();
    if (wrong)
      return fail(std::to_string(wrong) + " of " + std::to_string(kThreads * kRuns) + " runs in threads differ");
  }
  return true;
}
