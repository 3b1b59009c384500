// A whole Mobile-Former block.
#pragma once

#include "former_to_mobile.h"
#include "implementation.h"
#include "mobile_to_former.h"
#include "strip.h"
#include "ticks.h"
#include "tokens.h"
#include "weights.h"

MFEDGE_BEGIN_ISA

// Pixels that both directions of the bridge work on in turn: those that one has written are still near for the other.
constexpr int kBridgePixels = 64;

// Expand, depthwise, project, at constant size.
struct Mobile {
  int in, expand, out, chunk;
  const float* expand_weights;  // chunk by chunk as pack_rows() leaves them
  const float* expand_bias;
  const float* depthwise_weights;  // [E][9]
  const float* depthwise_bias;
  Projection project;

  static Mobile read(WeightReader& reader, Arena& arena, const mfedge_config& c) {
    Mobile mobile;
    mobile.in = c.in_channels, mobile.expand = c.expand, mobile.out = c.out_channels;
    mobile.chunk = c.expand <= kChunk * 2 ? c.expand : kChunk;
    const float* from = reader.take(static_cast<size_t>(c.expand) * c.in_channels);
    float* packed = arena.floats(packed_size(c.expand, c.in_channels));
    if (!arena.measuring())
      for (int e = 0; e < c.expand; e += mobile.chunk) {
        const ptrdiff_t at = static_cast<ptrdiff_t>(e) * c.in_channels;
        pack_rows(from + at, c.in_channels, at_most(mobile.chunk, c.expand - e), c.in_channels, packed + at);
      }
    mobile.expand_weights = packed;
    mobile.expand_bias = reader.vector(arena, c.expand);
    mobile.depthwise_weights = reader.vector(arena, c.expand * kTaps);
    mobile.depthwise_bias = reader.vector(arena, c.expand);
    mobile.project = Projection::read(reader, arena, c.out_channels, c.expand, mobile.chunk);
    return mobile;
  }

  struct Buffers {
    StripPlan plan;
    const float* zeros;
    Planes input, hidden, convolved, result;
  };
  Buffers take(Arena& arena, int height, int width) const {
    const StripPlan plan(height, width, chunk);
    const int hidden = plan.single ? chunk : expand;  // over several strips, every channel keeps two rows
    return {plan,
            take_zeros(arena, width),
            take_planes(arena, in, 0, chunk < expand ? plan.pixels : kBlock, kBlock),
            take_kept(arena, plan, hidden),
            take_planes(arena, chunk, 0, plan.pixels, 2 * kBlock),
            take_planes(arena, out, 0, plan.pixels, 2 * kBlock)};
  }

  // Calls `consume` with each strip once it is computed; `to` is the map that `consume` will write.
  template <class Consume>
  void run(const float* map, const Slopes& slopes1, const Slopes& slopes2, const Buffers& b, const float* to,
           Consume consume) const {
    const StripPlan& plan = b.plan;
    const ptrdiff_t stride = plane_stride(plan.height, plan.width);
    for (int y = 0; y < plan.height; y += plan.rows) {
      const Strip strip(plan, y);
      const MapSource source(map + strip.first_pixel(), stride, stride - strip.first_pixel(), in, strip.pixels(),
                             chunk < expand, b.input);
      const Edges edges = strip.edges(b.zeros);
      const PixelTiles out_pixels(strip.out_pixels());
      const Residual residual = skip(map, strip, out_pixels.reach(), b.input);
      const int late = at_least(expand - 2 * chunk, 0);  // earlier, lines would be evicted before they are written
      LinesAhead ahead(to + strip.first_out_pixel(), stride, out, strip.out_pixels(), expand - late);
      for (int e = 0; e < expand; e += chunk) {
        const int count = at_most(chunk, expand - e);
        const Planes hidden = {b.hidden.plane(plan.single ? 0 : e), b.hidden.stride};
        const Slopes slopes = slopes1.from(e);
        Epilogue epilogue;
        epilogue.bias = expand_bias + e;
        epilogue.activation = slopes.activation, epilogue.above = slopes.above, epilogue.below = slopes.below;
        source.multiply(count, in, expand_weights + static_cast<ptrdiff_t>(e) * in, epilogue, hidden.data,
                        hidden.stride);
        for (int i = 0; i < count; ++i) {
          float* plane = hidden.plane(i);
          const int channel = e + i;
          if (channel >= late) ahead.step();
          depthwise_channel({plane + strip.above(), edges, plan.width, strip.out_rows(), plan.width,
                             depthwise_weights + channel * kTaps, depthwise_bias + channel, slopes2.from(channel),
                             b.convolved.plane(i), 0});
          keep(strip, plane);
        }
        project.add(e, count, b.convolved, out_pixels, residual.map, residual.stride, b.result);
      }
      consume(strip, residual.map != nullptr);
    }
  }

 private:
  // The projection starts from the block's input; from nothing where there is no skip, or where the last tile would
  // read past the map. Then the input is added afterwards.
  struct Residual {
    const float* map;
    ptrdiff_t stride;
  };
  Residual skip(const float* map, const Strip& strip, int reach, const Planes& copied) const {
    if (in != out) return {nullptr, 0};
    if (strip.plan.single && chunk < expand) return {copied.data, copied.stride};
    const ptrdiff_t stride = plane_stride(strip.plan.height, strip.plan.width);
    if (strip.first_out_pixel() + reach > stride) return {nullptr, 0};
    return {map + strip.first_out_pixel(), stride};
  }
};

// Depthwise of stride 2, project, then a bottleneck around which the projected map skips.
struct MobileDown {
  int in, out;
  Bottleneck halving, bottleneck;

  static MobileDown read(WeightReader& reader, Arena& arena, const mfedge_config& c) {
    MobileDown mobile;
    mobile.in = c.in_channels, mobile.out = c.out_channels;
    mobile.halving = Bottleneck::read(reader, arena, c.in_channels, c.expand, c.out_channels);
    mobile.bottleneck = Bottleneck::read(reader, arena, c.out_channels, c.expand2, c.out_channels);
    return mobile;
  }

  struct Buffers {
    StripPlan plan;
    const float* zeros;
    Planes quarters, expanded, halved, result;
  };
  Buffers take(Arena& arena, int height, int width) const {
    const int chunk = at_least(halving.chunk_out(), bottleneck.chunk_out());
    const StripPlan plan((height + 1) / 2, (width + 1) / 2, chunk);
    return {plan,
            take_zeros(arena, plan.width),
            take_planes(arena, 4 * in, kLanes, plan.pixels + plan.rows + 1, kBlock + kLanes),
            take_planes(arena, chunk, 0, plan.pixels, 2 * kBlock),
            take_kept(arena, plan, out),
            take_planes(arena, out, 0, plan.pixels, 2 * kBlock)};
  }

  // As Mobile.
  template <class Consume>
  void run(const float* map, int height, int width, const Slopes& slopes1, const Slopes& slopes2, const Buffers& b,
           const float* to, Consume consume) const {
    const StripPlan& plan = b.plan;
    const ptrdiff_t stride = plane_stride(height, width), out_stride = plane_stride(plan.height, plan.width);
    const int pitch = plan.width + 1;
    const TapOffsets offsets = halving_offsets(b.quarters, pitch);
    for (int y = 0; y < plan.height; y += plan.rows) {
      const Strip strip(plan, y);
      LinesAhead ahead(to + strip.first_out_pixel(), out_stride, out, strip.out_pixels(), in + out);
      for (int c = 0; c < in; ++c)
        split_plane(map + c * stride, height, width, strip.begin - 1, strip.end - 1, pitch, b.quarters, c);
      halving.run(b.quarters.data, {}, 4 * b.quarters.stride, pitch, offsets.at, strip.rows(), plan.width, slopes1,
                  nullptr, 0, b.expanded, b.halved, ahead);
      const float* above = b.halved.data + strip.above();
      bottleneck.run(above, strip.edges(b.zeros), b.halved.stride, plan.width, nullptr, strip.out_rows(), plan.width,
                     slopes2, above + plan.width, b.halved.stride, b.expanded, b.result, ahead);
      for (int c = 0; c < out; ++c) keep(strip, b.halved.plane(c));
      consume(strip);
    }
  }
};

// MFEDGE_BLOCK: map, tokens, attended -> map, tokens, attended. The rest of Mobile->Former, Former, Mobile,
// Mobile<-Former, and the attention of the next Mobile->Former: its query is known before the first strip, so it works
// on each strip as that is computed, and the map need not be read again.
struct Block {
  mfedge_config config;
  Mobile mobile;
  MobileDown down;
  TokenSide side;
  Linear next_query;

  bool halves() const { return config.stride == 2; }

  static Block read(WeightReader& reader, Arena& arena, const mfedge_config& c) {
    Block block = {};
    block.config = c;
    if (c.stride == 2)
      block.down = MobileDown::read(reader, arena, c);
    else
      block.mobile = Mobile::read(reader, arena, c);
    block.side = TokenSide::read(reader, arena, c);
    block.next_query = reader.linear(arena, c.token_dim, c.out_channels);
    return block;
  }

  void run(Arena& arena, const Call& call) const {
    const int height = call.size(0, 2) - MFEDGE_PADDING_ROWS, width = call.size(0, 3);
    const float* const* in = call.in;
    float* const* out = call.out;
    const float* map = in[0];
    const TokenSide::Buffers t = side.take(arena);
    float* query = arena.floats(static_cast<size_t>(side.count) * side.out_stride());
    ScatterTokens scattered = ScatterTokens::take(arena, side.count, config.out_channels, config.heads);
    Gather gather = Gather::take(arena, config.out_channels, config.heads, side.count);
    if (halves()) {
      const MobileDown::Buffers b = down.take(arena, height, width);
      if (arena.measuring()) return;
      run_tokens(t, in[1], in[2], scattered, query, gather, out[1]);
      const Slopes slopes1 = side.hyper1.activation(t.slopes1), slopes2 = side.hyper2.activation(t.slopes2);
      down.run(map, height, width, slopes1, slopes2, b, out[0],
               [&](const Strip& strip) { finish(strip, scattered, b.result, nullptr, gather, out[0]); });
      end(gather, b.plan.height, b.plan.width, out);
    } else {
      const Mobile::Buffers b = mobile.take(arena, height, width);
      if (arena.measuring()) return;
      run_tokens(t, in[1], in[2], scattered, query, gather, out[1]);
      const Slopes slopes1 = side.hyper1.activation(t.slopes1), slopes2 = side.hyper2.activation(t.slopes2);
      const float* residual = config.in_channels == config.out_channels ? map : nullptr;
      mobile.run(map, slopes1, slopes2, b, out[0], [&](const Strip& strip, bool skipped) {
        finish(strip, scattered, b.result, skipped ? nullptr : residual, gather, out[0]);
      });
      end(gather, height, width, out);
    }
  }

 private:
  void run_tokens(const TokenSide::Buffers& t, const float* tokens, const float* attended, ScatterTokens& scattered,
                  float* query, Gather& gather, float* out_tokens) const {
    side.run(tokens, attended, t, out_tokens);
    scattered.start(t.key, t.value, side.out_stride(), 1.f);
    linear(next_query, side.count, t.tokens, side.stride(), query, side.out_stride());
    gather.start(query, side.out_stride());
  }

  // After the last strip, for the size of the map that is written.
  void end(Gather& gather, int height, int width, float* const* out) const {
    write_padding(out[0], config.out_channels, height, width);
    gather.finish(out[0], plane_stride(height, width), height * width, out[2]);
  }

  // Both directions of the bridge on a strip; Mobile<-Former writes it into the output.
  void finish(const Strip& strip, const ScatterTokens& scattered, const Planes& result, const float* residual,
              Gather& gather, float* out) const {
    const ptrdiff_t stride = plane_stride(strip.plan.height, strip.plan.width);
    for (int first = 0; first < strip.out_pixels(); first += kBridgePixels) {
      const int pixels = at_most(kBridgePixels, strip.out_pixels() - first);
      const ptrdiff_t at = strip.first_out_pixel() + first;
      const ScatterCall call = {scattered, pixels,   result.data + first, result.stride, residual ? residual + at : nullptr,
                                stride,    out + at, stride};
#if defined(MFEDGE_COUNT)
      if (mfedge_copies) {
        MFEDGE_TICKS(1);
        copy_strip({call.strip, call.strip_stride}, config.out_channels, pixels, out + at, stride);
      } else
#endif
        scatter(call);
      gather.add(out + at, stride, pixels);
    }
  }
};

MFEDGE_END_ISA
