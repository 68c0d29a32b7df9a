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
  Rows<const float> weights, residual, constants, gates;
  int K, H, num_constants;
  float scale;
  Rows<float> out;
};

/// One block a token: its scalars, then out = residual + a x + sum b_c constant_c + sum w_k ffn_k.
template <class Expert, class X>
__global__ void __launch_bounds__(256)
    combine(const Inputs in, Rows<const Expert> expert_out, Rows<const X> x,
            const __grid_constant__ Experts experts) {
  auto* factors = reinterpret_cast<float*>(shared_memory());  // of x, then of each constant
  wait_for_grid();
  release_grid();
  const int t = static_cast<int>(blockIdx.x);
  if (threadIdx.x == 0) {
    for (int i = 0; i <= in.num_constants; ++i) factors[i] = 0.f;
    for (int k = 0; k < in.K; ++k) {
      const int id = in.ids[t][k];
      const float weight = in.weights[t][k];
      const auto kind = static_cast<ExpertKind>(experts.kind[id]);
      if (kind == ExpertKind::copy) factors[0] += weight * in.scale;
      if (kind != ExpertKind::constant) continue;
      const int c = experts.constant[id];
      const float* gate = in.gates[t] + 2 * c;
      const float a1 = 1.f / (1.f + expf(in.scale * (gate[1] - gate[0])));
      factors[0] += weight * a1 * in.scale;
      factors[1 + c] += weight * (1.f - a1);
    }
  }
  __syncthreads();
  for (int h = threadIdx.x; h < in.H; h += blockDim.x) {
    float sum = in.residual[t][h];
    if (factors[0] != 0.f) sum += factors[0] * to_float(x[t][h]);
    for (int c = 0; c < in.num_constants; ++c)
      if (factors[1 + c] != 0.f) sum += factors[1 + c] * in.constants[c][h];
    for (int k = 0; k < in.K; ++k) {
      const int row = in.rows[t][k];
      if (row >= 0) sum += in.weights[t][k] * to_float(expert_out[row][h]);
    }
    in.out[t][h] = sum;
  }
}

}  // namespace

void Combine::run_cuda(const CudaContext& cuda) const {
  if (kinds.size() > kMaxExperts)
    fail(Code::unsupported, "combine: kinds must be of at most 1024 experts, got ", kinds.size());
  Experts experts{};
  int num_constants = 0;
  for (size_t e = 0; e < kinds.size(); ++e) {
    experts.kind[e] = kinds[e];
    if (static_cast<ExpertKind>(kinds[e]) == ExpertKind::constant)
      experts.constant[e] = static_cast<uint8_t>(num_constants++);
  }
  const Inputs in{rows_of<const int32_t>(rows),
                  rows_of<const int32_t>(ids),
                  rows_of<const float>(weights),
                  rows_of<const float>(residual),
                  rows_of<const float>(constants),
                  rows_of<const float>(gates),
                  static_cast<int>(weights.dim(1)),
                  static_cast<int>(expert_out.dim(1)),
                  num_constants,
                  scale,
                  rows_of<float>(out)};
  dispatch_activation(expert_out.dtype, kName, [&](auto expert_tag) {
    dispatch_activation(x ? x.dtype : DType::f32, kName, [&](auto x_tag) {
      using Expert = decltype(expert_tag);
      using X = decltype(x_tag);
      cuda.launch(combine<Expert, X>, blocks_for(weights.dim(0), 1), 256,
                  sizeof(float) * static_cast<size_t>(1 + num_constants), in,
                  rows_of<const Expert>(expert_out), rows_of<const X>(x), experts);
    });
  });
}

}  // namespace moe
