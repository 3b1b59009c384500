// mfedge's operators in LiteRT's CompiledModel: custom operator kernels.
//
// LiteRT (2.3) gives a kernel one user_data for each *name*, not for each node, registers version 1 alone, and drops
// the status a kernel returns. So every node has a name of its own, with a number; errors are kept for
// mfedge_litert_error; shapes that cannot be are given strides, which LiteRT refuses; a run that failed writes NaN.
#include <atomic>
#include <cmath>
#include <new>
#include <string>
#include <vector>

#include "../src/shapes.h"
#include "litert.h"
#include "litert_abi.h"
#include "litert_operator.h"

namespace mfedge_lite {
namespace {

using litert::Layout;

struct Slot {  // one node
  mfedge_litert* owner = nullptr;
  const Kind* kind = nullptr;
  std::string name;
  mfedge_config config{};
  bool used = false, sound = false;
  Operator op;  // made at the first run: constants have no data before
};

}  // namespace
}  // namespace mfedge_lite

struct mfedge_litert {
  mfedge_litert_functions call{};
  mfedge_pool* pool = nullptr;
  std::vector<mfedge_lite::Slot> slots;
  enum Said { kNothing, kSpeaking, kEverything };
  std::atomic<int> said{kNothing};
  char error[MFEDGE_MESSAGE] = "";  // of the kernel that spoke first
};

namespace mfedge_lite {
namespace {

int fail(const Slot& slot, const char* message) {
  mfedge_litert& owner = *slot.owner;
  int nothing = mfedge_litert::kNothing;
  if (owner.said.compare_exchange_strong(nothing, mfedge_litert::kSpeaking)) {
    std::snprintf(owner.error, MFEDGE_MESSAGE, "%s: %s", slot.name.c_str(), message);
    owner.said = mfedge_litert::kEverything;
  }
  return litert::kInvalid;
}

bool counts(const Slot& slot, size_t inputs, size_t outputs, char* message) {
  const Kind& kind = *slot.kind;
  if (inputs == static_cast<size_t>(all_inputs(kind)) && outputs == static_cast<size_t>(kind.outputs())) return true;
  std::snprintf(message, MFEDGE_MESSAGE, "expected %d inputs and %d outputs, found %zu and %zu", all_inputs(kind),
                kind.outputs(), inputs, outputs);
  return false;
}

int init(void* user_data, const void* options, size_t size) {
  Slot& slot = *static_cast<Slot*>(user_data);
  const bool first = !slot.used;
  slot.used = true;
  slot.sound = false;
  slot.op = nullptr;
  if (!first) return fail(slot, "two nodes have this name");
  char message[MFEDGE_MESSAGE] = "";
  size_t weights = 0, matrices = 0;
  slot.sound = parse_options(options, size, &slot.config, message) &&
               mfedge_count_weights(slot.kind->kind, &slot.config, &weights, &matrices, message) == MFEDGE_OK;
  return slot.sound ? litert::kOk : fail(slot, message);
}

int destroy(void* user_data) {
  Slot& slot = *static_cast<Slot*>(user_data);
  slot.used = slot.sound = false;
  slot.op = nullptr;
  return litert::kOk;
}

// By the core's own rules: there is no operator to ask yet.
bool layouts(const Slot& slot, const Layout* in, Layout* out, char* message) {
  mfedge_tensor inputs[MFEDGE_MAX_INPUTS]{}, outputs[MFEDGE_MAX_OUTPUTS]{};
  for (int i = 0; i < slot.kind->inputs(); ++i) {
    if (in[i].rank > 4) {
      std::snprintf(message, MFEDGE_MESSAGE, "input %d: expected at most 4 dimensions, found %u", i, in[i].rank);
      return false;
    }
    inputs[i].rank = static_cast<int32_t>(in[i].rank);
    for (int j = 0; j < inputs[i].rank; ++j) inputs[i].shape[j] = in[i].dimensions[j];
  }
  if (mfedge::infer_shapes(*slot.kind, slot.config, inputs, outputs, message) != MFEDGE_OK) return false;
  for (int i = 0; i < slot.kind->outputs(); ++i) {
    out[i] = Layout{};
    out[i].rank = static_cast<uint32_t>(outputs[i].rank);
    for (int j = 0; j < outputs[i].rank; ++j) out[i].dimensions[j] = static_cast<int32_t>(outputs[i].shape[j]);
  }
  return true;
}

int get_output_layouts(void* user_data, size_t inputs, const Layout* in, size_t outputs, Layout* out) {
  const Slot& slot = *static_cast<Slot*>(user_data);
  char message[MFEDGE_MESSAGE] = "it was not created";
  if (slot.sound && counts(slot, inputs, outputs, message) && layouts(slot, in, out, message)) return litert::kOk;
  for (size_t i = 0; i < outputs; ++i) out[i].has_strides = 1;
  return fail(slot, message);
}

// A tensor buffer, mapped while this lives.
class Mapped {
 public:
  Mapped(const mfedge_litert& owner, void* buffer, int mode) : owner_(owner), buffer_(buffer) {
    sound_ = owner.call.tensor_type(buffer, &type_) == litert::kOk && type_.layout.rank <= 4 &&
             owner.call.lock(buffer, &address_, mode) == litert::kOk;
  }
  ~Mapped() {
    if (sound_) owner_.call.unlock(buffer_);
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  bool tensor(mfedge_tensor* described) const {
    described->data = static_cast<const float*>(address_);
    described->rank = static_cast<int32_t>(type_.layout.rank);
    for (int i = 0; i < described->rank; ++i) described->shape[i] = type_.layout.dimensions[i];
    return sound_ && type_.element_type == tflite::kFloat32;
  }

  bool constant(Constant* constant) const {
    const mfedge_type type = matrix_type(type_.element_type);
    mfedge_tensor described{};
    if (!(tensor(&described) || (sound_ && type != 0))) return false;
    *constant = {address_, elements(described), type};
    return true;
  }

 private:
  const mfedge_litert& owner_;
  void* buffer_;
  void* address_ = nullptr;
  litert::RankedType type_{};
  bool sound_ = false;
};

bool create(Slot* slot, void* const* buffers, char* message) {
  Constant constants[2];
  for (int i = 0; i < slot->kind->constants; ++i) {
    // Unmapped before use: host memory stays where it is, and the operator copies.
    const Mapped mapped(*slot->owner, buffers[slot->kind->inputs() + i], litert::kRead);
    if (!mapped.constant(&constants[i])) {
      std::snprintf(message, MFEDGE_MESSAGE, "its weights cannot be read as floats");
      return false;
    }
  }
  slot->op = mfedge_lite::create(*slot->kind, slot->config, constants[0], constants[1], message);
  return slot->op != nullptr;
}

bool same_shape(const mfedge_tensor& a, const mfedge_tensor& b) {
  bool same = a.rank == b.rank;
  for (int i = 0; same && i < a.rank; ++i) same = a.shape[i] == b.shape[i];
  return same;
}

bool compute(Slot* slot, void* const* buffers, void* const* output_buffers, char* message) {
  if (slot->op == nullptr && !create(slot, buffers, message)) return false;
  const Kind& kind = *slot->kind;
  mfedge_tensor inputs[MFEDGE_MAX_INPUTS]{}, outputs[MFEDGE_MAX_OUTPUTS]{}, wanted[MFEDGE_MAX_OUTPUTS]{};
  std::vector<std::unique_ptr<Mapped>> mapped;
  bool sound = true;
  for (int i = 0; i < kind.inputs(); ++i) {
    mapped.push_back(std::make_unique<Mapped>(*slot->owner, buffers[i], litert::kRead));
    sound = mapped.back()->tensor(&inputs[i]) && sound;
  }
  for (int i = 0; i < kind.outputs(); ++i) {
    mapped.push_back(std::make_unique<Mapped>(*slot->owner, output_buffers[i], litert::kWrite));
    sound = mapped.back()->tensor(&outputs[i]) && sound;
  }
  if (!sound) {
    std::snprintf(message, MFEDGE_MESSAGE, "a tensor cannot be read as float32 of rank 4 or less");
    return false;
  }
  if (mfedge_operator_shapes(slot->op.get(), inputs, wanted, message) != MFEDGE_OK) return false;
  for (int i = 0; i < kind.outputs(); ++i) {
    if (same_shape(wanted[i], outputs[i])) continue;
    std::snprintf(message, MFEDGE_MESSAGE, "output %d has not the shape it should", i);
    return false;
  }
  return mfedge_operator_run(slot->op.get(), inputs, outputs, slot->owner->pool, message) == MFEDGE_OK;
}

int run(void* user_data, size_t inputs, void* const* buffers, size_t outputs, void** output_buffers) {
  Slot& slot = *static_cast<Slot*>(user_data);
  char message[MFEDGE_MESSAGE] = "it was not created";
  try {
    if (slot.sound && counts(slot, inputs, outputs, message) && compute(&slot, buffers, output_buffers, message)) {
      return litert::kOk;
    }
  } catch (const std::bad_alloc&) {
    std::snprintf(message, MFEDGE_MESSAGE, "out of memory");
  }
  for (size_t i = 0; i < outputs; ++i) {
    const Mapped mapped(*slot.owner, output_buffers[i], litert::kWrite);
    mfedge_tensor output{};
    if (!mapped.tensor(&output)) continue;
    for (size_t j = 0; j < elements(output); ++j) const_cast<float*>(output.data)[j] = std::nanf("");
  }
  return fail(slot, message);
}

constexpr litert::Kernel kKernel = {init, get_output_layouts, run, destroy};

}  // namespace
}  // namespace mfedge_lite

mfedge_litert* mfedge_litert_create(const mfedge_litert_functions* functions) {
  if (functions == nullptr || functions->add_kernel == nullptr || functions->tensor_type == nullptr ||
      functions->lock == nullptr || functions->unlock == nullptr) {
    return nullptr;
  }
  try {
    auto made = std::make_unique<mfedge_litert>();
    made->call = *functions;
    for (const mfedge::Kind& kind : mfedge::kKinds) {
      for (int number = -1; number < MFEDGE_LITERT_MAX_NODES; ++number) {
        mfedge_lite::Slot slot;
        slot.owner = made.get();
        slot.kind = &kind;
        slot.name = number < 0 ? kind.full_name : std::string(kind.full_name) + "." + std::to_string(number);
        made->slots.push_back(slot);
      }
    }
    made->pool = mfedge_pool_create();
    return made->pool == nullptr ? nullptr : made.release();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void mfedge_litert_destroy(mfedge_litert* kernels) {
  if (kernels == nullptr) return;
  mfedge_pool_destroy(kernels->pool);
  delete kernels;
}

int mfedge_litert_register(mfedge_litert* kernels, void* options, char* message) {
  if (kernels == nullptr || options == nullptr) {
    return mfedge::fail(message, "%s: expected an address, found NULL", kernels == nullptr ? "kernels" : "options");
  }
  for (auto& slot : kernels->slots) {
    const int status =
        kernels->call.add_kernel(options, slot.name.c_str(), 1, &mfedge_lite::kKernel, &slot);
    if (status == litert::kOk) continue;
    return mfedge::fail(message, "LiteRT does not take %s: status %d", slot.name.c_str(), status);
  }
  return MFEDGE_OK;
}

const char* mfedge_litert_error(const mfedge_litert* kernels) {
  return kernels == nullptr || kernels->said != mfedge_litert::kEverything ? nullptr : kernels->error;
}
