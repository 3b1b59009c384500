/* The little of onnxruntime's C API that custom operators need, declared here because no package of it ships a header.
 *
 * onnxruntime promises that the slots of its function table never move and that an OrtCustomOp is read up to the fields
 * of the version it states (the public onnxruntime_c_api.h; names and signatures are its own). So a binding that was
 * built against this file runs in every onnxruntime from 1.17 on. mfedge supports, and tests, 1.22 and newer.
 */
#ifndef MFEDGE_ONNXRUNTIME_C_API_H
#define MFEDGE_ONNXRUNTIME_C_API_H

#include <cstddef>
#include <cstdint>

#ifdef _WIN32
#define ORT_API_CALL __stdcall
#else
#define ORT_API_CALL
#endif

extern "C" {

struct OrtApi;
struct OrtCustomOpDomain;
struct OrtKernelContext;
struct OrtKernelInfo;
struct OrtSessionOptions;
struct OrtShapeInferContext;
struct OrtStatus;
struct OrtTensorTypeAndShapeInfo;
struct OrtValue;

enum OrtErrorCode { ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2, ORT_NOT_IMPLEMENTED = 9 };
enum ONNXTensorElementDataType {
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED = 0,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 = 10
};
enum OrtCustomOpInputOutputCharacteristic { INPUT_OUTPUT_REQUIRED = 0 };
enum OrtMemType { OrtMemTypeDefault = 0 };

struct OrtApiBase {
  const OrtApi*(ORT_API_CALL* GetApi)(uint32_t version); /* null if the runtime is older than `version` */
  const char*(ORT_API_CALL* GetVersionString)();
};

/* Version 17: errors as statuses came with 16, operator versions with 17. Later fields are not read. */
struct OrtCustomOp {
  uint32_t version;
  void*(ORT_API_CALL* CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char*(ORT_API_CALL* GetName)(const OrtCustomOp*);
  const char*(ORT_API_CALL* GetExecutionProviderType)(const OrtCustomOp*);
  ONNXTensorElementDataType(ORT_API_CALL* GetInputType)(const OrtCustomOp*, size_t);
  size_t(ORT_API_CALL* GetInputTypeCount)(const OrtCustomOp*);
  ONNXTensorElementDataType(ORT_API_CALL* GetOutputType)(const OrtCustomOp*, size_t);
  size_t(ORT_API_CALL* GetOutputTypeCount)(const OrtCustomOp*);
  void(ORT_API_CALL* KernelCompute)(void*, OrtKernelContext*);
  void(ORT_API_CALL* KernelDestroy)(void*);
  OrtCustomOpInputOutputCharacteristic(ORT_API_CALL* GetInputCharacteristic)(const OrtCustomOp*, size_t);
  OrtCustomOpInputOutputCharacteristic(ORT_API_CALL* GetOutputCharacteristic)(const OrtCustomOp*, size_t);
  OrtMemType(ORT_API_CALL* GetInputMemoryType)(const OrtCustomOp*, size_t);
  int(ORT_API_CALL* GetVariadicInputMinArity)(const OrtCustomOp*);
  int(ORT_API_CALL* GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int(ORT_API_CALL* GetVariadicOutputMinArity)(const OrtCustomOp*);
  int(ORT_API_CALL* GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus*(ORT_API_CALL* CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void** kernel);
  OrtStatus*(ORT_API_CALL* KernelComputeV2)(void* kernel, OrtKernelContext*);
  OrtStatus*(ORT_API_CALL* InferOutputShapeFn)(const OrtCustomOp*, OrtShapeInferContext*);
  int(ORT_API_CALL* GetStartVersion)(const OrtCustomOp*);
  int(ORT_API_CALL* GetEndVersion)(const OrtCustomOp*);
};

} /* extern "C" */

namespace ort {

constexpr uint32_t kVersion = 17;

/* The entry of the function table at a slot, as the function it is. */
template <int slot, typename Result, typename... Arguments>
struct Function {
  Result operator()(const OrtApi* api, Arguments... arguments) const {
    using Pointer = Result(ORT_API_CALL*)(Arguments...);
    return reinterpret_cast<const Pointer*>(api)[slot](arguments...);
  }
};

template <int slot, typename... Arguments>
using Call = Function<slot, OrtStatus*, Arguments...>; /* null is success; a status belongs to the caller */

constexpr Call<0, OrtErrorCode, const char*> CreateStatus;
constexpr Call<26, const char*, OrtCustomOpDomain**> CreateCustomOpDomain;
constexpr Call<27, OrtCustomOpDomain*, const OrtCustomOp*> CustomOpDomain_Add;
constexpr Call<28, OrtSessionOptions*, OrtCustomOpDomain*> AddCustomOpDomain;
constexpr Call<51, OrtValue*, void**> GetTensorMutableData;
constexpr Call<60, const OrtTensorTypeAndShapeInfo*, ONNXTensorElementDataType*> GetTensorElementType;
constexpr Call<61, const OrtTensorTypeAndShapeInfo*, size_t*> GetDimensionsCount;
constexpr Call<62, const OrtTensorTypeAndShapeInfo*, int64_t*, size_t> GetDimensions;
constexpr Call<64, const OrtTensorTypeAndShapeInfo*, size_t*> GetTensorShapeElementCount;
constexpr Call<65, const OrtValue*, OrtTensorTypeAndShapeInfo**> GetTensorTypeAndShape;
constexpr Call<85, const OrtKernelInfo*, const char*, float*> KernelInfoGetAttribute_float;
constexpr Call<86, const OrtKernelInfo*, const char*, int64_t*> KernelInfoGetAttribute_int64;
constexpr Call<90, const OrtKernelContext*, size_t, const OrtValue**> KernelContext_GetInput;
constexpr Call<91, OrtKernelContext*, size_t, const int64_t*, size_t, OrtValue**> KernelContext_GetOutput;
constexpr Function<93, void, OrtStatus*> ReleaseStatus;
constexpr Function<99, void, OrtTensorTypeAndShapeInfo*> ReleaseTensorTypeAndShapeInfo;
constexpr Function<101, void, OrtCustomOpDomain*> ReleaseCustomOpDomain;
constexpr Call<244, const OrtKernelInfo*, char*, size_t*> KernelInfo_GetNodeName;
constexpr Call<249, const OrtKernelInfo*, size_t, int*, const OrtValue**> KernelInfoGetConstantInput_tensor;

} /* namespace ort */

#endif
