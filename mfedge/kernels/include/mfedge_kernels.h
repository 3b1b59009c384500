/* mfedge's native kernels: Mobile-Former's operators on a CPU, float32, one thread per call.
 *
 * An operator is created once from its configuration and weights, which it packs for the CPU it finds, and is
 * immutable afterwards: any number of threads may run it at the same time. The memory that a run needs beside its
 * inputs and outputs comes from a pool, which keeps it for the next run: a warm session allocates nothing.
 * Maps are (B, C, H, W) and tokens (B, M, D), dense and row-major, any B, H, W >= 1 up to the limits below.
 *
 * The maps between stem, blocks and head are padded: (B, C, H + MFEDGE_PADDING_ROWS, W), with zeros after the pixels of
 * each channel. Without them channels often lie a power of two apart, where their lines share few of the cache's sets.
 *
 * Numbers. NaN in an input or weight comes out as NaN wherever the formulas have it, and infinities and scores of any
 * size give what float32 gives for the formulas as they are written. Subnormal numbers (below 1.2e-38) count as 0. For
 * the duration of a call its thread rounds to nearest, flushes subnormals and traps nothing; then it has its own mode
 * and flags of exceptions again.
 *
 * Pointers. No argument may be NULL, except `message`, the operator or pool that is destroyed, and constants of which
 * there are 0. NULL elsewhere is refused as any other mistake is. Inputs and constants lie at any address (those between
 * multiples of 4 bytes are copied first), outputs at a multiple of 4 bytes.
 *
 * Processes. No function holds a lock that another thread could wait for, so a child of fork() may use any operator and
 * pool of its parent, whatever the parent's other threads were doing.
 *
 * This file is plain C without dependencies: an app that links the library needs no other of mfedge's files.
 */
#ifndef MFEDGE_KERNELS_H
#define MFEDGE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define MFEDGE_API __declspec(dllexport)
#else
#define MFEDGE_API __attribute__((visibility("default")))
#endif

#define MFEDGE_ABI_VERSION 3

enum { MFEDGE_PADDING_ROWS = 1 };

/* What is larger is refused: H * W of a map, its padding included, and B. */
enum { MFEDGE_MAX_PIXELS = 1 << 26, MFEDGE_MAX_BATCH = 1 << 20 };

typedef enum mfedge_kind {
  /* images (B, 3, H, W) -> padded map, attended (B, M, out_channels). 3x3 convolution of stride 2, ReLU6, then the lite
   * bottleneck: depthwise 3x3 of `stride` (in_channels -> expand), ReLU6, pointwise -> out_channels, plus the
   * convolution's output if stride is 1 and in_channels == out_channels. in_channels is the first convolution's output.
   *
   * Every operator that writes a map also computes the next Mobile->Former's attention over it, because the query is
   * already known: `attended` is softmax(query . map) map, over all pixels and head by head. The map need not be read
   * again. */
  MFEDGE_STEM = 1,
  /* padded map, tokens (B or 1, M, D), attended (B, M, in_channels) -> padded map, tokens (B, M, D),
   * attended (B, M, out_channels). A whole Mobile-Former block: the rest of Mobile->Former, Former, Mobile (stride 1
   * or 2), Mobile<-Former, and the next Mobile->Former's attention. */
  MFEDGE_BLOCK = 2,
  /* padded map, tokens, attended -> logits (B, classes). The rest of the last Mobile->Former, pointwise -> expand,
   * ReLU6, average, hard-swish, the first token beside it, Linear -> hidden, hard-swish, Linear -> classes. */
  MFEDGE_HEAD = 3,
  /* The token side of a block. attended (B, M, in_channels) and tokens (B or 1, M, D) -> tokens (B, M, D),
   * slopes of both dynamic ReLUs (B, 2 * expand) and (B, 2 * E2), key and value (B, M, out_channels).
   * E2 is expand2 if stride is 2, else expand. Slopes are [a1 | a2], a1 in [0, 2], a2 in [-1, 1]; 1 and 0, a plain
   * ReLU, if hyper is 0. */
  MFEDGE_TOKENS = 4,
  /* map, query (B or 1, M, C) -> (B, M, C). Needs `heads` and `scale` alone. */
  MFEDGE_MOBILE_TO_FORMER = 5,
  /* map, key (B or 1, M, C), value -> map. Needs `heads` and `scale` alone. */
  MFEDGE_FORMER_TO_MOBILE = 6,
  /* map, slope1 (B or 1, C) or the map's shape, slope2 -> map: max(slope1 * x, slope2 * x). Needs nothing. */
  MFEDGE_DYNAMIC_RELU = 7
} mfedge_kind;

/* All sizes of an operator. Fields that a kind does not use are 0. */
typedef struct mfedge_config {
  int32_t in_channels;  /* C */
  int32_t expand;       /* E, E1 of a downsampling block; the pointwise convolution of the head */
  int32_t out_channels; /* C' */
  int32_t expand2;      /* E2 of a downsampling block */
  int32_t stride;       /* 1 or 2 */
  int32_t tokens;       /* M, 1 to 16 */
  int32_t token_dim;    /* D */
  int32_t heads;        /* of the bridge, 2 in the paper; divides the channels of the map that is written */
  int32_t former_heads; /* divides D */
  int32_t ffn;          /* hidden width of Former's feed-forward layer; 0: none */
  int32_t hyper;        /* hidden width of the hyper-functions, D / 4; 0: ReLU6 instead of dynamic ReLU */
  int32_t hidden;       /* of the head */
  int32_t classes;      /* of the head */
  float scale;          /* of MOBILE_TO_FORMER and FORMER_TO_MOBILE; elsewhere it is folded into the weights */
} mfedge_config;

/* The weights of an operator are two vectors. A Linear's or convolution's weight is row-major, outputs first, as in
 * PyTorch. BatchNorm is folded; 1/sqrt of an attention is folded into its query (Mobile->Former, Former) or key.
 *
 * `weights`, float32:
 *   STEM   conv [Cin*27], bias [Cin]; depthwise [E*9], bias [E] (channel e reads input e / (E / Cin));
 *          pointwise [C'*E], bias [C']; query [M*C'] of the learned tokens, which no image has touched yet.
 *   BLOCK  stride 1: expand [E*C], bias; depthwise [E*9], bias; project [C'*E], bias; then the token vectors.
 *          stride 2: depthwise1 [E1*9], bias; project1 [C'*E1], bias; depthwise2 [E2*9], bias; project2 [C'*E2],
 *          bias; then the token vectors.
 *   TOKENS the token vectors alone, which are the biases and LayerNorms, in this order:
 *          Mobile->Former: gate [C], project [D], LayerNorm gain [D], bias [D];
 *          Former: query [D], project [D], gain [D], bias [D];
 *          if ffn: expand [ffn], project [D], gain [D], bias [D];
 *          if hyper: hyper1 hidden [hyper], slopes [2*E]; hyper2 hidden [hyper], slopes [2*E2];
 *          Mobile<-Former: key [C'], value [C'];
 *          the next Mobile->Former: query [C'] (absent from TOKENS).
 *   HEAD   Mobile->Former: gate [C], project [D], gain [D], bias [D]; conv [E*C], bias [E];
 *          hidden bias [hidden]; classes bias [classes].
 * `matrices`, float32 or float16, of the Linear layers, in the same order:
 *   gate [C*D], project [D*C]; former query [D*D], project [D*D];
 *   ffn expand [ffn*D], project [D*ffn]; hyper1 hidden [hyper*D], slopes [2E*hyper]; hyper2 the same with E2;
 *   key [C'*D], value [C'*D]; next query [C'*D] (absent from TOKENS).
 *   HEAD: gate, project; hidden [hidden*(E + D)], classes [classes*hidden].
 * gate = clip(Wz + b, 0, 2). slopes: h = clip(W relu(W' z0 + b') + b, -1, 1), a1 = h[:E] + 1, a2 = h[E:].
 */
typedef enum mfedge_type { MFEDGE_FLOAT32 = 1, MFEDGE_FLOAT16 = 2 } mfedge_type;

typedef struct mfedge_tensor {
  const float* data; /* of an output: written to */
  int32_t rank;
  int64_t shape[4];
} mfedge_tensor;

typedef struct mfedge_operator mfedge_operator;
typedef struct mfedge_pool mfedge_pool;

enum { MFEDGE_MAX_INPUTS = 3, MFEDGE_MAX_OUTPUTS = 5, MFEDGE_MESSAGE = 256 };

/* 0 is success. Anything else is an error, with one line in `message` (MFEDGE_MESSAGE bytes; may be NULL). */
enum { MFEDGE_OK = 0, MFEDGE_INVALID = 1, MFEDGE_NO_MEMORY = 2 };

/* MFEDGE_ABI_VERSION of the library. */
MFEDGE_API int32_t mfedge_abi_version(void);

/* The instruction set in use: "avx512", "avx2", "sse2" or "neon". The environment variable MFEDGE_ISA asks for a
 * smaller one; an unknown or impossible name is ignored. */
MFEDGE_API const char* mfedge_isa(void);

/* How many floats and matrix elements an operator takes; MFEDGE_INVALID if the configuration is none. */
MFEDGE_API int mfedge_count_weights(mfedge_kind kind, const mfedge_config* config, size_t* weights, size_t* matrices,
                                    char* message);

/* Creates an operator, or leaves NULL in *created. `weights` and `matrices` are copied; any address does. */
MFEDGE_API int mfedge_operator_create(mfedge_kind kind, const mfedge_config* config, const float* weights,
                                      size_t weight_count, const void* matrices, size_t matrix_count,
                                      mfedge_type matrix_type, mfedge_operator** created, char* message);
MFEDGE_API void mfedge_operator_destroy(mfedge_operator*);

/* How many it has; 0 of NULL. */
MFEDGE_API int32_t mfedge_operator_inputs(const mfedge_operator*);
MFEDGE_API int32_t mfedge_operator_outputs(const mfedge_operator*);

/* Rank and shape of every output, from the inputs' (data is not read). Checks that the inputs fit. */
MFEDGE_API int mfedge_operator_shapes(const mfedge_operator*, const mfedge_tensor* inputs, mfedge_tensor* outputs,
                                      char* message);

/* A pool may be shared by all operators of a session and by all threads. NULL if there is no memory. */
MFEDGE_API mfedge_pool* mfedge_pool_create(void);
MFEDGE_API void mfedge_pool_destroy(mfedge_pool*);

/* Runs it. Inputs and outputs do not overlap; outputs have the shapes of mfedge_operator_shapes. */
MFEDGE_API int mfedge_operator_run(const mfedge_operator*, const mfedge_tensor* inputs, const mfedge_tensor* outputs,
                                   mfedge_pool* pool, char* message);

#ifdef __cplusplus
}
#endif
#endif
