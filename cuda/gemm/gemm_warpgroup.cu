// Many rows, bf16 by bf16, on sm_90: wgmma with weights as m and rows of x as n, so that tiles
// are padded to 32 rows only.
//
// A block stays on its multiprocessor and walks the tiles of all groups. One warp brings slabs of
// 64 k: weights, already in fragment order, with plain bulk copies from one pointer a group; rows
// of x with a swizzled tensor copy. Two warpgroups have one panel of 64 weight rows each, A in
// registers, and keep one slab's matrices in flight while they read the next one's weights.

#include "gemm_warpgroup.cuh"

namespace moe {
namespace {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

/// `counters`: tiles taken beyond the first of each block, and blocks that are done.
__device__ __forceinline__ void produce(const GemmArgs& args, Walk walk, const TensorMap* map,
                                        unsigned* counters) {
  Ring ring;
  Tickets tickets;
  const int slabs = args.K / kSlabK;
  int number = static_cast<int>(blockIdx.x);
  for (;;) {
    const Tile tile = walk.find(args, number);
    tickets.put(tile);
    if (tile.panel < 0) break;
    number = static_cast<int>(gridDim.x + atomicAdd(counters, 1u));
    const auto* from = static_cast<const unsigned char*>(args.weights[tile.group]) +
                       int64_t{tile.panel} * slabs * kPanelBytes;
    const int boxes = (tile.end - tile.begin + kBoxRows - 1) / kBoxRows;
    const int panels = min(kConsumers, args.panels - tile.panel);
#pragma unroll 1
    for (int slab = 0; slab < slabs; ++slab, from += kPanelBytes, ring.advance()) {
      mbarrier_wait(ring.empty(ring.stage), ring.phase ^ 1);
      uint64_t* full = ring.full(ring.stage);
      mbarrier_arrive_expect(full, static_cast<unsigned>(panels * kPanelBytes + boxes * kBoxBytes));
      for (int p = 0; p < panels; ++p)
        bulk_copy(ring.weights(p), from + int64_t{p} * slabs * kPanelBytes, kPanelBytes, full);
#pragma unroll 1
      for (int box = 0; box < boxes; ++box)
        tensor_copy(ring.rows() + box * kBoxBytes, map, slab * kSlabK, tile.begin + box * kBoxRows,
                    full);
    }
  }
  __threadfence();
  if (atomicAdd(counters + 1, 1u) == gridDim.x - 1) counters[0] = counters[1] = 0;
}

/// What a consumer warpgroup goes on with from tile to tile.
template <Finish kFinish>
struct Consumer {
  int index;
  Ring ring{};
  Outlet<kFinish> outlet{index};

  /// One tile of at most N rows.
  template <int N>
  __device__ __forceinline__ void take(const GemmArgs& args, const Tile& tile) {
    const int lane = static_cast<int>(threadIdx.x % 32),
              warp = static_cast<int>(threadIdx.x / 32 % 4);
    const int slabs = args.K / kSlabK;
    float acc[N / 2] = {};
    uint32_t a[2][kSteps / 2][4];  // one half of a slab while the other's matrices are in flight
    int before = -1;               // the stage that those belong to
    const auto multiply = [&](int half) {
      const auto* weights = reinterpret_cast<const uint4*>(ring.weights(index));
#pragma unroll
      for (int i = 0; i < kSteps / 2; ++i) {
        const uint4 bits = weights[((half * kSteps / 2 + i) * 4 + warp) * 32 + lane];
        a[half][i][0] = bits.x, a[half][i][1] = bits.y;
        a[half][i][2] = bits.z, a[half][i][3] = bits.w;
      }
      wgmma_fence();
#pragma unroll
      for (int i = 0; i < kSteps / 2; ++i)
        wgmma<N>(acc, a[half][i],
                 wgmma_descriptor(ring.rows() + (half * kSteps / 2 + i) * kStepK * 2));
      wgmma_commit();
      wgmma_wait<1>();
    };
    for (int slab = 0; slab < slabs; ++slab) {
      mbarrier_wait(ring.full(ring.stage), ring.phase);
      multiply(0);
      if (before >= 0 && lane == 0) mbarrier_arrive(ring.empty(before));
      multiply(1);
      before = ring.stage;
      ring.advance();
    }
    wgmma_wait<0>();
    if (lane == 0) mbarrier_arrive(ring.empty(before));

    const int panel = tile.panel + index;
    if (panel >= args.panels) return;
    outlet.template store<N>(args, tile, panel, acc);
  }

  /// The narrowest tile that has room.
  template <int N = kWidths>
  __device__ __forceinline__ void take_all(const GemmArgs& args, const Tile& tile) {
    if constexpr (N < kWidest<kFinish>)
      if (tile.end - tile.begin > N) return take_all<N + kWidths>(args, tile);
    take<N>(args, tile);
  }
};

#endif

template <Finish kFinish>
__global__ void __launch_bounds__(kThreads, 1)
    gemm_warpgroups(const __grid_constant__ GemmArgs args, const __grid_constant__ TensorMap map,
                    unsigned* counters) {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if (threadIdx.x == 0) {
    Ring::init(kStages);
    Tickets::init(2);
    fence_mbarrier_init();
  }
  __syncthreads();
  wait_prior_grid();
  launch_dependents();
  const int warpgroup = static_cast<int>(threadIdx.x / 128);
  // Without the exchange of registers ptxas finds too few for 256 columns and serialises wgmma.
  if (warpgroup < kConsumers) {
    more_registers<232>();
    Consumer<kFinish> consumer{warpgroup};
    Tickets tickets;
    for (Tile tile = tickets.take(); tile.panel >= 0; tile = tickets.take())
      consumer.take_all(args, tile);
  } else {
    fewer_registers<40>();
    if (threadIdx.x % 128 == 0) produce(args, Walk{kWidest<kFinish>}, &map, counters);
  }
#else
  __trap();  // rather than outputs that nobody has written
#endif
}

/// 1: the image that the driver has chosen for this GPU has the kernel above.
__global__ void image_has_wgmma(unsigned* answer) {
  wait_prior_grid();
  launch_dependents();
  *answer = has_wgmma();
}

}  // namespace

bool has_warpgroups(const CudaContext& cuda) {
  if (cuda.capability / 10 != 9) return false;
  unsigned answer = 0;
  cuda.launch(image_has_wgmma, 1, 1, 0, cuda.counters);
  CudaContext::check(
      cudaMemcpyAsync(&answer, cuda.counters, sizeof answer, cudaMemcpyDeviceToHost, cuda.stream));
  CudaContext::check(cudaMemsetAsync(cuda.counters, 0, sizeof answer, cuda.stream));
  CudaContext::check(cudaStreamSynchronize(cuda.stream));
  return answer != 0;
}

/// False where a tensor copy cannot reach x, K is not whole slabs, or gated outputs are no bf16 or
/// have factors or a residual.
bool gemm_warpgroup(const CudaContext& cuda, const GemmArgs& args) {
  const bool gate_up = gated(args.activation);
  const bool extra = args.row_scale || args.residual || args.scale != 1.f;
  if (!args.x_aligned || args.K % kSlabK != 0) return false;
  if (gate_up && (extra || !args.out_bf16)) return false;
  const TensorMap map = make_tensor_map(args.x, args.rows, args.K, args.x_stride * 2, kBoxRows);
  const auto launch = [&](auto kernel, int widest) {
    const int64_t tiles = int64_t{most_tiles(args, widest)} * blocks_for(args.panels, kConsumers);
    const auto blocks = static_cast<unsigned>(std::min<int64_t>(tiles, cuda.multiprocessors));
    cuda.launch(kernel, blocks, kThreads, kSharedBytes, args, map, cuda.counters);
  };
  if (gate_up)
    launch(gemm_warpgroups<Finish::gated>, kWidest<Finish::gated>);
  else if (args.out_bf16 && !extra && !args.bias && args.activation == Activation::none)
    launch(gemm_warpgroups<Finish::plain>, kWidest<Finish::plain>);
  else
    launch(gemm_warpgroups<Finish::full>, kWidest<Finish::full>);
  return true;
}

}  // namespace moe
