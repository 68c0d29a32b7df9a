// Fuzzes op arguments: an op with fields of random shapes, dtypes, slices, numbers and contents
// is recorded, which checks it, and runs. An Error is an answer; anything else is a finding.

#include "core/plan.h"
#include "cpu/isa/select.h"
#include "fuzz/op_inputs.h"
#include "fuzz/segment_inputs.h"

namespace moe::fuzz {
namespace {

CpuContext context() { return {kernels(), Pool::get(), 1}; }

/// With every output in memory of its own exact size.
template <class Op>
void run_alone(Choices& c, Op& op) {
  const auto make = [&](const Shape& shape, DType dtype) { return c.exact(shape, dtype); };
  if constexpr (requires(const Make& m) { op.make_outputs(m); }) op.make_outputs(make);
  HeldOp<Op> held(std::move(op));
  if (Tensor* scratch = held.scratch())
    *scratch = make({static_cast<int64_t>(held.scratch_bytes(nullptr))}, DType::u8);
  held.run_cpu(context());
}

template <class Op>
void attempt(Choices& c) {
  Op op{};
  build(c, op);
  Plan plan(Arena(nullptr), {});
  plan.record(op);
  if (!place(c, op)) return;
  if (c.rarely(4))
    plan.run(context(), nullptr);
  else
    run_alone(c, op);
}

}  // namespace
}  // namespace moe::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  moe::fuzz::Choices choices(data + 1, size - 1);
  try {
    int count = 0;
    moe::AllOps::for_each([&](auto*) { ++count; });
    int wanted = data[0] % count;
    moe::AllOps::for_each([&]<class Op>(Op*) {
      if (wanted-- == 0) moe::fuzz::attempt<Op>(choices);
    });
  } catch (const moe::Error&) {
  }
  return 0;
}
