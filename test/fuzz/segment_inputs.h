#pragma once
// Inputs of the ops that look at whole segments, and of those of images.

#include "fuzz/op_inputs.h"

namespace moe::fuzz {

inline Tensor segments(Choices& c) { return c.tensor({c.between(0, 4)}, DType::i32); }

/// From 0 to `tokens`, ascending. False: there is no such list of that length.
inline bool cover(Choices& c, const Tensor& tensor, int64_t tokens) {
  const int64_t count = tensor.shape.count();
  if (count == 0 || (count == 1 && tokens > 0)) return false;
  ascending(c, tensor, tokens);
  if (count > 1) tensor.as<int32_t>()[count - 1] = static_cast<int32_t>(tokens);
  return true;
}

inline int64_t capacity(Choices& c) {
  return c.rarely(8) ? c.between(-1, INT64_MAX) : c.between(0, 9);
}

inline void build(Choices& c, ExpertChoice& op) {
  op.logits = c.tensor({c.between(0, 40), c.between(0, 40)}, DType::f32);
  op.segments = segments(c);
  op.capacity = capacity(c);
}
inline bool place(Choices& c, ExpertChoice& op) { return cover(c, op.segments, op.logits.dim(0)); }

inline void build(Choices& c, LimitCapacity& op) {
  const Shape shape{c.between(0, 40), c.between(0, 4)};
  op.ids = c.tensor(shape, DType::i32);
  op.weights = c.tensor(shape, DType::f32);
  op.segments = segments(c);
  op.experts = c.rarely(8) ? c.between(-1, 2000) : c.between(1, 40);
  op.capacity = capacity(c);
  op.order = c.one_of<CapacityOrder>();
  op.threshold = c.rarely(2) ? c.real() : 0.f;
}
inline bool place(Choices& c, LimitCapacity& op) {
  if (op.ids.dim(1) > op.experts) return false;
  // A token's ids are distinct.
  for (int64_t t = 0; t < op.ids.dim(0); ++t) {
    const int64_t first = c.between(0, op.experts - 1);
    for (int64_t k = 0; k < op.ids.dim(1); ++k)
      op.ids.row<int32_t>(t)[k] = static_cast<int32_t>((first + k) % op.experts);
  }
  return cover(c, op.segments, op.ids.dim(0));
}

inline void build(Choices& c, SegmentMean& op) {
  op.x = c.tensor({c.between(0, 40), c.between(0, 70)}, c.activation());
  op.segments = segments(c);
  op.dtype = c.activation();
}
inline bool place(Choices& c, SegmentMean& op) { return cover(c, op.segments, op.x.dim(0)); }

inline void build(Choices& c, SoftLogits& op) {
  const int64_t H = c.between(0, 70);
  op.x = c.tensor({c.between(0, 20), H}, c.activation());
  op.slots = c.tensor({H, c.between(0, 40)}, DType::f32);
  op.scale = c.tensor({1}, DType::f32);
}

inline void build(Choices& c, SoftWeights& op) {
  op.logits = c.tensor({c.between(0, 40), c.between(0, 40)}, DType::f32);
  op.segments = segments(c);
}
inline bool place(Choices& c, SoftWeights& op) { return cover(c, op.segments, op.logits.dim(0)); }

inline void build(Choices& c, SoftDispatch& op) {
  const int64_t T = c.between(0, 40);
  op.experts = c.between(0, 4);
  op.x = c.tensor({T, c.between(0, 70)}, c.activation());
  op.weights = c.tensor({T, op.experts * c.between(0, 4)}, DType::f32);
  op.segments = segments(c);
}
inline bool place(Choices& c, SoftDispatch& op) { return cover(c, op.segments, op.x.dim(0)); }

inline void build(Choices& c, SoftCombine& op) {
  const int64_t T = c.between(0, 40), H = c.between(0, 70);
  op.experts = c.between(0, 4);
  const int64_t S = op.experts * c.between(0, 4);
  op.segments = segments(c);
  op.residual = c.tensor({T, H}, DType::f32);
  op.weights = c.tensor({T, S}, DType::f32);
  op.expert_out =
      c.tensor({std::max<int64_t>(0, op.segments.shape.count() - 1) * S, H}, c.activation());
}
inline bool place(Choices& c, SoftCombine& op) { return cover(c, op.segments, op.residual.dim(0)); }

inline void build(Choices& c, Patches& op) {
  const DType dtype = c.rarely(2) ? DType::u8 : DType::f32;
  op.images =
      c.tensor({c.between(0, 2), c.between(0, 12), c.between(0, 12), c.between(0, 4)}, dtype);
  op.patch_height = c.between(0, 13);
  op.patch_width = c.between(0, 13);
  op.dtype = c.activation();
}

inline void build(Choices& c, ImageTokens& op) {
  const int64_t P = c.between(0, 12), H = c.between(0, 70);
  op.images = c.between(-1, 3);
  op.patches = c.tensor({std::max<int64_t>(0, op.images) * P, H}, DType::f32);
  if (c.rarely(2)) op.class_token = c.tensor({H}, DType::f32);
  if (c.rarely(2)) op.positions = c.tensor({P + (op.class_token ? 1 : 0), H}, DType::f32);
}

}  // namespace moe::fuzz
