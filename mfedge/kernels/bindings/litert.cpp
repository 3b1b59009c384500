// mfedge's operators in TensorFlow Lite's Interpreter: a delegate that claims the nodes named mfedge.*, one by one.
//
// A delegate is the one door that every interpreter has: a registration by C++'s OpResolver needs the runtime's own
// headers and compiler, and the wheels export none of its symbols. Every node stays a node of its own, so that the
// interpreter plans the memory between them and profiles each.
#include "litert.h"

#include <map>
#include <new>
#include <vector>

#include "litert_abi.h"
#include "litert_operator.h"

namespace mfedge_lite {
namespace {

using tflite::kError;
using tflite::kOk;

// One node of the file, in place of which the delegate runs.
struct Claim {
  const Kind* kind = nullptr;
  mfedge_config config{};
  std::vector<int> inputs, outputs;
  Operator op;
  const void *weights = nullptr, *matrices = nullptr;  // that `op` was made from
};

struct Plugin {
  tflite::Delegate delegate{};
  mfedge_pool* pool = nullptr;
  // By node index. Kept here since another delegate may undo and redo this one at every resize.
  std::map<int, std::shared_ptr<Claim>> claims;
};

// What the interpreter holds for a node: the claim, or why there is none.
struct Handle {
  Plugin* plugin = nullptr;
  const char* name = "mfedge";
  std::shared_ptr<Claim> claim;
  char error[MFEDGE_MESSAGE] = "";
};

std::vector<int> indices(const tflite::IntArray* array) {
  return array == nullptr ? std::vector<int>() : std::vector<int>(array->data, array->data + array->size);
}

bool within(const tflite::Context* context, const std::vector<int>& tensors) {
  for (const int index : tensors) {
    if (index < 0 || static_cast<size_t>(index) >= context->tensors_size) return false;
  }
  return true;
}

// TFLite 2.14 loses a half input when it undoes delegates: it looks for the DEQUANTIZE after it. The inputs that the
// node had at first are still right.
void restore(std::vector<int>* inputs, const Claim* kept) {
  if (kept == nullptr || kept->inputs.size() != inputs->size()) return;
  for (size_t i = 0; i < inputs->size(); ++i) {
    if ((*inputs)[i] < 0) (*inputs)[i] = kept->inputs[i];
  }
}

std::shared_ptr<Claim> claim(tflite::Context* context, Handle* handle, int index) {
  char* message = handle->error;
  tflite::Node* node = nullptr;
  tflite::Registration* registration = nullptr;
  if (context->GetNodeAndRegistration(context, index, &node, &registration) != kOk) {
    std::snprintf(message, MFEDGE_MESSAGE, "node %d cannot be read", index);
    return nullptr;
  }
  auto made = std::make_shared<Claim>();
  made->kind = find_kind(registration->custom_name);
  if (made->kind == nullptr) {
    std::snprintf(message, MFEDGE_MESSAGE, "node %d is none of its operators", index);
    return nullptr;
  }
  handle->name = registration->custom_name;
  size_t weights = 0, matrices = 0;
  if (!parse_options(node->custom_initial_data, static_cast<size_t>(node->custom_initial_data_size), &made->config,
                     message) ||
      mfedge_count_weights(made->kind->kind, &made->config, &weights, &matrices, message) != MFEDGE_OK) {
    return nullptr;
  }
  std::shared_ptr<Claim>& kept = handle->plugin->claims[index];
  made->inputs = indices(node->inputs);
  made->outputs = indices(node->outputs);
  restore(&made->inputs, kept.get());
  if (static_cast<int>(made->inputs.size()) != all_inputs(*made->kind) ||
      static_cast<int>(made->outputs.size()) != made->kind->outputs()) {
    std::snprintf(message, MFEDGE_MESSAGE, "expected %d inputs and %d outputs, found %zu and %zu",
                  all_inputs(*made->kind), made->kind->outputs(), made->inputs.size(), made->outputs.size());
    return nullptr;
  }
  if (!within(context, made->inputs) || !within(context, made->outputs)) {
    std::snprintf(message, MFEDGE_MESSAGE, "an input or output is missing");
    return nullptr;
  }
  if (kept && kept->kind == made->kind && kept->inputs == made->inputs && kept->outputs == made->outputs &&
      std::memcmp(&kept->config, &made->config, sizeof made->config) == 0) {
    return kept;
  }
  kept = made;
  return made;
}

bool read_constant(const tflite::Tensor& tensor, Constant* constant, char* message) {
  const mfedge_type type = matrix_type(tensor.type);
  if (type == 0 || tensor.allocation_type != tflite::kMmapRo || tensor.data == nullptr) {
    std::snprintf(message, MFEDGE_MESSAGE, "its weights are not float constants");
    return false;
  }
  *constant = {tensor.data, tensor.bytes / mfedge::element_size(type), type};
  return true;
}

bool create(const tflite::Context* context, Claim* claim, char* message) {
  Constant weights, matrices;
  size_t next = static_cast<size_t>(claim->kind->inputs());
  for (int i = 0; i < claim->kind->constants; ++i) {
    const tflite::Tensor& tensor = context->tensors[claim->inputs[next++]];
    if (!read_constant(tensor, i == 0 ? &weights : &matrices, message)) return false;
  }
  if (claim->op == nullptr || claim->weights != weights.data || claim->matrices != matrices.data) {
    claim->op = mfedge_lite::create(*claim->kind, claim->config, weights, matrices, message);
    claim->weights = weights.data;
    claim->matrices = matrices.data;
  }
  return claim->op != nullptr;
}

bool describe(const tflite::Tensor& tensor, mfedge_tensor* described, char* message) {
  const int rank = tensor.dims == nullptr ? -1 : tensor.dims->size;
  if (tensor.type != tflite::kFloat32 || rank < 0 || rank > 4) {
    std::snprintf(message, MFEDGE_MESSAGE, "expected float32 tensors of rank 0 to 4, found type %d, rank %d",
                  tensor.type, rank);
    return false;
  }
  described->data = static_cast<const float*>(tensor.data);
  described->rank = rank;
  for (int i = 0; i < rank; ++i) described->shape[i] = tensor.dims->data[i];
  return true;
}

// The inputs as they are now, and the outputs as they have to be.
bool shapes(const tflite::Context* context, const Claim& claim, mfedge_tensor* inputs, mfedge_tensor* outputs,
            char* message) {
  for (int i = 0; i < claim.kind->inputs(); ++i) {
    if (!describe(context->tensors[claim.inputs[i]], &inputs[i], message)) return false;
  }
  return mfedge_operator_shapes(claim.op.get(), inputs, outputs, message) == MFEDGE_OK;
}

bool resize(tflite::Context* context, int index, const mfedge_tensor& wanted, char* message) {
  tflite::Tensor* tensor = &context->tensors[index];
  if (tensor->type != tflite::kFloat32 || tensor->allocation_type == tflite::kMmapRo) {
    std::snprintf(message, MFEDGE_MESSAGE, "an output is a constant or not float32");
    return false;
  }
  auto* size = static_cast<tflite::IntArray*>(std::malloc(sizeof(int32_t) * (1 + static_cast<size_t>(wanted.rank))));
  if (size == nullptr) {
    std::snprintf(message, MFEDGE_MESSAGE, "out of memory");
    return false;
  }
  size->size = wanted.rank;
  for (int i = 0; i < wanted.rank; ++i) size->data[i] = static_cast<int32_t>(wanted.shape[i]);
  return context->ResizeTensor(context, tensor, size) == kOk;
}

int report(tflite::Context* context, const Handle& handle, const char* message) {
  context->ReportError(context, "%s: %s\n", handle.name, message);
  return kError;
}

void* init(tflite::Context* context, const char* buffer, size_t) {
  const auto* params = reinterpret_cast<const tflite::DelegateParams*>(buffer);
  auto* handle = new (std::nothrow) Handle;
  if (handle == nullptr) return nullptr;
  handle->plugin = static_cast<Plugin*>(params->delegate->data);
  try {
    handle->claim = claim(context, handle, params->nodes_to_replace->data[0]);
  } catch (const std::bad_alloc&) {
    std::snprintf(handle->error, MFEDGE_MESSAGE, "out of memory");
  }
  return handle;
}

void free_handle(tflite::Context*, void* buffer) { delete static_cast<Handle*>(buffer); }

int prepare(tflite::Context* context, tflite::Node* node) {
  auto* handle = static_cast<Handle*>(node->user_data);
  if (handle == nullptr) return kError;
  if (handle->claim == nullptr) return report(context, *handle, handle->error);
  Claim& claim = *handle->claim;
  mfedge_tensor inputs[MFEDGE_MAX_INPUTS], outputs[MFEDGE_MAX_OUTPUTS];
  char message[MFEDGE_MESSAGE] = "cannot resize an output";
  if (!create(context, &claim, message) || !shapes(context, claim, inputs, outputs, message)) {
    return report(context, *handle, message);
  }
  for (int i = 0; i < claim.kind->outputs(); ++i) {
    if (!resize(context, claim.outputs[i], outputs[i], message)) return report(context, *handle, message);
  }
  return kOk;
}

int invoke(tflite::Context* context, tflite::Node* node) {
  const auto* handle = static_cast<Handle*>(node->user_data);
  const Claim& claim = *handle->claim;
  mfedge_tensor inputs[MFEDGE_MAX_INPUTS], outputs[MFEDGE_MAX_OUTPUTS];
  char message[MFEDGE_MESSAGE] = "";
  if (!shapes(context, claim, inputs, outputs, message)) return report(context, *handle, message);
  // A hostile graph may give one tensor two shapes: its memory has to hold everything that is read and written.
  for (int i = 0; i < claim.kind->inputs(); ++i) {
    const tflite::Tensor& tensor = context->tensors[claim.inputs[i]];
    if (tensor.data == nullptr || tensor.bytes < elements(inputs[i]) * sizeof(float)) {
      return report(context, *handle, "an input has no memory");
    }
  }
  for (int i = 0; i < claim.kind->outputs(); ++i) {
    const tflite::Tensor& tensor = context->tensors[claim.outputs[i]];
    if (tensor.data == nullptr || tensor.bytes < elements(outputs[i]) * sizeof(float)) {
      return report(context, *handle, "an output has no memory");
    }
    outputs[i].data = static_cast<const float*>(tensor.data);
  }
  const int status = mfedge_operator_run(claim.op.get(), inputs, outputs, handle->plugin->pool, message);
  return status == MFEDGE_OK ? kOk : report(context, *handle, message);
}

int claim_nodes(tflite::Context* context, tflite::Delegate* delegate) {
  tflite::IntArray* plan = nullptr;
  if (context->GetExecutionPlan(context, &plan) != kOk) return kError;
  try {
    const std::vector<int> nodes(plan->data, plan->data + plan->size);  // the plan changes below
    for (const int index : nodes) {
      tflite::Node* node = nullptr;
      tflite::Registration* registration = nullptr;
      if (context->GetNodeAndRegistration(context, index, &node, &registration) != kOk) return kError;
      const Kind* kind = registration->custom_name == nullptr ? nullptr : find_kind(registration->custom_name);
      if (kind == nullptr) continue;
      tflite::Registration kernel{};
      kernel.init = init;
      kernel.free = free_handle;
      kernel.prepare = prepare;
      kernel.invoke = invoke;
      kernel.custom_name = kind->full_name;
      kernel.version = 1;
      const tflite::IntArray one = {1, {index}};
      if (context->ReplaceNodeSubsetsWithDelegateKernels(context, kernel, &one, delegate) != kOk) return kError;
    }
  } catch (const std::bad_alloc&) {
    return kError;
  }
  return kOk;
}

}  // namespace
}  // namespace mfedge_lite

using mfedge_lite::Plugin;

void* tflite_plugin_create_delegate(const char* const*, const char* const*, size_t count,
                                    void (*report_error)(const char*)) {
  if (count != 0) {
    if (report_error != nullptr) report_error("mfedge: the delegate takes no options");
    return nullptr;
  }
  auto* plugin = new (std::nothrow) Plugin;
  if (plugin == nullptr) return nullptr;
  plugin->pool = mfedge_pool_create();
  if (plugin->pool == nullptr) {
    delete plugin;
    return nullptr;
  }
  plugin->delegate.data = plugin;
  plugin->delegate.Prepare = mfedge_lite::claim_nodes;
  plugin->delegate.flags = tflite::kAllowDynamicTensors;
  return &plugin->delegate;
}

void tflite_plugin_destroy_delegate(void* delegate) {
  if (delegate == nullptr) return;
  auto* plugin = static_cast<Plugin*>(static_cast<tflite::Delegate*>(delegate)->data);
  mfedge_pool_destroy(plugin->pool);
  delete plugin;
}
