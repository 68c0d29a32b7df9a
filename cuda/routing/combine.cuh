#pragma once
// One token's combine by one block, for its own kernel and for the one that norms what comes out.

#include "device/rows.cuh"
#include "ops/combine.h"

namespace moe {

constexpr int kCombineThreads = 256;

struct ExpertKinds {
  ExpertKind kind[GpuLimits::kExperts];
  uint8_t constant[GpuLimits::kExperts];  // which constant vector
};

template <class T>
struct CombineArgs {
  Rows<const int32_t> rows, ids;
  Rows<const float> weights, residual, constants;
  const float* gates;  // [constants, 2, H]
  Rows<const T> expert_out;
  Rows<const T> x;
  int K, H, num_constants;
  bool whole;         // see in_quads()
  bool some_scalars;  // some experts are no FFN
  float scale, factor;
  Rows<float> out;
  ExpertKinds experts;

  /// Floats of scratch: of a block's sum, then the factors of x and of each constant.
  size_t scratch() const { return static_cast<size_t>(33 + num_constants); }
};

/// For an op whose expert_out and x are both T.
template <class T>
CombineArgs<T> combine_args(const Combine& op) {
  CombineArgs<T> args{};
  args.rows = rows_of<const int32_t>(op.rows);
  args.ids = rows_of<const int32_t>(op.ids);
  args.weights = rows_of<const float>(op.weights);
  args.residual = rows_of<const float>(op.residual);
  args.constants = rows_of<const float>(op.constants);
  args.gates = op.gates ? op.gates.as<const float>() : nullptr;
  args.expert_out = rows_of<const T>(op.expert_out);
  args.x = rows_of<const T>(op.x);
  args.K = static_cast<int>(op.weights.dim(1));
  args.H = static_cast<int>(op.expert_out.dim(1));
  args.whole = in_quads(op.residual, op.constants, op.gates, op.out, op.expert_out, op.x);
  args.scale = op.scale;
  args.factor = op.factor;
  args.out = rows_of<float>(op.out);
  for (size_t e = 0; e < op.kinds.size(); ++e) {
    const ExpertKind kind = op.kinds[e];
    args.experts.kind[e] = kind;
    args.some_scalars |= kind != ExpertKind::ffn;
    if (kind == ExpertKind::constant)
      args.experts.constant[e] = static_cast<uint8_t>(args.num_constants++);
  }
  return args;
}

/// The second minus the first logit of a gate for row x, in every thread of the block.
template <class T>
__device__ float gate_gap(const CombineArgs<T>& args, const T* x, const float* gate,
                          float* scratch) {
  float gap = 0.f;
  for_quads(args.H, [&](int h) {
    const Quad value = load_quad(x, h, args.H, args.whole);
    const Quad first = load_quad(gate, h, args.H, args.whole);
    const Quad second = load_quad(gate + args.H, h, args.H, args.whole);
    for (int i = 0; i < 4; ++i) gap += value.v[i] * (second.v[i] - first.v[i]);
  });
  return block_sum(gap, scratch);
}

/// residual + a x + sum b_c constant_c + sum w_k ffn_k of token t, in quads: `put(h, quad)`.
template <class T, class Put>
__device__ __forceinline__ void combine_row(const CombineArgs<T>& args, int t, float* scratch,
                                            const Put& put) {
  float* factors = scratch + 32;  // of x, then of each constant
  if (args.some_scalars) {
    const bool first = threadIdx.x == 0;
    __syncthreads();  // whoever still reads the token's before
    for (int i = 0; first && i <= args.num_constants; ++i) factors[i] = 0.f;
    for (int k = 0; k < args.K; ++k) {
      const int id = args.ids[t][k];
      const float weight = args.factor * args.weights[t][k];
      const ExpertKind kind = args.experts.kind[id];
      if (first && kind == ExpertKind::copy) factors[0] += weight * args.scale;
      if (kind != ExpertKind::constant) continue;
      const int c = args.experts.constant[id];
      const float gap = gate_gap(args, args.x[t], args.gates + int64_t{2} * c * args.H, scratch);
      const float a1 = 1.f / (1.f + expf(args.scale * gap));
      if (!first) continue;
      factors[0] += weight * a1 * args.scale;
      factors[1 + c] += weight * (1.f - a1);
    }
    __syncthreads();
  }
  for_quads(args.H, [&](int h) {
    Quad sum = load_quad(args.residual[t], h, args.H, args.whole);
    const auto add = [&](float factor, const auto* row) {
      const Quad quad = load_quad(row, h, args.H, args.whole);
      for (int i = 0; i < 4; ++i) sum.v[i] += factor * quad.v[i];
    };
    if (args.some_scalars && factors[0] != 0.f) add(factors[0], args.x[t]);
    for (int c = 0; c < args.num_constants; ++c)
      if (factors[1 + c] != 0.f) add(factors[1 + c], args.constants[c]);
    for (int k = 0; k < args.K; ++k) {
      const float weight = args.factor * args.weights[t][k];
      if (const int row = args.rows[t][k]; row >= 0)
        add(weight, args.expert_out[row]);
      else if (isnan(weight))
        sum = {{weight, weight, weight, weight}};
    }
    put(h, sum);
  });
}

}  // namespace moe
