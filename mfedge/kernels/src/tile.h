// The register tile that every convolution and every attention score is made of: rows x vectors of accumulators, one
// broadcast multiply-add for each weight and vector of pixels.
#pragma once

#include "memory.h"
#include "simd.h"

MFEDGE_BEGIN_ISA

// (kTileRows + 1) * kTileVectors + 1 registers: accumulators, a row of pixels and a broadcast must fit the register
// file. Six rows are also the six tokens.
constexpr int kTileRows = 6;
constexpr int kBlock = kTileVectors * kLanes;  // pixels
// A few pixels after the last whole vector (7x7 is three vectors and one pixel) are not worth a vector of their own: up
// to kMostLeftOver of them are a rows_vec each, whose lanes are the rows of the tile.
constexpr int kRowLanes = sizeof(rows_vec) / sizeof(float);
static_assert(kTileRows <= kRowLanes, "the rows of a tile fit a rows_vec");

// Weights are prefetched this far ahead, 4 KiB. They are read more slowly than a CPU's own prefetcher expects, and in
// an inference each for the first time.
constexpr int kWeightsAhead = 1024;
// The pixels of the next block are prefetched as well, a line of every row by each tile.
constexpr int kBlockLines = divide_up(kBlock, kLine);

// How pixels are covered: vectors, and pixels left over.
struct PixelTiles {
  int vectors, left_over, blocks;
  explicit PixelTiles(int pixels, int most_left_over = kMostLeftOver) {
    const int rest = pixels % kLanes;
    left_over = rest == 0 || rest > most_left_over ? 0 : rest == 1 ? 1 : kMostLeftOver;
    vectors = left_over ? pixels / kLanes : divide_up(pixels, kLanes);
    blocks = divide_up(vectors + (left_over > 0), kTileVectors);
  }
  // In blocks as even as the rows; the last, which has the pixels left over, is the smallest.
  int begin(int block) const { return vectors / blocks * block + at_most(block, vectors % blocks); }
  int reach() const { return vectors * kLanes + left_over; }  // pixels read and written
};

// Where row k of the right-hand side is.
struct Strided {
  static constexpr bool kLeavesOver = true;  // its products may have pixels left over
  const float* data;
  ptrdiff_t stride;
  MFEDGE_MEMBER const float* row(int k) const { return data + k * stride; }
};
struct Scattered {
  static constexpr bool kLeavesOver = false;
  const float* data;
  const ptrdiff_t* offsets;
  MFEDGE_MEMBER const float* row(int k) const { return data + offsets[k]; }
};

enum class Activation { kNone, kRelu6, kDynamicRelu };

// The terms that are added to a product, and the activation after it, row by row.
struct Epilogue {
  const float* bias = nullptr;      // starts from bias[row]; nullptr: from the target's values
  const float* residual = nullptr;  // added to the bias: residual[row * residual_stride + pixel]
  ptrdiff_t residual_stride = 0;
  Activation activation = Activation::kNone;
  const float* above = nullptr;  // dynamic ReLU: the slope where x > 0, max(a1, a2)
  const float* below = nullptr;  // and where it is not, min(a1, a2)
};

template <class Rows>
struct TileCall {
  int depth;
  const float* weights;  // [depth][rows of this tile]
  Rows source;           // at the first pixel
  int ahead;             // from it to those that are prefetched
  Epilogue epilogue;     // at the first row and pixel
  float* target;
  ptrdiff_t target_stride;
};

template <int R, int V, int L>
struct Accumulators {
  vec at[R][V > 0 ? V : 1];
  rows_vec left_over[L > 0 ? L : 1];
};

// The lanes of a rows_vec after the last row hold weights of the next tile, or padding: pack_rows().
template <int R, int V, int L, class Rows>
MFEDGE_INLINE void multiply(Accumulators<R, V, L>& sum, int depth, const float* weights, Rows source, int ahead) {
#pragma GCC unroll 8
  for (int t = 0; t < L; ++t) sum.left_over[t] = rows_vec{};
  for (int k = 0; k < depth; ++k, weights += R) {
    const float* p = source.row(k);
    __builtin_prefetch(weights + kWeightsAhead);
    __builtin_prefetch(p + ahead);
    vec x[V > 0 ? V : 1];
#pragma GCC unroll 8
    for (int j = 0; j < V; ++j) x[j] = load(p + j * kLanes);
    if (L > 0) {
      const rows_vec w = *reinterpret_cast<const rows_vec_memory*>(weights);
#pragma GCC unroll 8
      for (int t = 0; t < L; ++t) sum.left_over[t] += w * p[V * kLanes + t];
    }
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const vec w = splat(weights[i]);
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) sum.at[i][j] += x[j] * w;
    }
  }
}

// R floats, the others 0; none after them is touched.
template <int R>
MFEDGE_INLINE void load_rows(const float* p, rows_vec& v) {
  v = rows_vec{};
  __builtin_memcpy(&v, p, R * sizeof(float));
}
// One or four pixels of R rows, `stride` apart, as the rows of each pixel, and back; destroys what it stores.
template <int R, int L>
MFEDGE_INLINE void load_pixels(const float* p, ptrdiff_t stride, rows_vec (&pixels)[L]) {
  if constexpr (L == 4) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      join(i < R ? p + i * stride : nullptr, 4 + i < R ? p + (4 + i) * stride : nullptr, pixels[i]);
    transpose(pixels);
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
      for (int t = 0; t < L; ++t) pixels[t][i] = p[i * stride + t];
  }
}
template <int R, int L>
MFEDGE_INLINE void store_pixels(float* p, ptrdiff_t stride, rows_vec (&pixels)[L]) {
  if constexpr (L == 4) {
    transpose(pixels);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      split(pixels[i], i < R ? p + i * stride : nullptr, 4 + i < R ? p + (4 + i) * stride : nullptr);
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
      for (int t = 0; t < L; ++t) p[i * stride + t] = pixels[t][i];
  }
}

// The epilogue of the pixels left over, whose rows are lanes.
template <int R, int V, int L, class Rows>
MFEDGE_INLINE void finish_left_over(const TileCall<Rows>& call, Accumulators<R, V, L>& sum) {
  const Epilogue& e = call.epilogue;
  rows_vec (&pixels)[L] = sum.left_over;
  const auto add = [&](const float* p, ptrdiff_t stride) MFEDGE_LAMBDA {
    rows_vec added[L] = {};
    load_pixels<R, L>(p + V * kLanes, stride, added);
#pragma GCC unroll 4
    for (int t = 0; t < L; ++t) pixels[t] += added[t];
  };
  if (e.bias) {
    rows_vec bias;
    load_rows<R>(e.bias, bias);
#pragma GCC unroll 4
    for (int t = 0; t < L; ++t) pixels[t] += bias;
    if (e.residual) add(e.residual, e.residual_stride);
  } else {
    add(call.target, call.target_stride);
  }
  if (e.activation == Activation::kDynamicRelu) {
    rows_vec above, below;
    load_rows<R>(e.above, above), load_rows<R>(e.below, below);
#pragma GCC unroll 4
    for (int t = 0; t < L; ++t) pixels[t] *= pixels[t] > rows_vec{} ? above : below;
  } else if (e.activation == Activation::kRelu6) {
#pragma GCC unroll 4
    for (int t = 0; t < L; ++t) clamp(pixels[t], 6.f);
  }
  store_pixels<R, L>(call.target + V * kLanes, call.target_stride, pixels);
}

template <class Rows, int R, int V, int L>
static void run_tile(const TileCall<Rows>& call) {
  const Epilogue& e = call.epilogue;
  Accumulators<R, V, L> sum;
  if (e.bias) {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) sum.at[i][j] = splat(e.bias[i]);
    if (e.residual)
#pragma GCC unroll 8
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < V; ++j) sum.at[i][j] += load(e.residual + i * e.residual_stride + j * kLanes);
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) sum.at[i][j] = load(call.target + i * call.target_stride + j * kLanes);
  }
  multiply<R, V, L>(sum, call.depth, call.weights, call.source, call.ahead);
  if (e.activation == Activation::kDynamicRelu) {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const vec above = splat(e.above[i]), below = splat(e.below[i]);
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) sum.at[i][j] *= by_sign(sum.at[i][j], above, below);
    }
  } else if (e.activation == Activation::kRelu6) {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) sum.at[i][j] = clamp(sum.at[i][j], 0.f, 6.f);
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < V; ++j) store(call.target + i * call.target_stride + j * kLanes, sum.at[i][j]);
  if constexpr (L > 0) finish_left_over<R, V, L>(call, sum);
}

// A tile whose height and width are known only at run time.
template <class Rows, int V, int L>
static void run_tile_of_rows(int rows, const TileCall<Rows>& call) {
  switch (rows) {
    case 1: return run_tile<Rows, 1, V, L>(call);
    case 2: return run_tile<Rows, 2, V, L>(call);
    case 3: return run_tile<Rows, 3, V, L>(call);
    case 4: return run_tile<Rows, 4, V, L>(call);
    case 5: return run_tile<Rows, 5, V, L>(call);
    default: return run_tile<Rows, kTileRows, V, L>(call);
  }
}
template <class Rows>
static void run_any_tile(int rows, int vectors, const TileCall<Rows>& call) {
  switch (vectors) {
    case 1: return run_tile_of_rows<Rows, 1, 0>(rows, call);
    case 2:
      if constexpr (kTileVectors > 2) return run_tile_of_rows<Rows, 2, 0>(rows, call);
      [[fallthrough]];
    case 3:
      if constexpr (kTileVectors > 3) return run_tile_of_rows<Rows, 3, 0>(rows, call);
      [[fallthrough]];
    default: return run_tile_of_rows<Rows, kTileVectors, 0>(rows, call);
  }
}
// The last of a row of tiles: fewer vectors, and L pixels left over.
template <class Rows, int L>
static void run_last_tile(int rows, int vectors, const TileCall<Rows>& call) {
  switch (vectors) {
    case 0: return run_tile_of_rows<Rows, 0, L>(rows, call);
    case 1:
      if constexpr (kTileVectors > 2) return run_tile_of_rows<Rows, 1, L>(rows, call);
      [[fallthrough]];
    case 2:
      if constexpr (kTileVectors > 3) return run_tile_of_rows<Rows, 2, L>(rows, call);
      [[fallthrough]];
    default: return run_tile_of_rows<Rows, kTileVectors - 1, L>(rows, call);
  }
}
static_assert(kTileRows == 6 && kTileVectors <= 4, "run_any_tile enumerates the tile sizes");

// Rows in tiles as even as possible: 20 rows are 5 + 5 + 5 + 5, not 6 + 6 + 6 + 2.
struct RowTiles {
  int rows, tiles;
  explicit RowTiles(int n) : rows(n), tiles(divide_up(n, kTileRows)) {}
  int begin(int tile) const { return static_cast<int>(static_cast<int64_t>(rows) * tile / tiles); }
};

// Floats of a product's packed weights: a rows_vec reads past the last.
MFEDGE_INLINE size_t packed_size(int rows, int depth) { return static_cast<size_t>(rows) * depth + kRowLanes; }

// Weights (rows, depth) of a product, row-major with this stride, in the order its tiles read them.
static void pack_rows(const float* weights, ptrdiff_t stride, int rows, int depth, float* packed) {
  const RowTiles tiles(rows);
  for (int t = 0; t < tiles.tiles; ++t)
    for (int k = 0; k < depth; ++k)
      for (int row = tiles.begin(t); row < tiles.begin(t + 1); ++row) *packed++ = weights[row * stride + k];
}

// target = epilogue(weights x source), all rows of a block of pixels before the next: the block of the source stays in
// L1. The epilogue is that of row 0 and pixel 0. Reads and writes PixelTiles(pixels).reach() pixels.
template <class Rows>
static void product(int rows, int depth, const PixelTiles& pixels, const float* packed, Rows source,
                    const Epilogue& epilogue, float* target, ptrdiff_t target_stride) {
  const RowTiles tiles(rows);
  for (int b = 0; b < pixels.blocks; ++b) {
    const int v = pixels.begin(b), width = pixels.begin(b + 1) - v;
    const int left_over = b + 1 == pixels.blocks ? pixels.left_over : 0;
    const ptrdiff_t pixel = static_cast<ptrdiff_t>(v) * kLanes;
    TileCall<Rows> call = {depth, packed, source, 0, epilogue, nullptr, target_stride};
    call.source.data = source.data + pixel;
    for (int t = 0; t < tiles.tiles; ++t) {
      const int row = tiles.begin(t), height = tiles.begin(t + 1) - row;
      call.weights = packed + static_cast<ptrdiff_t>(row) * depth;
      if (b + 1 < pixels.blocks) call.ahead = width * kLanes + t % kBlockLines * kLine;
      call.target = target + row * target_stride + pixel;
      if (epilogue.bias) call.epilogue.bias = epilogue.bias + row;
      if (epilogue.residual) call.epilogue.residual = epilogue.residual + row * epilogue.residual_stride + pixel;
      if (epilogue.above) call.epilogue.above = epilogue.above + row, call.epilogue.below = epilogue.below + row;
      if constexpr (kMostLeftOver > 0 && Rows::kLeavesOver) {
        if (left_over == 1) {
          run_last_tile<Rows, 1>(height, width, call);
          continue;
        }
        if (left_over) {
          run_last_tile<Rows, kMostLeftOver>(height, width, call);
          continue;
        }
      }
      run_any_tile(height, width, call);
    }
  }
}

// The right-hand side of a product, from a dense map of whose planes only `readable` pixels from here on exist.
struct MapSource {
  PixelTiles pixels, from_map, from_copy;
  Strided source, copy;

  // Pixels that are read several times, or whose tile would read past the map, are copied first. `copies` holds `depth`
  // planes of `count` pixels and a block.
  MapSource(const float* map, ptrdiff_t stride, ptrdiff_t readable, int depth, int count, bool several_times,
            const Planes& copies)
      : pixels(count), from_map(0), from_copy(0), source{map, stride}, copy{copies.data, copies.stride} {
    int kept = pixels.reach();
    if (several_times)
      kept = 0;
    else if (kept > readable)
      kept = pixels.begin(pixels.blocks - 1) * kLanes;
    if (kept < pixels.reach()) {
      from_map = PixelTiles(kept), from_copy = PixelTiles(count - kept);
      const ptrdiff_t needed = pixels.reach() < readable ? pixels.reach() : readable;
      for (int k = 0; k < depth; ++k)
        __builtin_memcpy(copies.plane(k), map + k * stride + kept, sizeof(float) * (needed - kept));
    } else {
      from_map = pixels;
    }
  }

  void multiply(int rows, int depth, const float* packed, const Epilogue& epilogue, float* target,
                ptrdiff_t target_stride) const {
    product(rows, depth, from_map, packed, source, epilogue, target, target_stride);
    if (from_copy.blocks)
      product(rows, depth, from_copy, packed, copy, epilogue,
              target + static_cast<ptrdiff_t>(from_map.vectors) * kLanes, target_stride);
  }
};

MFEDGE_END_ISA
