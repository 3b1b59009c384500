// The native kernels as custom operators of onnxruntime, domain "mfedge": what register_custom_ops_library loads.
//
// A node has the kernel's inputs, then its weights as initializers; its attributes are the fields of mfedge_config.
// onnxruntime creates a kernel for each node as it loads a session, and there the operator is created, once. It owns a
// packed copy of its weights; onnxruntime keeps the initializers beside it, as custom operators cannot release them.
// A kernel is immutable: concurrent Run() calls of one session share it, and the pool.
#include <atomic>
#include <cstdio>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <string>

#include "mfedge_kernels.h"
#include "onnxruntime_c_api.h"

namespace {

constexpr const char* kDomain = "mfedge";

enum Attributes { kNone, kHeads, kAll };  // none; heads and scale; every size of mfedge_config, not scale

struct Row {
  const char* name;
  mfedge_kind kind;
  size_t inputs;  // of a run
  bool weights;   // float32, the input after those
  bool matrices;  // float32 or float16, the one after it
  size_t outputs;
  Attributes attributes;

  size_t constants() const { return size_t{weights} + size_t{matrices}; }
};

constexpr Row kTable[] = {
    {"Stem", MFEDGE_STEM, 1, true, false, 2, kAll},
    {"Block", MFEDGE_BLOCK, 3, true, true, 3, kAll},
    {"Head", MFEDGE_HEAD, 3, true, true, 1, kAll},
    {"MobileToFormer", MFEDGE_MOBILE_TO_FORMER, 2, false, false, 1, kHeads},
    {"FormerToMobile", MFEDGE_FORMER_TO_MOBILE, 3, false, false, 1, kHeads},
    {"DynamicRelu", MFEDGE_DYNAMIC_RELU, 3, false, false, 1, kNone},
};
constexpr size_t kOperators = sizeof(kTable) / sizeof(Row);

struct Size {
  const char* name;
  int32_t mfedge_config::*field;
};

constexpr Size kSizes[] = {
    {"in_channels", &mfedge_config::in_channels},
    {"expand", &mfedge_config::expand},
    {"out_channels", &mfedge_config::out_channels},
    {"expand2", &mfedge_config::expand2},
    {"stride", &mfedge_config::stride},
    {"tokens", &mfedge_config::tokens},
    {"token_dim", &mfedge_config::token_dim},
    {"heads", &mfedge_config::heads},
    {"former_heads", &mfedge_config::former_heads},
    {"ffn", &mfedge_config::ffn},
    {"hyper", &mfedge_config::hyper},
    {"hidden", &mfedge_config::hidden},
    {"classes", &mfedge_config::classes},
};

struct Registration;

struct Operator : OrtCustomOp {
  const Row* row;
  Registration* registration;
};

// What one call of RegisterCustomOps adds to one set of session options.
struct Registration {
  const OrtApi* api;
  OrtCustomOpDomain* domain = nullptr;
  Operator operators[kOperators];
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
  const Row* row;
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
  return error(kernel.api, ORT_INVALID_ARGUMENT, kernel.row->name, kernel.name, message.c_str());
}

OrtStatus* read_size(const Kernel& kernel, const OrtKernelInfo* info, const Size& size, mfedge_config* config) {
  int64_t value = 0;
  OrtStatus* status = ort::KernelInfoGetAttribute_int64(kernel.api, info, size.name, &value);
  if (status != nullptr || value < 0 || value > std::numeric_limits<int32_t>::max())
    return missing(kernel, size.name, "an int of 0 or more", status);
  config->*size.field = static_cast<int32_t>(value);
  return nullptr;
}

OrtStatus* read_config(const Kernel& kernel, const OrtKernelInfo* info, mfedge_config* config) {
  if (kernel.row->attributes == kAll) {
    for (const Size& size : kSizes)
      if (OrtStatus* status = read_size(kernel, info, size, config)) return status;
  } else if (kernel.row->attributes == kHeads) {
    if (OrtStatus* status = read_size(kernel, info, {"heads", &mfedge_config::heads}, config)) return status;
    if (OrtStatus* status = ort::KernelInfoGetAttribute_float(kernel.api, info, "scale", &config->scale))
      return missing(kernel, "scale", "a float", status);
  }
  return nullptr;
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
    return error(kernel.api, ORT_INVALID_ARGUMENT, kernel.row->name, kernel.name, message.c_str());
  }
  if (OrtStatus* status = tensor->read(kernel.api, value)) return status;
  bool half = tensor->type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;  // of matrices: onnxruntime checks the others
  if (half || tensor->type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) return nullptr;
  std::string message = std::string("input ") + name + " must be float32 or float16";
  return error(kernel.api, ORT_INVALID_ARGUMENT, kernel.row->name, kernel.name, message.c_str());
}

OrtStatus* create(const Operator& declared, const OrtApi* api, const OrtKernelInfo* info, void** created) {
  const Row& row = *declared.row;
  std::unique_ptr<Kernel> kernel(new Kernel{api, &row, declared.registration, node_name(api, info)});
  mfedge_config config{};
  if (OrtStatus* status = read_config(*kernel, info, &config)) return status;
  Tensor weights, matrices;
  if (row.weights)
    if (OrtStatus* status = read_constant(*kernel, info, row.inputs, "weights", &weights)) return status;
  if (row.matrices)
    if (OrtStatus* status = read_constant(*kernel, info, row.inputs + 1, "matrices", &matrices)) return status;
  mfedge_type type = matrices.type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 ? MFEDGE_FLOAT16 : MFEDGE_FLOAT32;
  char message[MFEDGE_MESSAGE] = "";
  if (mfedge_operator_create(row.kind, &config, weights.view.data, weights.count, matrices.view.data, matrices.count,
                             type, &kernel->op, message) != MFEDGE_OK)
    return error(api, ORT_INVALID_ARGUMENT, row.name, kernel->name, message);
  kernel->pool = declared.registration->acquire_pool();
  *created = kernel.release();
  return nullptr;
}

// --- running it

OrtStatus* compute(const Kernel& kernel, OrtKernelContext* context) {
  const OrtApi* api = kernel.api;
  const Row& row = *kernel.row;
  mfedge_tensor inputs[MFEDGE_MAX_INPUTS], outputs[MFEDGE_MAX_OUTPUTS];
  char message[MFEDGE_MESSAGE] = "";
  for (size_t i = 0; i < row.inputs; ++i) {
    const OrtValue* value = nullptr;
    if (OrtStatus* status = ort::KernelContext_GetInput(api, context, i, &value)) return status;
    Tensor tensor;
    if (OrtStatus* status = tensor.read(api, value)) return status;
    if (tensor.rank > 4) {
      std::snprintf(message, sizeof(message), "input %zu: expected rank 4 or less, found %zu", i, tensor.rank);
      return error(api, ORT_INVALID_ARGUMENT, row.name, kernel.name, message);
    }
    inputs[i] = tensor.view;
  }
  if (mfedge_operator_shapes(kernel.op, inputs, outputs, message) != MFEDGE_OK)
    return error(api, ORT_INVALID_ARGUMENT, row.name, kernel.name, message);
  for (size_t i = 0; i < row.outputs; ++i) {
    OrtValue* value = nullptr;
    void* data = nullptr;
    const int64_t* shape = outputs[i].shape;
    size_t rank = static_cast<size_t>(outputs[i].rank);
    if (OrtStatus* status = ort::KernelContext_GetOutput(api, context, i, shape, rank, &value)) return status;
    if (value == nullptr) return error(api, ORT_INVALID_ARGUMENT, row.name, kernel.name, "an output has no name");
    if (OrtStatus* status = ort::GetTensorMutableData(api, value, &data)) return status;
    outputs[i].data = static_cast<const float*>(data);
  }
  int code = mfedge_operator_run(kernel.op, inputs, outputs, kernel.pool, message);
  if (code == MFEDGE_OK) return nullptr;
  return error(api, code == MFEDGE_INVALID ? ORT_INVALID_ARGUMENT : ORT_FAIL, row.name, kernel.name, message);
}

// --- the callbacks

const Operator& operator_of(const OrtCustomOp* op) { return *static_cast<const Operator*>(op); }

OrtCustomOp callbacks() {
  OrtCustomOp op{};
  op.version = ort::kVersion;
  op.GetName = [](const OrtCustomOp* self) { return operator_of(self).row->name; };
  op.GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };  // the CPU
  op.GetInputTypeCount = [](const OrtCustomOp* self) {
    return operator_of(self).row->inputs + operator_of(self).row->constants();
  };
  op.GetInputType = [](const OrtCustomOp* self, size_t index) {
    bool matrices = index == operator_of(self).row->inputs + 1 && operator_of(self).row->matrices;
    return matrices ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;  // any; checked
  };
  op.GetOutputTypeCount = [](const OrtCustomOp* self) { return operator_of(self).row->outputs; };
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
  for (size_t i = 0; i < kOperators; ++i) {
    Operator& op = registration->operators[i];
    static_cast<OrtCustomOp&>(op) = callbacks();
    op.row = &kTable[i];
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
