#include "device/rows.cuh"
#include "ops/lora.h"

namespace moe {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32;

template <class X>
struct LoraArgs {
  Rows<const X> x;
  Rows<const int32_t> ids;
  Rows<const float> weights, residual;
  Rows<float> out;
  float* products;  // [T, S, P, most]
  int width, slots, parts, most;
  bool whole;  // rows of x and of pairs are aligned quads
  float scale, epsilon;
  int columns[Lora::kMaxParts], sizes[Lora::kMaxParts];
  int outputs;
  const float* pairs[GpuLimits::kGroups];
  int ranks[GpuLimits::kGroups];

  /// The pair of a part of slot s of token t; below 0: none.
  __device__ int pair_of(int t, int s, int part) const {
    const int id = ids[t][s];
    return id < 0 ? -1 : id * parts + part;
  }
  __device__ int64_t place(int t, int s, int part) const {
    return ((int64_t{t} * slots + s) * parts + part) * most;
  }
};

/// products = x A^T. Grid: parts of slots of tokens, rows of A by the warp.
template <class X>
__global__ void __launch_bounds__(kThreads) lora_products(const LoraArgs<X> args) {
  wait_prior_grid();
  launch_dependents();
  const int part = static_cast<int>(blockIdx.x) % args.parts;
  const int slot = static_cast<int>(blockIdx.x) / args.parts;
  const int t = slot / args.slots, s = slot % args.slots;
  const int pair = args.pair_of(t, s, part);
  const int j = static_cast<int>(blockIdx.y * kWarps + threadIdx.x / 32);
  if (pair < 0 || j >= args.ranks[pair]) return;
  const int lane = static_cast<int>(threadIdx.x % 32), K = args.width;
  const X* x = args.x[t];
  const float* a = args.pairs[pair] + int64_t{j} * (K + args.sizes[part]);
  float sum = 0.f;
  for (int k = 4 * lane; k < K; k += 128) {
    const Quad values = load_quad(x, k, K, args.whole), row = load_quad(a, k, K, args.whole);
    for (int i = 0; i < 4; ++i) sum = fmaf(values.v[i], row.v[i], sum);
  }
  sum = warp_sum(sum);
  if (lane == 0) args.products[args.place(t, s, part) + j] = sum;
}

/// Grid: tokens, outputs by the thread.
template <class X>
__global__ void __launch_bounds__(kThreads) lora_outputs(const LoraArgs<X> args) {
  wait_prior_grid();
  launch_dependents();
  const int t = static_cast<int>(blockIdx.x);
  const int n = static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  if (n >= args.outputs) return;
  float sum = args.residual.data ? args.residual[t][n] : -0.f;
  float total = args.epsilon;
  for (int s = 0; args.weights.data && s < args.slots; ++s) total += args.weights[t][s];
  for (int part = 0; part < args.parts; ++part) {
    const int column = n - args.columns[part];
    if (column < 0 || column >= args.sizes[part]) continue;
    for (int s = 0; s < args.slots; ++s) {
      const int pair = args.pair_of(t, s, part);
      if (pair < 0) continue;
      float factor = args.scale;
      if (args.weights.data) factor *= args.weights[t][s] / (args.epsilon > 0.f ? total : 1.f);
      const float* products = args.products + args.place(t, s, part);
      const float* b = args.pairs[pair] + args.width + column;
      const int64_t pitch = args.width + args.sizes[part];
      for (int j = 0; j < args.ranks[pair]; ++j)
        sum = fmaf(factor * products[j], b[j * pitch], sum);
    }
  }
  args.out[t][n] = sum;
}

template <class X>
LoraArgs<X> args_of(const Lora& op) {
  LoraArgs<X> args{.x = rows_of<const X>(op.x),
                   .ids = rows_of<const int32_t>(op.ids),
                   .weights = rows_of<const float>(op.weights),
                   .residual = rows_of<const float>(op.residual),
                   .out = rows_of<float>(op.out),
                   .products = op.scratch.as<float>(),
                   .width = static_cast<int>(op.x.dim(1)),
                   .slots = static_cast<int>(op.ids.dim(1)),
                   .parts = static_cast<int>(op.parts()),
                   .most = static_cast<int>(op.most_rank()),
                   .whole = in_quads(op.x),
                   .scale = op.scale,
                   .epsilon = op.epsilon,
                   .columns = {},
                   .sizes = {},
                   .outputs = static_cast<int>(op.outputs()),
                   .pairs = {},
                   .ranks = {}};
  for (int p = 0; p < args.parts; ++p) {
    args.columns[p] = static_cast<int>(op.column(p));
    args.sizes[p] = static_cast<int>(op.size(p));
    args.whole = args.whole && args.sizes[p] % 4 == 0;
  }
  for (size_t i = 0; i < op.pairs.size(); ++i) {
    args.pairs[i] = op.pairs[i].as<const float>();
    args.ranks[i] = static_cast<int>(op.pairs[i].dim(0));
  }
  return args;
}

}  // namespace

void Lora::run_cuda(const CudaContext& cuda) const {
  dispatch_activation(x.dtype, kName, [&](auto tag) {
    using X = decltype(tag);
    const auto args = args_of<X>(*this);
    const auto slots = static_cast<unsigned>(ids.shape.count() * parts());
    cuda.launch(lora_products<X>, dim3(slots, blocks_for(args.most, kWarps)), kThreads, 0, args);
    const dim3 grid(static_cast<unsigned>(x.dim(0)), blocks_for(args.outputs, kThreads));
    cuda.launch(lora_outputs<X>, grid, kThreads, 0, args);
  });
}

}  // namespace moe
