// Small kernels with one planted bug each, run under every schedule: what the simulator must catch.
// Prints `case, planted, schedule, result` with tabs between: ok, wrong, or what the simulator
// says.

#include "planted.h"

#include <cstdio>
#include <stdexcept>
#include <string>

namespace {

using moe::bf16;
using moe::to_bf16;
using moe::sim::Case;
using moe::sim::Launch;

const unsigned& id = threadIdx.x;

/// Four slabs of 32 numbers through a ring of two, loaded one ahead; thread i adds up its
/// neighbours'.
template <int Waits>
bool ring(const Launch& launch, bool after_wait, bool before_reuse) {
  constexpr unsigned kSlabs = 4, kThreads = 64;
  alignas(16) int in[kSlabs][kThreads * 4];
  int out[kThreads] = {};
  for (unsigned i = 0; i < kSlabs * kThreads * 4; ++i)
    in[i / (kThreads * 4)][i % (kThreads * 4)] = static_cast<int>(i * 7 % 13);
  launch(kThreads, 2 * sizeof in[0], [&] {
    auto* stages = reinterpret_cast<int*>(moe::shared_memory());
    moe::wait_prior_grid();
    const auto load = [&](unsigned slab) {
      if (slab < kSlabs)
        moe::cp_async16(stages + slab % 2 * kThreads * 4 + 4 * id, in[slab] + 4 * id, 16);
      moe::cp_async_commit();
    };
    load(0);
    int sum = 0;
    for (unsigned slab = 0; slab < kSlabs; ++slab) {
      load(slab + 1);
      moe::cp_async_wait<Waits>();
      if (after_wait) __syncthreads();
      sum += stages[slab % 2 * kThreads * 4 + 4 * ((id + 33) % kThreads)];
      if (before_reuse) __syncthreads();
    }
    moe::cp_async_wait<0>();
    out[id] = sum;
  });
  for (unsigned i = 0; i < kThreads; ++i) {
    int want = 0;
    for (const auto& slab : in) want += slab[4 * ((i + 33) % kThreads)];
    if (out[i] != want) return false;
  }
  return true;
}

/// Counts in shared memory, one warp after another, between two barriers.
bool histogram(const Launch& launch, bool after_zero, bool before_flush) {
  int out[8] = {};
  launch(64, sizeof out, [&] {
    auto* counts = reinterpret_cast<int*>(moe::shared_memory());
    moe::wait_prior_grid();
    if (id < 8) counts[id] = 0;
    if (after_zero) __syncthreads();
    atomicAdd(&counts[id % 8], 1);
    if (before_flush) __syncthreads();
    if (id >= 56) out[id - 56] = counts[id - 56];
  });
  for (const int count : out)
    if (count != 8) return false;
  return true;
}

/// One product of m16n8k16 from fragments, B's two registers swapped where planted.
bool fragments(const Launch& launch) {
  float a[16][16], b[8][16], out[16][8];
  for (int i = 0; i < 256; ++i) a[i / 16][i % 16] = static_cast<float>(i * 5 % 11 - 5);
  for (int i = 0; i < 128; ++i) b[i / 16][i % 16] = static_cast<float>(i * 3 % 7 - 3);
  launch(32, 0, [&] {
    moe::wait_prior_grid();
    const unsigned g = id / 4, t = id % 4;
    const auto pair = [](const float* at) { return moe::narrow2(at[0], at[1]); };
    const uint32_t left[4] = {pair(&a[g][2 * t]), pair(&a[g + 8][2 * t]), pair(&a[g][2 * t + 8]),
                              pair(&a[g + 8][2 * t + 8])};
    uint32_t right[2] = {pair(&b[g][2 * t]), pair(&b[g][2 * t + 8])};
    if (launch.planted) std::swap(right[0], right[1]);
    float c[4] = {};
    moe::mma_bf16(c, left, right);
    for (unsigned i = 0; i < 4; ++i) out[g + i / 2 * 8][2 * t + i % 2] = c[i];
  });
  for (int m = 0; m < 16; ++m)
    for (int n = 0; n < 8; ++n) {
      float want = 0;
      for (int k = 0; k < 16; ++k) want += a[m][k] * b[n][k];
      if (out[m][n] != want) return false;
    }
  return true;
}

/// Rows of two groups summed by group; planted: the first group's bound is one too far.
bool group_rows(const Launch& launch) {
  const int offsets[] = {0, 3, 5};
  int out[2] = {};
  launch(32, 0, [&] {
    moe::wait_prior_grid();
    if (id >= 2) return;
    for (int row = offsets[id]; row < offsets[id + 1] + launch.planted; ++row) out[id] += 1 << row;
  });
  return out[0] == 7 && out[1] == 24;
}

/// Half a warp shuffles; planted: with the whole warp's mask.
bool divergent_shuffle(const Launch& launch) {
  int out = 0;
  launch(32, 0, [&] {
    moe::wait_prior_grid();
    if (id < 16) {
      const int got = __shfl_sync(launch.planted ? ~0u : 0xffffu, static_cast<int>(id), 3);
      if (id == 5) out = got;
    } else {
      __syncwarp(0xffff0000u);
    }
  });
  return out == 3;
}

bool divergent_barrier(const Launch& launch) {
  launch(64, 0, [&] {
    moe::wait_prior_grid();
    if (!launch.planted || id < 32) __syncthreads();
    if (launch.planted && id >= 32) __shfl_sync(~0u, 0, 0);
  });
  return true;
}

bool dependent_launch(const Launch& launch) {
  launch(32, 0, [&] {
    if (!launch.planted) moe::wait_prior_grid();
  });
  return true;
}

bool misaligned_matrix(const Launch& launch) {
  launch(32, 1024, [&] {
    moe::wait_prior_grid();
    uint32_t r[4];
    moe::ldmatrix_x4(r, moe::shared_memory() + 16 * (id % 8) + (launch.planted ? 8 : 0));
  });
  return true;
}

enum class Slab { right, parity, bytes, no_wait, plain_rows, early_read };

/// One slab by tensor copy into a warpgroup's wgmma, as in the grouped GEMM.
bool slab(const Launch& launch, Slab bug) {
  if (!launch.planted) bug = Slab::right;
  std::vector<bf16> x(16 * 64), w(64 * 16);
  for (size_t i = 0; i < x.size(); ++i) x[i] = to_bf16(static_cast<float>(i * 7 % 9) - 4);
  for (size_t i = 0; i < w.size(); ++i) w[i] = to_bf16(static_cast<float>(i * 3 % 5) - 2);
  std::vector<float> out(64 * 16);
  const moe::TensorMap map = moe::make_tensor_map(x.data(), 16, 64, 128, 16);
  launch(128, 4096, [&] {
    unsigned char* rows = moe::shared_memory();
    auto* full = reinterpret_cast<uint64_t*>(rows + 2048);
    if (id == 0) moe::mbarrier_init(full, 1);
    __syncthreads();
    moe::wait_prior_grid();
    if (id == 0) {
      moe::mbarrier_arrive_expect(full, bug == Slab::bytes ? 1024 : 2048);
      if (bug == Slab::plain_rows)
        moe::bulk_copy(rows, x.data(), 2048, full);
      else
        moe::tensor_copy(rows, &map, 0, 0, full);
    }
    if (bug != Slab::no_wait) moe::mbarrier_wait(full, bug == Slab::parity);
    const unsigned warp = id / 32, g = id % 32 / 4, t = id % 4;
    float acc[8] = {};
    const bf16* at = w.data() + (16 * warp + g) * 16 + 2 * t;
    const auto pair = [](const bf16* p) { return p[0].bits | uint32_t{p[1].bits} << 16; };
    const uint32_t a[4] = {pair(at), pair(at + 8 * 16), pair(at + 8), pair(at + 8 * 16 + 8)};
    moe::wgmma_fence();
    moe::wgmma<16>(acc, a, moe::wgmma_descriptor(rows + 32));  // k 16 to 31
    moe::wgmma_commit();
    if (bug != Slab::early_read) moe::wgmma_wait<0>();
    for (unsigned i = 0; i < 8; ++i)
      out[(16 * warp + g + i % 4 / 2 * 8) * 16 + i / 4 * 8 + 2 * t + i % 2] = acc[i];
    moe::wgmma_wait<0>();
  });
  for (int m = 0; m < 64; ++m)
    for (int n = 0; n < 16; ++n) {
      float want = 0;
      for (int k = 0; k < 16; ++k) want += to_float(w[m * 16 + k]) * to_float(x[n * 64 + 16 + k]);
      if (out[m * 16 + n] != want) return false;
    }
  return true;
}

const std::vector<Case> kCases = {
    {"no barrier after the wait for a copy", [](auto& l) { return ring<1>(l, !l.planted, true); }},
    {"no barrier before a stage is used again",
     [](auto& l) { return ring<1>(l, true, !l.planted); }},
    {"a wait that leaves one copy too many",
     [](auto& l) { return l.planted ? ring<2>(l, true, true) : ring<1>(l, true, true); }},
    {"no barrier after zeroing", [](auto& l) { return histogram(l, !l.planted, true); }},
    {"no barrier before reading counts", [](auto& l) { return histogram(l, true, !l.planted); }},
    {"swapped fragment registers", fragments},
    {"a row of the next group", group_rows},
    {"a shuffle that lanes do not reach", divergent_shuffle},
    {"a barrier that warps do not reach", divergent_barrier},
    {"no wait for the kernel before", dependent_launch},
    {"a misaligned matrix row", misaligned_matrix},
    {"the other parity of a barrier", [](auto& l) { return slab(l, Slab::parity); }},
    {"the wrong number of bytes", [](auto& l) { return slab(l, Slab::bytes); }},
    {"no wait for a tensor copy", [](auto& l) { return slab(l, Slab::no_wait); }},
    {"rows that are not swizzled", [](auto& l) { return slab(l, Slab::plain_rows); }},
    {"sums read before their wgmma", [](auto& l) { return slab(l, Slab::early_read); }},
};

/// Under every schedule, right and planted.
void run_all(const Case& one) {
  for (const bool planted : {false, true})
    for (const bool descending : {false, true})
      for (const bool late : {false, true}) {
        std::string result;
        try {
          result = one.run({planted, {descending, late}}) ? "ok" : "wrong";
        } catch (const std::runtime_error& failure) {
          result = failure.what();
        }
        std::printf("%s\t%s\t%s %s\t%s\n", one.name, planted ? "planted" : "right",
                    descending ? "descending" : "ascending", late ? "late" : "early",
                    result.c_str());
      }
}

}  // namespace

int main() {
  for (const Case& one : kCases) run_all(one);
  for (const Case& one : moe::sim::kMemoryCases) run_all(one);
}
