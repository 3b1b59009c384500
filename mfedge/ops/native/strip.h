// A map is computed strip by strip of rows, so that what is widest, the expanded map, never leaves the cache.
// Included only by kernels_isa.cpp, inside the namespace of one instruction set.
//
// A strip computes `rows` rows of a padded map and then the rows of the convolution behind it, which lags by one:
// it needs the row below. The two rows before a strip are kept in front of it.
#pragma once

constexpr int kKeptRows = 2;
// Bytes of the expanded map held at once: half of a small second-level cache, the rest is for weights and the map.
constexpr int kStripBytes = 192 * 1024;
// Channels expanded at once. A multiple of a tile's rows; 96 channels of a block of 64 pixels are 24 KiB of the first
// level cache, and adding up a tile in chunks of 96 costs 2 % of its time.
constexpr int kChunk = 96;

struct StripPlan {
  int height, width;  // of the padded map
  int pitch;
  int rows;    // of a strip, at most
  int pixels;  // rows * pitch, in whole blocks
  bool single;

  StripPlan(int h, int w, int live_channels) : height(h), width(w), pitch(w + 1) {
    const int target = kStripBytes / (4 * at_least(live_channels, 1));
    rows = at_most(height, at_least(2, target / pitch));
    if (height * pitch <= target * 3 / 2) rows = height;
    rows = divide_up(height, divide_up(height, rows));  // as even as possible
    pixels = round_up(rows * pitch, kBlock);
    single = rows == height;
  }
};

struct Strip {
  const StripPlan& plan;
  int begin, end;          // rows of the padded map
  int out_begin, out_end;  // rows of the convolution behind it

  Strip(const StripPlan& p, int first)
      : plan(p),
        begin(first),
        end(at_most(first + p.rows, p.height)),
        out_begin(at_least(first - 1, 0)),
        out_end(end == p.height ? end : end - 1) {}
  int rows() const { return end - begin; }
  int out_rows() const { return out_end - out_begin; }
  // Of the row above the first output row, from the strip's first row.
  ptrdiff_t above() const { return static_cast<ptrdiff_t>(out_begin - 1 - begin) * plan.pitch; }
  int vectors() const { return divide_up(rows() * plan.pitch, kLanes); }
};

// Planes of a padded map: a strip, the rows kept before it, a row of zeros after it, and what tiles touch.
static Planes take_padded(Arena& arena, const StripPlan& plan, int channels) {
  return take_planes(arena, channels, kKeptRows * plan.pitch + kLanes, plan.pixels, plan.pitch + kBlock + kLanes);
}

// The padding of one plane, once its rows are there: right of every row, above the map and below it.
static void pad(const Strip& strip, float* plane) {
  const int pitch = strip.plan.pitch;
  clear_column(plane, strip.rows(), pitch);
  if (strip.begin == 0)
    for (int x = -pitch - 1; x < 0; ++x) plane[x] = 0.f;
  if (strip.end == strip.plan.height)
    for (int x = 0; x < pitch; ++x) plane[strip.rows() * pitch + x] = 0.f;
}

// Keeps the last two rows for the next strip.
static void keep(const Strip& strip, float* plane) {
  if (strip.end == strip.plan.height) return;
  const int pitch = strip.plan.pitch;
  // One more in front: the left neighbour of the first pixel.
  __builtin_memmove(plane - kKeptRows * pitch - 1, plane + (strip.rows() - kKeptRows) * pitch - 1,
                    sizeof(float) * (kKeptRows * pitch + 1));
}

// A pointwise convolution whose input channels arrive in chunks.
struct Projection {
  int rows, depth, chunk, chunks;
  const float* weights;  // chunk by chunk as pack_rows() leaves them
  const float* bias;

  static Projection read(WeightReader& reader, Arena& arena, int rows, int depth, int chunk) {
    const float* from = reader.take(static_cast<size_t>(rows) * depth);
    float* packed = arena.floats(static_cast<size_t>(rows) * depth);
    if (!arena.measuring())
      for (int k = 0; k < depth; k += chunk)
        pack_rows(from + k, depth, rows, at_most(chunk, depth - k), packed + static_cast<ptrdiff_t>(k) * rows);
    return {rows, depth, chunk, divide_up(depth, chunk), packed, reader.vector(arena, rows)};
  }

  // Adds channels [first, first + count) of the input, which are in `source`, to the target.
  void add(int first, int count, const Planes& source, int vectors, const float* residual, ptrdiff_t residual_stride,
           const Planes& target) const {
    Epilogue epilogue;
    if (first == 0) {
      epilogue.bias = bias;
      epilogue.residual = residual;
      epilogue.residual_stride = residual_stride;
    }
    product(rows, count, vectors, weights + static_cast<ptrdiff_t>(first) * rows, Strided{source.data, source.stride},
            epilogue, target.data, target.stride);
  }
};

// A depthwise convolution with a multiplier, read as `chunk` output channels at a time.
struct Expansion {
  int in, multiplier, chunk;  // chunk: input channels at a time
  const float* weights;       // as pack_taps() leaves them
  const float* bias;

  static Expansion read(WeightReader& reader, Arena& arena, int in, int out) {
    const int multiplier = out / in;
    const float* from = reader.take(static_cast<size_t>(out) * kTaps);
    float* packed = arena.floats(static_cast<size_t>(out) * kTaps);
    if (!arena.measuring()) pack_taps(from, in, multiplier, packed);
    const int chunk = out <= kChunk * 3 / 2 ? in : at_least(1, kChunk / multiplier);
    return {in, multiplier, chunk, packed, reader.vector(arena, out)};
  }
  int out() const { return in * multiplier; }
  int chunk_out() const { return chunk * multiplier; }

  // Input channels [first, first + count) of `source`, whose channels lie `step` apart, at the given taps.
  void run(int first, int count, const float* source, ptrdiff_t step, const TapOffsets& offsets, int vectors,
           const Slopes& slopes, const Planes& target) const {
    for (int c = first; c < first + count; ++c) {
      const int row = c * multiplier;
      Epilogue epilogue;
      epilogue.bias = bias + row;
      epilogue.activation = slopes.activation;
      if (slopes.above) epilogue.above = slopes.above + row, epilogue.below = slopes.below + row;
      product(multiplier, kTaps, vectors, weights + static_cast<ptrdiff_t>(row) * kTaps,
              Scattered{source + c * step, offsets.at}, epilogue, target.plane((c - first) * multiplier), target.stride);
    }
  }
};

// Depthwise with a multiplier, activation, pointwise: what follows a padded map in the stem and in a downsampling block.
struct Bottleneck {
  Expansion depthwise;
  Projection project;

  static Bottleneck read(WeightReader& reader, Arena& arena, int in, int expand, int out) {
    Bottleneck b;
    b.depthwise = Expansion::read(reader, arena, in, expand);
    b.project = Projection::read(reader, arena, out, expand, b.depthwise.chunk_out());
    return b;
  }

  void run(const float* source, ptrdiff_t step, const TapOffsets& offsets, int vectors, const Slopes& slopes,
           const float* residual, ptrdiff_t residual_stride, const Planes& expanded, const Planes& target) const {
    for (int c = 0; c < depthwise.in; c += depthwise.chunk) {
      const int count = at_most(depthwise.chunk, depthwise.in - c);
      depthwise.run(c, count, source, step, offsets, vectors, slopes, expanded);
      project.add(c * depthwise.multiplier, count * depthwise.multiplier, expanded, vectors, residual, residual_stride,
                  target);
    }
  }
};

// Rows of `pitch` to a dense map.
static void copy_rows(const Planes& from, int channels, int rows, int width, int pitch, float* to, ptrdiff_t to_stride) {
  for (int c = 0; c < channels; ++c)
    for (int y = 0; y < rows; ++y)
      __builtin_memcpy(to + c * to_stride + static_cast<ptrdiff_t>(y) * width, from.plane(c) + y * pitch,
                       sizeof(float) * width);
}
