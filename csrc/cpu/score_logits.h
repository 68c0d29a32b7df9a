#pragma once

#include "core/context.h"
#include "core/tensor.h"

namespace moe {

/// Sums over the rows of logits.
struct LogitScores {
  double loss = 0;        // -log p(target)
  double other_loss = 0;  // the same of `other`
  double divergence = 0;  // Kullback-Leibler of p from `other`: sum q (log q - log p)
  int64_t agreed = 0;  // rows whose largest logits are at the same place, the first of equal ones
};

/// `logits` [T, V] f32, `targets` [T] i32 in [0, V), `other` [T, V] f32 or none. Each row is summed
/// in f64 in order, and so are the rows.
LogitScores score_logits(const CpuContext& cpu, const Tensor& logits, const Tensor& targets,
                         const Tensor& other);

}  // namespace moe
