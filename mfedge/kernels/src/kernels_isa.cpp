// The kernels of one instruction set. Compiled once for each, with its flags and its name in MFEDGE_ISA_NAME.
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "implementation.h"

namespace mfedge {
namespace MFEDGE_ISA_NAME {
namespace {

// clang-format off: each builds on those before it
#include "simd.h"
#include "memory.h"
#include "tile.h"
#include "depthwise.h"
#include "attention.h"
#include "linear.h"
#include "tokens.h"
#include "strip.h"
#include "block.h"
#include "ends.h"
// clang-format on

// The description (Stem, Block, Head or TokenSide) first, then what it points at.
template <class Operator, class Read>
size_t pack_operator(void* memory, Read read) {
  Arena arena(memory);
  Operator* at = arena.take<Operator>(1);
  const Operator description = read(arena);
  if (at) __builtin_memcpy(static_cast<void*>(at), &description, sizeof(Operator));
  return arena.bytes();
}

size_t pack(mfedge_kind kind, const mfedge_config& config, const float* weights, const void* matrices, bool half,
            void* memory) {
  WeightReader reader(weights, matrices, half);
  switch (kind) {
    case MFEDGE_STEM: return pack_operator<Stem>(memory, [&](Arena& a) { return Stem::read(reader, a, config); });
    case MFEDGE_BLOCK: return pack_operator<Block>(memory, [&](Arena& a) { return Block::read(reader, a, config); });
    case MFEDGE_HEAD: return pack_operator<Head>(memory, [&](Arena& a) { return Head::read(reader, a, config); });
    case MFEDGE_TOKENS:
      return pack_operator<TokenSide>(memory, [&](Arena& a) { return TokenSide::read(reader, a, config); });
    default: return 0;
  }
}

size_t run_tokens(Arena& arena, const TokenSide& side, const float* attended, const float* tokens, float* const* out) {
  const TokenSide::Buffers b = side.take(arena);
  if (arena.measuring()) return arena.bytes();
  side.run(tokens, attended, b, out[0]);
  if (!side.hyper1.hidden.out)  // no dynamic ReLU: the slopes of a plain one
    for (int e = 0; e < 2; ++e) {
      float* slopes = e == 0 ? b.slopes1 : b.slopes2;
      const int channels = e == 0 ? side.hyper1.channels : side.hyper2.channels;
      for (int i = 0; i < 2 * channels; ++i) slopes[i] = i < channels ? 1.f : 0.f;
    }
  __builtin_memcpy(out[1], b.slopes1, sizeof(float) * 2 * side.hyper1.channels);
  __builtin_memcpy(out[2], b.slopes2, sizeof(float) * 2 * side.hyper2.channels);
  const int out_channels = side.key.out;
  side.copy_rows(b.key, side.out_stride(), out[3], out_channels, out_channels);
  side.copy_rows(b.value, side.out_stride(), out[4], out_channels, out_channels);
  return arena.bytes();
}

// features (C, pixels), query (M, C) -> (M, C); the scale goes into the query.
size_t run_mobile_to_former(Arena& arena, const mfedge_config& config, int channels, int pixels, int tokens,
                            const float* features, const float* query, float* out) {
  float* scaled = arena.floats(static_cast<size_t>(tokens) * channels);
  Gather gather = Gather::take(arena, channels, config.heads, tokens);
  if (arena.measuring()) return arena.bytes();
  for (int i = 0; i < tokens * channels; ++i) scaled[i] = config.scale * query[i];
  gather.start(scaled, channels);
  gather.add(features, pixels, pixels);
  gather.finish(out);
  return arena.bytes();
}

// features (C, pixels), key and value (M, C) -> (C, pixels): whole blocks where they are, the rest from a copy.
size_t run_former_to_mobile(Arena& arena, const mfedge_config& config, int channels, int pixels, int tokens,
                            const float* features, const float* key, const float* value, float* out) {
  const int whole = pixels / kBlock * kBlock, rest = pixels - whole;
  float* columns = arena.floats(static_cast<size_t>(tokens) * channels);
  float* value_columns = arena.floats(static_cast<size_t>(tokens) * channels);
  const Planes last = take_planes(arena, channels, 0, kBlock, 0);
  if (arena.measuring()) return arena.bytes();
  transpose_differences(key, channels, tokens, channels, kLog2E * config.scale, columns);
  transpose_differences(value, channels, tokens, channels, 1.f, value_columns);
  for (int c = 0; c < channels; ++c)
    __builtin_memcpy(last.plane(c), features + static_cast<ptrdiff_t>(c) * pixels + whole, sizeof(float) * rest);
  const float* last_value = value + static_cast<ptrdiff_t>(tokens - 1) * channels;
  ScatterCall call = {channels, config.heads, whole, const_cast<float*>(features), pixels, nullptr, 0, out, pixels,
                      columns, value_columns, last_value};  // without a residual the features are not written
  scatter(tokens, call);
  call.pixels = rest, call.strip = last.data, call.strip_stride = last.stride, call.out = out + whole;
  scatter(tokens, call);
  return arena.bytes();
}

void run_dynamic_relu(int channels, int pixels, bool spatial, const float* x, const float* slope1, const float* slope2,
                      float* y) {
  for (int c = 0; c < channels; ++c) {
    const ptrdiff_t at = static_cast<ptrdiff_t>(c) * pixels;
    for (int i = 0; i < pixels; i += kLanes) {
      const int left = at_most(kLanes, pixels - i);
      const vec v = load_first(x + at + i, left);
      const vec a = spatial ? load_first(slope1 + at + i, left) : splat(slope1[c]);
      const vec b = spatial ? load_first(slope2 + at + i, left) : splat(slope2[c]);
      store_first(y + at + i, maximum(a * v, b * v), left);
    }
  }
}

size_t run(mfedge_kind kind, const mfedge_config& config, const void* packed, const mfedge_tensor* inputs,
           const float* const* in, float* const* out, void* scratch) {
  MFEDGE_TICKS(2);
  Arena arena(scratch);
  const int64_t* map = inputs[0].shape;
  const bool handed_on = kind == MFEDGE_BLOCK || kind == MFEDGE_HEAD;  // the map is an operator's
  const int height = static_cast<int>(map[2]) - (handed_on ? MFEDGE_PADDING_ROWS : 0);
  const int width = inputs[0].rank == 4 ? static_cast<int>(map[3]) : 0;
  const int channels = static_cast<int>(map[1]), pixels = height * width;
  switch (kind) {
    case MFEDGE_STEM: static_cast<const Stem*>(packed)->run(arena, height, width, in[0], out[0], out[1]); break;
    case MFEDGE_BLOCK:
      static_cast<const Block*>(packed)->run(arena, height, width, in, out);
      break;
    case MFEDGE_HEAD: static_cast<const Head*>(packed)->run(arena, height, width, in[0], in[1], in[2], out[0]); break;
    case MFEDGE_TOKENS: return run_tokens(arena, *static_cast<const TokenSide*>(packed), in[0], in[1], out);
    case MFEDGE_MOBILE_TO_FORMER:
      return run_mobile_to_former(arena, config, channels, pixels, static_cast<int>(inputs[1].shape[1]), in[0], in[1],
                                  out[0]);
    case MFEDGE_FORMER_TO_MOBILE:
      return run_former_to_mobile(arena, config, channels, pixels, static_cast<int>(inputs[1].shape[1]), in[0], in[1],
                                  in[2], out[0]);
    case MFEDGE_DYNAMIC_RELU:
      if (scratch) run_dynamic_relu(channels, pixels, inputs[1].rank == 4, in[0], in[1], in[2], out[0]);
      return 0;
  }
  return arena.bytes();
}

}  // namespace

#define MFEDGE_STRING_OF(name) #name
#define MFEDGE_STRING(name) MFEDGE_STRING_OF(name)
extern const Implementation kImplementation;
const Implementation kImplementation = {MFEDGE_STRING(MFEDGE_ISA_NAME), pack, run};

}  // namespace MFEDGE_ISA_NAME
}  // namespace mfedge
