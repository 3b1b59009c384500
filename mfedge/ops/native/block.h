// Mobile-Former blocks. Included only by kernels_isa.cpp, inside the namespace of one instruction set.
#pragma once

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
    float* packed = arena.floats(static_cast<size_t>(c.expand) * c.in_channels);
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
    Planes input, hidden, convolved, result;
  };
  Buffers take(Arena& arena, int height, int width) const {
    const StripPlan plan(height, width, chunk);
    const int hidden = plan.single ? chunk : expand;  // over several strips, every channel keeps two rows
    return {plan, take_planes(arena, in, 0, plan.pixels, kBlock), take_padded(arena, plan, hidden),
            take_planes(arena, chunk, 0, (plan.rows + 1) * width, 2 * kBlock),
            take_planes(arena, out, 0, (plan.rows + 1) * width, 2 * kBlock)};
  }

  template <class Consume>
  void run(const float* map, const Slopes& slopes1, const Slopes& slopes2, const Buffers& b, Consume consume) const {
    const StripPlan& plan = b.plan;
    const ptrdiff_t pixels = static_cast<ptrdiff_t>(plan.height) * plan.width;
    for (int y = 0; y < plan.height; y += plan.rows) {
      const Strip strip(plan, y);
      for (int c = 0; c < in; ++c)
        for (int row = strip.begin; row < strip.end; ++row)
          __builtin_memcpy(b.input.plane(c) + (row - strip.begin) * plan.pitch, map + c * pixels + row * plan.width,
                           sizeof(float) * plan.width);
      const int out_vectors = divide_up(strip.out_rows() * plan.width, kLanes);
      for (int e = 0; e < expand; e += chunk) {
        const int count = at_most(chunk, expand - e);
        const Planes hidden = {b.hidden.plane(plan.single ? 0 : e), b.hidden.stride};
        Epilogue epilogue;
        epilogue.bias = expand_bias + e;
        epilogue.activation = slopes1.activation;
        if (slopes1.above) epilogue.above = slopes1.above + e, epilogue.below = slopes1.below + e;
        product(count, in, strip.vectors(), expand_weights + static_cast<ptrdiff_t>(e) * in,
                Strided{b.input.data, b.input.stride}, epilogue, hidden.data, hidden.stride);
        for (int i = 0; i < count; ++i) {
          float* plane = hidden.plane(i);
          const int channel = e + i;
          pad(strip, plane);
          depthwise_plane(plane + strip.above(), plan.pitch, strip.out_rows(), plan.width,
                          depthwise_weights + channel * kTaps, depthwise_bias[channel], slopes2.activation,
                          slopes2.above ? slopes2.above[channel] : 0.f, slopes2.below ? slopes2.below[channel] : 0.f,
                          b.convolved.plane(i));
          keep(strip, plane);
        }
        project.add(e, count, b.convolved, out_vectors, nullptr, 0, b.result);
      }
      consume(strip);
    }
  }
};

// Depthwise of stride 2, project, then a bottleneck around which the projected map skips.
struct MobileDown {
  int in, out;
  Expansion depthwise1;
  Projection project1;
  Bottleneck bottleneck;

  static MobileDown read(WeightReader& reader, Arena& arena, const mfedge_config& c) {
    MobileDown mobile;
    mobile.in = c.in_channels, mobile.out = c.out_channels;
    mobile.depthwise1 = Expansion::read(reader, arena, c.in_channels, c.expand);
    mobile.project1 = Projection::read(reader, arena, c.out_channels, c.expand, mobile.depthwise1.chunk_out());
    mobile.bottleneck = Bottleneck::read(reader, arena, c.out_channels, c.expand2, c.out_channels);
    return mobile;
  }

  struct Buffers {
    StripPlan plan;
    Planes quarters, expanded, halved, result;
  };
  Buffers take(Arena& arena, int height, int width) const {
    const int chunk = at_least(depthwise1.chunk_out(), bottleneck.depthwise.chunk_out());
    const StripPlan plan((height + 1) / 2, (width + 1) / 2, chunk);
    const int pixels = plan.pixels + plan.pitch;
    return {plan, take_planes(arena, 4 * in, kLanes, pixels, kBlock + kLanes),
            take_planes(arena, chunk, 0, pixels, 2 * kBlock), take_padded(arena, plan, out),
            take_planes(arena, out, 0, pixels, 2 * kBlock)};
  }

  template <class Consume>
  void run(const float* map, int height, int width, const Slopes& slopes1, const Slopes& slopes2, const Buffers& b,
           Consume consume) const {
    const StripPlan& plan = b.plan;
    const ptrdiff_t pixels = static_cast<ptrdiff_t>(height) * width;
    const TapOffsets two = stride_two_offsets(b.quarters, plan.pitch), one = stride_one_offsets(plan.pitch);
    for (int i = 0; i < 4 * in; ++i) b.quarters.plane(i)[-1] = 0.f;  // left of the first pixel
    for (int y = 0; y < plan.height; y += plan.rows) {
      const Strip strip(plan, y);
      for (int c = 0; c < in; ++c)
        split_plane(map + c * pixels, width, height, width, strip.begin - 1, strip.end - 1, plan.pitch, b.quarters, c);
      for (int c = 0; c < in; c += depthwise1.chunk) {
        const int count = at_most(depthwise1.chunk, in - c);
        depthwise1.run(c, count, b.quarters.data, 4 * b.quarters.stride, two, strip.vectors(), slopes1, b.expanded);
        project1.add(c * depthwise1.multiplier, count * depthwise1.multiplier, b.expanded, strip.vectors(), nullptr, 0,
                     b.halved);
      }
      for (int c = 0; c < out; ++c) pad(strip, b.halved.plane(c));
      const int vectors = divide_up(strip.out_rows() * plan.pitch, kLanes);
      const float* above = b.halved.data + strip.above();
      bottleneck.run(above, b.halved.stride, one, vectors, slopes2, above + plan.pitch, b.halved.stride, b.expanded,
                     b.result);
      for (int c = 0; c < out; ++c) keep(strip, b.halved.plane(c));
      consume(strip);
    }
  }
};

// Mobile->Former, Former, Mobile, Mobile<-Former.
struct Block {
  mfedge_config config;
  Mobile mobile;
  MobileDown down;
  TokenSide side;

  bool halves() const { return config.stride == 2; }

  static Block read(WeightReader& reader, Arena& arena, const mfedge_config& c) {
    Block block = {};
    block.config = c;
    if (c.stride == 2)
      block.down = MobileDown::read(reader, arena, c);
    else
      block.mobile = Mobile::read(reader, arena, c);
    block.side = TokenSide::read(reader, arena, c, true);
    return block;
  }

  // One image. Over an empty arena it only measures.
  void run(Arena& arena, int height, int width, const float* map, const float* tokens, float* out,
           float* out_tokens) const {
    const TokenSide::Buffers t = side.take(arena);
    float* scratch = arena.floats(gather_scratch(config.in_channels));
    if (halves()) {
      const MobileDown::Buffers b = down.take(arena, height, width);
      if (arena.measuring()) return;
      run_tokens(t, height * width, map, tokens, scratch, out_tokens);
      const ptrdiff_t stride = static_cast<ptrdiff_t>(b.plan.height) * b.plan.width;
      down.run(map, height, width, side.hyper1.epilogue(t.slopes1), side.hyper2.epilogue(t.slopes2), b,
               [&](const Strip& strip) {
                 ScatterCall call = scatter_call(t, strip.out_rows() * b.plan.pitch, b.result);
                 scatter(side.count, call);
                 copy_rows(b.result, config.out_channels, strip.out_rows(), b.plan.width, b.plan.pitch,
                           out + static_cast<ptrdiff_t>(strip.out_begin) * b.plan.width, stride);
               });
    } else {
      const Mobile::Buffers b = mobile.take(arena, height, width);
      if (arena.measuring()) return;
      run_tokens(t, height * width, map, tokens, scratch, out_tokens);
      const ptrdiff_t stride = static_cast<ptrdiff_t>(height) * width;
      mobile.run(map, side.hyper1.epilogue(t.slopes1), side.hyper2.epilogue(t.slopes2), b, [&](const Strip& strip) {
        ScatterCall call = scatter_call(t, strip.out_rows() * width, b.result);
        const ptrdiff_t at = static_cast<ptrdiff_t>(strip.out_begin) * width;
        if (config.in_channels == config.out_channels) call.residual = map + at, call.residual_stride = stride;
        call.out = out + at, call.out_stride = stride;
        scatter(side.count, call);
      });
    }
  }

 private:
  void run_tokens(const TokenSide::Buffers& t, int pixels, const float* map, const float* tokens, float* scratch,
                  float* out_tokens) const {
    side.load_tokens(tokens, t);
    linear(side.bridge.query, side.count, t.tokens, side.stride(), t.query, side.in_stride());
    gather(map, pixels, config.in_channels, config.heads, side.count, t.query, side.in_stride(), t.attended,
           side.in_stride(), scratch);
    side.run(t);
    side.store_tokens(t, out_tokens);
    transpose_rows(t.key, side.out_stride(), side.count, config.out_channels, t.key_columns);
    transpose_rows(t.value, side.out_stride(), side.count, config.out_channels, t.value_columns);
  }

  ScatterCall scatter_call(const TokenSide::Buffers& t, int pixels, const Planes& strip) const {
    return {config.out_channels, config.heads, pixels,        strip.data, strip.stride, nullptr, 0, nullptr, 0,
            t.key_columns,       t.value_columns};
  }
};
