// A map is computed in strips of rows, so that the expanded map, which is the widest, never leaves the cache.
//
// A strip computes `rows` rows of a map and then the rows of the 3x3 convolution after it, which lags by one: it needs
// the row below. The two rows before a strip are kept in front of it.
#pragma once

#include "../include/mfedge_kernels.h"
#include "depthwise.h"
#include "memory.h"
#include "tile.h"
#include "weights.h"

MFEDGE_BEGIN_ISA

constexpr int kKeptRows = 2;
// So pixels are counted in int: the rows of a strip, the one it lags by and those that are kept are three maps at most.
// Channels times pixels are ptrdiff_t.
static_assert(INT32_MAX / 4 >= MFEDGE_MAX_PIXELS, "the pixels of a strip and its margins fit an int");
// Bytes of the expanded map held at once: part of a small second-level cache, the rest is for weights and the map.
constexpr int kStripBytes = 192 * 1024;
// Channels expanded at once. A multiple of a tile's rows; 96 channels of a block of 64 pixels are 24 KiB of the first
// level cache, and adding up a tile in chunks of 96 costs 2 % of its time.
constexpr int kChunk = 96;

// From plane to plane of a map that operators hand on: MFEDGE_PADDING_ROWS rows of zeros follow its pixels. Without
// them the lines of a strip would lie powers of two apart, in few of the cache's sets.
MFEDGE_INLINE ptrdiff_t plane_stride(int height, int width) {
  return (static_cast<ptrdiff_t>(height) + MFEDGE_PADDING_ROWS) * width;
}
static void write_padding(float* map, int channels, int height, int width) {
  const ptrdiff_t stride = plane_stride(height, width), pixels = static_cast<ptrdiff_t>(height) * width;
  for (int c = 0; c < channels; ++c)
    __builtin_memset(map + c * stride + pixels, 0, sizeof(float) * static_cast<size_t>(stride - pixels));
}

struct StripPlan {
  int height, width;
  int rows;    // of a strip, at most
  int pixels;  // of a strip and the row it lags by
  bool single;

  StripPlan(int h, int w, int live_channels) : height(h), width(w) {
    const int target = kStripBytes / (4 * at_least(live_channels, 1));
    rows = at_most(height, at_least(2, target / width));
    if (static_cast<int64_t>(height) * width <= target * 3 / 2) rows = height;
    rows = divide_up(height, divide_up(height, rows));  // as even as possible
    pixels = (rows + 1) * width;
    single = rows == height;
  }
};

struct Strip {
  const StripPlan& plan;
  int begin, end;          // rows of the map
  int out_begin, out_end;  // rows of the convolution after it

  Strip(const StripPlan& p, int first)
      : plan(p),
        begin(first),
        end(at_most(first + p.rows, p.height)),
        out_begin(at_least(first - 1, 0)),
        out_end(end == p.height ? end : end - 1) {}
  int rows() const { return end - begin; }
  int out_rows() const { return out_end - out_begin; }
  int pixels() const { return rows() * plan.width; }
  int out_pixels() const { return out_rows() * plan.width; }
  // From the strip's first row: the row above the first output row.
  ptrdiff_t above() const { return static_cast<ptrdiff_t>(out_begin - 1 - begin) * plan.width; }
  Edges edges(const float* zeros) const {
    return {begin == 0 ? zeros : nullptr, end == plan.height ? zeros : nullptr};
  }
  // From the first pixel of a plane.
  ptrdiff_t first_pixel() const { return static_cast<ptrdiff_t>(begin) * plan.width; }
  ptrdiff_t first_out_pixel() const { return static_cast<ptrdiff_t>(out_begin) * plan.width; }
};

// Planes for the input of a 3x3 convolution: a strip, and the rows kept before it.
static Planes take_kept(Arena& arena, const StripPlan& plan, int channels) {
  return take_planes(arena, channels, kKeptRows * plan.width + kLanes, plan.pixels, kBlock + kLanes);
}

// A row of zeros, which is read above and below a map.
static const float* take_zeros(Arena& arena, int width) {
  const Planes row = take_planes(arena, 1, kLine, width, kLanes + 1);
  if (!arena.measuring()) __builtin_memset(row.data - kLine, 0, sizeof(float) * static_cast<size_t>(row.stride));
  return row.data;
}

// Keeps the last two rows for the next strip.
static void keep(const Strip& strip, float* plane) {
  if (strip.end == strip.plan.height) return;
  const ptrdiff_t kept = static_cast<ptrdiff_t>(kKeptRows) * strip.plan.width;
  __builtin_memmove(plane - kept, plane + strip.pixels() - kept, sizeof(float) * static_cast<size_t>(kept));
}

// Prefetches the lines of the output that a strip will be written to while the strip is computed, some at every step.
class LinesAhead {
 public:
  LinesAhead(const float* to, ptrdiff_t stride, int channels, int pixels, int steps)
      : to_(to), stride_(stride), pixels_(pixels), left_(channels),
        per_step_((static_cast<int64_t>(channels) * divide_up(pixels, kLine) + steps - 1) / steps) {}
  void step() {
    for (int64_t i = 0; i < per_step_ && left_ > 0; ++i) {
      __builtin_prefetch(to_ + pixel_, 1);
      pixel_ += kLine;
      if (pixel_ >= pixels_) pixel_ = 0, to_ += stride_, --left_;
    }
  }

 private:
  const float* to_;  // channel
  ptrdiff_t stride_;
  int pixels_, pixel_ = 0, left_;
  int64_t per_step_;
};

// A pointwise convolution whose input channels arrive in chunks.
struct Projection {
  int rows, depth, chunk;
  const float* weights;  // chunk by chunk as pack_rows() leaves them
  const float* bias;

  static Projection read(WeightReader& reader, Arena& arena, int rows, int depth, int chunk) {
    const float* from = reader.take(static_cast<size_t>(rows) * depth);
    float* packed = arena.floats(packed_size(rows, depth));
    if (!arena.measuring())
      for (int k = 0; k < depth; k += chunk)
        pack_rows(from + k, depth, rows, at_most(chunk, depth - k), packed + static_cast<ptrdiff_t>(k) * rows);
    return {rows, depth, chunk, packed, reader.vector(arena, rows)};
  }

  // Adds channels [first, first + count) of the input, which are in `source`, to the target.
  void add(int first, int count, const Planes& source, const PixelTiles& pixels, const float* residual,
           ptrdiff_t residual_stride, const Planes& target) const {
    Epilogue epilogue;
    if (first == 0) {
      epilogue.bias = bias;
      epilogue.residual = residual;
      epilogue.residual_stride = residual_stride;
    }
    product(rows, count, pixels, weights + static_cast<ptrdiff_t>(first) * rows, Strided{source.data, source.stride},
            epilogue, target.data, target.stride);
  }
};

// Depthwise with a multiplier, activation, pointwise.
struct Bottleneck {
  int in, multiplier, chunk;  // chunk: input channels at a time
  const float* weights;       // [in * multiplier][9]
  const float* bias;
  Projection project;

  static Bottleneck read(WeightReader& reader, Arena& arena, int in, int expand, int out) {
    Bottleneck b;
    b.in = in, b.multiplier = expand / in;
    b.chunk = expand <= kChunk * 3 / 2 ? in : at_least(1, kChunk / b.multiplier);
    b.weights = reader.vector(arena, expand * kTaps);
    b.bias = reader.vector(arena, expand);
    b.project = Projection::read(reader, arena, out, expand, b.chunk_out());
    return b;
  }
  int chunk_out() const { return chunk * multiplier; }

  // `source` is the row above the first output row; its channels lie `step` apart. `offsets`: see depthwise().
  void run(const float* source, const Edges& edges, ptrdiff_t step, ptrdiff_t pitch, const ptrdiff_t* offsets,
           int rows, int width, const Slopes& slopes, const float* residual, ptrdiff_t residual_stride,
           const Planes& expanded, const Planes& target, LinesAhead& ahead) const {
    for (int first = 0; first < in; first += chunk) {
      const int count = at_most(chunk, in - first);
      for (int i = 0; i < count; ++i) {
        const int channel = (first + i) * multiplier;
        ahead.step();
        depthwise(multiplier,
                  {source + (first + i) * step, edges, pitch, rows, width,
                   weights + static_cast<ptrdiff_t>(channel) * kTaps, bias + channel, slopes.from(channel),
                   expanded.plane(i * multiplier), expanded.stride},
                  offsets);
      }
      project.add(first * multiplier, count * multiplier, expanded, PixelTiles(rows * width), residual,
                  residual_stride, target);
    }
  }
};

// Rows of a strip to a dense map.
static void copy_strip(const Planes& from, int channels, int pixels, float* to, ptrdiff_t to_stride) {
  for (int c = 0; c < channels; ++c) __builtin_memcpy(to + c * to_stride, from.plane(c), sizeof(float) * pixels);
}

MFEDGE_END_ISA
