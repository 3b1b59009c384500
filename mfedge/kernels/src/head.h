// The last Mobile->Former and the classifier.
#pragma once

#include "implementation.h"
#include "linear.h"
#include "memory.h"
#include "strip.h"
#include "tile.h"
#include "tokens.h"
#include "weights.h"

MFEDGE_BEGIN_ISA

// MFEDGE_HEAD: map, tokens, attended -> logits. The rest of the last Mobile->Former, pointwise, average, two Linears.
struct Head {
  mfedge_config config;
  BridgeIn bridge;
  const float* convolution;
  const float* convolution_bias;
  Linear hidden, classes;

  static constexpr int kPixels = 1024;  // of the map at once: 96 channels of them are 384 KiB

  static Head read(WeightReader& reader, Arena& arena, const mfedge_config& c) {
    Head head;
    head.config = c;
    head.bridge = BridgeIn::read(reader, arena, c);
    const float* from = reader.take(static_cast<size_t>(c.expand) * c.in_channels);
    float* packed = arena.floats(packed_size(c.expand, c.in_channels));
    if (!arena.measuring())
      for (int e = 0; e < c.expand; e += kChunk) {
        const ptrdiff_t at = static_cast<ptrdiff_t>(e) * c.in_channels;
        pack_rows(from + at, c.in_channels, at_most(kChunk, c.expand - e), c.in_channels, packed + at);
      }
    head.convolution = packed;
    head.convolution_bias = reader.vector(arena, c.expand);
    head.hidden = reader.linear(arena, c.expand + c.token_dim, c.hidden);
    head.classes = reader.linear(arena, c.hidden, c.classes);
    return head;
  }

  void run(Arena& arena, const Call& call) const {
    const int height = call.size(0, 2) - MFEDGE_PADDING_ROWS, width = call.size(0, 3);
    const float *map = call.in[0], *tokens_in = call.in[1], *attended_in = call.in[2];
    const int M = config.tokens, D = config.token_dim, C = config.in_channels, E = config.expand;
    const int pixels = height * width, part = at_most(pixels, kPixels);
    const ptrdiff_t plane = plane_stride(height, width);
    const ptrdiff_t stride = padded(D), in_stride = padded(C);
    const size_t rows = static_cast<size_t>(M), widest = at_least(padded(D), padded(C));
    float* tokens = arena.floats(rows * stride);
    float* attended = arena.floats(rows * in_stride);
    float* scratch = arena.floats(rows * widest);
    float* scratch2 = arena.floats(rows * widest);
    const Planes input = take_planes(arena, C, 0, part, kBlock);
    const Planes expanded = take_planes(arena, at_most(kChunk, E), 0, part, kBlock);
    float* features = arena.floats(padded(E + D));
    float* hidden_features = arena.floats(padded(config.hidden));
    float* out = arena.floats(padded(config.classes));
    if (arena.measuring()) return;

    for (int m = 0; m < M; ++m) {
      __builtin_memcpy(tokens + m * stride, tokens_in + static_cast<ptrdiff_t>(m) * D, sizeof(float) * D);
      __builtin_memcpy(attended + m * in_stride, attended_in + static_cast<ptrdiff_t>(m) * C, sizeof(float) * C);
    }
    bridge.finish(M, tokens, stride, attended, in_stride, scratch, scratch2);

    for (int e = 0; e < E; ++e) features[e] = 0.f;
    for (int start = 0; start < pixels; start += part) {
      const int count = at_most(part, pixels - start);
      const MapSource source(map + start, plane, plane - start, C, count, true, input);
      for (int e = 0; e < E; e += kChunk) {
        const int channels = at_most(kChunk, E - e);
        Epilogue epilogue;
        epilogue.bias = convolution_bias + e;
        epilogue.activation = Activation::kRelu6;
        source.multiply(channels, C, convolution + static_cast<ptrdiff_t>(e) * C, epilogue, expanded.data,
                        expanded.stride);
        for (int i = 0; i < channels; ++i) features[e + i] += sum(expanded.plane(i), count);
      }
    }
    for (int e = 0; e < E; ++e) features[e] /= static_cast<float>(pixels);
    hard_swish(features, padded(E));
    __builtin_memcpy(features + E, tokens, sizeof(float) * D);
    linear(hidden, 1, features, 0, hidden_features, 0);
    hard_swish(hidden_features, padded(config.hidden));
    linear(classes, 1, hidden_features, 0, out, 0);
    __builtin_memcpy(call.out[0], out, sizeof(float) * config.classes);
  }

 private:
  static float sum(const float* x, int count) {
    vec total = {};
    int i = 0;
    for (; i + kLanes <= count; i += kLanes) total += load(x + i);
    if (i < count) total += load_first(x + i, count - i);
    return add_lanes(total);
  }
};

MFEDGE_END_ISA
