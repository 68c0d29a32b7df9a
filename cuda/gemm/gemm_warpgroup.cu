// Many rows of bf16 on sm_90: wgmma with weights as m and rows of x as n, so that tiles are padded
// to 32 rows only.
//
// A block stays on its multiprocessor and walks the tiles of all groups. One warp brings slabs of
// 64 k: weights, already in fragment order, with plain bulk copies from one pointer a group; rows
// of x with a swizzled tensor copy. Packed weights are unpacked to the same slabs by all four warps
// of the producer. Two warpgroups have one panel of 64 weight rows each, A in
// registers, and keep one slab's matrices in flight while they read the next one's weights.

#include "gemm_warpgroup.cuh"

namespace moe {
namespace {

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

/// Asks for the rows of x of one slab; with `bytes` more that are asked for beside them.
__device__ __forceinline__ void copy_rows(const Tile& tile, const TensorMap* map, const Ring& ring,
                                          int slab, unsigned bytes) {
  const int boxes = (tile.end - tile.begin + kBoxRows - 1) / kBoxRows;
  uint64_t* full = ring.full(ring.stage);
  mbarrier_arrive_expect(full, bytes + static_cast<unsigned>(boxes * kBoxBytes));
#pragma unroll 1
  for (int box = 0; box < boxes; ++box)
    tensor_copy(ring.rows() + box * kBoxBytes, map, slab * kSlabK, tile.begin + box * kBoxRows,
                full);
}

/// Brings a tile's slabs, by one thread.
__device__ __forceinline__ void bring(const GemmArgs& args, const Tile& tile, const TensorMap* map,
                                      Ring& ring) {
  const int slabs = args.K / kSlabK, panels = min(kConsumers, args.grid.panels - tile.panel);
  const auto* from = static_cast<const unsigned char*>(args.weights[tile.group]) +
                     tile.panel * args.grid.panel_bytes;
#pragma unroll 1
  for (int slab = 0; slab < slabs; ++slab, from += kPanelBytes, ring.advance()) {
    mbarrier_wait(ring.empty(ring.stage), ring.phase ^ 1);
    copy_rows(tile, map, ring, slab, static_cast<unsigned>(panels * kPanelBytes));
    for (int p = 0; p < panels; ++p)
      bulk_copy(ring.weights(p), from + p * args.grid.panel_bytes, kPanelBytes,
                ring.full(ring.stage));
  }
}

/// The same of packed weights, by four warps. Each unpacks one of the four tiles of every panel,
/// and what it unpacks next is on its way meanwhile.
template <class W>
__device__ __forceinline__ void unpack(const GemmArgs& args, const Tile& tile, const TensorMap* map,
                                       Ring& ring) {
  constexpr int kLoads = kSteps / Weights<W>::kSteps;  // of a panel
  const int slabs = args.K / kSlabK;
  const int lane = static_cast<int>(threadIdx.x % 32),
            warp = static_cast<int>(threadIdx.x / 32 % 4);
  const LaneTile first =
      lane_tile<W>(args.grid, args.weights[tile.group], 4 * tile.panel + warp, lane);
  Weights<W> next[kConsumers][kLoads];
  const auto load = [&](int slab, int p, int i) {
    if (slab >= slabs || tile.panel + p >= args.grid.panels) return;
    LaneTile from = first;
    from.numbers += p * args.grid.panel_bytes;
    next[p][i].load(from, slab * kLoads + i);
  };
#pragma unroll
  for (int i = 0; i < kConsumers * kLoads; ++i) load(0, i / kLoads, i % kLoads);
#pragma unroll 1
  for (int slab = 0; slab < slabs; ++slab, ring.advance()) {
    mbarrier_wait(ring.empty(ring.stage), ring.phase ^ 1);
    if (threadIdx.x % 128 == 0) copy_rows(tile, map, ring, slab, 0);
#pragma unroll
    for (int p = 0; p < kConsumers; ++p)
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        if (tile.panel + p >= args.grid.panels) break;
        auto* to = reinterpret_cast<uint4*>(ring.weights(p)) + 32 * warp + lane;
#pragma unroll
        for (int s = 0; s < Weights<W>::kSteps; ++s) {
          uint32_t a[1][4];
          next[p][i].parts(s, a);
          to[(i * Weights<W>::kSteps + s) * 128] = {a[0][0], a[0][1], a[0][2], a[0][3]};
        }
        load(slab + 1, p, i);
      }
    __syncwarp();
    if (lane == 0) mbarrier_arrive(ring.full(ring.stage));
  }
}

/// `counters`: tiles taken beyond the first of each block, and blocks that are done. Packed weights
/// have four warps here, which get tiles as the consumers do.
template <class W>
__device__ __forceinline__ void produce(const GemmArgs& args, Walk walk, const TensorMap* map,
                                        unsigned* counters) {
  Ring ring;
  Tickets tickets;
  const bool first = threadIdx.x % 128 == 0;
  int number = static_cast<int>(blockIdx.x);
  for (;;) {
    Tile tile;
    if (first) {
      tile = walk.find(args, number);
      tickets.put(tile);
      if (tile.panel >= 0) number = static_cast<int>(gridDim.x + atomicAdd(counters, 1u));
    }
    if constexpr (is_packed<W>) {
      __syncwarp();
      tile = tickets.take();
    } else {
      tickets.advance();
    }
    if (tile.panel < 0) break;
    if constexpr (is_packed<W>)
      unpack<W>(args, tile, map, ring);
    else
      bring(args, tile, map, ring);
  }
  if (!first) return;
  __threadfence();
  if (atomicAdd(counters + 1, 1u) == gridDim.x - 1) counters[0] = counters[1] = 0;
}

/// What a consumer warpgroup goes on with from tile to tile.
template <Finish kFinish, bool kPacked>
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
    if (panel >= args.grid.panels) return;
    outlet.template store<N>(args, tile, panel, acc);
  }

  /// The narrowest tile that has room.
  template <int N = kWidths>
  __device__ __forceinline__ void take_all(const GemmArgs& args, const Tile& tile) {
    if constexpr (N < kWidest<kFinish, kPacked>)
      if (tile.end - tile.begin > N) return take_all<N + kWidths>(args, tile);
    take<N>(args, tile);
  }
};

#endif

template <Finish kFinish, bool kPacked>
__global__ void __launch_bounds__(kThreads, 1)
    gemm_warpgroups(const __grid_constant__ GemmArgs args, const __grid_constant__ TensorMap map,
                    unsigned* counters, Packed format) {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if (threadIdx.x == 0) {
    constexpr unsigned kProducers = kPacked ? 4 : 0;  // warps beside the thread that brings x
    Ring::init(kStages, 1 + kProducers, 4 * kConsumers);
    Tickets::init(2, 1, 4 * kConsumers + kProducers);
    fence_mbarrier_init();
  }
  __syncthreads();
  wait_prior_grid();
  launch_dependents();
  const int warpgroup = static_cast<int>(threadIdx.x / 128);
  // Without the exchange of registers ptxas finds too few for 256 columns and serialises wgmma.
  if (warpgroup < kConsumers) {
    more_registers<kPacked ? 216 : 232>();
    Consumer<kFinish, kPacked> consumer{warpgroup};
    Tickets tickets;
    for (Tile tile = tickets.take(); tile.panel >= 0; tile = tickets.take())
      consumer.take_all(args, tile);
  } else {
    fewer_registers<kPacked ? 72 : 40>();
    const Walk walk{kWidest<kFinish, kPacked>};
    // Formats meet outside of the loop over tiles: inside, ptxas keeps what each needs in
    // registers.
    if constexpr (kPacked)
      dispatch_packed(format, [&](auto w) { produce<decltype(w)>(args, walk, &map, counters); });
    else if (threadIdx.x % 128 == 0)
      produce<bf16>(args, walk, &map, counters);
  }
#else
  __trap();  // rather than outputs that nobody has written
#endif
}

/// 0: the image that the driver has chosen for this GPU has the kernels above.
__global__ void image_lacks_wgmma(unsigned* answer) {
  wait_prior_grid();
  launch_dependents();
  *answer = !has_wgmma();
}

}  // namespace

bool has_warpgroups(const CudaContext& cuda) {
  unsigned lacks = 0;
  cuda.launch(image_lacks_wgmma, 1, 1, 0, cuda.counters);
  CudaContext::check(
      cudaMemcpyAsync(&lacks, cuda.counters, sizeof lacks, cudaMemcpyDeviceToHost, cuda.stream));
  CudaContext::check(cudaMemsetAsync(cuda.counters, 0, sizeof lacks, cuda.stream));
  CudaContext::check(cudaStreamSynchronize(cuda.stream));
  return lacks == 0 && cuda.capability / 10 == 9;
}

/// False where a tensor copy cannot reach x, K is not whole slabs, or gated outputs are no bf16 or
/// have factors or a residual.
bool gemm_warpgroup(const CudaContext& cuda, const GemmArgs& args, WeightFormat weight) {
  const Packed packed = packed_of(weight);
  const bool gate_up = gated(args.activation);
  const bool extra = args.row_scale || args.residual || args.scale != 1.f;
  if (!args.x_aligned || args.K % kSlabK != 0) return false;
  if (gate_up && (extra || !args.out_bf16)) return false;
  const TensorMap map = make_tensor_map(args.x, args.rows, args.K, args.x_stride * 2, kBoxRows);
  const auto launch = [&](auto finish) {
    constexpr Finish kFinish = decltype(finish)::value;
    const int widest = packed == Packed::none ? kWidest<kFinish, false> : kWidest<kFinish, true>;
    const int64_t tiles =
        int64_t{most_tiles(args, widest)} * blocks_for(args.grid.panels, kConsumers);
    const auto blocks = static_cast<unsigned>(std::min<int64_t>(tiles, cuda.multiprocessors));
    const auto kernel =
        packed == Packed::none ? gemm_warpgroups<kFinish, false> : gemm_warpgroups<kFinish, true>;
    cuda.launch(kernel, blocks, kThreads, kSharedBytes, args, map, cuda.counters, packed);
  };
  if (gate_up)
    launch(std::integral_constant<Finish, Finish::gated>{});
  else if (args.out_bf16 && !extra && !args.bias && args.activation == Activation::none)
    launch(std::integral_constant<Finish, Finish::plain>{});
  else
    launch(std::integral_constant<Finish, Finish::full>{});
  return true;
}

}  // namespace moe
