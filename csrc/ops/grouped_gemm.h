#pragma once

#include "core/op.h"
#include "ops/gemm.h"

namespace moe {

/// One GEMM per expert over rows grouped by expert (Shazeer et al. 2017, arXiv:1701.06538).
///
///   out[r, :] = activation(x[r, :] W_g^T + b_g)  for offsets[g] <= r < offsets[g + 1]
///
/// Weights come one per expert, so that they can live anywhere. Sums in f32. Rows at and beyond
/// offsets[G] are not touched. `activation`, `limit` and `alpha` are those of linear.
struct GroupedGemm {
  static constexpr const char* kName = "groupedGemm";

  Tensor x;                     // [R, K] f32 | bf16
  Tensor offsets;               // [G + 1] i32
  std::vector<Weight> weights;  // G times [N, K] of one format; gate_up for gated activations
  Tensor biases;                // [G, N] f32; gate rows, then up rows for gate_up
  Activation activation = Activation::none;
  float limit = 7.f;         // of swigluClamped, above 0
  float alpha = 1.702f;      // of swigluClamped
  DType dtype = DType::f32;  // f32 | bf16
  Tensor out;                // [R, N] ([R, N / 2] for gate_up) dtype
  Tensor scratch;

  static constexpr auto fields() {
    return std::tuple(input("x", &GroupedGemm::x), input("offsets", &GroupedGemm::offsets),
                      input("weights", &GroupedGemm::weights),
                      optional("biases", &GroupedGemm::biases),
                      setting("activation", &GroupedGemm::activation),
                      setting("limit", &GroupedGemm::limit), setting("alpha", &GroupedGemm::alpha),
                      setting("dtype", &GroupedGemm::dtype), output("out", &GroupedGemm::out));
  }
  Epilogue epilogue() const {
    return {.bias = biases,
            .row_scale = {},
            .residual = {},
            .activation = activation,
            .limit = limit,
            .alpha = alpha};
  }
  void check() const;
  void check_gpu() const;
  void make_outputs(const Make& make);
  size_t scratch_bytes(const Device* device) const;
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

  bool deterministic = false;  // see Linear

  /// On a GPU, groups whose weights are copied to it at a time, since some are in host memory and
  /// there are so many rows that kernels would read them over the bus again and again. 0: none are.
  int64_t staged_groups() const {
    const auto groups = static_cast<int64_t>(weights.size());
    const bool pinned = std::any_of(weights.begin(), weights.end(),
                                    [](const Weight& weight) { return weight.pinned(); });
    constexpr int64_t kTurns = 4;  // the copies take so much less memory, and launches no time
    return pinned && x.dim(0) > kFewestRows * groups ? (groups + kTurns - 1) / kTurns : 0;
  }

  static constexpr int64_t kFewRows = 16;    // of a group, on average
  static constexpr int64_t kFewestRows = 8;  // the same, where wgmma takes more
};

/// Whether a GPU streams the weights for `rows` rows of all groups (gemm_few) instead of tiling
/// them. For few rows a group the weights' bytes are all that counts, and a tile of 64 rows would
/// be mostly empty. Tiles are of bf16 rows, by all weights but f32. With `wgmma`: each tile of 16
/// weight rows takes its group's rows of x through the first cache, eight at a time, and from the
/// second eight on these are more lines than it looks up while the weights come; one group alone
/// has too few wide tiles for all multiprocessors.
constexpr bool streams_weights(DType x, WeightFormat weight, int64_t rows, int64_t groups,
                               bool deterministic, bool wgmma = false) {
  const bool matrices = x == DType::bf16 && weight != WeightFormat::f32;
  const int64_t few = wgmma && groups > 1 ? GroupedGemm::kFewestRows : GroupedGemm::kFewRows;
  return deterministic || !matrices || rows <= few * groups;
}

}  // namespace moe
