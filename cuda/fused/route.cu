// Few tokens: norm, projection and choice in one launch, since each alone would be over sooner than
// its launch. Every block norms the tokens for itself and has one tile of 16 rows of the
// projection; the last block goes on with the choice.

#include "fused/route.h"
#include "gemm/gemm_few.cuh"
#include "norm/norm.cuh"
#include "routing/routing.cuh"

namespace moe {
namespace {

constexpr int kMostTokens = Route::kFewTokens;
static_assert(kMostTokens <= 8 && kMostTokens <= kFewWarps);   // rows of a tile; a warp each
static_assert(Route::kMostCarried <= kFewWarps * 2 * kStepK);  // see carried_row()

struct RouteArgs {
  NormArgs<float> norm;
  int P;  // rows of the projection
  WeightGrid grid;
  const void* weight;
  const float* bias;  // or null
  Rows<float> projected;
  bool attention;
  Rows<float> logits;
  Rows<const float> previous;  // logits of the layer below; data null: none
  const void* gate_map;
  WeightGrid gate_grid;
  Rows<float> carried;
};

/// gate_map[n, :] . previous, from the packed map, with the bits of gemm_few: there a warp has two
/// steps of K, and four lanes of it a share each.
template <class W>
__device__ float carried_row(const RouteArgs& args, int E, int n, const float* previous) {
  float sum = 0.f;
  for (int step = 0; step < args.gate_grid.steps; step += 2) {
    float parts[4] = {};
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      const LaneTile tile =
          lane_tile<W>(args.gate_grid, args.gate_map, n / kTileRows, n % 8 * 4 + t);
      for (int s = step; s < min(step + 2, args.gate_grid.steps); ++s) {
        Weights<W> w;
        w.load(tile, s);
        float v[8];
        get_values(w, 0, v);
        const int k = s * kStepK + 2 * t;
        const float2 low = load_pair(previous, k, E), high = load_pair(previous, k + 8, E);
        parts[t] = add_step(parts[t], n % kTileRows >= 8 ? v + 2 : v, low, high);
      }
    }
    sum += (parts[0] + parts[1]) + (parts[2] + parts[3]);
  }
  return sum;
}

/// What is chosen stays in shared memory until the slots have their rows.
__device__ __host__ inline size_t chosen_bytes(int T, int K) {
  return static_cast<size_t>((8 * T * K + 15) / 16 * 16);
}

/// Grid: tiles of the projection. V: 32nds of the experts.
template <class X, class W, int V>
__global__ void __launch_bounds__(32 * kFewWarps, 1)
    route_few(const __grid_constant__ RouteArgs args, const __grid_constant__ TopKArgs choice,
              Rows<X> normed, unsigned* counter) {
  constexpr bool kMatrix = is_bf16<X>;
  const int T = choice.T, E = choice.E, H = args.norm.H, P = args.P;
  const int warp = static_cast<int>(threadIdx.x / 32);
  unsigned char* shared = shared_memory();
  auto* flag = reinterpret_cast<int*>(shared);
  auto* ids = reinterpret_cast<int32_t*>(shared + 16);                             // [T, K]
  auto* weights = reinterpret_cast<float*>(ids + T * choice.K);                    // [T, K]
  auto* sums = reinterpret_cast<float*>(shared + 16 + chosen_bytes(T, choice.K));  // [warps][16][8]
  auto* rows = reinterpret_cast<X*>(sums + kFewWarps * kTileRows * kMostTokens);   // [T, H]
  const Steps piece = warp_steps(args.grid.steps);
  WeightStream<W> stream(args.grid, args.weight, static_cast<int>(blockIdx.x), piece);
  stream.start();
  prefetch_panel(args.grid, args.weight, static_cast<int>(blockIdx.x));
  if (blockIdx.x == 0) {
    prefetch_norm(args.norm);
    if (args.gate_map && threadIdx.x == 0)
      prefetch_l2(args.gate_map, static_cast<unsigned>(args.gate_grid.panel_bytes));
  }
  wait_prior_grid();
  launch_dependents();

  norm_rows(args.norm, 0, T, sums, [&](int t, int h, const Quad& quad) {
    store_quad(rows + t * H, h, H, args.norm.whole, quad);
    if (blockIdx.x == 0) store_quad(normed[t], h, H, args.norm.whole, quad);
  });
  __syncthreads();

  float acc[kMatrix ? 1 : 8][4] = {};
  const auto row_of = [&](int n) { return rows + n * H; };
  multiply<X, W, 1>(stream, piece.first, H, H % kStepK == 0, T, row_of, acc);
  put_sums<kMatrix, kMostTokens>(acc, sums + warp * kTileRows * kMostTokens);
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kTileRows * T; i += 32 * kFewWarps) {
    const int r = i % kTileRows, t = i / kTileRows;
    const int n = static_cast<int>(blockIdx.x) * kTileRows + r;
    if (n >= P) continue;
    const float sum = total_of<kMostTokens>(sums, r, t);
    args.projected[t][n] = args.bias ? sum + args.bias[n] : sum;
    if (args.previous.data) args.carried[t][n] = carried_row<W>(args, E, n, args.previous[t]);
  }
  if (!is_last(counter, gridDim.x, flag)) return;

  // One warp a token. The tokens' rows are no longer needed.
  auto* all = reinterpret_cast<float*>(rows);  // [T, P], then [T, E]
  auto* logits = all + T * P;
  if (warp < T) {
    const int lane = static_cast<int>(threadIdx.x % 32), t = warp;
    float* own = logits + t * E;
    for (int n = lane; n < P; n += 32) all[t * P + n] = load_coherent(&args.projected[t][n]);
    __syncwarp();
    if (args.attention)
      attend_experts(all + t * P, E, own);
    else
      for (int e = lane; e < E; e += 32) {
        own[e] = all[t * P + e];
        if (args.previous.data) own[e] += load_coherent(&args.carried[t][e]);
      }
    __syncwarp();
    for (int e = lane; e < E; e += 32) args.logits[t][e] = own[e];
    choose<V>(choice, t, own, ids + t * choice.K, weights + t * choice.K);
  }
  __syncthreads();
  for (int slot = static_cast<int>(threadIdx.x); slot < T * choice.K; slot += 32 * kFewWarps) {
    choice.ids[slot / choice.K][slot % choice.K] = ids[slot];
    choice.weights[slot / choice.K][slot % choice.K] = weights[slot];
  }
  place(
      choice, [&](int slot) { return ids[slot]; }, reinterpret_cast<int*>(sums));
}

template <class X, class W>
void launch(const CudaContext& cuda, const Route& op, const TopKArgs& choice, size_t shared) {
  const auto P = static_cast<int>(op.project.weight.N);
  const int64_t E = op.top_k.logits.dim(1);
  const NormArgs<float> norm{rows_of<const float>(op.norm.x), op.norm.weight.as<const float>(),
                             op.norm.eps, static_cast<int>(op.norm.x.dim(1)),
                             in_quads(op.norm.x, op.norm.weight, op.norm.out)};
  RouteArgs args{};
  args.norm = norm;
  args.P = P;
  args.grid = WeightGrid(op.project.weight);
  args.weight = op.project.weight.data();
  args.bias = op.project.bias ? op.project.bias.as<const float>() : nullptr;
  args.projected = rows_of<float>(op.project.out);
  args.attention = op.attention.has_value();
  args.logits = rows_of<float>(op.top_k.logits);
  if (op.carry) {
    args.previous = rows_of<const float>(op.carry->x);
    args.gate_map = op.carry->weight.data();
    args.gate_grid = WeightGrid(op.carry->weight);
    args.carried = rows_of<float>(op.carry->out);
  }
  cuda.launch(E <= 32 ? route_few<X, W, 1> : route_few<X, W, Route::kMostExperts / 32>,
              blocks_for(P, kTileRows), 32 * kFewWarps, shared, args, choice,
              rows_of<X>(op.norm.out), cuda.counters);
}

}  // namespace

void Route::run_cuda(const CudaContext& cuda) const {
  const int64_t T = norm.x.dim(0), H = norm.x.dim(1), E = top_k.logits.dim(1);
  const int64_t P = project.weight.N;
  const int64_t row_bytes =
      T * std::max(H * static_cast<int64_t>(dtype_bytes(norm.out.dtype)), (P + E) * 4);
  const TopKArgs choice = top_k_args(top_k);
  const size_t sums = sizeof(float) * kFewWarps * kTileRows * kMostTokens;
  const size_t shared =
      16 + chosen_bytes(choice.T, choice.K) +
      std::max(sums + static_cast<size_t>(row_bytes), place_bytes(choice, kFewWarps));
  if (T == 0 || T > kFewTokens || E > kMostExperts || shared > cuda.shared_bytes ||
      (carry && (E > kMostCarried || carry->weight.format != project.weight.format))) {
    norm.run_cuda(cuda);
    if (carry) carry->run_cuda(cuda);
    project.run_cuda(cuda);
    if (attention) attention->run_cuda(cuda);
    return top_k.run_cuda(cuda);
  }
  dispatch_activation(norm.out.dtype, kName, [&](auto x_tag) {
    dispatch_activation(dense_dtype(project.weight.format), kName, [&](auto weight_tag) {
      launch<decltype(x_tag), decltype(weight_tag)>(cuda, *this, choice, shared);
    });
  });
}

}  // namespace moe
