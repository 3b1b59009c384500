/* mfedge's operators in LiteRT and TensorFlow Lite, for an app: plain C, two entries for the two APIs these have.
 *
 * Interpreter API (TfLiteInterpreter, Java and Kotlin's Interpreter, Swift's, Python's): a delegate, made by
 * tflite_plugin_create_delegate, that takes the nodes named mfedge.* and leaves everything else alone.
 * CompiledModel API (libLiteRt): custom operator kernels, registered in the model's LiteRtOptions. Its constants must
 * lie on 64 bytes in memory: load the model from a file, or from a buffer so aligned.
 *
 * A node is called mfedge.<Operator> or mfedge.<Operator>.<number>: LiteRT tells kernels apart by name alone.
 */
#ifndef MFEDGE_LITERT_H
#define MFEDGE_LITERT_H

#include "mfedge_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MFEDGE_LITERT_MAX_NODES = 64 }; /* numbers 0 to 63 of every operator */

/* TensorFlow Lite's external delegate interface. Takes no options. A delegate serves one interpreter, which it must
 * outlive; errors are reported by the interpreter. `report_error` may be NULL. NULL if there is no memory. */
MFEDGE_API void* tflite_plugin_create_delegate(const char* const* keys, const char* const* values, size_t count,
                                               void (*report_error)(const char*));
MFEDGE_API void tflite_plugin_destroy_delegate(void* delegate);

/* The four functions of libLiteRt that the kernels call. An app that links libLiteRt initialises it by
 * MFEDGE_LITERT_FUNCTIONS; one that loads it by dlopen fills in what dlsym finds. Status is 0 for success. */
typedef struct mfedge_litert_functions {
  int (*add_kernel)(void* options, const char* name, int version, const void* kernel, void* user_data);
  int (*tensor_type)(void* buffer, void* type);
  int (*lock)(void* buffer, void** address, int mode);
  int (*unlock)(void* buffer);
} mfedge_litert_functions;

#define MFEDGE_LITERT_FUNCTIONS                                                                       \
  {(int (*)(void*, const char*, int, const void*, void*))LiteRtAddCustomOpKernelOption,               \
   (int (*)(void*, void*))LiteRtGetTensorBufferTensorType, (int (*)(void*, void**, int))LiteRtLockTensorBuffer, \
   (int (*)(void*))LiteRtUnlockTensorBuffer}

typedef struct mfedge_litert mfedge_litert;

/* Kernels for one compiled model, which they must outlive, as must the options. NULL if there is no memory, or if one of
 * the functions is NULL. */
MFEDGE_API mfedge_litert* mfedge_litert_create(const mfedge_litert_functions* functions);
MFEDGE_API void mfedge_litert_destroy(mfedge_litert* kernels);

/* Adds every operator to a LiteRtOptions, before LiteRtCreateCompiledModel. Returns MFEDGE_OK, or MFEDGE_INVALID with a
 * line in `message`, which may be NULL. */
MFEDGE_API int mfedge_litert_register(mfedge_litert* kernels, void* options, char* message);

/* The first error of a kernel, or NULL if there is none or `kernels` is NULL. LiteRT drops what a kernel returns: ask
 * after a model could not be created, and after every run. The outputs of a run that failed are NaN. */
MFEDGE_API const char* mfedge_litert_error(const mfedge_litert* kernels);

#ifdef __cplusplus
}
#endif
#endif
