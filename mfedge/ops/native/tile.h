// The register tile that every convolution and every attention score is made of: rows x vectors of accumulators, one
// broadcast multiply-add for each weight and vector of pixels. Included only by kernels_isa.cpp.
#pragma once

// Accumulators, a row of pixels and a broadcast must fit the register file: 24 + 4 + 1 of 32, or 12 + 2 + 1 of 16.
// Six rows are also the six tokens.
constexpr int kTileRows = 6;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kTileVectors = 4;
#else
constexpr int kTileVectors = 2;
#endif
constexpr int kBlock = kTileVectors * kLanes;  // pixels

// Where row k of the right-hand side is.
struct Strided {
  const float* data;
  ptrdiff_t stride;
  MFEDGE_MEMBER const float* row(int k) const { return data + k * stride; }
};
struct Scattered {
  const float* data;
  const ptrdiff_t* offsets;
  MFEDGE_MEMBER const float* row(int k) const { return data + offsets[k]; }
};

enum class Activation { kNone, kRelu6, kDynamicRelu };

// What is added to a product, and what becomes of it, row by row.
struct Epilogue {
  const float* bias = nullptr;      // starts from bias[row]; nullptr: from what the target holds
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
  Epilogue epilogue;     // at the first row and pixel
  float* target;
  ptrdiff_t target_stride;
};

template <int R, int V>
struct Accumulators {
  vec at[R][V];
};

template <int R, int V, class Rows>
MFEDGE_INLINE void multiply(Accumulators<R, V>& sum, int depth, const float* weights, Rows source) {
  for (int k = 0; k < depth; ++k, weights += R) {
    const float* p = source.row(k);
    vec x[V];
#pragma GCC unroll 8
    for (int j = 0; j < V; ++j) x[j] = load(p + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const vec w = splat(weights[i]);
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) sum.at[i][j] += x[j] * w;
    }
  }
}

template <class Rows, int R, int V>
static void run_tile(const TileCall<Rows>& call) {
  const Epilogue& e = call.epilogue;
  Accumulators<R, V> sum;
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
  multiply<R, V>(sum, call.depth, call.weights, call.source);
  if (e.activation == Activation::kDynamicRelu) {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      const vec above = splat(e.above[i]), below = splat(e.below[i]);
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) sum.at[i][j] *= sum.at[i][j] > vec{} ? above : below;
    }
  } else if (e.activation == Activation::kRelu6) {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
      for (int j = 0; j < V; ++j) sum.at[i][j] = minimum(maximum(sum.at[i][j], vec{}), splat(6.f));
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < V; ++j) store(call.target + i * call.target_stride + j * kLanes, sum.at[i][j]);
}

// A tile whose height and width are known only at run time.
template <class Rows, int V>
static void run_tile_of_rows(int rows, const TileCall<Rows>& call) {
  switch (rows) {
    case 1: return run_tile<Rows, 1, V>(call);
    case 2: return run_tile<Rows, 2, V>(call);
    case 3: return run_tile<Rows, 3, V>(call);
    case 4: return run_tile<Rows, 4, V>(call);
    case 5: return run_tile<Rows, 5, V>(call);
    default: return run_tile<Rows, kTileRows, V>(call);
  }
}
template <class Rows>
static void run_any_tile(int rows, int vectors, const TileCall<Rows>& call) {
  switch (vectors) {
    case 1: return run_tile_of_rows<Rows, 1>(rows, call);
#if defined(__AVX512F__) || defined(__aarch64__)
    case 2: return run_tile_of_rows<Rows, 2>(rows, call);
    case 3: return run_tile_of_rows<Rows, 3>(rows, call);
#endif
    default: return run_tile_of_rows<Rows, kTileVectors>(rows, call);
  }
}
static_assert(kTileRows == 6 && kTileVectors <= 4, "run_any_tile enumerates the tile sizes");

// Rows in tiles as even as possible: 20 rows are 5 + 5 + 5 + 5, not 6 + 6 + 6 + 2.
struct RowTiles {
  int rows, tiles;
  explicit RowTiles(int n) : rows(n), tiles(divide_up(n, kTileRows)) {}
  int begin(int tile) const { return static_cast<int>(static_cast<int64_t>(rows) * tile / tiles); }
};

// Weights (rows, depth) of a product, row-major with this stride, in the order its tiles read them.
static void pack_rows(const float* weights, ptrdiff_t stride, int rows, int depth, float* packed) {
  const RowTiles tiles(rows);
  for (int t = 0; t < tiles.tiles; ++t)
    for (int k = 0; k < depth; ++k)
      for (int row = tiles.begin(t); row < tiles.begin(t + 1); ++row) *packed++ = weights[row * stride + k];
}

// target = epilogue(weights x source) over whole vectors of pixels, all rows of a block of pixels before the next:
// the block of the source stays in L1. The epilogue is that of row 0 and pixel 0.
template <class Rows>
static void product(int rows, int depth, int vectors, const float* packed, Rows source, const Epilogue& epilogue,
                    float* target, ptrdiff_t target_stride) {
  const RowTiles tiles(rows);
  const int blocks = divide_up(vectors, kTileVectors);
  for (int b = 0; b < blocks; ++b) {
    const int v = vectors * b / blocks, width = vectors * (b + 1) / blocks - v;  // as even as the rows
    const ptrdiff_t pixel = static_cast<ptrdiff_t>(v) * kLanes;
    TileCall<Rows> call = {depth, packed, source, epilogue, nullptr, target_stride};
    call.source.data = source.data + pixel;
    for (int t = 0; t < tiles.tiles; ++t) {
      const int row = tiles.begin(t), height = tiles.begin(t + 1) - row;
      call.weights = packed + static_cast<ptrdiff_t>(row) * depth;
      call.target = target + row * target_stride + pixel;
      if (epilogue.bias) call.epilogue.bias = epilogue.bias + row;
      if (epilogue.residual) call.epilogue.residual = epilogue.residual + row * epilogue.residual_stride + pixel;
      if (epilogue.above) call.epilogue.above = epilogue.above + row, call.epilogue.below = epilogue.below + row;
      run_any_tile(height, width, call);
    }
  }
}

// The right-hand side of a product, from a dense map of whose planes only `readable` pixels from here on exist.
struct MapSource {
  Strided source, tail;
  int before;  // vectors that are read from the map; the others, from the copy in `tail`

  // What is read several times, or would be read behind the map, is copied first. `copies` holds `depth` planes of
  // `vectors` vectors.
  MapSource(const float* map, ptrdiff_t stride, ptrdiff_t readable, int depth, int vectors, bool several_times,
            const Planes& copies)
      : source{map, stride}, tail{copies.data, copies.stride}, before(vectors) {
    const int blocks = divide_up(vectors, kTileVectors);
    if (several_times)
      before = 0;
    else if (static_cast<ptrdiff_t>(vectors) * kLanes > readable)
      before = vectors * (blocks - 1) / blocks;
    const ptrdiff_t pixel = static_cast<ptrdiff_t>(before) * kLanes;
    const ptrdiff_t count = (static_cast<ptrdiff_t>(vectors) * kLanes < readable ? vectors * kLanes : readable) - pixel;
    if (before < vectors)
      for (int k = 0; k < depth; ++k)
        __builtin_memcpy(copies.plane(k), map + k * stride + pixel, sizeof(float) * count);
  }

  void multiply(int rows, int depth, int vectors, const float* packed, const Epilogue& epilogue, float* target,
                ptrdiff_t target_stride) const {
    product(rows, depth, before, packed, source, epilogue, target, target_stride);
    product(rows, depth, vectors - before, packed, tail, epilogue, target + static_cast<ptrdiff_t>(before) * kLanes,
            target_stride);
  }
};
