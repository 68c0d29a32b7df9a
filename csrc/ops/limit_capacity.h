#pragma once

#include "ops/segments.h"

namespace moe {

/// Who is served first where experts take only so many tokens.
enum class CapacityOrder {
  token,     // by token, the better choice of each before its next one
  choice,    // all first choices by token, then all second ones
  priority,  // the same, tokens by falling weight of their first choice
};
template <>
struct EnumNames<CapacityOrder> {
  static constexpr const char* type = "CapacityOrder";
  static constexpr const char* names[] = {"token", "choice", "priority"};
};

/// Places the choices of `topK` where each expert takes at most `capacity` tokens of a segment. A
/// choice that is dropped has row -1 and adds nothing; its id and weight stay, and no other choice
/// gets its share.
///
/// Switch serves in the order of `token` (arXiv:2101.03961, section 2.2), GShard and ST-MoE by
/// `choice` (arXiv:2006.16668, 2202.08906), V-MoE by `choice` or with batch priority
/// (arXiv:2106.05974, section 4). Rows are in token order inside an expert, whoever was served
/// first, so bits do not depend on the order.
struct LimitCapacity {
  static constexpr const char* kName = "limitCapacity";

  Tensor ids;            // [T, K] i32, distinct for a token
  Tensor weights;        // [T, K] f32, best first
  Tensor segments;       // [B + 1] i32, from 0 to T: tokens that are routed together
  int64_t experts = 0;   // E
  int64_t capacity = 0;  // tokens of a segment that an expert takes
  CapacityOrder order = CapacityOrder::token;
  float threshold = 0;  // choices after the first of at most this weight are dropped (GShard)
  Tensor rows;          // [T, K] i32, the row of each slot; -1: dropped
  Tensor offsets;       // [E + 1] i32, rows of expert e are offsets[e] to offsets[e + 1]

  static constexpr auto fields() {
    return std::tuple(
        input("ids", &LimitCapacity::ids), input("weights", &LimitCapacity::weights),
        input("segments", &LimitCapacity::segments), value("experts", &LimitCapacity::experts),
        value("capacity", &LimitCapacity::capacity), setting("order", &LimitCapacity::order),
        setting("threshold", &LimitCapacity::threshold), output("rows", &LimitCapacity::rows),
        output("offsets", &LimitCapacity::offsets));
  }
  void check() const {
    const Check check(kName);
    check.rank("ids", ids, 2);
    check.dtype("ids", ids, {DType::i32});
    check.contiguous("ids", ids);
    check.shape("weights", weights, ids.shape);
    check.dtype("weights", weights, {DType::f32});
    check.contiguous("weights", weights);
    check_segments(check, segments);
    check.that(experts >= 1 && experts <= kMaxExperts, "experts", "from 1 to 1024", experts);
    check.that(capacity >= 1, "capacity", "at least 1", capacity);
    check.that(threshold >= 0, "threshold", "at least 0", threshold);
  }
  void make_outputs(const Make& make) {
    rows = make(ids.shape, DType::i32);
    offsets = make({experts + 1}, DType::i32);
  }
  void run_cpu(const CpuContext&) const;
  void run_cuda(const CudaContext&) const;

  static constexpr int64_t kMaxExperts = 1024;
};

}  // namespace moe
