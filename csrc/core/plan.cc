#include "core/plan.h"

#include <algorithm>
#include <chrono>

namespace moe {
namespace {

constexpr size_t kAlign = 64;

bool overlap(const Slot& a, const Slot& b) {
  return a.first_use <= b.last_use && b.first_use <= a.last_use;
}

}  // namespace

Tensor Plan::empty(const Shape& shape, DType dtype) {
  if (finished_) fail(Code::option, "plan: ops must be recorded before finish()");
  Tensor tensor;
  tensor.slot = std::make_shared<Slot>();
  tensor.slot->buffer = arena_;
  tensor.dtype = dtype;
  tensor.shape = shape;
  tensor.row_stride = tensor.last();
  tensor.slot->bytes = tensor.bytes();
  slots_.push_back(tensor.slot);
  return tensor;
}

void Plan::keep(const Tensor& tensor) { tensor.slot->keep = true; }

void Plan::add(std::vector<Tensor> tensors, std::function<void(const CpuContext&)> run) {
  if (finished_) fail(Code::option, "plan: ops must be recorded before finish()");
  const int index = static_cast<int>(ops_.size());
  for (const Tensor& tensor : tensors) {
    if (!tensor) continue;
    if (tensor.slot->device() != device())
      fail(Code::device, names_.back(), ": tensors must all be on the plan's device");
    Slot& slot = *tensor.slot;
    if (slot.first_use < 0) slot.first_use = index;
    slot.last_use = index;
  }
  held_.push_back(std::move(tensors));
  ops_.push_back(std::move(run));
}

/// The op that comes next runs it; its tensors are the next one's, too.
void Plan::drop_last(std::vector<Tensor>& tensors) {
  tensors.insert(tensors.end(), held_.back().begin(), held_.back().end());
  held_.pop_back();
  ops_.pop_back();
  names_.pop_back();
}

void Plan::finish() {
  if (finished_) return;
  finished_ = true;
  last_.reset();
  for (auto& slot : slots_)
    if (slot->keep) slot->last_use = static_cast<int>(ops_.size());
  // Largest first, each at the lowest offset that is free for its whole lifetime.
  std::vector<Slot*> order;
  for (auto& slot : slots_)
    if (slot->first_use >= 0) order.push_back(slot.get());
  std::stable_sort(order.begin(), order.end(),
                   [](Slot* a, Slot* b) { return a->bytes > b->bytes; });
  std::vector<Slot*> placed;  // by offset
  for (Slot* slot : order) {
    const size_t bytes = (slot->bytes + kAlign - 1) / kAlign * kAlign;
    size_t offset = 0;
    for (const Slot* other : placed) {
      if (!overlap(*slot, *other)) continue;
      if (offset + bytes <= other->offset) break;
      offset = std::max(offset, (other->offset + other->bytes + kAlign - 1) / kAlign * kAlign);
    }
    slot->offset = offset;
    bytes_ = std::max(bytes_, offset + bytes);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), slot,
                                   [](Slot* a, Slot* b) { return a->offset < b->offset; }),
                  slot);
  }
}

void Plan::run(const CpuContext& cpu, const CancelFlag& cancel, std::vector<double>* seconds) {
  finish();
  arena_->reserve(std::max<size_t>(bytes_, 1));
  Device* gpu = device();
  if (!gpu || seconds) return run_ops(cpu, cancel, seconds);
  if (ran_at_ != arena_->data()) {
    graph_.reset();
    ran_at_ = arena_->data();
    return run_ops(cpu, cancel, nullptr);
  }
  if (cancel && cancel->load(std::memory_order_relaxed)) fail(Code::cancelled, "cancelled");
  if (!graph_) graph_ = gpu->capture([&] { run_ops(cpu, nullptr, nullptr); });
  gpu->launch(graph_);
}

void Plan::run_ops(const CpuContext& cpu, const CancelFlag& cancel, std::vector<double>* seconds) {
  using Clock = std::chrono::steady_clock;
  for (const auto& op : ops_) {
    if (cancel && cancel->load(std::memory_order_relaxed)) fail(Code::cancelled, "cancelled");
    const auto started = seconds ? Clock::now() : Clock::time_point{};
    op(cpu);
    if (!seconds) continue;
    if (Device* gpu = device()) gpu->synchronize();
    seconds->push_back(std::chrono::duration<double>(Clock::now() - started).count());
  }
}

}  // namespace moe
