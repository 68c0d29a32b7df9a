#include "gemm.h"

namespace moe {

GemmArgs gemm_args(const GemmOp& op) {
  const Weight& weight = op.weights[0];
  const Epilogue& epilogue = op.epilogue;
  const FragmentGrid grid(weight);
  GemmArgs args{};
  args.x = op.x.as<std::byte>();
  args.x_stride = op.x.row_stride;
  args.rows = static_cast<int>(op.gather ? op.gather.shape.count() : op.x.dim(0));
  args.gather = op.gather ? op.gather.as<int32_t>() : nullptr;
  args.per_token = op.gather ? static_cast<int>(op.gather.dim(1)) : 1;
  args.groups = static_cast<int>(op.groups);
  args.K = static_cast<int>(weight.K);
  args.N = static_cast<int>(op.out.dim(1));
  args.panels = static_cast<int>(grid.panels);
  args.steps = static_cast<int>(grid.steps);
  args.offsets = op.offsets;
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

void gemm_cuda(const CudaContext& cuda, const GemmOp& op) {
  if (op.groups == 0) return;
  const GemmArgs args = gemm_args(op);
  if (args.rows == 0) return;
  const DType weight = dense_dtype(op.weights[0].format);
  if (streams_weights(op.x.dtype, op.weights[0].format, args.rows, args.groups, op.deterministic))
    return gemm_few(cuda, args, op.x.dtype, weight);
  if (cuda.warpgroups && !args.head_rows && gemm_warpgroup(cuda, args)) return;
  gemm_tiles(cuda, args);
}

}  // namespace moe
