#include "ops/gemm.h"

namespace moe {

void check_gemm(const Check& check, const char* name, const Tensor& x, const Weight& weight,
                Activation activation, DType out) {
  const bool swiglu = activation == Activation::swiglu;
  check.that(static_cast<bool>(weight), name, "a weight", "nothing");
  check.that(weight.data() != nullptr, name, "a weight that has been filled", "an empty one");
  if (weight.gate_up != swiglu)
    fail(Code::shape, check.where(), ": ", name, " must be ",
         swiglu ? "gate_up for swiglu, got a plain weight" : "a plain weight, got gate_up");
  check.shape("x", x, {x.dim(0), weight.K});
  check.activation("dtype", out);
}

int64_t outputs_of(const Weight& weight, Activation activation) {
  return activation == Activation::swiglu ? weight.N / 2 : weight.N;
}

}  // namespace moe
