#include "gemm.h"

namespace moe {

namespace {

std::optional<PackedFragments> fragments_of(WeightFormat format) {
  if (format == WeightFormat::mxfp4) return Mxfp4Layout::fragments();
  if (format == WeightFormat::fp8) return kFp8.fragments();
  if (format == WeightFormat::fp8_g128) return kFp8G128.fragments();
  const IntegerLayout* integers = integer_layout(format);
  return integers ? std::optional(integers->fragments()) : std::nullopt;
}

}  // namespace

WeightGrid::WeightGrid(const Weight& weight) {
  const FragmentGrid grid(weight);
  panels = static_cast<int>(grid.panels);
  steps = static_cast<int>(grid.steps);
  if (const auto fragments = fragments_of(weight.format)) {
    panel_bytes = fragments->panel_bytes(weight.K);
    scales_at = static_cast<int>(fragments->scales_at(weight.K));
    zeros_at = static_cast<int>(fragments->zeros_at(weight.K));
    group_shift = fragments->group_shift;
    return;
  }
  panel_bytes = grid.steps * FragmentGrid::kStepValues *
                static_cast<int64_t>(dtype_bytes(dense_dtype(weight.format)));
  scales_at = zeros_at = group_shift = 0;
}

namespace {

/// Whether kernels read all weights in the GPU's memory, not over the bus.
bool on_gpu(const GemmOp& op) {
  return op.staged_groups || std::none_of(op.weights, op.weights + op.groups,
                                          [](const Weight& weight) { return weight.pinned(); });
}

}  // namespace

GemmArgs gemm_args(const GemmOp& op) {
  const Weight& weight = op.weights[0];
  const Epilogue& epilogue = op.epilogue;
  GemmArgs args{};
  args.grid = WeightGrid(weight);
  args.x = op.x.as<std::byte>();
  args.x_stride = op.x.row_stride;
  args.rows = static_cast<int>(op.gather ? op.gather.shape.count() : op.x.dim(0));
  args.gather = op.gather ? op.gather.as<int32_t>() : nullptr;
  args.per_token = op.gather ? static_cast<int>(op.gather.dim(1)) : 1;
  args.groups = static_cast<int>(op.groups);
  args.K = static_cast<int>(weight.K);
  args.N = static_cast<int>(op.out.dim(1));
  args.offsets = op.offsets;
  args.settled = op.settled && on_gpu(op);
  args.bias = epilogue.bias ? epilogue.bias.as<float>() : nullptr;
  args.row_scale = epilogue.row_scale ? epilogue.row_scale.as<float>() : nullptr;
  args.row_scale_stride = epilogue.row_scale.row_stride;
  args.residual = epilogue.residual ? epilogue.residual.as<float>() : nullptr;
  args.residual_stride = epilogue.residual.row_stride;
  args.scale = epilogue.scale;
  args.activation = epilogue.activation;
  args.glu = epilogue.glu();
  args.out = op.out.as<std::byte>();
  args.out_stride = op.out.row_stride;
  args.out_bf16 = op.out.dtype == DType::bf16;
  args.head_rows = static_cast<int>(op.head_rows);
  args.x_step = op.x_step;
  args.out_step = op.out_step;
  const auto element = static_cast<int64_t>(dtype_bytes(op.x.dtype));
  args.x_aligned = reinterpret_cast<uintptr_t>(args.x) % 16 == 0 &&
                   args.x_stride * element % 16 == 0 && args.x_step * element % 16 == 0;
  const auto pieces = [](const Tensor& t) {
    return reinterpret_cast<uintptr_t>(t.as<std::byte>()) % 16 == 0 && t.row_stride % 8 == 0 &&
           t.last() % 8 == 0;
  };
  args.out_aligned = pieces(op.out) && (!epilogue.residual || pieces(epilogue.residual));
  for (int64_t g = 0; g < op.groups; ++g) args.weights[g] = op.weights[g].data();
  return args;
}

GemmArgs gemm_args(const Linear& op) {
  return gemm_args({op.x, {}, nullptr, &op.weight, 1, op.epilogue(), op.out, op.deterministic});
}

namespace {

/// All of the op's groups or some, by the kernel that all of its rows take.
void multiply(const CudaContext& cuda, const GemmOp& op, const GemmArgs& args) {
  const WeightFormat weight = op.weights[0].format;
  const auto streams = [&](bool wgmma) {
    return streams_weights(op.x.dtype, weight, args.rows, op.groups, op.deterministic, wgmma);
  };
  const bool wgmma = cuda.warpgroups && !args.head_rows;
  if (wgmma && !streams(true) && gemm_warpgroup(cuda, args, weight)) return;
  if (streams(false)) return gemm_few(cuda, args, op.x.dtype, weight);
  gemm_tiles(cuda, args, weight);
}

/// A few groups at a time, behind copies of those of their weights that are in host memory.
void multiply_staged(CudaContext cuda, const GemmOp& op, const GemmArgs& all) {
  cuda.overlap = false;  // what is before each kernel is a copy
  const size_t bytes = op.weights[0].bytes();
  const int64_t bias_rows = gated(all.activation) ? 2 * all.N : all.N;
  for (int64_t first = 0; first < op.groups; first += op.staged_groups) {
    GemmArgs args = all;
    args.groups = static_cast<int>(std::min(op.staged_groups, op.groups - first));
    args.offsets += first;
    if (args.bias) args.bias += first * bias_rows;
    for (int g = 0; g < args.groups; ++g) {
      const Weight& weight = op.weights[first + g];
      args.weights[g] = weight.data();
      if (!weight.pinned()) continue;
      std::byte* copy = op.staging + static_cast<size_t>(g) * bytes;
      CudaContext::check(
          cudaMemcpyAsync(copy, weight.data(), bytes, cudaMemcpyHostToDevice, cuda.stream));
      args.weights[g] = copy;
    }
    multiply(cuda, op, args);
  }
}

}  // namespace

void gemm_cuda(const CudaContext& cuda, const GemmOp& op) {
  if (op.groups == 0) return;
  const GemmArgs args = gemm_args(op);
  if (args.rows == 0) return;
  if (op.staged_groups) return multiply_staged(cuda, op, args);
  multiply(cuda, op, args);
}

}  // namespace moe
