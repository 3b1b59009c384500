// The native kernels as custom operators of onnxruntime, domain "mfedge": the library that
// register_custom_ops_library() loads.
//
// A node has the kernel's inputs, then its weights as initializers; its attributes are the fields of mfedge_config.
// tables/kinds.inc says which each kind has. onnxruntime creates a kernel for each node as it loads a session, and
// there the operator is created, once. It owns a packed copy of its weights; onnxruntime keeps the initializers beside
// it, as custom operators cannot release them. A kernel is immutable: concurrent Run() calls of one session share it,
// and the pool.
#include <atomic>
#include <cstdio>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <string>

#include "../src/kinds.h"
#include "onnxruntime_c_api.h"

namespace {

constexpr const char* kDomain = "mfedge";

using mfedge::Field;
using mfedge::Kind;

struct Registration;

struct Operator : OrtCustomOp {
  const Kind* kind;
  Registration* registration;
};

// The operators that one call of RegisterCustomOps adds to one set of session options.
struct Registration {
  const OrtApi* api;
  OrtCustomOpDomain* domain = nullptr;
  Operator operators[mfedge::kKindCount];
  Registration* next = nullptr;
  std::mutex mutex;
  size_t kernels = 0;  // that use the pool: it is made with the first of them and destroyed with the last
  mfedge_pool* pool = nullptr;

  explicit Registration(const OrtApi* of) : api(of), operators{} {}
  Registration(const Registration&) = delete;
  ~Registration() {
    if (domain != nullptr) ort::ReleaseCustomOpDomain(api, domain);
  }

  mfedge_pool* acquire_pool() {
    std::lock_guard<std::mutex> lock(mutex);
    if (kernels == 0 && (pool = mfedge_pool_create()) == nullptr) throw std::bad_alloc();
    ++kernels;
    return pool;
  }

  void release_pool() {
    std::lock_guard<std::mutex> lock(mutex);
    if (--kernels == 0) mfedge_pool_destroy(pool);
  }
};

// All of them, as options and sessions go on reading theirs and do not say when they are done: freed as the library is
// unloaded, which onnxruntime does after the last of them. At a process's end a session may outlive even that; what has
// kernels stays.
struct Registrations {
  std::atomic<Registration*> first{nullptr};

  void add(Registration* added) {
    added->next = first.load();
    while (!first.compare_exchange_weak(added->next, added)) {
    }
  }

  ~Registrations() {
    for (Registration *each = first.load(), *next = nullptr; each != nullptr; each = next) {
      next = each->next;
      if (each->kernels == 0) delete each;
    }
  }
} registrations;

struct Kernel {
  const OrtApi* api;
  const Kind* kind;
  Registration* registration;
  std::string name;
  mfedge_operator* op = nullptr;
  mfedge_pool* pool = nullptr;

  ~Kernel() {
    if (op != nullptr) mfedge_operator_destroy(op);
    if (pool != nullptr) registration->release_pool();
  }
};

// An error as onnxruntime wants it: "mfedge.Block 'blocks.3': message".
OrtStatus* error(const OrtApi* api, OrtErrorCode code, const char* name, const std::string& node, const char* message) {
  char line[MFEDGE_MESSAGE + 256];
  std::snprintf(line, sizeof(line), "mfedge.%s '%s': %s", name, node.c_str(), message);
  return ort::CreateStatus(api, code, line);
}

// Runs a body that may throw; no exception crosses the C boundary.
template <typename Body>
OrtStatus* guarded(const OrtApi* api, Body body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return ort::CreateStatus(api, ORT_FAIL, "mfedge: out of memory");
  } catch (const std::exception& exception) {
    return ort::CreateStatus(api, ORT_FAIL, exception.what());
  } catch (...) {
    return ort::CreateStatus(api, ORT_FAIL, "mfedge: unexpected exception");
  }
}

// Data, type and shape of a tensor. A rank above 4 is reported as it is, with the first four sizes.
struct Tensor {
  mfedge_tensor view{};
  size_t rank = 0;
  size_t count = 0;
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;

  OrtStatus* read(const OrtApi* api, const OrtValue* value) {
    if (value == nullptr) return ort::CreateStatus(api, ORT_INVALID_ARGUMENT, "mfedge: an input is missing");
    OrtTensorTypeAndShapeInfo* info = nullptr;
    if (OrtStatus* status = ort::GetTensorTypeAndShape(api, value, &info)) return status;
    OrtStatus* status = ort::GetTensorElementType(api, info, &type);
    if (status == nullptr) status = ort::GetDimensionsCount(api, info, &rank);
    if (status == nullptr) status = ort::GetDimensions(api, info, view.shape, rank < 4 ? rank : 4);
    if (status == nullptr) status = ort::GetTensorShapeElementCount(api, info, &count);
    ort::ReleaseTensorTypeAndShapeInfo(api, info);
    view.rank = static_cast<int32_t>(rank);
    void* data = nullptr;
    if (status == nullptr) status = ort::GetTensorMutableData(api, const_cast<OrtValue*>(value), &data);
    view.data = static_cast<const float*>(data);
    return status;
  }
};

// --- creating a kernel

std::string node_name(const OrtApi* api, const OrtKernelInfo* info) {
  char name[160] = "";
  size_t size = sizeof(name);
  if (OrtStatus* status = ort::KernelInfo_GetNodeName(api, info, name, &size)) {  // longer than that
    ort::ReleaseStatus(api, status);
    return "?";
  }
  return name;
}

OrtStatus* missing(const Kernel& kernel, const char* attribute, const char* type, OrtStatus* status) {
  if (status != nullptr) ort::ReleaseStatus(kernel.api, status);
  std::string message = std::string("attribute ") + attribute + " is missing or not " + type;
  return error(kernel.api, ORT_INVALID_ARGUMENT, kernel.kind->name, kernel.name, message.c_str());
}

OrtStatus* read_size(const Kernel& kernel, const OrtKernelInfo* info, const Field& size, mfedge_config* config) {
  int64_t value = 0;
  OrtStatus* status = ort::KernelInfoGetAttribute_int64(kernel.api, info, size.name, &value);
  if (status != nullptr || value < 0 || value > std::numeric_limits<int32_t>::max())
    return missing(kernel, size.name, "an int of 0 or more", status);
  config->*size.member = static_cast<int32_t>(value);
  return nullptr;
}

OrtStatus* read_config(const Kernel& kernel, const OrtKernelInfo* info, mfedge_config* config) {
  for (const Field& field : mfedge::kFields)
    if (kernel.kind->has(field))
      if (OrtStatus* status = read_size(kernel, info, field, config)) return status;
  if (kernel.kind->attributes == mfedge::HEADS_AND_SCALE)
    if (OrtStatus* status = ort::KernelInfoGetAttribute_float(kernel.api, info, "scale", &config->scale))
      return missing(kernel, "scale", "a float", status);
  return nullptr;
}

// The type of the matrices; 0 if the kernels have no such type.
mfedge_type matrix_type(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return MFEDGE_FLOAT32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16: return MFEDGE_FLOAT16;
    default: return mfedge_type{};
  }
}

// The weights have to be initializers: packed once, they could not follow an input that changes.
OrtStatus* read_constant(const Kernel& kernel, const OrtKernelInfo* info, size_t index, const char* name,
                         Tensor* tensor) {
  int constant = 0;
  const OrtValue* value = nullptr;
  if (OrtStatus* status = ort::KernelInfoGetConstantInput_tensor(kernel.api, info, index, &constant, &value))
    return status;
  if (!constant || value == nullptr) {
    std::string message = std::string("input ") + name + " must be an initializer that no caller can override";
    return error(kernel.api, ORT_INVALID_ARGUMENT, kernel.kind->name, kernel.name, message.c_str());
  }
  if (OrtStatus* status = tensor->read(kernel.api, value)) return status;
  if (matrix_type(tensor->type) != 0) return nullptr;  // of matrices: onnxruntime checks the others
  std::string message = std::string("input ") + name + " must be " + mfedge::kTypeNames;
  return error(kernel.api, ORT_INVALID_ARGUMENT, kernel.kind->name, kernel.name, message.c_str());
}

OrtStatus* create(const Operator& declared, const OrtApi* api, const OrtKernelInfo* info, void** created) {
  const Kind& kind = *declared.kind;
  std::unique_ptr<Kernel> kernel(new Kernel{api, &kind, declared.registration, node_name(api, info)});
  mfedge_config config{};
  if (OrtStatus* status = read_config(*kernel, info, &config)) return status;
  Tensor constants[2];  // weights, matrices
  for (int i = 0; i < kind.constants; ++i) {
    const size_t index = static_cast<size_t>(kind.inputs() + i);
    if (OrtStatus* status = read_constant(*kernel, info, index, mfedge::kConstants[i], &constants[i])) return status;
  }
  const auto& [weights, matrices] = constants;
  const mfedge_type type = kind.constants == mfedge::VECTORS_AND_MATRICES ? matrix_type(matrices.type) : MFEDGE_FLOAT32;
  char message[MFEDGE_MESSAGE] = "";
  if (mfedge_operator_create(kind.kind, &config, weights.view.data, weights.count, matrices.view.data, matrices.count,
                             type, &kernel->op, message) != MFEDGE_OK)
    return error(api, ORT_INVALID_ARGUMENT, kind.name, kernel->name, message);
  kernel->pool = declared.registration->acquire_pool();
  *created = kernel.release();
  return nullptr;
}

// --- running it

OrtStatus* compute(const Kernel& kernel, OrtKernelContext* context) {
  const OrtApi* api = kernel.api;
  const Kind& kind = *kernel.kind;
  mfedge_tensor inputs[MFEDGE_MAX_INPUTS], outputs[MFEDGE_MAX_OUTPUTS];
  char message[MFEDGE_MESSAGE] = "";
  for (int i = 0; i < kind.inputs(); ++i) {
    const OrtValue* value = nullptr;
    if (OrtStatus* status = ort::KernelContext_GetInput(api, context, static_cast<size_t>(i), &value)) return status;
    Tensor tensor;
    if (OrtStatus* status = tensor.read(api, value)) return status;
    if (tensor.rank > 4) {
      std::snprintf(message, sizeof(message), "input %d: expected rank 4 or less, found %zu", i, tensor.rank);
      return error(api, ORT_INVALID_ARGUMENT, kind.name, kernel.name, message);
    }
    inputs[i] = tensor.view;
  }
  if (mfedge_operator_shapes(kernel.op, inputs, outputs, message) != MFEDGE_OK)
    return error(api, ORT_INVALID_ARGUMENT, kind.name, kernel.name, message);
  for (int i = 0; i < kind.outputs(); ++i) {
    OrtValue* value = nullptr;
    void* data = nullptr;
    const int64_t* shape = outputs[i].shape;
    size_t rank = static_cast<size_t>(outputs[i].rank);
    const size_t index = static_cast<size_t>(i);
    if (OrtStatus* status = ort::KernelContext_GetOutput(api, context, index, shape, rank, &value)) return status;
    if (value == nullptr) return error(api, ORT_INVALID_ARGUMENT, kind.name, kernel.name, "an output has no name");
    if (OrtStatus* status = ort::GetTensorMutableData(api, value, &data)) return status;
    outputs[i].data = static_cast<const float*>(data);
  }
  int code = mfedge_operator_run(kernel.op, inputs, outputs, kernel.pool, message);
  if (code == MFEDGE_OK) return nullptr;
  return error(api, code == MFEDGE_INVALID ? ORT_INVALID_ARGUMENT : ORT_FAIL, kind.name, kernel.name, message);
}

// --- the callbacks

const Operator& operator_of(const OrtCustomOp* op) { return *static_cast<const Operator*>(op); }
const Kind& kind_of(const OrtCustomOp* op) { return *operator_of(op).kind; }

OrtCustomOp callbacks() {
  OrtCustomOp op{};
  op.version = ort::kVersion;
  op.GetName = [](const OrtCustomOp* self) { return kind_of(self).name; };
  op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };  // the CPU
  op.GetInputTypeCount = [](const OrtCustomOp* self) {
    return static_cast<size_t>(kind_of(self).inputs() + kind_of(self).constants);
  };
  op.GetInputType = [](const OrtCustomOp* self, size_t index) {
    const bool matrices = index == static_cast<size_t>(kind_of(self).inputs()) + 1;  // after the weights
    return matrices ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;  // any; checked
  };
  op.GetOutputTypeCount = [](const OrtCustomOp* self) { return static_cast<size_t>(kind_of(self).outputs()); };
  op.GetOutputType = [](const OrtCustomOp*, size_t) { return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT; };
  op.GetInputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
  op.GetOutputCharacteristic = [](const OrtCustomOp*, size_t) { return INPUT_OUTPUT_REQUIRED; };
  op.GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
  op.CreateKernelV2 = [](const OrtCustomOp* self, const OrtApi* api, const OrtKernelInfo* info, void** kernel) {
    return guarded(api, [&] { return create(operator_of(self), api, info, kernel); });
  };
  op.KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
    const Kernel& self = *static_cast<const Kernel*>(kernel);
    return guarded(self.api, [&] { return compute(self, context); });
  };
  op.KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  return op;
}

OrtStatus* register_domain(OrtSessionOptions* options, const OrtApi* api) {
  auto registration = std::make_unique<Registration>(api);
  if (OrtStatus* status = ort::CreateCustomOpDomain(api, kDomain, &registration->domain)) return status;
  for (const Kind& kind : mfedge::kKinds) {
    Operator& op = registration->operators[&kind - mfedge::kKinds];
    static_cast<OrtCustomOp&>(op) = callbacks();
    op.kind = &kind;
    op.registration = registration.get();
    if (OrtStatus* status = ort::CustomOpDomain_Add(api, registration->domain, &op)) return status;
  }
  if (OrtStatus* status = ort::AddCustomOpDomain(api, options, registration->domain)) return status;
  registrations.add(registration.release());
  return nullptr;
}

}  // namespace

extern "C" MFEDGE_API OrtStatus* ORT_API_CALL RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(ort::kVersion);
  if (api != nullptr) return guarded(api, [&] { return register_domain(options, api); });
  const OrtApi* oldest = base->GetApi(1);  // any version can make a status
  if (oldest == nullptr) return nullptr;   // nor can this be said; the session will not find the operators
  char message[MFEDGE_MESSAGE];
  std::snprintf(message, sizeof(message), "mfedge: needs onnxruntime 1.%u or newer, this is %s",
                static_cast<unsigned>(ort::kVersion), base->GetVersionString());
  return ort::CreateStatus(oldest, ORT_NOT_IMPLEMENTED, message);
}
