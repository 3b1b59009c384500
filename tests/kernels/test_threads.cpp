// One operator and one pool, many threads: each gets, bit by bit, what one thread alone gets. So does each child that is
// forked while they run.
#include <sys/wait.h>

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

bool test_fork(uint64_t seed, int count) {
  Random random(seed);
  const Pool pool;
  Case given = random_case(MFEDGE_DYNAMIC_RELU, random);  // the quickest: its threads are in the pool more than elsewhere
  given.batch = given.token_batch = given.height = given.width = given.channels = 1, given.spatial = false;
  begin(given.describe() + "; forked");
  const Kernel kernel(given, make_data(given), Against::kBack);
  const float x = 2, slope = 3, none = 0;
  const mfedge_tensor inputs[] = {{&x, 4, {1, 1, 1, 1}}, {&slope, 2, {1, 1}}, {&none, 2, {1, 1}}};
  const auto computes = [&] {
    float y = 0;
    const mfedge_tensor output = {&y, 4, {1, 1, 1, 1}};
    return mfedge_operator_run(kernel.get(), inputs, &output, pool.get(), nullptr) == MFEDGE_OK && y == 6;
  };
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&] {
      while (!over) computes();
    });
  int wrong = 0;
  for (int child = 0; child < count; ++child) {
    const pid_t process = fork();
    if (process == 0) {
      alarm(20);  // a child that waits for a lock dies of it
      _exit(computes() ? 0 : 1);
    }
    int status = 0;
    if (process < 0 || waitpid(process, &status, 0) != process || status != 0) ++wrong;
    if (wrong) break;
  }
  over = true;
  for (std::thread& thread : threads) thread.join();
  return wrong == 0 || fail("a child does not get the result");
}
