#include "ops/gemm.h"

namespace moe {

void check_gemm(const Check& check, const char* name, const Tensor& x, const Weight& weight,
                Activation activation, DType out) {
  check.that(static_cast<bool>(weight), name, "a weight", "nothing");
  check.that(weight.data() != nullptr, name, "a weight that has been filled", "an empty one");
  if (weight.gate_up != gated(activation))
    fail(Code::shape, check.where(), ": ", name, " must be ",
         weight.gate_up ? "a plain weight for " : "gate_up for ",
         EnumNames<Activation>::names[static_cast<int>(activation)], ", got ",
         weight.gate_up ? "gate_up" : "a plain weight");
  check.shape("x", x, {x.dim(0), weight.K});
  check.activation("dtype", out);
}

void check_activation(const Check& check, float limit) {
  check.that(limit > 0.f, "limit", "above 0", limit);
}

int64_t outputs_of(const Weight& weight, Activation activation) {
  return gated(activation) ? weight.N / 2 : weight.N;
}

}  // namespace moe
