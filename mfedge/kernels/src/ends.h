// What is before and behind the blocks: the stem with its lite bottleneck, and the classifier. Included only by
// kernels_isa.cpp, inside the namespace of one instruction set.
#pragma once

constexpr int kImageChannels = 3;
constexpr int kStemTaps = kImageChannels * kTaps;

// 3x3 convolution of stride 2, ReLU6, depthwise (stride 1 or 2), ReLU6, pointwise, skip; the first Mobile->Former's
// attention.
struct Stem {
  int channels, out, stride, tokens, heads;
  const float* convolution;
  const float* convolution_bias;
  Bottleneck bottleneck;
  const float* query;  // (M, C'), of the learned tokens

  static Stem read(WeightReader& reader, Arena& arena, const mfedge_config& c) {
    Stem stem;
    stem.channels = c.in_channels, stem.out = c.out_channels, stem.stride = c.stride;
    stem.tokens = c.tokens, stem.heads = c.heads;
    const float* from = reader.take(static_cast<size_t>(c.in_channels) * kStemTaps);
    float* packed = arena.floats(packed_size(c.in_channels, kStemTaps));
    if (!arena.measuring()) pack_rows(from, kStemTaps, c.in_channels, kStemTaps, packed);
    stem.convolution = packed;
    stem.convolution_bias = reader.vector(arena, c.in_channels);
    stem.bottleneck = Bottleneck::read(reader, arena, c.in_channels, c.expand, c.out_channels);
    stem.query = reader.vector(arena, c.tokens * c.out_channels);
    return stem;
  }

  void run(Arena& arena, int height, int width, const float* image, float* result, float* attended) const {
    const int h = (height + 1) / 2, w = (width + 1) / 2;  // of the first convolution
    const StripPlan plan(h, w, bottleneck.chunk_out() + 4 * kImageChannels);
    const int pitch = w + 1, pitched = plan.pixels + plan.rows + 1;
    const Planes image_quarters = take_planes(arena, 4 * kImageChannels, kLanes, pitched, kBlock + kLanes);
    const Planes first = take_kept(arena, plan, channels);
    const float* zeros = take_zeros(arena, w);
    const Planes quarters = take_planes(arena, stride == 2 ? 4 * channels : 0, kLanes, pitched, kBlock + kLanes);
    const Planes expanded = take_planes(arena, bottleneck.chunk_out(), 0, plan.pixels, 2 * kBlock);
    const Planes projected = take_planes(arena, out, 0, plan.pixels, 2 * kBlock);
    Gather gather = Gather::take(arena, out, heads, tokens);
    if (arena.measuring()) return;
    gather.start(query, out);

    ptrdiff_t offsets[kStemTaps];
    const TapOffsets taps = halving_offsets(image_quarters, pitch);
    for (int c = 0; c < kImageChannels; ++c)
      for (int t = 0; t < kTaps; ++t) offsets[c * kTaps + t] = 4 * c * image_quarters.stride + taps.at[t];

    for (int y = 0; y < plan.height; y += plan.rows) {
      const Strip strip(plan, y);
      for (int c = 0; c < kImageChannels; ++c)
        split_plane(image + static_cast<ptrdiff_t>(c) * height * width, height, width, strip.begin - 1, strip.end - 1,
                    pitch, image_quarters, c);
      Epilogue epilogue;
      epilogue.bias = convolution_bias;
      epilogue.activation = Activation::kRelu6;
      // Row by row: a row's last vector spills into the next row, which is written after it.
      for (int row = 0; row < strip.rows(); ++row)
        product(channels, kStemTaps, PixelTiles(w, 0), convolution,
                Scattered{image_quarters.data + row * pitch, offsets}, epilogue, first.data + row * w, first.stride);
      if (stride == 1) {
        const float* above = first.data + strip.above();
        const ptrdiff_t step = plane_stride(h, w);
        float* to = result + strip.first_out_pixel();
        LinesAhead ahead(to, step, out, strip.out_pixels(), channels);
        bottleneck.run(above, strip.edges(zeros), first.stride, w, nullptr, strip.out_rows(), w, kRelu6,
                       channels == out ? above + w : nullptr, first.stride, expanded, projected, ahead);
        gather.add(projected.data, projected.stride, strip.out_pixels());
        copy_strip(projected, out, strip.out_pixels(), to, step);
      } else {
        finish_halved(strip, first, quarters, expanded, projected, gather, result);
      }
      for (int c = 0; c < channels; ++c) keep(strip, first.plane(c));
    }
    write_padding(result, out, stride == 2 ? (h + 1) / 2 : h, stride == 2 ? (w + 1) / 2 : w);
    gather.finish(attended);
  }

 private:
  static constexpr Slopes kRelu6 = {Activation::kRelu6, nullptr, nullptr};

  // Output row q reads rows 2q - 1 to 2q + 1: all q whose last row this strip has computed, and no earlier strip had.
  void finish_halved(const Strip& strip, const Planes& first, const Planes& quarters, const Planes& expanded,
                     const Planes& projected, Gather& gather, float* result) const {
    const StripPlan& plan = strip.plan;
    const int h = (plan.height + 1) / 2, w = (plan.width + 1) / 2, pitch = w + 1;
    const int from = strip.begin / 2, to = strip.end == plan.height ? h : strip.end / 2;
    if (from >= to) return;
    for (int c = 0; c < channels; ++c)
      split_plane(first.plane(c) - strip.first_pixel(), plan.height, plan.width, from - 1, to - 1, pitch, quarters, c);
    const ptrdiff_t step = plane_stride(h, w);
    const int strip_pixels = (to - from) * w;
    float* of_strip = result + static_cast<ptrdiff_t>(from) * w;
    LinesAhead ahead(of_strip, step, out, strip_pixels, channels);
    bottleneck.run(quarters.data, {}, 4 * quarters.stride, pitch, halving_offsets(quarters, pitch).at, to - from, w,
                   kRelu6, nullptr, 0, expanded, projected, ahead);
    gather.add(projected.data, projected.stride, strip_pixels);
    copy_strip(projected, out, strip_pixels, of_strip, step);
  }
};

// The rest of the last Mobile->Former, pointwise, average, and two Linear layers.
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

  void run(Arena& arena, int height, int width, const float* map, const float* tokens_in, const float* attended_in,
           float* logits) const {
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
    __builtin_memcpy(logits, out, sizeof(float) * config.classes);
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
