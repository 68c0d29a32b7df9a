#pragma once
// What gemm_warpgroup.cu is made of: sizes, tiles, and what lies in shared memory: slabs and tiles
// on their way to the consumers, outputs on their way out.

#include "packed.cuh"

namespace moe {
namespace {

constexpr int kConsumers = 2, kThreads = 128 * (kConsumers + 1);
constexpr int kSteps = 4, kSlabK = kSteps * kStepK, kBoxRows = 64;
constexpr int kPanelBytes = kSteps * 4 * kTileValues * 2;  // of one slab
constexpr int kBoxBytes = kBoxRows * kSlabK * 2;

/// How outputs are made of sums: as they are or, with bias, by a gated activation, in bf16; or in
/// f32, where bias, activation, factors and residual are applied while storing.
enum class Finish { plain, gated, full };

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

/// A tile of rows of one group and its first panel of weights; below 0: there is no tile.
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
    const int bands = (args.grid.panels + kConsumers - 1) / kConsumers;
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

/// Two barriers for each of several places: it is full; it has been read by all.
template <int First>
struct Barriers {
  static __device__ uint64_t* full(int place) {
    return reinterpret_cast<uint64_t*>(shared_memory() + kBarriersAt) + 2 * (First + place);
  }
  static __device__ uint64_t* empty(int place) { return full(place) + 1; }
  /// `writers` and `readers` arrive.
  static __device__ void init(int places, unsigned writers, unsigned readers) {
    for (int i = 0; i < places; ++i) {
      mbarrier_init(full(i), writers);
      mbarrier_init(empty(i), readers);
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

__device__ __forceinline__ float glu_fast(const Glu& glu, float gate, float up) {
  const float g = clamped_gate(glu, gate);
  return __fdividef(g, 1.f + __expf(-gate_slope(glu, g))) * clamped_up(glu, up);
}

/// Outputs of one consumer's panel on their way to memory.
template <Finish kFinish>
struct Outlet {
  static constexpr bool kNarrow = kFinish != Finish::full, kGated = kFinish == Finish::gated;
  static constexpr int kOutputs = kGated ? kPanelRows / 2 : kPanelRows;
  static constexpr int kPitch = kOutputs * (kNarrow ? 2 : 4) + 16;  // rows meet in no bank

  int consumer;
  int turn = 0;  // the piece that may be written: the other one may still be read

  /// Stores a tile of N rows; acc[4 n] to acc[4 n + 3] are a lane's sums as mma.m16n8k16 has c, for
  /// the 8 rows from 8 n on.
  template <int N>
  __device__ __forceinline__ void store(const GemmArgs& args, const Tile& tile, int panel,
                                        const float (&acc)[N / 2]) {
    float bias[2] = {};  // of a lane's gate and up row
    if constexpr (kGated) {
      const int n =
          panel * kOutputs + static_cast<int>(threadIdx.x % 128 / 32 * 8 + threadIdx.x % 32 / 4);
      if (args.bias && n < args.N) {
        const float* rows = bias_of(args, tile.group) + n;
        bias[0] = rows[0], bias[1] = rows[args.N];
      }
    }
#pragma unroll
    for (int n = 0; n < N / 8; n += kPieceRows / 8) {
      unsigned char* piece = shared_memory() + kPiecesAt + (2 * consumer + turn) * kPieceBytes;
      turn ^= 1;
#pragma unroll
      for (int i = 0; i < kPieceRows / 8; i += 2)
        put(args.glu, bias, piece + 8 * i * kPitch, acc + 4 * (n + i), acc + 4 * (n + i + 1));
      named_barrier(1 + consumer, 128);
      copy(args, tile.group, tile.begin + 8 * n, min(tile.end - tile.begin - 8 * n, kPieceRows),
           panel * kOutputs, piece);
    }
  }

  /// Puts a lane's sums of 16 rows to where the first of them begins.
  __device__ __forceinline__ void put(const Glu& glu, const float (&bias)[2], unsigned char* rows,
                                      const float* first, const float* second) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const int warp = static_cast<int>(threadIdx.x / 32 % 4);
    const int r = lane % 8, matrix = lane / 8 % 2;
    if constexpr (kGated) {
      const auto bits = [&](const float* c) {
        return narrow2(glu_fast(glu, c[0] + bias[0], c[2] + bias[1]),
                       glu_fast(glu, c[1] + bias[0], c[3] + bias[1]));
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

  /// Brings `count` rows of a piece from shared to global memory, 16 bytes a lane. The sums of the
  /// tile's other rows fill the registers, so what is done to them is done in two passes.
  __device__ __forceinline__ void copy(const GemmArgs& args, int group, int begin, int count,
                                       int first, unsigned char* piece) const {
    constexpr int kValues = kNarrow ? 8 : 4, kAcross = kOutputs / kValues;
    const bool whole = args.out_aligned;
    const bool applied = args.bias || args.activation != Activation::none;
    if constexpr (!kNarrow) {
#pragma unroll 1
      for (int i = static_cast<int>(threadIdx.x % 128); applied && i < count * kAcross; i += 128) {
        auto* at = reinterpret_cast<float*>(piece + i / kAcross * kPitch) + i % kAcross * 4;
        const int n = first + i % kAcross * 4;
        Quad sum = load_quad(at, 0, 4, true);
        for (int j = 0; args.bias && j < 4; ++j)
          if (n + j < args.N) sum.v[j] += args.bias[group * args.N + n + j];
        for (float& value : sum.v) value = activated(args, value);
        store_quad(at, 0, 4, true, sum);
      }
    }
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x % 128); i < count * kAcross; i += 128) {
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
        const float factor = row_factor(args, row);
        for (float& value : sum.v) value *= factor;
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

#endif

}  // namespace
}  // namespace moe
