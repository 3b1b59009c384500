// The kernels of one instruction set. Compiled once for each, with its flags and its name in MFEDGE_ISA_NAME.
#define MFEDGE_KERNEL_HEADERS
#include "../tables/kinds.inc"

MFEDGE_BEGIN_ISA

// The packed form begins with the kernel itself; its weights follow.
template <class Kernel>
Packing pack_kernel(const mfedge_config& config, const Weights& weights, void* memory) {
  Arena arena(memory);
  WeightReader reader(weights);
  Kernel* at = arena.take<Kernel>(1);
  const Kernel kernel = Kernel::read(reader, arena, config);
  if (at) __builtin_memcpy(static_cast<void*>(at), &kernel, sizeof(Kernel));
  return {arena.bytes(), reader.vectors_read(), reader.matrices_read()};
}

Packing pack(mfedge_kind kind, const mfedge_config& config, const Weights& weights, void* memory) {
  switch (kind) {
#define MFEDGE_KIND(NAME, number, Kernel, ...) \
  case MFEDGE_##NAME: return pack_kernel<Kernel>(config, weights, memory);
#include "../tables/kinds.inc"
  }
  return {};
}

size_t run(mfedge_kind kind, const void* packed, const Call& call, void* scratch) {
  MFEDGE_TICKS(2);
  Arena arena(scratch);
  switch (kind) {
#define MFEDGE_KIND(NAME, number, Kernel, ...) \
  case MFEDGE_##NAME: static_cast<const Kernel*>(packed)->run(arena, call); break;
#include "../tables/kinds.inc"
  }
  return arena.bytes();
}

MFEDGE_END_ISA

namespace mfedge {
namespace MFEDGE_ISA_NAME {

extern const Implementation kImplementation;
const Implementation kImplementation = {MFEDGE_STRING(MFEDGE_ISA_NAME), pack, run};

}  // namespace MFEDGE_ISA_NAME
}  // namespace mfedge
