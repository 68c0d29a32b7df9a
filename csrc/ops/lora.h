#pragma once

#include "core/gpu_limits.h"
#include "core/op.h"

namespace moe {

/// What low-rank experts add beside a projection (LoRA, arXiv:2106.09685, section 4.1; chosen for
/// each token: PHATGOOSE, arXiv:2402.05859, section 3).
///
///   out[t] = residual[t] + scale * sum_s w[t, s] * (x[t] A^T) B   with A, B = pair ids[t, s]
///
/// w is `weights`, or 1; with an epsilon above 0, weights / (their sum + epsilon), as the published
/// code of PHATGOOSE has it. A pair is one tensor: row j has row j of A [r, K], then row j of B
/// [r, N]. Pairs may have different ranks r, also 0.
///
/// Where a projection is several modules side by side, such as q, k and v, each id stands for P
/// pairs, one a part, and the columns of part p begin at columns[p]. Nothing is added to the other
/// columns, nor for slots without a pair: without a residual these are -0, which leaves every
/// number as it is that they are added to. Sums in f32, slots and rows of A ascending.
struct Lora {
  static constexpr const char* kName = "lora";

  Tensor x;                      // [T, K] f32 | bf16
  Tensor ids;                    // [T, S] i32, below the number of pairs / P; -1: no pair
  Tensor weights;                // [T, S] f32
  std::vector<Tensor> pairs;     // [r, K + N] f32: of id 0 all parts, then of id 1
  std::vector<int64_t> columns;  // P times, ascending; default one part, from 0 on
  Tensor residual;               // [T, width] f32
  int64_t width = 0;             // of the output; must be given where there is no residual
  float scale = 1.f;
  float epsilon = 0.f;  // at least 0; 0: weights as they are
  Tensor out;           // [T, width] f32
  Tensor scratch;       // [T, S, P, most_rank()] f32: x A^T

  static constexpr int64_t kMaxParts = 4;

  static constexpr auto fields() {
    return std::tuple(input("x", &Lora::x), input("ids", &Lora::ids),
                      optional("weights", &Lora::weights), input("pairs", &Lora::pairs),
                      setting("columns", &Lora::columns), optional("residual", &Lora::residual),
                      setting("width", &Lora::width), setting("scale", &Lora::scale),
                      setting("epsilon", &Lora::epsilon), output("out", &Lora::out));
  }
  int64_t parts() const { return std::max<int64_t>(1, static_cast<int64_t>(columns.size())); }
  int64_t column(int64_t part) const {
    return columns.empty() ? 0 : columns[static_cast<size_t>(part)];
  }
  /// Outputs of a part.
  int64_t size(int64_t part) const { return pairs[static_cast<size_t>(part)].dim(1) - x.dim(1); }
  int64_t outputs() const { return residual ? residual.dim(1) : width; }
  int64_t most_rank() const {
    int64_t most = 0;
    for (const Tensor& pair : pairs) most = std::max(most, pair.dim(0));
    return most;
  }

  void check() const {
    const Check check(kName);
    check.rank("x", x, 2);
    check.activation("x", x);
    check.rank("ids", ids, 2);
    check.indices("ids", ids, {x.dim(0), ids.dim(1)});
    if (weights) {
      check.shape("weights", weights, ids.shape);
      check.dtype("weights", weights, {DType::f32});
    }
    const int64_t P = parts(), count = static_cast<int64_t>(pairs.size());
    check.that(P <= kMaxParts, "columns", "of at most 4 parts", P);
    check.that(count > 0 && count % P == 0, "pairs", "at least one for each part", count);
    for (size_t i = 0; i < pairs.size(); ++i) {
      const Tensor& pair = pairs[i];
      check.rank("pairs", pair, 2);
      check.dtype("pairs", pair, {DType::f32});
      check.contiguous("pairs", pair);
      const int64_t wide = pairs[i % static_cast<size_t>(P)].dim(1);
      check.shape("pairs", pair, {pair.dim(0), std::max(wide, x.dim(1) + 1)});
    }
    if (residual) {
      check.rank("residual", residual, 2);
      check.shape("residual", residual, {x.dim(0), residual.dim(1)});
      check.dtype("residual", residual, {DType::f32});
    }
    check.that(width == 0 ? bool(residual) : width == outputs() && width > 0, "width",
               "that of the residual, or above 0 without one", width);
    for (int64_t p = 0, begin = 0; p < P; begin = column(p) + size(p), ++p)
      check.that(column(p) >= begin && column(p) + size(p) <= outputs(), "columns",
                 "ascending, with all parts inside the output", column(p));
    check.that(epsilon >= 0.f, "epsilon", "at least 0", epsilon);
  }
  void check_gpu() const {
    if (pairs.size() > GpuLimits::kGroups)
      fail(Code::unsupported, kName, ": pairs must be at most ", GpuLimits::kGroups,
           " on a GPU, got ", pairs.size());
  }
  void make_outputs(const Make& make) { out = make({x.dim(0), outputs()}, DType::f32); }
  size_t scratch_bytes(const Device*) const {
    return static_cast<size_t>(ids.shape.count() * parts() * most_rank()) * sizeof(float);
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;
};

}  // namespace moe
