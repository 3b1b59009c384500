// Sizes at the limits: maps that are very wide, very high or both, and every field of a configuration at its highest.
#include <algorithm>
#include <cstring>

#include "kernel.h"
#include "tests.h"

namespace highest {
#define MFEDGE_FIELD(name, letter, lowest, highest) constexpr int32_t name = highest;
#include "../../mfedge/kernels/tables/fields.inc"
}  // namespace highest

namespace {

bool agrees(const Case& given, const Pool& pool) {
  begin(given.describe());
  if (!mfedge_plain::valid(given.kind, given.config)) return fail("the test made an invalid configuration");
  const Data data = make_data(given);
  const Kernel kernel(given, data, Against::kBack);
  if (kernel.status.code != MFEDGE_OK) return fail("create: " + kernel.status.message);
  const Result found = run_kernel(kernel, data.inputs, pool, Against::kBack);
  if (found.status.code != MFEDGE_OK) return fail("run: " + found.status.message);
  return compare(given, mfedge_plain::run(given.kind, given.config, data.weights, data.matrices, data.inputs), found);
}

// Few channels, so that many pixels fit the memory.
Case of_many_pixels(mfedge_kind kind, int stride, uint64_t seed) {
  Case made;
  made.kind = kind, made.seed = seed, made.tokens = 3;
  mfedge_config& c = made.config;
  if (kind >= MFEDGE_MOBILE_TO_FORMER) {
    if (kind != MFEDGE_DYNAMIC_RELU) c.heads = 1, c.scale = 1;
    return made;
  }
  c.in_channels = c.expand = 1, c.tokens = 3;
  if (kind == MFEDGE_HEAD) {
    c.token_dim = c.hidden = 8, c.classes = 5;
    return made;
  }
  c.out_channels = c.heads = 1, c.stride = stride;
  if (kind == MFEDGE_BLOCK) c.token_dim = 8, c.former_heads = 1, c.hyper = 2, c.expand2 = stride == 2 ? 1 : 0;
  return made;
}

constexpr mfedge_kind kOfMaps[] = {MFEDGE_STEM,           MFEDGE_BLOCK,           MFEDGE_HEAD,
                                   MFEDGE_MOBILE_TO_FORMER, MFEDGE_FORMER_TO_MOBILE, MFEDGE_DYNAMIC_RELU};

// The largest sizes are taken and those beyond refused, of every kind that reads a map. No data is read for that.
bool stated_limits() {
  constexpr int64_t kPixels = MFEDGE_MAX_PIXELS, kBatch = MFEDGE_MAX_BATCH;
  constexpr struct {
    int64_t batch, height, width;  // of the first input, padding included
    bool within;
  } kSizes[] = {
      {1, 2, kPixels / 2, true},      {1, kPixels / 2, 2, true},          {1, 1 << 13, 1 << 13, true},
      {kBatch, 2, kPixels / 2, true}, {1, 2, kPixels / 2 + 1, false},     {1, kPixels / 2 + 1, 2, false},
      {1, 3, kPixels / 3 + 1, false}, {1, (1 << 13) + 1, 1 << 13, false}, {kBatch + 1, 2, 2, false},
      {1, 1LL << 32, 1LL << 32, false}, {1LL << 62, 2, 2, false},
  };
  for (const mfedge_kind kind : kOfMaps) {
    const Case given = of_many_pixels(kind, 1, 1);
    const Data data = make_data(given);
    const Kernel kernel(given, data, Against::kBack);
    for (const auto& size : kSizes) {
      mfedge_tensor inputs[MFEDGE_MAX_INPUTS] = {}, made[MFEDGE_MAX_OUTPUTS] = {};
      for (size_t i = 0; i < data.inputs.size(); ++i) {
        inputs[i].rank = static_cast<int32_t>(data.inputs[i].shape.size());
        std::copy(data.inputs[i].shape.begin(), data.inputs[i].shape.end(), inputs[i].shape);
        if (data.inputs[i].shape[0] > 1 || i == 0 || kind < MFEDGE_TOKENS) inputs[i].shape[0] = size.batch;
      }
      inputs[0].shape[2] = size.height, inputs[0].shape[3] = size.width;
      begin(given.describe() + "; " + std::to_string(size.batch) + " x " + std::to_string(size.height) + " x " +
            std::to_string(size.width));
      char message[MFEDGE_MESSAGE] = "";
      const int status = mfedge_operator_shapes(kernel.get(), inputs, made, message);
      if (size.within ? status != MFEDGE_OK : status != MFEDGE_INVALID || !std::strstr(message, "67108864 pixels"))
        return fail(std::string("a size at its limit: ") + message);
    }
  }
  return true;
}

}  // namespace

// `count` of the cases, or all of them if it is 0.
bool test_limits(uint64_t seed, int64_t pixels, int count) {
  Random random(seed);
  const Pool pool;
  std::vector<Case> cases;
  for (const mfedge_kind kind : kOfMaps)
    for (const int stride : {1, 2}) {
      if (stride == 2 && kind != MFEDGE_STEM && kind != MFEDGE_BLOCK) continue;
      for (const int64_t height : {int64_t{1}, int64_t{2}, int64_t{3}, pixels / 3, pixels / 2, pixels}) {
        Case made = of_many_pixels(kind, stride, random() >> 16);
        const bool padded = kind == MFEDGE_BLOCK || kind == MFEDGE_HEAD;
        made.height = std::max<int64_t>(1, height - (padded ? MFEDGE_PADDING_ROWS : 0));
        made.width = pixels / (made.height + (padded ? MFEDGE_PADDING_ROWS : 0));
        cases.push_back(made);
      }
    }
  std::shuffle(cases.begin(), cases.end(), random);
  if (count > 0 && static_cast<size_t>(count) < cases.size()) cases.resize(static_cast<size_t>(count));
  bool held = stated_limits();
  for (const Case& given : cases) held &= agrees(given, pool);
  return held;
}

// Every field at its highest, in an operator that is otherwise small.
bool test_channels(uint64_t seed) {
  constexpr int32_t C = highest::in_channels, E = highest::expand, O = highest::out_channels, E2 = highest::expand2;
  constexpr int32_t M = highest::tokens, D = highest::token_dim, N = highest::heads, F = highest::former_heads;
  constexpr struct {
    mfedge_kind kind;
    mfedge_config config;
  } kOperators[] = {
      // in, expand, out, expand2, stride, tokens, token_dim, heads, former_heads, ffn, hyper, hidden, classes, scale
      {MFEDGE_STEM, {C, C, 2, 0, 1, 2, 0, 1, 0, 0, 0, 0, 0, 0}},
      {MFEDGE_STEM, {2, E, 2, 0, 2, 2, 0, 1, 0, 0, 0, 0, 0, 0}},
      {MFEDGE_STEM, {2, 4, O, 0, 1, M, 0, N, 0, 0, 0, 0, 0, 0}},
      {MFEDGE_BLOCK, {C, 3, 4, 0, 1, 2, 8, 1, 1, 3, 2, 0, 0, 0}},
      {MFEDGE_BLOCK, {2, E, 4, 0, 1, 2, 8, 1, 1, 3, 2, 0, 0, 0}},
      {MFEDGE_BLOCK, {2, 3, O, 0, 1, M, 8, N, 1, 0, 0, 0, 0, 0}},
      {MFEDGE_BLOCK, {2, 3, 4, 0, 1, M, F, 1, F, highest::ffn, highest::hyper, 0, 0, 0}},
      {MFEDGE_BLOCK, {C, C, 4, 4, 2, 2, 8, 1, 1, 3, 2, 0, 0, 0}},
      {MFEDGE_BLOCK, {2, E, 4, E2, 2, 2, 8, 1, 1, 3, 2, 0, 0, 0}},
      {MFEDGE_BLOCK, {2, 4, O, O, 2, M, 8, N, 1, 0, 2, 0, 0, 0}},
      {MFEDGE_TOKENS, {C, E, O, E2, 2, M, 8, 0, 1, 3, 2, 0, 0, 0}},
      {MFEDGE_HEAD, {C, 2, 0, 0, 0, M, 8, 0, 0, 0, 0, 4, 5, 0}},
      {MFEDGE_HEAD, {2, E, 0, 0, 0, 2, 8, 0, 0, 0, 0, 4, 5, 0}},
      {MFEDGE_HEAD, {2, 3, 0, 0, 0, 2, D, 0, 0, 0, 0, 4, 5, 0}},
      {MFEDGE_HEAD, {2, 3, 0, 0, 0, 2, 8, 0, 0, 0, 0, highest::hidden, 1, 0}},
      {MFEDGE_HEAD, {2, 3, 0, 0, 0, 2, 8, 0, 0, 0, 0, 1, highest::classes, 0}},
  };
  Random random(seed);
  const Pool pool;
  bool held = true;
  for (const auto& highest : kOperators) {
    Case given;
    given.kind = highest.kind, given.config = highest.config, given.seed = random() >> 16;
    given.height = 3, given.width = 5;
    held &= agrees(given, pool);
  }
  for (const mfedge_kind kind : {MFEDGE_MOBILE_TO_FORMER, MFEDGE_FORMER_TO_MOBILE, MFEDGE_DYNAMIC_RELU})
    for (const int32_t heads : {1, N}) {
      Case given;
      given.kind = kind, given.seed = random() >> 16, given.height = 3, given.width = 7;
      given.channels = C, given.tokens = M;
      if (kind != MFEDGE_DYNAMIC_RELU) given.config.heads = heads, given.config.scale = 0.01f;
      held &= agrees(given, pool);
    }
  return held;
}
