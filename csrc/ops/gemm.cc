#include "ops/gemm.h"

namespace moe {

namespace {

void check_filled(const Check& check, const char* name, const Weight& weight) {
  check.that(static_cast<bool>(weight), name, "a weight", "nothing");
  check.that(weight.data() != nullptr, name, "a weight that has been filled", "an empty one");
}

}  // namespace

void check_gemm(const Check& check, const char* name, const Tensor& x, const Weight& weight,
                Activation activation, DType out) {
  check_filled(check, name, weight);
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

void check_weights(const Check& check, const std::vector<Weight>& weights) {
  for (const Weight& weight : weights) {
    check_filled(check, "weights", weight);
    if (!(weight.shape() == weights[0].shape()))
      fail(Code::shape, check.where(), ": weights must all be ", weights[0].shape().text(),
           ", got ", weight.shape().text());
    if (weight.format != weights[0].format)
      fail(Code::dtype, check.where(), ": weights must be of one format, got two");
  }
}

int64_t outputs_of(const Weight& weight, Activation activation) {
  return gated(activation) ? weight.N / 2 : weight.N;
}

}  // namespace moe
