// The native kernels as custom operations of OpenVINO, opset "mfedge": what Core::add_extension loads.
//
// A node has the kernel's inputs, then its weights as constants; its attributes are the fields of mfedge_config. The
// CPU plugin runs an operation that it does not know through evaluate(), on its own dense memory, without a copy; any
// number of streams and requests at the same time. The operator is made at the first run, from the constants that the
// node was validated with, and shared by the node's clones: plugins clone nodes as they compile and infer shapes.
#include <algorithm>
#include <array>
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

#include "mfedge_kernels.h"
#include "openvino_shapes.h"

namespace {

using mfedge_openvino::Letters;
using mfedge_openvino::Tensor;

#define MFEDGE_TEXT_(x) #x
#define MFEDGE_TEXT(x) MFEDGE_TEXT_(x)

// The OpenVINO that this was built for. It is read from the file's bytes: another version cannot load it and ask.
[[gnu::used]] const char kBuiltFor[] = "mfedge built for OpenVINO " MFEDGE_TEXT(OPENVINO_VERSION_MAJOR) "." MFEDGE_TEXT(
    OPENVINO_VERSION_MINOR) "." MFEDGE_TEXT(OPENVINO_VERSION_PATCH);

constexpr const char* kOpset = "mfedge";

enum Attributes { kNone, kHeads, kAll };  // none; heads and scale; every size of mfedge_config, not scale

struct Row {
  const char* name;
  mfedge_kind kind;
  Attributes attributes;
  size_t inputs;  // of a run
  std::array<Tensor, MFEDGE_MAX_INPUTS> input;
  size_t constants;  // behind those: weights, matrices
  size_t outputs;
  std::array<const char*, 3> output;
};

constexpr Row kStem{"Stem", MFEDGE_STEM, kAll, 1, {{{"images", "B3HW"}}}, 1, 2, {"BOpw", "BMO"}};
constexpr Row kBlock{"Block", MFEDGE_BLOCK, kAll, 3,
                     {{{"features", "BCPW"}, {"tokens", "bMD"}, {"attended", "BMC"}}}, 2, 3, {"BOpw", "BMD", "BMO"}};
constexpr Row kHead{
    "Head", MFEDGE_HEAD, kAll, 3, {{{"features", "BCPW"}, {"tokens", "bMD"}, {"attended", "BMC"}}}, 2, 1, {"BK"}};
constexpr Row kMobileToFormer{
    "MobileToFormer", MFEDGE_MOBILE_TO_FORMER, kHeads, 2, {{{"features", "BCHW"}, {"query", "bMC"}}}, 0, 1, {"BMC"}};
constexpr Row kFormerToMobile{"FormerToMobile", MFEDGE_FORMER_TO_MOBILE, kHeads, 3,
                              {{{"features", "BCHW"}, {"key", "bMC"}, {"value", "bMC"}}}, 0, 1, {"BCHW"}};
constexpr Row kDynamicRelu{
    "DynamicRelu", MFEDGE_DYNAMIC_RELU, kNone, 3,
    {{{"features", "BCHW"}, {"slope1", "bC", "BCHW"}, {"slope2", "bC", "BCHW"}}}, 0, 1, {"BCHW"}};

// The mark with which plugins leave a constant as it is: matrices stay float16 where the rest becomes float32, weights
// float32 where the rest becomes float16. An OpenVINO that does not know it converts the matrices, which works as well.
constexpr const char* kKeepPrecision = "keep_const_precision_0";

constexpr const char* kConstants[] = {"weights", "matrices"};

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
constexpr size_t kSizeCount = sizeof(kSizes) / sizeof(Size);

// --- the operator behind a node

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
  Kernel(const Row& row, const mfedge_config& config, std::vector<Constant> constants)
      : row_(row), config_(config), constants_(std::move(constants)) {}
  ~Kernel() { mfedge_operator_destroy(op_); }
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  bool is_of(const mfedge_config& config, const std::vector<Constant>& constants) const {
    for (const Size& size : kSizes)
      if (config.*size.field != config_.*size.field) return false;
    if (config.scale != config_.scale) return false;
    for (size_t i = 0; i < constants.size(); ++i)
      if (constants[i]->get_data_ptr() != constants_[i]->get_data_ptr() ||
          constants[i]->get_element_type() != constants_[i]->get_element_type() ||
          constants[i]->get_shape() != constants_[i]->get_shape())
        return false;
    return true;
  }

  // Created by the first caller.
  int create(const mfedge_operator** op, char* message) {
    std::lock_guard<std::mutex> lock(mutex_);
    int code = MFEDGE_OK;
    if (op_ == nullptr) {
      pool_ = share_pool();
      const bool matrices = constants_.size() > 1;
      const bool half = matrices && constants_[1]->get_element_type() == ov::element::f16;
      code = mfedge_operator_create(row_.kind, &config_, static_cast<const float*>(data(0)), count(0), data(1),
                                    count(1), half ? MFEDGE_FLOAT16 : MFEDGE_FLOAT32, &op_, message);
    }
    *op = op_;
    return code;
  }

  mfedge_pool* pool() const { return pool_.get(); }

 private:
  const void* data(size_t i) const { return i < constants_.size() ? constants_[i]->get_data_ptr() : nullptr; }
  size_t count(size_t i) const { return i < constants_.size() ? ov::shape_size(constants_[i]->get_shape()) : 0; }

  const Row& row_;
  const mfedge_config config_;
  const std::vector<Constant> constants_;
  std::mutex mutex_;
  mfedge_operator* op_ = nullptr;
  std::shared_ptr<mfedge_pool> pool_;
};

// --- the operations

template <const Row& kRow>
class Operation : public ov::op::Op {
 public:
  OPENVINO_OP(kRow.name, kOpset)

  Operation() = default;

  bool visit_attributes(ov::AttributeVisitor& visitor) override {
    for (size_t i = 0; i < kSizeCount; ++i)
      if (kRow.attributes == kAll || (kRow.attributes == kHeads && kSizes[i].field == &mfedge_config::heads))
        visitor.on_attribute(kSizes[i].name, sizes_[i]);
    if (kRow.attributes == kHeads) visitor.on_attribute("scale", scale_);
    return true;
  }

  void validate_and_infer_types() override {
    if (get_input_size() != kRow.inputs + kRow.constants)
      fail("expected " + std::to_string(kRow.inputs + kRow.constants) + " inputs, found " +
           std::to_string(get_input_size()));
    const mfedge_config config = read_config();
    read_constants(config);
    Letters letters(kRow.kind, config);
    for (size_t i = 0; i < kRow.inputs; ++i) {
      const Tensor& input = kRow.input[i];
      const ov::element::Type type = get_input_element_type(i);
      if (type.is_static() && type != ov::element::f32 && type != ov::element::f16 && type != ov::element::bf16)
        fail(std::string(input.name) + ": expected float32, found " + type.get_type_name());
      if (!letters.fit(input, get_input_partial_shape(i)))
        fail(std::string(input.name) + ": expected " + letters.text(input.shape) + ", found " +
             get_input_partial_shape(i).to_string());
    }
    set_output_size(kRow.outputs);
    for (size_t i = 0; i < kRow.outputs; ++i)
      set_output_type(i, ov::element::f32, letters.shape(kRow.output[i]));
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
    ov::TensorVector converted(kRow.inputs);  // keeps what does not come as the kernels read it
    mfedge_tensor from[MFEDGE_MAX_INPUTS], to[MFEDGE_MAX_OUTPUTS];
    for (size_t i = 0; i < kRow.inputs; ++i) {
      converted[i] = dense(inputs[i]);
      from[i] = view(converted[i]);
    }
    if (mfedge_operator_shapes(op, from, to, message) != MFEDGE_OK) fail(message);
    for (size_t i = 0; i < kRow.outputs; ++i) {
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
    if (kRow.constants > 0 && get_input_size() > kRow.inputs)
      name += ", " + get_input_node_ptr(kRow.inputs)->get_friendly_name();
    const std::string said = std::string("mfedge ") + kRow.name + ": ";  // how some of the kernels' messages begin
    const size_t start = message.compare(0, said.size(), said) == 0 ? said.size() : 0;
    throw std::runtime_error(std::string("mfedge.") + kRow.name + " '" + name + "': " + message.substr(start));
  }

  mfedge_config read_config() const {
    mfedge_config config{};
    for (size_t i = 0; i < kSizeCount; ++i) {
      if (sizes_[i] < 0 || sizes_[i] > std::numeric_limits<int32_t>::max())
        fail(std::string(kSizes[i].name) + ": expected 0 or more, found " + std::to_string(sizes_[i]));
      config.*kSizes[i].field = static_cast<int32_t>(sizes_[i]);
    }
    config.scale = scale_;
    return config;
  }

  // Checks the constants against the attributes, and keeps the kernel if it was made for them.
  void read_constants(const mfedge_config& config) {
    char message[MFEDGE_MESSAGE] = "";
    std::array<size_t, 2> expected{};
    if (mfedge_count_weights(kRow.kind, &config, &expected[0], &expected[1], message) != MFEDGE_OK) fail(message);
    std::vector<Constant> constants;
    for (size_t i = 0; i < kRow.constants; ++i) {
      const size_t port = kRow.inputs + i;
      const ov::element::Type type = get_input_element_type(port);
      const ov::PartialShape& shape = get_input_partial_shape(port);
      const bool half = i == 1 && type == ov::element::f16;
      if (type.is_static() && type != ov::element::f32 && !half)
        fail(std::string(kConstants[i]) + ": expected float32" + (i == 1 ? " or float16" : "") + ", found " +
             type.get_type_name());
      if (!shape.compatible(ov::PartialShape{static_cast<int64_t>(expected[i])}))
        fail(std::string(kConstants[i]) + ": expected " + std::to_string(expected[i]) + " values, found shape " +
             shape.to_string());
      Constant constant = ov::as_type_ptr<ov::op::v0::Constant>(get_input_node_shared_ptr(port));
      if (!constant) continue;  // not yet: a decompression that will be folded
      constant->get_rt_info()[kKeepPrecision] = true;
      constants.push_back(std::move(constant));
    }
    if (constants.size() < kRow.constants)
      kernel_ = nullptr;
    else if (!kernel_ || !kernel_->is_of(config, constants))
      kernel_ = std::make_shared<Kernel>(kRow, config, std::move(constants));
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

  std::array<int64_t, kSizeCount> sizes_{};
  float scale_ = 0;
  std::shared_ptr<Kernel> kernel_;
};

// For OpenVINO IR, and for ONNX files: its ONNX frontend asks for an operator of the domain.
template <const Row& kRow>
void add(std::vector<ov::Extension::Ptr>* extensions) {
  extensions->push_back(std::make_shared<ov::OpExtension<Operation<kRow>>>());
  extensions->push_back(std::make_shared<ov::frontend::onnx::OpExtension<Operation<kRow>>>(kRow.name, kOpset));
}

std::vector<ov::Extension::Ptr> extensions() {
  std::vector<ov::Extension::Ptr> all;
  add<kStem>(&all);
  add<kBlock>(&all);
  add<kHead>(&all);
  add<kMobileToFormer>(&all);
  add<kFormerToMobile>(&all);
  add<kDynamicRelu>(&all);
  return all;
}

}  // namespace

OPENVINO_CREATE_EXTENSIONS(extensions())
