#pragma once

#include "context.h"
#include "core/tensor.h"
#include "ops/grouped_gemm.h"
#include "ops/linear.h"
#include "weights/formats/fp8.h"
#include "weights/formats/integer.h"
#include "weights/formats/mxfp4.h"

namespace moe {

/// What Linear and GroupedGemm share: one GEMM per group over packed weights.
struct GemmOp {
  const Tensor& x;
  const Tensor& gather;    // rows of x by group: see GemmArgs; optional, for gemm_few alone
  const int32_t* offsets;  // [groups + 1] on the device; null: all groups have as many rows
  const Weight* weights;   // [groups]
  int64_t groups;
  Epilogue epilogue;
  const Tensor& out;
  bool deterministic;  // gemm_few for any number of rows
  // Of GroupedGemm: where weights in host memory are copied first, so many groups at a time; 0:
  // they are read where they are.
  int64_t staged_groups = 0;
  std::byte* staging = nullptr;
  // Offsets are older than the kernel before, which makes them a good guess before the wait.
  bool settled = false;
  // Of HeadLinear: rows of x and out a head, and what its rows move on by; 0: they are as they lie.
  int64_t head_rows = 0, x_step = 0, out_step = 0;
};

void gemm_cuda(const CudaContext& cuda, const GemmOp& op);

/// Where the parts of a weight lie on a GPU: see FragmentGrid and PackedFragments.
struct WeightGrid {
  explicit WeightGrid(const Weight& weight);
  WeightGrid() = default;

  int panels, steps;
  int64_t panel_bytes;
  int scales_at, zeros_at, group_shift;  // of packed formats
};

/// The same as kernels take it. Weights come one pointer a group, so that they can live anywhere.
struct GemmArgs {
  const void* x;
  int64_t x_stride;
  int rows;  // of all groups; with offsets, how many of them count only the device knows
  const int32_t* gather;  // [rows]: slot s, of token s / per_token of x, is row gather[s]; or null
  int per_token;
  int groups, K, N;  // N outputs
  WeightGrid grid;
  const int32_t* offsets;
  bool settled;       // see GemmOp
  const float* bias;  // [groups, weight rows]; of gate_up weights the gate rows' N first
  const float* row_scale;
  int64_t row_scale_stride;
  const float* residual;
  int64_t residual_stride;
  float scale;
  Activation activation;
  Glu glu;
  void* out;
  int64_t out_stride;
  bool out_bf16;
  int head_rows;  // see GemmOp
  int64_t x_step, out_step;
  bool x_aligned;    // rows of x start at 16-byte boundaries
  bool out_aligned;  // rows of out and residual too, and are of whole pieces of eight
  int first_wave;    // blocks that may be there before the kernel before has ended
  const void* weights[GpuLimits::kGroups];
};

/// Of kernels that stream weights.
inline int first_wave(const CudaContext& cuda) { return 2 * cuda.multiprocessors; }

GemmArgs gemm_args(const GemmOp& op);
/// Of a projection, which is one group.
GemmArgs gemm_args(const Linear& op);

// One launch each; gemm.cu chooses. Few rows: any formats, weights straight from memory. Tiles:
// bf16 rows by anything but f32. Warpgroups: the same on sm_90, for rows that a tensor copy can
// reach. A row's bits depend on nothing but the row in gemm_few.
void gemm_few(const CudaContext& cuda, GemmArgs args, DType x, WeightFormat weight);
void gemm_tiles(const CudaContext& cuda, const GemmArgs& args, WeightFormat weight);
bool gemm_warpgroup(const CudaContext& cuda, const GemmArgs& args, WeightFormat weight);
/// Whether gemm_warpgroup runs here: asked of the GPU itself, once, since a build for `90` or
/// `native`, or PTX that the driver compiles, has no wgmma.
bool has_warpgroups(const CudaContext& cuda);

}  // namespace moe
