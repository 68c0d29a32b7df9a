#include "ops/combine.h"

#include <cmath>

#include "cpu/pieces.h"

namespace moe {
namespace {

/// Scalars of one token: the factor of x and of each constant vector.
struct Scalars {
  float x = 0.f;
  float constant[Combine::kMaxConstants] = {};
};

/// (g1 - g0) . x[t] for the gate's two rows: a softmax of two depends on the difference only.
float gate_gap(const Kernels& kernels, const Combine& op, int64_t t, int32_t c) {
  const int64_t H = op.x.last();
  const float* gate = op.gates.as<float>() + int64_t{c} * 2 * H;
  float gap = 0.f;
  for_pieces(kernels, op.x, t, 0, H, [&](int64_t h, const float* x, int64_t n) {
    gap += kernels.dot(x, gate + H + h, n) - kernels.dot(x, gate + h, n);
  });
  return gap;
}

Scalars token_scalars(const Kernels& kernels, const Combine& op, const int32_t* constant_of,
                      int64_t t) {
  Scalars scalars;
  const int64_t K = op.weights.dim(1);
  for (int64_t k = 0; k < K; ++k) {
    const int32_t id = op.ids.row<int32_t>(t)[k];
    const float weight = op.factor * op.weights.row<float>(t)[k];
    const ExpertKind kind = op.kinds[id];
    if (kind == ExpertKind::copy) scalars.x += weight * op.scale;
    if (kind == ExpertKind::constant) {
      const int32_t c = constant_of[id];
      const float a1 = 1.f / (1.f + std::exp(op.scale * gate_gap(kernels, op, t, c)));
      scalars.x += weight * a1 * op.scale;
      scalars.constant[c] += weight * (1.f - a1);
    }
  }
  return scalars;
}

void add_row(const Kernels& kernels, const Tensor& x, int64_t row, float scale, float* out) {
  for_pieces(kernels, x, row, 0, x.last(), [&](int64_t h, const float* values, int64_t n) {
    kernels.add_scaled(values, scale, n, out + h);
  });
}

}  // namespace

void Combine::run_cpu(const CpuContext& cpu) const {
  const int64_t T = weights.dim(0), K = weights.dim(1), H = expert_out.dim(1);
  std::vector<int32_t> constant_of(kinds.size(), -1);
  int32_t num_constants = 0;
  for (size_t e = 0; e < kinds.size(); ++e)
    if (kinds[e] == ExpertKind::constant) constant_of[e] = num_constants++;

  cpu.parallel(T, 4, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* to = out.row<float>(t);
      if (to != residual.row<float>(t)) std::copy_n(residual.row<float>(t), H, to);
      const Scalars scalars = token_scalars(cpu.kernels, *this, constant_of.data(), t);
      if (scalars.x != 0.f) add_row(cpu.kernels, x, t, scalars.x, to);
      for (int32_t c = 0; c < num_constants; ++c)
        if (scalars.constant[c] != 0.f) add_row(cpu.kernels, constants, c, scalars.constant[c], to);
      for (int64_t k = 0; k < K; ++k) {
        const int32_t row = rows.row<int32_t>(t)[k];
        const float weight = factor * weights.row<float>(t)[k];
        if (row >= 0) add_row(cpu.kernels, expert_out, row, weight, to);
        if (row < 0 && std::isnan(weight)) std::fill_n(to, H, weight);
      }
    }
  });
}

}  // namespace moe
