// The token side of a block.
#pragma once

#include "depthwise.h"
#include "former_attention.h"
#include "implementation.h"
#include "linear.h"
#include "memory.h"
#include "weights.h"

MFEDGE_BEGIN_ISA

// Mobile->Former after its attention: the gate and the projection.
struct BridgeIn {
  Linear gate, project;
  LayerNorm norm;

  static BridgeIn read(WeightReader& reader, Arena& arena, const mfedge_config& c) {
    BridgeIn bridge = {};
    bridge.gate = reader.linear(arena, c.token_dim, c.in_channels);
    bridge.project = reader.linear(arena, c.in_channels, c.token_dim);
    bridge.norm.gain = reader.vector(arena, c.token_dim);
    bridge.norm.bias = reader.vector(arena, c.token_dim);
    return bridge;
  }

  // tokens = LN(tokens + project(gate(tokens) * attended)); attended is overwritten.
  void finish(int count, float* tokens, ptrdiff_t stride, float* attended, ptrdiff_t attended_stride, float* scratch,
              float* scratch2) const {
    linear(gate, count, tokens, stride, scratch, attended_stride);
    clip(scratch, static_cast<int>(count * attended_stride), 0.f, 2.f);
    multiply_into(attended, scratch, static_cast<int>(count * attended_stride));
    linear(project, count, attended, attended_stride, scratch2, stride);
    add_layer_norm(tokens, scratch2, count, gate.in, stride, norm);
  }
};

struct Former {
  int heads, ffn;
  Linear query, project, expand, contract;
  LayerNorm norm, ffn_norm;

  static Former read(WeightReader& reader, Arena& arena, const mfedge_config& c) {
    const int D = c.token_dim;
    Former former = {};
    former.heads = c.former_heads;
    former.ffn = c.ffn;
    former.query = reader.linear(arena, D, D);
    former.project = reader.linear(arena, D, D);
    former.norm.gain = reader.vector(arena, D);
    former.norm.bias = reader.vector(arena, D);
    if (c.ffn) {
      former.expand = reader.linear(arena, D, c.ffn);
      former.contract = reader.linear(arena, c.ffn, D);
      former.ffn_norm.gain = reader.vector(arena, D);
      former.ffn_norm.bias = reader.vector(arena, D);
    }
    return former;
  }

  // Both scratches hold count * max(stride, padded(ffn)).
  void run(int count, float* tokens, ptrdiff_t stride, float* scratch, float* scratch2) const {
    const int D = query.in;
    linear(query, count, tokens, stride, scratch, stride);
    self_attention(scratch, tokens, count, D, stride, heads, scratch2);
    linear(project, count, scratch2, stride, scratch, stride);
    add_layer_norm(tokens, scratch, count, D, stride, norm);
    if (!ffn) return;
    linear(expand, count, tokens, stride, scratch, padded(ffn));
    gelu(scratch, count * padded(ffn));
    linear(contract, count, scratch, padded(ffn), scratch2, stride);
    add_layer_norm(tokens, scratch2, count, D, stride, ffn_norm);
  }
};

// The hyper-function of one dynamic ReLU.
struct Hyper {
  int channels;
  Linear hidden, slopes;  // hidden.out == 0: there is none

  static Hyper read(WeightReader& reader, Arena& arena, const mfedge_config& c, int channels) {
    Hyper hyper = {};
    hyper.channels = channels;
    if (c.hyper) {
      hyper.hidden = reader.linear(arena, c.token_dim, c.hyper);
      hyper.slopes = reader.linear(arena, c.hyper, 2 * channels);
    }
    return hyper;
  }

  // a1, a2 from the first token into slopes (2 * channels, padded).
  void run(const float* first_token, float* scratch, float* out) const {
    linear(hidden, 1, first_token, 0, scratch, 0);
    for (int i = 0; i < hidden.out; i += kLanes) store(scratch + i, maximum(vec{}, load(scratch + i)));
    linear(slopes, 1, scratch, 0, out, 0);
    clip(out, padded(2 * channels), -1.f, 1.f);
    for (int i = 0; i < channels; ++i) out[i] += 1.f;
  }

  // In place: [a1 | a2] to [above | below].
  Slopes activation(float* slopes_of) const {
    if (!hidden.out) return {Activation::kRelu6, nullptr, nullptr};
    float *a1 = slopes_of, *a2 = slopes_of + channels;
    for (int i = 0; i < channels; ++i) {
      const float high = a1[i] > a2[i] ? a1[i] : a2[i], low = a1[i] > a2[i] ? a2[i] : a1[i];
      const float none = a1[i] - a2[i];  // NaN if either is: then both are
      a1[i] = none == none ? high : none, a2[i] = none == none ? low : none;
    }
    return {Activation::kDynamicRelu, a1, a2};
  }
};

// Everything of a block that reads or writes tokens alone.
struct TokenSide {
  int count, width;
  BridgeIn bridge;
  Former former;
  Hyper hyper1, hyper2;
  Linear key, value;

  static TokenSide read(WeightReader& reader, Arena& arena, const mfedge_config& c) {
    TokenSide side = {};
    side.count = c.tokens;
    side.width = c.token_dim;
    side.bridge = BridgeIn::read(reader, arena, c);
    side.former = Former::read(reader, arena, c);
    side.hyper1 = Hyper::read(reader, arena, c, c.expand);
    side.hyper2 = Hyper::read(reader, arena, c, c.stride == 2 ? c.expand2 : c.expand);
    side.key = reader.linear(arena, c.token_dim, c.out_channels);
    side.value = reader.linear(arena, c.token_dim, c.out_channels);
    return side;
  }

  struct Buffers {
    float *tokens, *attended, *scratch, *scratch2, *slopes1, *slopes2, *key, *value;
  };
  ptrdiff_t stride() const { return padded(width); }
  ptrdiff_t in_stride() const { return padded(bridge.gate.out); }
  ptrdiff_t out_stride() const { return padded(key.out); }

  Buffers take(Arena& arena) const {
    const int hidden = padded(at_least(former.ffn, hyper1.hidden.out));
    const int widest = at_least(at_least(padded(width), padded(bridge.gate.out)), hidden);
    const size_t rows = static_cast<size_t>(count);
    Buffers b;
    b.tokens = arena.floats(rows * stride());
    b.attended = arena.floats(rows * in_stride());
    b.scratch = arena.floats(rows * widest);
    b.scratch2 = arena.floats(rows * widest);
    b.slopes1 = arena.floats(padded(2 * hyper1.channels));
    b.slopes2 = arena.floats(padded(2 * hyper2.channels));
    b.key = arena.floats(rows * out_stride());
    b.value = arena.floats(rows * out_stride());
    return b;
  }

  // From Mobile->Former's attention, (M, C), to the next tokens, slopes, keys and values.
  void run(const float* tokens, const float* attended, const Buffers& b, float* out_tokens) const {
    copy_rows(tokens, width, b.tokens, stride(), width);
    copy_rows(attended, bridge.gate.out, b.attended, in_stride(), bridge.gate.out);
    bridge.finish(count, b.tokens, stride(), b.attended, in_stride(), b.scratch, b.scratch2);
    former.run(count, b.tokens, stride(), b.scratch, b.scratch2);
    if (hyper1.hidden.out) {
      hyper1.run(b.tokens, b.scratch, b.slopes1);
      hyper2.run(b.tokens, b.scratch, b.slopes2);
    }
    linear(key, count, b.tokens, stride(), b.key, out_stride());
    linear(value, count, b.tokens, stride(), b.value, out_stride());
    copy_rows(b.tokens, stride(), out_tokens, width, width);
  }

  // One row per token.
  void copy_rows(const float* from, ptrdiff_t from_stride, float* to, ptrdiff_t to_stride, int columns) const {
    for (int m = 0; m < count; ++m)
      __builtin_memcpy(to + m * to_stride, from + m * from_stride, sizeof(float) * columns);
  }
};

// MFEDGE_TOKENS: attended (M, C), tokens (M, D) -> tokens, both slopes, key, value.
struct Tokens {
  TokenSide side;

  static Tokens read(WeightReader& reader, Arena& arena, const mfedge_config& c) {
    return {TokenSide::read(reader, arena, c)};
  }

  void run(Arena& arena, const Call& call) const {
    const TokenSide::Buffers b = side.take(arena);
    if (arena.measuring()) return;
    side.run(call.in[1], call.in[0], b, call.out[0]);
    write_slopes(side.hyper1, b.slopes1, call.out[1]);
    write_slopes(side.hyper2, b.slopes2, call.out[2]);
    const int channels = side.key.out;
    side.copy_rows(b.key, side.out_stride(), call.out[3], channels, channels);
    side.copy_rows(b.value, side.out_stride(), call.out[4], channels, channels);
  }

 private:
  // [a1 | a2]; those of a plain ReLU where there is no dynamic one.
  static void write_slopes(const Hyper& hyper, const float* slopes, float* to) {
    for (int i = 0; i < 2 * hyper.channels; ++i)
      to[i] = hyper.hidden.out ? slopes[i] : i < hyper.channels ? 1.f : 0.f;
  }
};

MFEDGE_END_ISA
