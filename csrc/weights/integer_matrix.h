#pragma once

#include "core/check.h"
#include "weights/encoded_matrix.h"

namespace moe {

/// A matrix [N, K] of integers as files pack them: w[n, k] = scale[n, g] * (q[n, k] - zero[n, g]),
/// q and zero from 0 to 2^bits - 1, g the group that k is in.
struct IntegerMatrix final : EncodedMatrix {
  /// Where q is. Words are i32, lowest bits first.
  enum class Layout {
    gptq,    // words of consecutive k: values [K / per_word, N]; zeros [groups, N / per_word] in
             // words of consecutive n; scales [groups, N]
    awq,     // words of 8 n in the order 0 2 4 6 1 3 5 7: values [K, N / 8]; zeros [groups, N / 8];
             // scales [groups, N]
    packed,  // words of consecutive k: values [N, K / per_word, rounded up]; zeros [N / per_word,
             // rounded up, groups]; scales [N, groups]
    bytes,   // values [N, K] u8, signed: q + 128; scales [N, groups]
  };

  Layout layout = Layout::gptq;
  int bits = 4;       // 4 | 8
  int64_t group = 0;  // of k; 0: as long as a row
  Tensor values;
  Tensor scales;       // f32 | bf16 | f16
  Tensor zeros;        // none: half of 2^bits
  Tensor order;        // [K] i32, the group of each k; none: k / group
  int zero_shift = 0;  // what zeros are stored less

  int64_t groups() const { return group ? (K + group - 1) / group : 1; }
  int half() const { return 1 << (bits - 1); }

  bool ready = false;
  bool symmetric = true;  // every zero point is half of 2^bits

  /// Also sets `group` and `symmetric`, and drops an order that says nothing.
  void prepare() override;
  std::vector<Tensor> parts() const override;

  int64_t group_of(int64_t k) const;
  int value(int64_t n, int64_t k) const;
  float scale(int64_t n, int64_t g) const;
  int zero(int64_t n, int64_t g) const;
  void read(int64_t n, int64_t begin, int64_t count, float* to) const override;
};

}  // namespace moe
