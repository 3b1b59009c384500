// The little of TensorFlow Lite's and LiteRT's C interfaces that the binding needs, declared here so that it builds
// without their headers. Both promise these layouts to binaries: TFLite's have kept them since 2.4, LiteRT's are marked
// stable. What a graph says of itself is checked against them before anything is run (see delegate.prepare).
#pragma once

#include <cstddef>
#include <cstdint>

namespace tflite {

constexpr int kOk = 0, kError = 1;
constexpr int32_t kFloat32 = 1, kFloat16 = 10;  // TfLiteType; LiteRtElementType has the same numbers
constexpr int32_t kMmapRo = 1;                  // TfLiteAllocationType of a constant
constexpr int64_t kAllowDynamicTensors = 1;     // TfLiteDelegateFlags: keep the delegate's nodes when sizes change

struct IntArray {
  int32_t size;
  int32_t data[1];  // `size` of them
};

struct Tensor {
  int32_t type;
  void* data;
  IntArray* dims;
  float quantization_scale;
  int32_t quantization_zero_point;
  int32_t allocation_type;
  size_t bytes;
  const void* allocation;
  const char* name;
  struct Delegate* delegate;
  int32_t buffer_handle;
  bool data_is_stale;
  bool is_variable;
  int32_t quantization_type;
  void* quantization;
  void* sparsity;
  const IntArray* dims_signature;
};
static_assert(sizeof(void*) != 8 || sizeof(Tensor) == 112, "TfLiteTensor has 112 bytes on a 64-bit machine");

struct Node {
  IntArray* inputs;
  IntArray* outputs;
  IntArray* intermediates;
  IntArray* temporaries;
  void* user_data;
  void* builtin_data;
  const void* custom_initial_data;
  int32_t custom_initial_data_size;
  struct Delegate* delegate;
};

struct Context;

// Passed by value: at least as long as any release's, its unknown tail zero.
struct Registration {
  void* (*init)(Context*, const char* buffer, size_t length);
  void (*free)(Context*, void* buffer);
  int (*prepare)(Context*, Node*);
  int (*invoke)(Context*, Node*);
  const char* (*profiling_string)(const Context*, const Node*);
  int32_t builtin_code;
  const char* custom_name;
  int32_t version;
  void* registration_external;
  void* async_kernel;
  uint64_t inplace_operator;
};

struct Context {
  size_t tensors_size;
  int (*GetExecutionPlan)(Context*, IntArray** plan);
  Tensor* tensors;
  void* impl;
  int (*ResizeTensor)(Context*, Tensor*, IntArray* size);  // takes `size`, which is freed by free()
  void (*ReportError)(Context*, const char* format, ...);
  int (*AddTensors)(Context*, int count, int* first);
  int (*GetNodeAndRegistration)(Context*, int index, Node**, Registration**);
  int (*ReplaceNodeSubsetsWithDelegateKernels)(Context*, Registration, const IntArray* nodes, struct Delegate*);
};

struct DelegateParams {  // what a delegate's kernel is initialised with
  struct Delegate* delegate;
  IntArray* nodes_to_replace;
  IntArray* input_tensors;
  IntArray* output_tensors;
};

struct Delegate {
  void* data;
  int (*Prepare)(Context*, Delegate*);
  void* CopyFromBufferHandle;
  void* CopyToBufferHandle;
  void* FreeBufferHandle;
  int64_t flags;
  void* opaque_delegate_builder;
};

}  // namespace tflite

namespace litert {

constexpr int kOk = 0, kInvalid = 1;  // LiteRtStatus: ok, invalid argument
constexpr int kRead = 0, kWrite = 1;  // LiteRtTensorBufferLockMode
constexpr int kMaxRank = 8;

struct Layout {
  uint32_t rank : 7;
  uint32_t has_strides : 1;
  int32_t dimensions[kMaxRank];
  uint32_t strides[kMaxRank];
};

struct RankedType {
  int32_t element_type;
  Layout layout;
};
static_assert(sizeof(RankedType) == 72, "LiteRtRankedTensorType has 72 bytes");

struct Kernel {  // LiteRtCustomOpKernel
  int (*Init)(void* user_data, const void* options, size_t size);
  int (*GetOutputLayouts)(void* user_data, size_t inputs, const Layout*, size_t outputs, Layout*);
  int (*Run)(void* user_data, size_t inputs, void* const* buffers, size_t outputs, void** output_buffers);
  int (*Destroy)(void* user_data);
};

}  // namespace litert
