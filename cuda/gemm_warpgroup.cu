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
/// How outputs are made of sums: as they are or by SwiGLU, in bf16; or in f32, with what else there
/// is done on the way to memory.
enum class Finish { plain, swiglu, full };

// Rows of a tile, in steps. With more than eight widths ptxas runs out of registers and serialises
// wgmma, and the full finish needs some of its own.
constexpr int kMostRows = 256, kWidths = 32;
template <Finish kFinish>
constexpr int kWidest = kFinish == Finish::full ? kMostRows - kWidths : kMostRows;
constexpr int kChunk = 16;  // tiles of rows that stay in the second cache
constexpr int kStages = 4, kStageBytes = kConsumers * kPanelBytes + kMostRows * kSlabK * 2;
// Outputs leave through shared memory, 32 rows at a time in one of two pieces for each consumer.
constexpr int kPieceRows = 32, kPieceBytes = kPieceRows * (kPanelRows * 4 + 16);
constexpr int kBarrierBytes = 1024;
constexpr int kSharedBytes = kStages * kStageBytes + 2 * kConsumers * kPieceBytes + kBarrierBytes;

/// The next tile of this block; every thread walks alike, on offsets that only the device knows.
/// A group's rows are split evenly, so that its last tile is as full as the others. Tiles that
/// share weights come one after the other, up to kChunk of them; then the next weights for the same
/// rows.
struct Walk {
  int widest;            // rows of a tile
  int group = 0, index;  // tile of the group
  TokenTile tokens{};
  int panels_at = 0;  // first panel of the tile

  __device__ Walk(int widest, int first) : widest(widest), index(first) {}

  /// False when no tile is left.
  __device__ bool next(const GemmArgs& args) {
    const int bands = (args.panels + kConsumers - 1) / kConsumers;
    for (; group < args.groups; ++group) {
      const RowRange rows = group_rows(args, group);
      const int count = rows.end - rows.begin, across = (count + widest - 1) / widest;
      if (index < across * bands) {
        const int height = ((count + across - 1) / across + kWidths - 1) / kWidths * kWidths;
        const int chunk = index / (kChunk * bands), within = index % (kChunk * bands);
        const int width = min(kChunk, across - chunk * kChunk);
        const int begin = rows.begin + (chunk * kChunk + within % width) * height;
        tokens = {group, min(begin, rows.end), min(begin + height, rows.end)};
        panels_at = within / width * kConsumers;
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

__device__ __forceinline__ void produce(const GemmArgs& args, Walk walk, const TensorMap* map,
                                        Ring ring) {
  const int slabs = args.K / kSlabK;
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

__device__ __forceinline__ float silu_fast(float x) { return __fdividef(x, 1.f + __expf(-x)); }

/// Outputs of one consumer's panel on their way to memory.
template <Finish kFinish>
struct Outlet {
  static constexpr bool kNarrow = kFinish != Finish::full, kSwiglu = kFinish == Finish::swiglu;
  static constexpr int kOutputs = kSwiglu ? kPanelRows / 2 : kPanelRows;
  static constexpr int kPitch = kOutputs * (kNarrow ? 2 : 4) + 16;  // rows meet in no bank

  unsigned char* pieces;
  int barrier;   // of the consumer
  int turn = 0;  // the piece that may be written: the other one may still be read

  /// Stores a tile of N rows; acc[4 n] to acc[4 n + 3] are a lane's sums as mma.m16n8k16 has c, for
  /// the 8 rows from 8 n on.
  template <int N>
  __device__ __forceinline__ void store(const GemmArgs& args, const TokenTile& tokens, int panel,
                                        const float (&acc)[N / 2]) {
#pragma unroll
    for (int n = 0; n < N / 8; n += kPieceRows / 8) {
      unsigned char* piece = pieces + turn * kPieceBytes;
      turn ^= 1;
#pragma unroll
      for (int i = 0; i < kPieceRows / 8; i += 2)
        put(piece + 8 * i * kPitch, acc + 4 * (n + i), acc + 4 * (n + i + 1));
      named_barrier(barrier, 128);
      copy(args, tokens.begin + 8 * n, min(tokens.begin + 8 * n + kPieceRows, tokens.end),
           panel * kOutputs, piece);
    }
  }

  /// Puts a lane's sums of 16 rows to where the first of them begins.
  __device__ __forceinline__ void put(unsigned char* rows, const float* first,
                                      const float* second) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int warp = static_cast<int>(threadIdx.x / 32 % 4);
    const int r = lane % 8, matrix = lane / 8 % 2;
    if constexpr (kSwiglu) {
      const auto bits = [](const float* c) {
        return narrow2(silu_fast(c[0]) * c[2], silu_fast(c[1]) * c[3]);
      };
      stmatrix_x2_trans(rows + (8 * matrix + r) * kPitch + 16 * warp, bits(first), bits(second));
    } else if constexpr (kNarrow) {
      unsigned char* at = rows + r * kPitch + 32 * warp + 16 * matrix;
      stmatrix_x2_trans(at, narrow2(first[0], first[1]), narrow2(first[2], first[3]));
      stmatrix_x2_trans(at + 8 * kPitch, narrow2(second[0], second[1]),
                        narrow2(second[2], second[3]));
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        auto* at = reinterpret_cast<float*>(rows + (lane % 4 * 2 + i % 2) * kPitch) +
                   warp * kTileRows + lane / 4 + i / 2 * 8;
        at[0] = first[i];
        at[8 * kPitch / 4] = second[i];
      }
    }
  }

  /// Copies rows begin to end from a piece to memory, 16 bytes a lane.
  __device__ __forceinline__ void copy(const GemmArgs& args, int begin, int end, int first,
                                       const unsigned char* piece) const {
    constexpr int kValues = kNarrow ? 8 : 4, kAcross = kOutputs / kValues;
    const bool whole = args.out_aligned;
#pragma unroll 1  // the sums of the tile's other rows fill the registers
    for (int i = static_cast<int>(threadIdx.x % 128); i < (end - begin) * kAcross; i += 128) {
      const int row = begin + i / kAcross, n = first + i % kAcross * kValues;
      const unsigned char* from = piece + i / kAcross * kPitch + i % kAcross * 16;
      auto* narrow_row = static_cast<bf16*>(args.out) + row * args.out_stride;
      if constexpr (kNarrow) {
        if (whole && n < args.N)
          *reinterpret_cast<uint4*>(narrow_row + n) = *reinterpret_cast<const uint4*>(from);
        for (int j = 0; !whole && j < 8 && n + j < args.N; ++j)
          narrow_row[n + j] = reinterpret_cast<const bf16*>(from)[j];
      } else {
        if (n >= args.N) continue;
        Quad sum = load_quad(reinterpret_cast<const float*>(from), 0, 4, true);
        for (int j = 0; j < 4; ++j) sum.v[j] = activated(args, n + j, sum.v[j], 0.f);
        if (args.residual) {
          const Quad residual =
              load_quad(args.residual + row * args.residual_stride, n, args.N, whole);
          for (int j = 0; j < 4; ++j) sum.v[j] += residual.v[j];
        }
        if (args.out_bf16)
          store_quad(narrow_row, n, args.N, whole, sum);
        else
          store_quad(static_cast<float*>(args.out) + row * args.out_stride, n, args.N, whole, sum);
      }
    }
  }
};

/// What a consumer warpgroup goes on with from tile to tile.
template <Finish kFinish>
struct Consumer {
  int index;
  Ring ring;
  Outlet<kFinish> outlet;

  /// One tile of at most N rows.
  template <int N>
  __device__ __forceinline__ void take(const GemmArgs& args, const Walk& walk) {
    const int lane = static_cast<int>(threadIdx.x % 32),
              warp = static_cast<int>(threadIdx.x / 32 % 4);
    const int slabs = args.K / kSlabK;
    float acc[N / 2] = {};
    uint32_t a[2][kSteps / 2][4];  // one half of a slab while the other's matrices are in flight
    uint64_t* before = nullptr;    // the slab that those belong to
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
      mbarrier_wait(ring.full + ring.stage, ring.phase);
      multiply(0);
      if (before && lane == 0) mbarrier_arrive(before);
      multiply(1);
      before = ring.empty + ring.stage;
      ring.advance();
    }
    wgmma_wait<0>();
    if (lane == 0) mbarrier_arrive(before);

    const int panel = walk.panels_at + index;
    if (panel >= args.panels) return;
    outlet.template store<N>(args, walk.tokens, panel, acc);
  }

  /// The narrowest tile that has room.
  template <int N = kWidths>
  __device__ __forceinline__ void take_all(const GemmArgs& args, const Walk& walk) {
    if constexpr (N < kWidest<kFinish>)
      if (walk.tokens.end - walk.tokens.begin > N) return take_all<N + kWidths>(args, walk);
    take<N>(args, walk);
  }
};

#endif

template <Finish kFinish>
__global__ void __launch_bounds__(kThreads, 1)
    gemm_warpgroups(const __grid_constant__ GemmArgs args, const __grid_constant__ TensorMap map) {
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  unsigned char* shared = shared_memory();
  unsigned char* pieces = shared + kStages * kStageBytes;
  Ring ring{shared, reinterpret_cast<uint64_t*>(pieces + 2 * kConsumers * kPieceBytes), nullptr};
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
  Walk walk(kWidest<kFinish>, static_cast<int>(blockIdx.x));
  // Without the exchange of registers ptxas finds too few for 256 columns and serialises wgmma.
  if (warpgroup < kConsumers) {
    more_registers<232>();
    Consumer<kFinish> consumer{
        warpgroup, ring, {pieces + 2 * warpgroup * kPieceBytes, 1 + warpgroup}};
    while (walk.next(args)) consumer.take_all(args, walk);
  } else {
    fewer_registers<40>();
    if (threadIdx.x % 128 == 0) produce(args, walk, &map, ring);
  }
#endif
}

}  // namespace

/// False where a tensor copy cannot reach x, K is not whole slabs, or SwiGLU's outputs are no bf16.
bool gemm_warpgroup(const CudaContext& cuda, const GemmArgs& args) {
  const bool swiglu = args.activation == Activation::swiglu, extra = args.bias || args.residual;
  if (!args.x_aligned || args.K % kSlabK != 0) return false;
  if (swiglu && (extra || !args.out_bf16)) return false;
  const TensorMap map = make_tensor_map(args.x, args.rows, args.K, args.x_stride * 2, kBoxRows);
  const auto launch = [&](auto kernel, int widest) {
    const int64_t tiles = int64_t{most_tiles(args, widest)} * blocks_for(args.panels, kConsumers);
    const auto blocks = static_cast<unsigned>(std::min<int64_t>(tiles, cuda.multiprocessors));
    cuda.launch(kernel, blocks, kThreads, kSharedBytes, args, map);
  };
  if (swiglu)
    launch(gemm_warpgroups<Finish::swiglu>, kWidest<Finish::swiglu>);
  else if (args.out_bf16 && !extra && args.activation == Activation::none)
    launch(gemm_warpgroups<Finish::plain>, kWidest<Finish::plain>);
  else
    launch(gemm_warpgroups<Finish::full>, kWidest<Finish::full>);
  return true;
}

}  // namespace moe
