#include "gemm.h"
#include "ops/grouped_gemm.h"
#include "ops/linear.h"

namespace moe {

void gemm_cuda(const CudaContext& cuda, const GemmOp& op) {
  if (op.groups == 0 || op.x.dim(0) == 0) return;
  if (op.groups > GemmArgs::kMaxGroups)
    fail(Code::unsupported, "grouped_gemm: weights must be of at most ", GemmArgs::kMaxGroups,
         " experts on a GPU, got ", op.groups);
  const Tensor& weight = op.weights[0];
  const FragmentGrid grid(weight.dim(0), weight.dim(1), weight.layout);
  GemmArgs args{};
  args.x = op.x.as<std::byte>();
  args.x_stride = op.x.row_stride;
  args.rows = static_cast<int>(op.x.dim(0));
  args.groups = static_cast<int>(op.groups);
  args.K = static_cast<int>(weight.dim(1));
  args.N = static_cast<int>(op.out.dim(1));
  args.panels = static_cast<int>(grid.panels);
  args.steps = static_cast<int>(grid.steps);
  args.offsets = op.offsets;
  args.bias = op.bias ? op.bias.as<float>() : nullptr;
  args.residual = op.residual ? op.residual.as<float>() : nullptr;
  args.residual_stride = op.residual.row_stride;
  args.activation = op.activation;
  args.out = op.out.as<std::byte>();
  args.out_stride = op.out.row_stride;
  args.out_bf16 = op.out.dtype == DType::bf16;
  const size_t element = dtype_bytes(op.x.dtype);
  args.x_aligned = reinterpret_cast<uintptr_t>(args.x) % 16 == 0 &&
                   static_cast<size_t>(args.x_stride) * element % 16 == 0;
  for (int64_t g = 0; g < op.groups; ++g) args.weights[g] = op.weights[g].as<std::byte>();

  // Up to about 16 rows a group the weights' bytes are all that counts. Below it a tile of 64 rows
  // would be mostly empty.
  const bool matrices = op.x.dtype == DType::bf16 && weight.dtype == DType::bf16;
  if (!matrices || args.rows <= 16 * args.groups)
    return gemm_few(cuda, args, op.x.dtype, weight.dtype);
  if (cuda.capability / 10 == 9 && gemm_warpgroup(cuda, args)) return;
  gemm_tiles(cuda, args);
}

void Linear::run_cuda(const CudaContext& cuda) const {
  gemm_cuda(cuda, {x, nullptr, &weight, 1, bias, residual, activation, out});
}

void GroupedGemm::run_cuda(const CudaContext& cuda) const {
  gemm_cuda(cuda, {x,
                   offsets.as<const int32_t>(),
                   weights.data(),
                   static_cast<int64_t>(weights.size()),
                   {},
                   {},
                   activation,
                   out});
}

}  // namespace moe
