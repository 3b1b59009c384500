// The first convolution with the lite bottleneck.
#pragma once

#include "implementation.h"
#include "memory.h"
#include "mobile_to_former.h"
#include "strip.h"
#include "tile.h"
#include "weights.h"

MFEDGE_BEGIN_ISA

constexpr int kImageChannels = 3;
constexpr int kStemTaps = kImageChannels * kTaps;

// MFEDGE_STEM: images -> map, attended. 3x3 convolution of stride 2, ReLU6, depthwise (stride 1 or 2), ReLU6,
// pointwise, skip; then the first Mobile->Former's attention.
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

  void run(Arena& arena, const Call& call) const {
    const int height = call.size(0, 2), width = call.size(0, 3);
    const float* image = call.in[0];
    float *result = call.out[0], *attended = call.out[1];
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
                Scattered{image_quarters.data + static_cast<ptrdiff_t>(row) * pitch, offsets}, epilogue,
                first.data + static_cast<ptrdiff_t>(row) * w, first.stride);
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
    const int out_height = stride == 2 ? (h + 1) / 2 : h, out_width = stride == 2 ? (w + 1) / 2 : w;
    write_padding(result, out, out_height, out_width);
    gather.finish(result, plane_stride(out_height, out_width), out_height * out_width, attended);
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

MFEDGE_END_ISA
