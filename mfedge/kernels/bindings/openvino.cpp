// The native kernels as custom operations of OpenVINO, opset "mfedge": the library that Core::add_extension() loads.
//
// A node has the kernel's inputs, then its weights as constants; its attributes are the fields of mfedge_config.
// tables/kinds.inc says which each kind has. The CPU plugin runs an operation that it does not know through evaluate(),
// on its own dense memory, without a copy; any number of streams and requests at the same time. The operator is made at
// the first run, from the constants that the node was validated with, and shared by the node's clones: plugins clone
// nodes as they compile and infer shapes.
#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include <openvino/core/extension.hpp>
#include <openvino/core/op_extension.hpp>
#include <openvino/core/version.hpp>
#include <openvino/frontend/onnx/extension/op.hpp>
#include <openvino/op/constant.hpp>
#include <openvino/op/op.hpp>

#include "../src/letters.h"

// Sizes as far as OpenVINO knows them: any may be open, or an interval. src/letters.h finds these functions by the
// namespace of their argument.
namespace ov {
inline bool is_known(const Dimension& size) { return size.is_static(); }
inline long long value_of(const Dimension& known) { return known.get_length(); }
inline bool may_reach(const Dimension& size, int64_t least) {
  return size.get_max_length() < 0 || size.get_max_length() >= least;  // -1: any
}
inline bool may_be_one(const Dimension& size) { return size.is_dynamic() || size == 1; }
inline bool agree(Dimension* known, const Dimension& found) { return Dimension::merge(*known, *known, found); }
inline Dimension halved(const Dimension& size) {
  const int64_t most = size.get_max_length();
  return {(size.get_min_length() + 1) / 2, most < 0 ? most : (most + 1) / 2};
}
}  // namespace ov

namespace {

using mfedge::kFieldCount;
using mfedge::kFields;
using Letters = mfedge::Letters<ov::Dimension>;

#define MFEDGE_TEXT_(x) #x
#define MFEDGE_TEXT(x) MFEDGE_TEXT_(x)

// The OpenVINO that this was built for. It is read from the file's bytes: another version cannot load it and ask.
[[gnu::used]] const char kBuiltFor[] = "mfedge built for OpenVINO " MFEDGE_TEXT(OPENVINO_VERSION_MAJOR) "." MFEDGE_TEXT(
    OPENVINO_VERSION_MINOR) "." MFEDGE_TEXT(OPENVINO_VERSION_PATCH);

constexpr const char* kOpset = "mfedge";

// The mark with which plugins leave a constant as it is: matrices stay float16 where the rest becomes float32, weights
// float32 where the rest becomes float16. An OpenVINO that does not know it converts the matrices, which works as well.
constexpr const char* kKeepPrecision = "keep_const_precision_0";

// The type of the matrices; 0 if the kernels have no such type.
mfedge_type matrix_type(const ov::element::Type& type) {
  switch (type) {
    case ov::element::f32: return MFEDGE_FLOAT32;
    case ov::element::f16: return MFEDGE_FLOAT16;
    default: return mfedge_type{};
  }
}

// --- the operator of a node

// The pool of all operators of the process: made with the first, destroyed with the last.
std::shared_ptr<mfedge_pool> share_pool() {
  static std::mutex mutex;
  static std::weak_ptr<mfedge_pool> shared;
  std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<mfedge_pool> pool = shared.lock();
  if (!pool) {
    mfedge_pool* created = mfedge_pool_create();
    if (created == nullptr) throw std::bad_alloc();
    shared = pool = std::shared_ptr<mfedge_pool>(created, mfedge_pool_destroy);
  }
  return pool;
}

using Constant = std::shared_ptr<ov::op::v0::Constant>;

// An operator with its pool. It keeps the constants, most often a mapped file, so that their addresses stay theirs.
class Kernel {
 public:
  Kernel(const mfedge::Kind& kind, const mfedge_config& config, std::vector<Constant> constants)
      : kind_(kind), config_(config), constants_(std::move(constants)) {}
  ~Kernel() { mfedge_operator_destroy(op_); }
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  bool is_of(const mfedge_config& config, const std::vector<Constant>& constants) const {
    for (const mfedge::Field& field : kFields)
      if (config.*field.member != config_.*field.member) return false;
    if (config.scale != config_.scale) return false;
    for (size_t i = 0; i < constants.size(); ++i)
      if (constants[i]->get_data_ptr() != constants_[i]->get_data_ptr() ||
          constants[i]->get_element_type() != constants_[i]->get_element_type() ||
          constants[i]->get_shape() != constants_[i]->get_shape())
        return false;
    return true;
  }

  // Created by the first caller; without a lock from then on.
  int create(const mfedge_operator** op, char* message) {
    *op = op_.load(std::memory_order_acquire);
    if (*op != nullptr) return MFEDGE_OK;
    std::lock_guard<std::mutex> lock(mutex_);
    mfedge_operator* created = op_;
    int code = MFEDGE_OK;
    if (created == nullptr) {
      pool_ = share_pool();
      const mfedge_type type = constants_.size() > 1 ? matrix_type(constants_[1]->get_element_type()) : MFEDGE_FLOAT32;
      code = mfedge_operator_create(kind_.kind, &config_, static_cast<const float*>(data(0)), count(0), data(1),
                                    count(1), type, &created, message);
      op_.store(created, std::memory_order_release);
    }
    *op = created;
    return code;
  }

  mfedge_pool* pool() const { return pool_.get(); }

 private:
  const void* data(size_t i) const { return i < constants_.size() ? constants_[i]->get_data_ptr() : nullptr; }
  size_t count(size_t i) const { return i < constants_.size() ? ov::shape_size(constants_[i]->get_shape()) : 0; }

  const mfedge::Kind& kind_;
  const mfedge_config config_;
  const std::vector<Constant> constants_;
  std::mutex mutex_;
  std::atomic<mfedge_operator*> op_{nullptr};
  std::shared_ptr<mfedge_pool> pool_;
};

// --- the operations

template <mfedge_kind kNumber>
class Operation : public ov::op::Op {
  static constexpr const mfedge::Kind& kKind = mfedge::kKinds[kNumber - 1];
  static constexpr size_t kInputs = kKind.inputs(), kOutputs = kKind.outputs(), kConstants = kKind.constants;

 public:
  OPENVINO_OP(kKind.name, kOpset)

  Operation() = default;

  bool visit_attributes(ov::AttributeVisitor& visitor) override {
    for (size_t i = 0; i < kFieldCount; ++i)
      if (kKind.has(kFields[i])) visitor.on_attribute(kFields[i].name, sizes_[i]);
    if (kKind.attributes == mfedge::HEADS_AND_SCALE) visitor.on_attribute("scale", scale_);
    return true;
  }

  void validate_and_infer_types() override {
    if (get_input_size() != kInputs + kConstants)
      fail("expected " + std::to_string(kInputs + kConstants) + " inputs, found " + std::to_string(get_input_size()));
    const mfedge_config config = read_config();
    read_constants(config);
    Letters letters(kKind, config);
    for (size_t i = 0; i < kInputs; ++i) {
      const mfedge::Port& input = kKind.input[i];
      const ov::element::Type type = get_input_element_type(i);
      if (type.is_static() && type != ov::element::f32 && type != ov::element::f16 && type != ov::element::bf16)
        fail(std::string(input.name) + ": expected float32, found " + type.get_type_name());
      const ov::PartialShape& shape = get_input_partial_shape(i);
      if (shape.rank().is_dynamic()) continue;
      Letters before = letters;
      const std::vector<ov::Dimension> sizes(shape.begin(), shape.end());
      if (letters.fit(input, sizes.data(), sizes.size())) continue;
      char expected[96];
      before.describe(input, expected, sizeof expected);
      fail(std::string(input.name) + ": expected " + expected + ", found " + shape.to_string());
    }
    set_output_size(kOutputs);
    for (size_t i = 0; i < kOutputs; ++i) {
      std::vector<ov::Dimension> sizes;
      for (const char* letter = kKind.output[i].shape; *letter; ++letter) sizes.push_back(letters[*letter]);
      set_output_type(i, ov::element::f32, ov::PartialShape(sizes));
    }
  }

  std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
    auto clone = std::make_shared<Operation>();
    clone->sizes_ = sizes_;
    clone->scale_ = scale_;
    clone->kernel_ = kernel_;
    clone->set_arguments(inputs);
    clone->constructor_validate_and_infer_types();
    return clone;
  }

  bool has_evaluate() const override { return true; }

  bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
    char message[MFEDGE_MESSAGE] = "";
    if (kernel_ == nullptr) fail("weights and matrices have to be constants");
    const mfedge_operator* op = nullptr;
    if (kernel_->create(&op, message) != MFEDGE_OK) fail(message);
    ov::TensorVector converted(kInputs);  // keeps copies of inputs that are not dense float32
    mfedge_tensor from[MFEDGE_MAX_INPUTS], to[MFEDGE_MAX_OUTPUTS];
    for (size_t i = 0; i < kInputs; ++i) {
      converted[i] = dense(inputs[i]);
      from[i] = view(converted[i]);
    }
    if (mfedge_operator_shapes(op, from, to, message) != MFEDGE_OK) fail(message);
    for (size_t i = 0; i < kOutputs; ++i) {
      const ov::Shape shape(to[i].shape, to[i].shape + to[i].rank);
      if (outputs[i].get_shape() != shape) outputs[i].set_shape(shape);
      if (outputs[i].get_element_type() != ov::element::f32 || !outputs[i].is_continuous())
        fail("an output is not dense float32");
      to[i].data = outputs[i].data<float>();
    }
    if (mfedge_operator_run(op, from, to, kernel_->pool(), message) != MFEDGE_OK) fail(message);
    return true;
  }

 private:
  // While a file is read nodes have no names yet, but their weights have.
  [[noreturn]] void fail(const std::string& message) const {
    std::string name = get_friendly_name();
    if (kConstants > 0 && get_input_size() > kInputs)
      name += ", " + get_input_node_ptr(kInputs)->get_friendly_name();
    const std::string said = std::string("mfedge ") + kKind.name + ": ";  // how some of the kernels' messages begin
    const size_t start = message.compare(0, said.size(), said) == 0 ? said.size() : 0;
    throw std::runtime_error(std::string("mfedge.") + kKind.name + " '" + name + "': " + message.substr(start));
  }

  mfedge_config read_config() const {
    mfedge_config config{};
    for (size_t i = 0; i < kFieldCount; ++i) {
      if (sizes_[i] < 0 || sizes_[i] > std::numeric_limits<int32_t>::max())
        fail(std::string(kFields[i].name) + ": expected 0 or more, found " + std::to_string(sizes_[i]));
      config.*kFields[i].member = static_cast<int32_t>(sizes_[i]);
    }
    config.scale = scale_;
    return config;
  }

  // Checks the constants against the attributes, and keeps the kernel if it was made for them.
  void read_constants(const mfedge_config& config) {
    char message[MFEDGE_MESSAGE] = "";
    std::array<size_t, 2> expected{};
    if (mfedge_count_weights(kKind.kind, &config, &expected[0], &expected[1], message) != MFEDGE_OK) fail(message);
    std::vector<Constant> constants;
    for (size_t i = 0; i < kConstants; ++i) {
      const size_t port = kInputs + i;
      const ov::element::Type type = get_input_element_type(port);
      const ov::PartialShape& shape = get_input_partial_shape(port);
      const bool known = i == 0 ? type == ov::element::f32 : matrix_type(type) != 0;
      Constant constant = ov::as_type_ptr<ov::op::v0::Constant>(get_input_node_shared_ptr(port));
      if (!known && (type.is_static() || constant))
        fail(std::string(mfedge::kConstants[i]) + ": expected " + (i == 1 ? mfedge::kTypeNames : "float32") +
             ", found " + type.get_type_name());
      if (!shape.compatible(ov::PartialShape{static_cast<int64_t>(expected[i])}))
        fail(std::string(mfedge::kConstants[i]) + ": expected " + std::to_string(expected[i]) +
             " values, found shape " + shape.to_string());
      if (!constant) continue;  // not yet: a decompression that will be folded
      constant->get_rt_info()[kKeepPrecision] = true;
      constants.push_back(std::move(constant));
    }
    if (constants.size() < kConstants)
      kernel_ = nullptr;
    else if (!kernel_ || !kernel_->is_of(config, constants))
      kernel_ = std::make_shared<Kernel>(kKind, config, std::move(constants));
  }

  // As it is, if it is dense float32: what the CPU plugin passes unless told to compute in another precision.
  ov::Tensor dense(const ov::Tensor& tensor) const {
    if (tensor.get_element_type() == ov::element::f32 && tensor.is_continuous()) return tensor;
    ov::Tensor packed(tensor.get_element_type(), tensor.get_shape());
    tensor.copy_to(packed);
    ov::Tensor made(ov::element::f32, tensor.get_shape());
    const size_t count = tensor.get_size();
    switch (tensor.get_element_type()) {
      case ov::element::f32: return packed;
      case ov::element::f16: std::copy_n(packed.data<ov::float16>(), count, made.data<float>()); break;
      case ov::element::bf16: std::copy_n(packed.data<ov::bfloat16>(), count, made.data<float>()); break;
      default: fail("an input is " + tensor.get_element_type().get_type_name() + "; expected float32");
    }
    return made;
  }

  mfedge_tensor view(const ov::Tensor& tensor) const {
    const ov::Shape& shape = tensor.get_shape();
    if (shape.size() > 4) fail("expected inputs of rank 4 or less, found rank " + std::to_string(shape.size()));
    mfedge_tensor made{tensor.data<float>(), static_cast<int32_t>(shape.size()), {}};
    std::copy(shape.begin(), shape.end(), made.shape);
    return made;
  }

  std::array<int64_t, kFieldCount> sizes_{};
  float scale_ = 0;
  std::shared_ptr<Kernel> kernel_;
};

// For OpenVINO IR, and for ONNX files: its ONNX frontend asks for an operator of the domain.
template <mfedge_kind kNumber>
void add(std::vector<ov::Extension::Ptr>* extensions) {
  const char* name = mfedge::kKinds[kNumber - 1].name;
  extensions->push_back(std::make_shared<ov::OpExtension<Operation<kNumber>>>());
  extensions->push_back(std::make_shared<ov::frontend::onnx::OpExtension<Operation<kNumber>>>(name, kOpset));
}

std::vector<ov::Extension::Ptr> extensions() {
  std::vector<ov::Extension::Ptr> all;
#define MFEDGE_KIND(NAME, ...) add<MFEDGE_##NAME>(&all);
#include "../tables/kinds.inc"
  return all;
}

}  // namespace

OPENVINO_CREATE_EXTENSIONS(extensions())
