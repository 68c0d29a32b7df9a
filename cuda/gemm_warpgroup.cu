// Many rows, bf16 by bf16, on sm_90: wgmma with weights as m and rows of x as n, so that a group's
// last tile is padded to 16 rows only.
//
// A block stays on its multiprocessor and walks the tiles of all groups. One warp brings slabs of
// 64 k: weights, already in fragment order, with plain bulk copies from one pointer a group; rows
// of x with a swizzled tensor copy. Two warpgroups have one panel of 64 weight rows each, A in
// registers, and keep one slab's matrices in flight while they read the next one's weights.

#include "gemm.cuh"

namespace moe {
namespace {

constexpr int kConsumers = 2, kThreads = 128 * (kConsumers + 1);
constexpr int kSteps = 4, kSlabK = kSteps * kStepK, kBoxRows = 64;
constexpr int kPanelBytes = kSteps * 4 * kTileValues * 2;  // of one slab
constexpr int kBoxBytes = kBoxRows * kSlabK * 2;
constexpr int kWidest = 256;
constexpr int kStages = 4, kStageBytes = kConsumers * kPanelBytes + kWidest * kSlabK * 2;
constexpr int kSharedBytes = kStages * kStageBytes + 1024;  // and the barriers

/// The next tile of this block; every thread walks alike, on offsets that only the device knows.
struct Walk {
  int group = 0, index;  // tile of the group
  TokenTile tokens{};
  int panels_at = 0;  // first panel of the tile

  __device__ explicit Walk(int first) : index(first) {}

  /// False when no tile is left. Tiles of rows come fastest: they share weights.
  __device__ bool next(const GemmArgs& args) {
    const int bands = (args.panels + kConsumers - 1) / kConsumers;
    for (; group < args.groups; ++group) {
      const RowRange rows = group_rows(args, group);
      const int across = (rows.end - rows.begin + kWidest - 1) / kWidest;
      if (index < across * bands) {
        const int begin = rows.begin + index % across * kWidest;
        tokens = {group, begin, min(begin + kWidest, rows.end)};
        panels_at = index / across * kConsumers;
        index += static_cast<int>(gridDim.x);
        return true;
      }
      index -= across * bands;
    }
    return false;
  }
};

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

struct Ring {
  unsigned char* stages;
  uint64_t *full, *empty;  // barriers: the slab is there; it has been read
  int stage = 0;
  unsigned phase = 0;

  __device__ unsigned char* weights(int consumer) const {
    return stages + stage * kStageBytes + consumer * kPanelBytes;
  }
  __device__ unsigned char* rows() const {
    return stages + stage * kStageBytes + kConsumers * kPanelBytes;
  }
  __device__ void advance() {
    if (++stage == kStages) stage = 0, phase ^= 1;
  }
};

__device__ __forceinline__ void produce(const GemmArgs& args, const TensorMap* map, Ring ring) {
  const int slabs = args.K / kSlabK;
  Walk walk(static_cast<int>(blockIdx.x));
  while (walk.next(args)) {
    const auto* weights = static_cast<const unsigned char*>(args.weights[walk.tokens.group]);
    const int boxes = (walk.tokens.end - walk.tokens.begin + kBoxRows - 1) / kBoxRows;
    const int panels = min(kConsumers, args.panels - walk.panels_at);
    for (int slab = 0; slab < slabs; ++slab, ring.advance()) {
      mbarrier_wait(ring.empty + ring.stage, ring.phase ^ 1);
      uint64_t* full = ring.full + ring.stage;
      mbarrier_arrive_expect(full, static_cast<unsigned>(panels * kPanelBytes + boxes * kBoxBytes));
      for (int p = 0; p < panels; ++p)
        bulk_copy(ring.weights(p),
                  weights + (int64_t{walk.panels_at + p} * slabs + slab) * kPanelBytes, kPanelBytes,
                  full);
      for (int box = 0; box < boxes; ++box)
        tensor_copy(ring.rows() + box * kBoxBytes, map, slab * kSlabK,
                    walk.tokens.begin + box * kBoxRows, full);
    }
  }
}

/// One tile of at most N rows; returns the ring behind it.
template <int N>
__device__ __forceinline__ Ring consume_tile(const GemmArgs& args, const Walk& walk, Ring ring,
                                             int consumer) {
  const int lane = static_cast<int>(threadIdx.x % 32),
            warp = static_cast<int>(threadIdx.x / 32 % 4);
  const int slabs = args.K / kSlabK;
  float acc[N / 2] = {};
  uint32_t a[2][kSteps / 2][4];  // one half of a slab while the other's matrices are in flight
  uint64_t* before = nullptr;    // the slab that those belong to
  const auto multiply = [&](int half) {
    const auto* weights = reinterpret_cast<const uint4*>(ring.weights(consumer));
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
    mbarrier_wait(ring.full + ring.stage, ring.phase);
    multiply(0);
    if (before && lane == 0) mbarrier_arrive(before);
    multiply(1);
    before = ring.empty + ring.stage;
    ring.advance();
  }
  wgmma_wait<0>();
  if (lane == 0) mbarrier_arrive(before);

  const int panel = walk.panels_at + consumer;
  if (panel < args.panels) {
#pragma unroll
    for (int n = 0; n < N / 8; ++n) {
      const float c[4] = {acc[4 * n], acc[4 * n + 1], acc[4 * n + 2], acc[4 * n + 3]};
      store_fragment(args, panel * 4 + warp, walk.tokens.begin + 8 * n + lane % 4 * 2,
                     walk.tokens.end, c);
    }
  }
  return ring;
}

__device__ __forceinline__ void consume(const GemmArgs& args, Ring ring, int consumer) {
  Walk walk(static_cast<int>(blockIdx.x));
  while (walk.next(args)) {
    const int rows = walk.tokens.end - walk.tokens.begin;
    if (rows <= 16)
      ring = consume_tile<16>(args, walk, ring, consumer);
    else if (rows <= 32)
      ring = consume_tile<32>(args, walk, ring, consumer);
    else if (rows <= 64)
      ring = consume_tile<64>(args, walk, ring, consumer);
    else if (rows <= 128)
      ring = consume_tile<128>(args, walk, ring, consumer);
    else
      ring = consume_tile<256>(args, walk, ring, consumer);
  }
}

#endif

__global__ void __launch_bounds__(kThreads, 1)
    gemm_warpgroups(const __grid_constant__ GemmArgs args, const __grid_constant__ TensorMap map) {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  unsigned char* shared = shared_memory();
  Ring ring{shared, reinterpret_cast<uint64_t*>(shared + kStages * kStageBytes), nullptr};
  ring.empty = ring.full + kStages;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      mbarrier_init(ring.full + i, 1);
      mbarrier_init(ring.empty + i, 4 * kConsumers);  // one lane a warp
    }
    fence_mbarrier_init();
  }
  __syncthreads();
  wait_for_grid();
  release_grid();
  const int warpgroup = static_cast<int>(threadIdx.x / 128);
  // Without the exchange of registers ptxas finds too few for 256 columns and serialises wgmma.
  if (warpgroup < kConsumers) {
    more_registers<232>();
    consume(args, ring, warpgroup);
  } else {
    fewer_registers<40>();
    if (threadIdx.x % 128 == 0) produce(args, &map, ring);
  }
#endif
}

}  // namespace

/// False where a tensor copy cannot reach x, or K is not whole slabs.
bool gemm_warpgroup(const CudaContext& cuda, const GemmArgs& args) {
  if (!args.x_aligned || args.K % kSlabK != 0) return false;
  const TensorMap map = make_tensor_map(args.x, args.rows, args.K, args.x_stride * 2, kBoxRows);
  const int64_t tiles = int64_t{most_tiles(args, kWidest)} * blocks_for(args.panels, kConsumers);
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(tiles, cuda.multiprocessors));
  cuda.launch(gemm_warpgroups, blocks, kThreads, kSharedBytes, args, map);
  return true;
}

}  // namespace moe
