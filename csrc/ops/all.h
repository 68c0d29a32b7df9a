#pragma once

#include "ops/attention.h"
#include "ops/attention_router.h"
#include "ops/causal_pair.h"
#include "ops/clamp.h"
#include "ops/combine.h"
#include "ops/embedding.h"
#include "ops/expert_choice.h"
#include "ops/gated_unit.h"
#include "ops/gather_rows.h"
#include "ops/grouped_gemm.h"
#include "ops/head_linear.h"
#include "ops/image_tokens.h"
#include "ops/latent_attention.h"
#include "ops/latent_cache.h"
#include "ops/layer_norm.h"
#include "ops/limit_capacity.h"
#include "ops/linear.h"
#include "ops/lora.h"
#include "ops/patches.h"
#include "ops/permute.h"
#include "ops/probe.h"
#include "ops/rms_norm.h"
#include "ops/rope_cache.h"
#include "ops/sample.h"
#include "ops/segment_mean.h"
#include "ops/soft_combine.h"
#include "ops/soft_dispatch.h"
#include "ops/soft_logits.h"
#include "ops/soft_weights.h"
#include "ops/top_k.h"

namespace moe {

template <class... Ops>
struct OpList {
  /// Calls `body(Op*)`, with null, for each.
  template <class Body>
  static void for_each(const Body& body) {
    (body(static_cast<Ops*>(nullptr)), ...);
  }
};

/// Every op there is. The recorder, the GPU backend and lib/ops are made of this list.
using AllOps = OpList<Attention, AttentionRouter, CausalPair, Clamp, Combine, Embedding,
                      ExpertChoice, GatedUnit, GatherRows, GroupedGemm, HeadLinear, ImageTokens,
                      LatentAttention, LatentCache, LayerNorm, LimitCapacity, Linear, Lora, Patches,
                      Permute, Probe, RmsNorm, RopeCache, Sample, SegmentMean, SoftCombine,
                      SoftDispatch, SoftLogits, SoftWeights, TopK>;

}  // namespace moe
