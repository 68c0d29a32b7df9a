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
// Where things are in shared memory: addresses that the compiler knows take no registers.
constexpr int kPiecesAt = kStages * kStageBytes;
constexpr int kBarriersAt = kPiecesAt + 2 * kConsumers * kPieceBytes;
constexpr int kTilesAt = kBarriersAt + 8 * 2 * (kStages + 2), kSharedBytes = kBarriersAt + 1024;

/// A tile of rows of one group and its first panel of weights; no rows: there is none.
struct Tile {
  int group, begin, end, panel;
};

/// Finds tiles by number, ascending, from offsets that only the device knows. A group's rows are
/// split evenly, so that its last tile is as full as the others. Tiles that share weights come one
/// after the other, up to kChunk of them; then the next weights for the same rows.
struct Walk {
  int widest;                 // rows of a tile
  int group = 0, passed = 0;  // tiles of the groups before

  __device__ Tile find(const GemmArgs& args, int number) {
    const int bands = (args.panels + kConsumers - 1) / kConsumers;
    for (; group < args.groups; ++group) {
      const RowRange rows = group_rows(args, group);
      const int count = rows.end - rows.begin, across = (count + widest - 1) / widest;
      const int index = number - passed;
      if (index < across * bands) {
        const int height = ((count + across - 1) / across + kWidths - 1) / kWidths * kWidths;
        const int chunk = index / (kChunk * bands), within = index % (kChunk * bands);
        const int width = min(kChunk, across - chunk * kChunk);
        const int begin = rows.begin + (chunk * kChunk + within % width) * height;
        return {group, min(begin, rows.end), min(begin + height, rows.end),
                within / width * kConsumers};
      }
      passed += across * bands;
    }
    return {0, 0, 0, -1};
  }
};

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

/// Two barriers for each of several places: it is full; it has been read by all consumers.
template <int First>
struct Barriers {
  static __device__ uint64_t* full(int place) {
    return reinterpret_cast<uint64_t*>(shared_memory() + kBarriersAt) + 2 * (First + place);
  }
  static __device__ uint64_t* empty(int place) { return full(place) + 1; }
  static __device__ void init(int places) {
    for (int i = 0; i < places; ++i) {
      mbarrier_init(full(i), 1);
      mbarrier_init(empty(i), 4 * kConsumers);  // one lane a warp
    }
  }
};

/// Slabs on their way.
struct Ring : Barriers<0> {
  int stage = 0;
  unsigned phase = 0;

  __device__ unsigned char* weights(int consumer) const {
    return shared_memory() + stage * kStageBytes + consumer * kPanelBytes;
  }
  __device__ unsigned char* rows() const { return weights(kConsumers); }
  __device__ void advance() {
    if (++stage == kStages) stage = 0, phase ^= 1;
  }
};

/// The tiles of this block on their way from the producer to the consumers. Blocks take the next
/// tile when they are free, since tiles differ in width.
struct Tickets : Barriers<kStages> {
  int turn = 0;
  unsigned phase = 0;

  __device__ void put(const Tile& tile) {
    mbarrier_wait(empty(turn), phase ^ 1);
    tiles()[turn] = tile;
    mbarrier_arrive(full(turn));
    advance();
  }
  __device__ Tile take() {
    mbarrier_wait(full(turn), phase);
    const Tile tile = tiles()[turn];
    __syncwarp();
    if (threadIdx.x % 32 == 0) mbarrier_arrive(empty(turn));
    advance();
    return tile;
  }

 private:
  static __device__ Tile* tiles() { return reinterpret_cast<Tile*>(shared_memory() + kTilesAt); }
  __device__ void advance() {
    turn ^= 1;
    phase ^= turn == 0;
  }
};

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

__device__ __forceinline__ float silu_fast(float x) { return __fdividef(x, 1.f + __expf(-x)); }

/// Outputs of one consumer's panel on their way to memory.
template <Finish kFinish>
struct Outlet {
  static constexpr bool kNarrow = kFinish != Finish::full, kSwiglu = kFinish == Finish::swiglu;
  static constexpr int kOutputs = kSwiglu ? kPanelRows / 2 : kPanelRows;
  static constexpr int kPitch = kOutputs * (kNarrow ? 2 : 4) + 16;  // rows meet in no bank

  int consumer;
  int turn = 0;  // the piece that may be written: the other one may still be read

  /// Stores a tile of N rows; acc[4 n] to acc[4 n + 3] are a lane's sums as mma.m16n8k16 has c, for
  /// the 8 rows from 8 n on.
  template <int N>
  __device__ __forceinline__ void store(const GemmArgs& args, const Tile& tile, int panel,
                                        const float (&acc)[N / 2]) {
#pragma unroll
    for (int n = 0; n < N / 8; n += kPieceRows / 8) {
      unsigned char* piece = shared_memory() + kPiecesAt + (2 * consumer + turn) * kPieceBytes;
      turn ^= 1;
#pragma unroll
      for (int i = 0; i < kPieceRows / 8; i += 2)
        put(piece + 8 * i * kPitch, acc + 4 * (n + i), acc + 4 * (n + i + 1));
      named_barrier(1 + consumer, 128);
      copy(args, tile.begin + 8 * n, min(tile.begin + 8 * n + kPieceRows, tile.end),
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
  wait_for_grid();
  release_grid();
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
    cuda.launch(kernel, blocks, kThreads, kSharedBytes, args, map, cuda.counters);
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
