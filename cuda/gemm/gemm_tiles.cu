// Many rows of bf16 on every GPU from sm_80: mma.sync over tiles of 128 weight rows and 64 rows of
// x, fed by cp.async through four stages. Weights are m, rows of x are n. Packed weights stay so in
// shared memory.

#include "packed.cuh"

namespace moe {
namespace {

constexpr int kThreads = 256;
constexpr int kPanels = 2, kTokens = 64, kSteps = 2, kStages = 4;  // of one block; of one stage
constexpr int kSlabK = kSteps * kStepK;
constexpr int kPitch = kPanels * kPanelRows + 4;  // of sums on their way out: lanes meet in no bank
constexpr int kRowBytes = kSlabK * 2 + 16;        // 16 more, so that eight rows meet in no bank

/// What a stage holds: numbers of each panel, scales of each, zero points of each, rows of x.
template <class W>
struct Stage {
  static constexpr int kLoads = kSteps / Weights<W>::kSteps;  // of a panel
  static constexpr int kPanelBytes = kLoads * 128 * Weights<W>::kBytes;
  static constexpr int kScaleBytes = [] {
    if constexpr (is_packed<W>) return 32 * W::kScaleBytes;
    return 0;
  }();
  static constexpr int kZeroBytes = [] {
    if constexpr (is_packed<W>) return W::kZeros ? 64 : 0;
    return 0;
  }();
  static constexpr int kScalesAt = kPanels * kPanelBytes;
  static constexpr int kZerosAt = kScalesAt + kPanels * kScaleBytes;
  static constexpr int kRowsAt = kZerosAt + kPanels * kZeroBytes;
  static constexpr int kBytes = kRowsAt + kTokens * kRowBytes;

  /// A lane's fragment of tile `place` / 32.
  static __device__ __forceinline__ void fragment(const unsigned char* stage, int panel, int step,
                                                  int place, uint32_t (&a)[1][4]) {
    constexpr int kEach = Weights<W>::kSteps;
    Weights<W> w;
    w.bits = reinterpret_cast<const decltype(w.bits)*>(
        stage)[(panel * kLoads + step / kEach) * 128 + place];
    if constexpr (is_packed<W>) {
      const int at = panel * 32 + place / 4;
      w.scales = reinterpret_cast<const typename W::Scales*>(stage + kScalesAt)[at];
      if constexpr (W::kZeros) w.zeros = reinterpret_cast<const uint16_t*>(stage + kZerosAt)[at];
    }
    w.parts(step % kEach, a);
  }
};

/// A tile of rows of one group.
struct TokenTile {
  int group, begin, end;  // begin == end: there is none
};

/// Tile `index` of all groups' rows in tiles of `height`; every block finds its own.
__device__ __forceinline__ TokenTile find_tile(const GemmArgs& args, int index, int height) {
  for (int group = 0; group < args.groups; ++group) {
    const RowRange rows = group_rows(args, group);
    const int tiles = (rows.end - rows.begin + height - 1) / height;
    if (index < tiles) {
      const int begin = rows.begin + index * height;
      return {group, begin, min(begin + height, rows.end)};
    }
    index -= tiles;
  }
  return {0, 0, 0};
}

/// Brings `kBytes` from where `from(panel)` is to each panel's place, for panels that are there.
template <int kBytes, class From>
__device__ __forceinline__ void load_panels(const GemmArgs& args, int panel, unsigned char* to,
                                            const From& from) {
  for (int at = 16 * static_cast<int>(threadIdx.x); at < kPanels * kBytes; at += 16 * kThreads) {
    const int p = panel + at / kBytes;
    const bool there = p < args.grid.panels;
    cp_async16(to + at, from(there ? p : panel) + at % kBytes, there ? 16 : 0);
  }
}

/// Brings slab `slab` of the weights and of x to its stage. K's tail and missing rows are zero.
template <class W>
__device__ __forceinline__ void load_slab(const GemmArgs& args, const TokenTile& tokens, int panel,
                                          int slab, unsigned char* stage) {
  using S = Stage<W>;
  const int thread = static_cast<int>(threadIdx.x);
  const auto* weights = static_cast<const unsigned char*>(args.weights[tokens.group]);
  const WeightGrid& grid = args.grid;
  for (int at = 16 * thread; at < kPanels * S::kPanelBytes; at += 16 * kThreads) {
    constexpr int kLoadBytes = S::kPanelBytes / S::kLoads;
    const int p = panel + at / S::kPanelBytes, in_panel = at % S::kPanelBytes;
    const int load = slab * S::kLoads + in_panel / kLoadBytes;
    const bool there = p < grid.panels && load * Weights<W>::kSteps < grid.steps;
    const int64_t from = p * grid.panel_bytes + int64_t{slab} * S::kPanelBytes + in_panel;
    cp_async16(stage + at, weights + (there ? from : 0), there ? 16 : 0);
  }
  if constexpr (is_packed<W>) {
    const int64_t group = slab >> grid.group_shift;
    load_panels<S::kScaleBytes>(args, panel, stage + S::kScalesAt, [&](int p) {
      return weights + p * grid.panel_bytes + grid.scales_at + group * S::kScaleBytes;
    });
    if constexpr (W::kZeros)
      load_panels<S::kZeroBytes>(args, panel, stage + S::kZerosAt, [&](int p) {
        return weights + p * grid.panel_bytes + grid.zeros_at + group * S::kZeroBytes;
      });
  }
  constexpr int kChunks = kSlabK / 8;
  const int row = tokens.begin + thread / kChunks, k = slab * kSlabK + thread % kChunks * 8;
  const int values = row < tokens.end ? min(max(args.K - k, 0), 8) : 0;
  const bf16* from = static_cast<const bf16*>(args.x) + (values ? x_row(args, row) + k : 0);
  unsigned char* to = stage + S::kRowsAt + thread / kChunks * kRowBytes + thread % kChunks * 16;
  if (args.x_aligned) return cp_async16(to, from, static_cast<unsigned>(2 * values));
  for (int i = 0; i < 8; ++i) reinterpret_cast<bf16*>(to)[i] = i < values ? from[i] : bf16{};
}

/// Grid: tiles of rows, then pairs of panels, so that neighbours share weights.
template <class W>
__global__ void __launch_bounds__(kThreads, is_packed<W> ? 2 : 3)
    gemm_tile(const __grid_constant__ GemmArgs args) {
  unsigned char* shared = shared_memory();
  wait_prior_grid();
  launch_dependents();
  const TokenTile tokens = find_tile(args, static_cast<int>(blockIdx.x), kTokens);
  if (tokens.begin == tokens.end) return;
  const int first_panel = static_cast<int>(blockIdx.y) * kPanels;
  const int warp = static_cast<int>(threadIdx.x / 32), lane = static_cast<int>(threadIdx.x % 32);
  // A warp has two of the 16-row tiles of a panel and 32 rows of x.
  const int panel = warp / 2 % 2, tile = warp % 2 * 2, n0 = warp / 4 * 32;
  using S = Stage<W>;
  const int slabs = (args.grid.steps + kSteps - 1) / kSteps;
  const auto stage_of = [&](int slab) { return shared + slab % kStages * S::kBytes; };
  const auto load = [&](int slab) {
    if (slab < slabs) load_slab<W>(args, tokens, first_panel, slab, stage_of(slab));
    cp_async_commit();
  };

  float acc[2][4][4] = {};
  for (int slab = 0; slab < kStages - 1; ++slab) load(slab);
  for (int slab = 0; slab < slabs; ++slab) {
    cp_async_wait<kStages - 2>();
    __syncthreads();  // the slab is there for all, and nobody still reads the one before it
    load(slab + kStages - 1);
    const unsigned char* stage = stage_of(slab);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t a[2][1][4], b[4][2];
#pragma unroll
      for (int m = 0; m < 2; ++m) S::fragment(stage, panel, step, 32 * (tile + m) + lane, a[m]);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = n0 + 16 * half + lane / 16 * 8 + lane % 8, k = step * 2 + lane / 8 % 2;
        uint32_t r[4];
        ldmatrix_x4(r, stage + S::kRowsAt + row * kRowBytes + k * 16);
        b[2 * half][0] = r[0], b[2 * half][1] = r[1];
        b[2 * half + 1][0] = r[2], b[2 * half + 1][1] = r[3];
      }
#pragma unroll
      for (int m = 0; m < 2; ++m)
#pragma unroll
        for (int n = 0; n < 4; ++n) mma_bf16(acc[m][n], a[m][0], b[n]);
    }
  }
  cp_async_wait<0>();
  __syncthreads();

  // Through shared memory, so that neighbours store outputs that lie side by side.
  auto* sums = reinterpret_cast<float*>(shared);  // [kTokens][kPitch]
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 4; ++n)
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int row = n0 + 8 * n + lane % 4 * 2 + c % 2;
        const int weight = panel * kPanelRows + (tile + m) * kTileRows + lane / 4 + c / 2 * 8;
        sums[row * kPitch + weight] = acc[m][n][c];
      }
  __syncthreads();
  const bool gate_up = gated(args.activation);
  const int outputs = kPanels * kPanelRows / (gate_up ? 2 : 1);
  const float* bias = bias_of(args, tokens.group);
  for (int i = static_cast<int>(threadIdx.x); i < (tokens.end - tokens.begin) * outputs;
       i += kThreads) {
    const int row = i / outputs, n = i % outputs;
    const float* sum = sums + row * kPitch + (gate_up ? n / 8 * kTileRows + n % 8 : n);
    store_output(args, bias, tokens.begin + row, static_cast<int>(blockIdx.y) * outputs + n, sum[0],
                 gate_up ? sum[8] : 0.f);
  }
}

}  // namespace

void gemm_tiles(const CudaContext& cuda, const GemmArgs& args, WeightFormat weight) {
  const dim3 grid(most_tiles(args, kTokens), blocks_for(args.grid.panels, kPanels));
  dispatch_weights(weight, [&](auto tag) {
    using W = decltype(tag);
    constexpr size_t kBytes = std::max(kStages * Stage<W>::kBytes, kTokens * kPitch * 4);
    if constexpr (!std::is_same_v<W, float>)  // those never come here
      cuda.launch(gemm_tile<W>, grid, kThreads, kBytes, args);
  });
}

}  // namespace moe
