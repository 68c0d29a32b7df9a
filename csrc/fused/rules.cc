#include "fused/rules.h"

#include <optional>

#include "fused/gather_gemm.h"
#include "fused/norm_linear.h"
#include "fused/pair_linear.h"
#include "fused/rope_attention.h"
#include "fused/route.h"
#include "weights/format.h"

namespace moe {
namespace {

bool same(const Tensor& a, const Tensor& b) {
  return a.slot == b.slot && a.offset == b.offset && a.shape == b.shape &&
         a.row_stride == b.row_stride;
}

/// Whether an output is its sum, but for bias and residual.
bool sums_only(const Linear& linear) {
  return !linear.rowScale && linear.scale == 1.f && linear.activation == Activation::none;
}

bool dense(const Weight& weight) { return format_of(weight.format).element.has_value(); }

/// Of whole rows of the residual stream, as the fused kernels norm them.
bool plain(const RmsNorm& norm) { return norm.whole_rows() && norm.x.dtype == DType::f32; }

/// Whether somebody reads `tensor` behind op `i`.
bool wanted_after(const std::vector<Node>& nodes, size_t i, const Tensor& tensor) {
  if (tensor.slot->keep) return true;
  for (++i; i < nodes.size(); ++i)
    for (const Access& access : nodes[i].accesses)
      if (access.tensor.slot == tensor.slot) return true;
  return false;
}

/// The ops that a rule puts together, and the one that takes their place.
struct Match {
  std::vector<size_t> parts;  // ascending; the last is the consumer, where the fused op runs
  std::shared_ptr<AnyOp> op;
};

/// Finds producers for one consumer.
class Finder {
 public:
  Finder(const std::vector<Node>& nodes, size_t consumer) : nodes_(nodes), consumer_(consumer) {}

  /// The op that has written `tensor` before the consumer; null: it is of another kind.
  template <class Op>
  const Op* producer(const Tensor& tensor) {
    return producer<Op>(tensor, consumer_);
  }
  /// The same before op `end`.
  template <class Op>
  const Op* producer(const Tensor& tensor, size_t end) {
    for (size_t i = end; tensor && i-- > 0;) {
      const auto& accesses = nodes_[i].accesses;
      const bool writes = std::any_of(accesses.begin(), accesses.end(), [&](const Access& access) {
        return access.writes && access.tensor.slot == tensor.slot;
      });
      if (!writes) continue;
      if (const Op* op = nodes_[i].as<Op>()) return parts_.push_back(i), op;
      return nullptr;
    }
    return nullptr;
  }

  /// The last producer found; that it is not wanted.
  size_t last() const { return parts_.back(); }
  void drop() { parts_.pop_back(); }

  /// The match, if all parts can run where the consumer does: nothing between may read what they
  /// write or write what they touch.
  template <class Fused>
  std::optional<Match> match(Fused fused) {
    std::sort(parts_.begin(), parts_.end());
    parts_.push_back(consumer_);
    for (size_t i = parts_.front() + 1; i < consumer_; ++i) {
      if (std::find(parts_.begin(), parts_.end(), i) != parts_.end()) continue;
      for (size_t part : parts_)
        if (part < i && conflict(nodes_[part], nodes_[i])) return std::nullopt;
    }
    return Match{parts_, std::make_shared<HeldOp<Fused>>(std::move(fused))};
  }

 private:
  static bool conflict(const Node& a, const Node& b) {
    for (const Access& x : a.accesses)
      for (const Access& y : b.accesses)
        if (x.tensor.slot == y.tensor.slot && (x.writes || y.writes)) return true;
    return false;
  }

  const std::vector<Node>& nodes_;
  size_t consumer_;
  std::vector<size_t> parts_;
};

// A rule looks at one op and its producers.

std::optional<Match> route(const std::vector<Node>& nodes, size_t consumer) {
  const TopK* top_k = nodes[consumer].as<TopK>();
  if (!top_k || top_k->logits.dim(0) > Route::kFewTokens ||
      top_k->logits.dim(1) > Route::kMostExperts)
    return std::nullopt;
  Finder find(nodes, consumer);
  Route fused{.norm = {}, .carry = {}, .project = {}, .attention = {}, .top_k = *top_k};
  Tensor logits = top_k->logits;
  if (const auto* attention = find.producer<AttentionRouter>(logits)) {
    fused.attention = *attention;
    logits = attention->qkv;
  }
  const auto* project = find.producer<Linear>(logits);
  if (!project || !sums_only(*project) || !dense(project->weight)) return std::nullopt;
  fused.project = *project;
  if (project->residual) {
    const auto* carry = fused.attention ? nullptr : find.producer<Linear>(project->residual);
    if (!carry || !sums_only(*carry) || carry->bias || carry->residual ||
        carry->weight.format != project->weight.format || carry->x.dim(1) != top_k->logits.dim(1) ||
        carry->x.dim(1) > Route::kMostCarried || carry->x.dtype != DType::f32)
      return std::nullopt;
    fused.carry = *carry;
  }
  const auto* norm = find.producer<RmsNorm>(project->x);
  if (!norm || !plain(*norm) || norm->exact || !same(norm->out, project->x)) return std::nullopt;
  fused.norm = *norm;
  return find.match(std::move(fused));
}

std::optional<Match> norm_linear(const std::vector<Node>& nodes, size_t consumer) {
  const Linear* linear = nodes[consumer].as<Linear>();
  if (!linear || linear->x.dim(0) > NormLinear::kFewTokens) return std::nullopt;
  Finder find(nodes, consumer);
  const auto* norm = find.producer<RmsNorm>(linear->x);
  if (!norm || !plain(*norm) || !same(norm->out, linear->x)) return std::nullopt;
  NormLinear fused{.combine = {}, .norm = *norm, .linear = *linear};
  if (const auto* combine = find.producer<Combine>(norm->x)) {
    if (same(combine->out, norm->x) && combine->expert_out.dtype == norm->out.dtype)
      fused.combine = *combine;
    else
      find.drop();
  }
  // Blocks would read what another writes.
  const auto made = [&](const Tensor& tensor) {
    return tensor && (tensor.slot == norm->out.slot || tensor.slot == norm->exact.slot ||
                      (fused.combine && tensor.slot == fused.combine->out.slot));
  };
  if (made(linear->residual) || made(linear->rowScale)) return std::nullopt;
  return find.match(std::move(fused));
}

std::optional<Match> gather_gemm(const std::vector<Node>& nodes, size_t consumer) {
  const GroupedGemm* gemm = nodes[consumer].as<GroupedGemm>();
  if (!gemm) return std::nullopt;
  Finder find(nodes, consumer);
  const auto* permute = find.producer<Permute>(gemm->x);
  if (!permute || !same(permute->out, gemm->x) || permute->scale != 1.f ||
      !streams_weights(gemm->x.dtype, gemm->weights[0].format, gemm->x.dim(0),
                       static_cast<int64_t>(gemm->weights.size()), gemm->deterministic, true))
    return std::nullopt;
  if (wanted_after(nodes, consumer, permute->out)) return std::nullopt;
  return find.match(GatherGemm{*permute, *gemm});
}

std::optional<Match> pair_linear(const std::vector<Node>& nodes, size_t consumer) {
  const Linear* linear = nodes[consumer].as<Linear>();
  if (!linear || linear->x.dim(0) > PairLinear::kFewTokens || !dense(linear->weight) ||
      static_cast<int64_t>(linear->x.bytes()) > PairLinear::kMostBytes)
    return std::nullopt;
  Finder find(nodes, consumer);
  const auto* pair = find.producer<CausalPair>(linear->x);
  if (!pair || !same(pair->out, linear->x) || wanted_after(nodes, consumer, pair->out))
    return std::nullopt;
  return find.match(PairLinear{*pair, *linear});
}

/// Norms of the heads that the last producer found, `rope`, is to rotate.
std::optional<HeadNorms> head_norms(const std::vector<Node>& nodes, size_t consumer, Finder& find,
                                    const RopeCache& rope) {
  const size_t end = find.last();
  const auto norm_of = [&](const Tensor& heads) -> const RmsNorm* {
    const auto* norm = find.producer<RmsNorm>(heads, end);
    if (!norm) return nullptr;
    if (same(norm->out, heads) && norm->x.dtype == heads.dtype && !norm->exact &&
        !norm->whole_rows() && norm->weight.dim(0) == rope.keys.dim(2) &&
        !wanted_after(nodes, consumer, heads))
      return norm;
    find.drop();
    return nullptr;
  };
  const RmsNorm* q = norm_of(rope.q);
  if (!q) return std::nullopt;
  if (const RmsNorm* k = norm_of(rope.k)) return HeadNorms{*q, *k};
  find.drop();
  return std::nullopt;
}

std::optional<Match> rope_attention(const std::vector<Node>& nodes, size_t consumer) {
  const Attention* attention = nodes[consumer].as<Attention>();
  if (!attention || attention->q.dim(0) != attention->block_table.dim(0)) return std::nullopt;
  Finder find(nodes, consumer);
  const auto* rope = find.producer<RopeCache>(attention->keys);
  if (!rope || !same(rope->q, attention->q) || !same(rope->keys, attention->keys) ||
      !same(rope->values, attention->values) || !same(rope->positions, attention->ends) ||
      wanted_after(nodes, consumer, rope->q))  // it stays as it was
    return std::nullopt;
  auto norms = head_norms(nodes, consumer, find, *rope);
  return find.match(RopeAttention{std::move(norms), *rope, *attention});
}

/// What is no longer there behind a match, if anything.
std::shared_ptr<Slot> gone(const AnyOp& op) {
  if (const auto* gather = dynamic_cast<const HeldOp<GatherGemm>*>(&op))
    return gather->op.permute.out.slot;
  if (const auto* pair = dynamic_cast<const HeldOp<PairLinear>*>(&op))
    return pair->op.pair.out.slot;
  return nullptr;
}

/// What the parts touch of what is there.
std::vector<Access> joined(const std::vector<Node>& nodes, const Match& match) {
  const auto slot = gone(*match.op);
  std::vector<Access> all;
  for (size_t part : match.parts)
    for (const Access& access : nodes[part].accesses)
      if (!slot || access.tensor.slot != slot) all.push_back(access);
  return all;
}

}  // namespace

void fuse(std::vector<Node>& nodes) {
  for (const auto rule : {route, norm_linear, pair_linear, gather_gemm, rope_attention})
    for (size_t i = 0; i < nodes.size(); ++i) {
      auto match = rule(nodes, i);
      if (!match) continue;
      nodes[i] = {match->op, joined(nodes, *match)};
      match->parts.pop_back();
      for (size_t k = match->parts.size(); k-- > 0; --i)
        nodes.erase(nodes.begin() + static_cast<std::ptrdiff_t>(match->parts[k]));
    }
}

}  // namespace moe
