#include "ops/combine.h"
#include "rows.cuh"

namespace moe {
namespace {

constexpr int kMaxExperts = 1024;

struct Experts {
  uint8_t kind[kMaxExperts];
  uint8_t constant[kMaxExperts];  // which constant vector
};

struct Inputs {
  Rows<const int32_t> rows, ids;
  Rows<const float> weights, residual, constants;
  const float* gates;  // [constants, 2, H]
  int K, H, num_constants;
  bool whole;         // see in_quads()
  bool some_scalars;  // some experts are no FFN
  float scale;
  Rows<float> out;
};

/// The second minus the first logit of a gate for row x, in every thread of the block.
template <class X>
__device__ float gate_gap(const Inputs& in, const X* x, const float* gate, float* scratch) {
  float gap = 0.f;
  for_quads(in.H, [&](int h) {
    const Quad value = load_quad(x, h, in.H, in.whole);
    const Quad first = load_quad(gate, h, in.H, in.whole);
    const Quad second = load_quad(gate + in.H, h, in.H, in.whole);
    for (int i = 0; i < 4; ++i) gap += value.v[i] * (second.v[i] - first.v[i]);
  });
  return block_sum(gap, scratch);
}

/// One block a token: its scalars, then out = residual + a x + sum b_c constant_c + sum w_k ffn_k.
template <class Expert, class X>
__global__ void __launch_bounds__(256)
    combine(const Inputs in, Rows<const Expert> expert_out, Rows<const X> x,
            const __grid_constant__ Experts experts) {
  auto* scratch = reinterpret_cast<float*>(shared_memory());  // [32]
  float* factors = scratch + 32;                              // of x, then of each constant
  wait_for_grid();
  release_grid();
  const int t = static_cast<int>(blockIdx.x);
  if (in.some_scalars) {
    const bool first = threadIdx.x == 0;
    for (int i = 0; first && i <= in.num_constants; ++i) factors[i] = 0.f;
    for (int k = 0; k < in.K; ++k) {
      const int id = in.ids[t][k];
      const float weight = in.weights[t][k];
      const auto kind = static_cast<ExpertKind>(experts.kind[id]);
      if (first && kind == ExpertKind::copy) factors[0] += weight * in.scale;
      if (kind != ExpertKind::constant) continue;
      const int c = experts.constant[id];
      const float gap = gate_gap(in, x[t], in.gates + int64_t{2} * c * in.H, scratch);
      const float a1 = 1.f / (1.f + expf(in.scale * gap));
      if (!first) continue;
      factors[0] += weight * a1 * in.scale;
      factors[1 + c] += weight * (1.f - a1);
    }
    __syncthreads();
  }
  for_quads(in.H, [&](int h) {
    Quad sum = load_quad(in.residual[t], h, in.H, in.whole);
    const auto add = [&](float factor, const auto* row) {
      const Quad quad = load_quad(row, h, in.H, in.whole);
      for (int i = 0; i < 4; ++i) sum.v[i] += factor * quad.v[i];
    };
    if (in.some_scalars && factors[0] != 0.f) add(factors[0], x[t]);
    for (int c = 0; c < in.num_constants; ++c)
      if (factors[1 + c] != 0.f) add(factors[1 + c], in.constants[c]);
    for (int k = 0; k < in.K; ++k)
      if (const int row = in.rows[t][k]; row >= 0) add(in.weights[t][k], expert_out[row]);
    store_quad(in.out[t], h, in.H, in.whole, sum);
  });
}

}  // namespace

void Combine::run_cuda(const CudaContext& cuda) const {
  if (kinds.size() > kMaxExperts)
    fail(Code::unsupported, "combine: kinds must be of at most 1024 experts, got ", kinds.size());
  Experts experts{};
  int num_constants = 0;
  bool some_scalars = false;
  for (size_t e = 0; e < kinds.size(); ++e) {
    experts.kind[e] = kinds[e];
    some_scalars |= static_cast<ExpertKind>(kinds[e]) != ExpertKind::ffn;
    if (static_cast<ExpertKind>(kinds[e]) == ExpertKind::constant)
      experts.constant[e] = static_cast<uint8_t>(num_constants++);
  }
  const Inputs in{rows_of<const int32_t>(rows),
                  rows_of<const int32_t>(ids),
                  rows_of<const float>(weights),
                  rows_of<const float>(residual),
                  rows_of<const float>(constants),
                  gates ? gates.as<const float>() : nullptr,
                  static_cast<int>(weights.dim(1)),
                  static_cast<int>(expert_out.dim(1)),
                  num_constants,
                  in_quads(residual, constants, gates, out, expert_out, x),
                  some_scalars,
                  scale,
                  rows_of<float>(out)};
  dispatch_activation(expert_out.dtype, kName, [&](auto expert_tag) {
    dispatch_activation(x ? x.dtype : DType::f32, kName, [&](auto x_tag) {
      using Expert = decltype(expert_tag);
      using X = decltype(x_tag);
      cuda.launch(combine<Expert, X>, blocks_for(weights.dim(0), 1), 256,
                  sizeof(float) * static_cast<size_t>(33 + num_constants), in,
                  rows_of<const Expert>(expert_out), rows_of<const X>(x), experts);
    });
  });
}

}  // namespace moe
