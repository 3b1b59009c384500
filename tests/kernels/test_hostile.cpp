// What is wrong is refused: MFEDGE_INVALID and one line that says what, never a crash and never a guess.
#include <climits>
#include <cstring>
#include <functional>

#include "kernel.h"
#include "tests.h"

namespace {

constexpr int32_t kLimit = 1 << 14;  // sizes beyond it may be refused though they make sense

int32_t mfedge_config::* const kFields[] = {
#define MFEDGE_FIELD(name, ...) &mfedge_config::name,
#include "../../mfedge/kernels/tables/fields.inc"
};
constexpr int32_t kValues[] = {INT32_MIN, -65536, -1,   0,       1,       2,       3,        5,
                               17,        65,     4096, 1 << 14, 1 << 20, 1 << 30, INT32_MAX};

template <class T, size_t N>
const T& pick(Random& random, const T (&values)[N]) {
  return values[between(random, 0, static_cast<int64_t>(N) - 1)];
}

// Calls it with and without a message.
bool refused(const char* what, const std::function<int(char*)>& call) {
  char message[MFEDGE_MESSAGE + 8];
  std::memset(message, '#', sizeof message);
  const int code = call(message);
  if (code != MFEDGE_INVALID)
    return fail(std::string(what) + ": expected MFEDGE_INVALID, found " + std::to_string(code));
  const size_t length = strnlen(message, MFEDGE_MESSAGE);
  if (length == 0 || length == MFEDGE_MESSAGE || std::memchr(message, '\n', length))
    return fail(std::string(what) + ": no line of text in the message");
  for (size_t i = MFEDGE_MESSAGE; i < sizeof message; ++i)
    if (message[i] != '#') return fail(std::string(what) + ": a message longer than MFEDGE_MESSAGE");
  if (call(nullptr) != MFEDGE_INVALID) return fail(std::string(what) + ": another code without a message");
  return true;
}

bool hostile_config(mfedge_kind kind, Random& random) {
  Case given = random_case(kind, random);
  for (int64_t changes = between(random, 1, 3); changes > 0; --changes)
    given.config.*pick(random, kFields) = pick(random, kValues);
  begin(given.describe());
  const mfedge_config& c = given.config;
  const bool valid = mfedge_plain::valid(kind, c);
  size_t weights = 0, matrices = 0;
  const auto count = [&](char* message) { return mfedge_count_weights(kind, &c, &weights, &matrices, message); };
  char message[MFEDGE_MESSAGE] = "";
  const int code = count(message);
  if (code == MFEDGE_OK) {
    if (!valid) return fail("an invalid configuration is taken");
    const mfedge_plain::Counts expected = mfedge_plain::count(kind, c);
    return (weights == expected.weights && matrices == expected.matrices) || fail("mfedge_count_weights is wrong");
  }
  bool beyond = false;
  for (const auto field : kFields) beyond |= c.*field > kLimit || (field == &mfedge_config::heads && c.*field > 64) ||
                                             (field == &mfedge_config::former_heads && c.*field > 64);
  if (valid && !beyond) return fail(std::string("a valid configuration is refused: ") + message);
  mfedge_operator* made = nullptr;
  return refused("count_weights", count) && refused("create", [&](char* text) {
           return mfedge_operator_create(kind, &c, nullptr, 0, nullptr, 0, MFEDGE_FLOAT32, &made, text);
         });
}

bool hostile_counts(mfedge_kind kind, Random& random) {
  const Case given = random_case(kind, random);
  begin(given.describe());
  const Data data = make_data(given);
  const mfedge_config& c = given.config;
  mfedge_operator* made = nullptr;
  const auto create = [&](size_t weights, size_t matrices, int type) {
    return [&, weights, matrices, type](char* message) {
      return mfedge_operator_create(kind, &c, data.weights.data(), weights, data.matrices.data(), matrices,
                                    static_cast<mfedge_type>(type), &made, message);
    };
  };
  const size_t w = data.weights.size(), m = data.matrices.size();
  bool held = refused("a weight too many", create(w + 1, m, MFEDGE_FLOAT32)) &&
              refused("a matrix element too many", create(w, m + 1, MFEDGE_FLOAT32)) &&
              refused("as many weights as there are bytes", create(SIZE_MAX, m, MFEDGE_FLOAT32)) &&
              refused("a type that is none", create(w, m, 3)) && refused("type 0", create(w, m, 0));
  if (w)
    held = held && refused("a weight too few", create(w - 1, m, MFEDGE_FLOAT32)) &&
           refused("none", create(0, m, MFEDGE_FLOAT32));
  if (m) held = held && refused("a matrix element too few", create(w, m - 1, MFEDGE_FLOAT32));
  for (const int other : {0, 8, -1, INT_MAX})
    held = held && refused("a kind that is none", [&](char* message) {
             return mfedge_operator_create(static_cast<mfedge_kind>(other), &c, nullptr, 0, nullptr, 0, MFEDGE_FLOAT32,
                                           &made, message);
           });
  return held;
}

bool hostile_shapes(mfedge_kind kind, Random& random) {
  Case given = random_case(kind, random);
  given.batch = given.token_batch = 2;
  begin(given.describe());
  const Data data = make_data(given);
  const Kernel kernel(given, data, Against::kBack);
  if (kernel.status.code != MFEDGE_OK) return fail("create: " + kernel.status.message);
  mfedge_tensor inputs[MFEDGE_MAX_INPUTS] = {};
  const int count = mfedge_operator_inputs(kernel.get());
  for (int i = 0; i < count; ++i) {
    inputs[i].rank = static_cast<int32_t>(data.inputs[i].shape.size());
    for (size_t d = 0; d < data.inputs[i].shape.size(); ++d) inputs[i].shape[d] = data.inputs[i].shape[d];
  }
  constexpr int64_t kExtents[] = {INT64_MIN, -1, 0, 7, 1LL << 31, 1LL << 32, (1LL << 32) + 1, 1LL << 62, INT64_MAX};
  mfedge_tensor& changed = inputs[between(random, 0, count - 1)];
  const auto was = changed;
  if (between(random, 0, 2) == 0)
    changed.rank = pick<int32_t>(random, {INT32_MIN, -1, 0, 1, 5, INT32_MAX});
  else
    changed.shape[between(random, 0, changed.rank - 1)] = pick(random, kExtents);
  begin(given.describe() + "; an input's rank " + std::to_string(changed.rank) + ", shape " +
        std::to_string(changed.shape[0]) + " " + std::to_string(changed.shape[1]) + " " +
        std::to_string(changed.shape[2]) + " " + std::to_string(changed.shape[3]));
  std::vector<std::vector<int64_t>> shapes;
  bool huge = false, possible = true;
  for (int i = 0; i < count; ++i) {
    possible &= inputs[i].rank >= 1 && inputs[i].rank <= 4;
    shapes.emplace_back(inputs[i].shape,
                        inputs[i].shape + (inputs[i].rank < 1 || inputs[i].rank > 4 ? 0 : inputs[i].rank));
    for (int64_t extent : shapes.back()) huge |= extent > kLimit;
  }
  const auto expected =
      possible ? mfedge_plain::shapes(kind, given.config, shapes) : std::vector<std::vector<int64_t>>{};
  mfedge_tensor made[MFEDGE_MAX_OUTPUTS] = {};
  const auto infer = [&](char* message) { return mfedge_operator_shapes(kernel.get(), inputs, made, message); };
  if (infer(nullptr) == MFEDGE_OK) {
    if (expected.empty()) return fail("inputs that do not fit are taken");
    for (size_t i = 0; i < expected.size(); ++i)
      if (std::vector<int64_t>(made[i].shape, made[i].shape + made[i].rank) != expected[i])
        return fail("a wrong shape");
  } else {
    if (!expected.empty() && !huge) return fail("inputs that fit are refused");
    const Pool pool;
    if (!refused("shapes", infer) || !refused("run", [&](char* message) {
          return mfedge_operator_run(kernel.get(), inputs, made, pool.get(), message);
        }))
      return false;
  }
  // An output of another shape than it has to be.
  changed = was;
  const Pool pool;
  if (infer(nullptr) != MFEDGE_OK) return fail("inputs that fit are refused");
  mfedge_tensor& output = made[between(random, 0, mfedge_operator_outputs(kernel.get()) - 1)];
  if (between(random, 0, 1))
    output.shape[between(random, 0, output.rank - 1)] += pick<int64_t>(random, {-1, 1, 1LL << 40});
  else
    output.rank += pick(random, {-1, 1});
  return refused("an output's shape", [&](char* message) {
    return mfedge_operator_run(kernel.get(), inputs, made, pool.get(), message);
  });
}

// Constants and inputs at odd addresses, which a model file may have, give the same results. To read them as floats there
// is undefined behaviour, which shows under -fsanitize=undefined.
bool odd_addresses(mfedge_kind kind, Random& random) {
  const Case given = random_case(kind, random);
  begin(given.describe() + "; at odd addresses");
  const Data data = make_data(given);
  const Kernel kernel(given, data, Against::kBack), other(given, data, Against::kOdd);
  if (other.status.code != MFEDGE_OK) return fail("create: " + other.status.message);
  const Pool pool;
  const Result found = run_kernel(other, data.inputs, pool, Against::kOdd);
  if (found.status.code != MFEDGE_OK) return fail("run: " + found.status.message);
  return found.outputs == run_kernel(kernel, data.inputs, pool, Against::kBack).outputs || fail("another result");
}

}  // namespace

bool test_hostile(uint64_t seed, int count) {
  Random random(seed);
  bool held = true;
  for (const mfedge_kind kind : kKinds)
    for (int i = 0; i < count; ++i)
      held &= hostile_config(kind, random) && hostile_counts(kind, random) && hostile_shapes(kind, random) &&
              odd_addresses(kind, random);
  mfedge_operator_destroy(nullptr);
  mfedge_pool_destroy(nullptr);
  return held;
}
