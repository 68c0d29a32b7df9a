#include "core/plan.h"

#include <algorithm>
#include <chrono>
#include <set>

namespace moe {
namespace {

constexpr size_t kAlign = 64;

size_t aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

bool overlap(const Slot& a, const Slot& b) {
  return a.first_use <= b.last_use && b.first_use <= a.last_use;
}

}  // namespace

void Plan::open(const char* what) const {
  if (finished_) fail(Code::option, "plan: ", what, " must come before the first run");
}

Tensor Plan::view(const std::shared_ptr<Buffer>& buffer, const Shape& shape, DType dtype) {
  Tensor tensor;
  tensor.slot = std::make_shared<Slot>();
  tensor.slot->buffer = buffer;
  tensor.dtype = dtype;
  tensor.shape = shape;
  tensor.row_stride = tensor.last();
  tensor.slot->bytes = tensor.bytes();
  return tensor;
}

Tensor Plan::empty(const Shape& shape, DType dtype) {
  Tensor tensor = view(arena_.activations, shape, dtype);
  slots_.push_back(tensor.slot);
  return tensor;
}

Tensor Plan::input(const std::string& name, const Shape& shape, DType dtype) {
  open("inputs");
  Tensor tensor = view(arena_.inputs, shape, dtype);
  tensor.slot->offset = input_bytes_;
  if (!inputs_.emplace(name, tensor).second)
    fail(Code::option, "plan: inputs must have different names, got ", name, " twice");
  input_bytes_ += aligned(tensor.slot->bytes);
  return tensor;
}

void Plan::output(const std::string& name, const Tensor& tensor) {
  open("outputs");
  if (!tensor) fail(Code::option, "plan: output ", name, " must be a tensor, got nothing");
  if (tensor.slot->device() != device())
    fail(Code::device, "plan: output ", name, " must be on the plan's device");
  if (!tensor.contiguous())
    fail(Code::shape, "plan: output ", name, " must be contiguous, got a column slice");
  outputs_.emplace_back(name, tensor);
  tensor.slot->keep = true;
}

void Plan::check_sizes(const char* op, const std::vector<Access>& accesses) {
  for (const auto& [tensor, writes] : accesses)
    for (int i = 1; i < tensor.shape.rank(); ++i)
      if (tensor.dim(i) == 0)
        fail(Code::shape, op, ": sizes must be at least 1, but for the first, got ",
             tensor.shape.text());
}

void Plan::add(Node node) {
  open("ops");
  for (const auto& [tensor, writes] : node.accesses)
    if (tensor.slot->device() != device())
      fail(Code::device, node.op->name(), ": tensors must all be on the plan's device");
  nodes_.push_back(std::move(node));
}

void Plan::finish() {
  if (finished_) return;
  if (device() && options_.fuse) options_.fuse(nodes_);
  for (Node& node : nodes_) {
    if (Tensor* scratch = node.op->scratch()) {
      *scratch = empty({static_cast<int64_t>(node.op->scratch_bytes(device()))}, DType::u8);
      node.accesses.push_back({*scratch, true});
    }
    kernels_.push_back(device() ? device()->kernel(node.op->name()) : nullptr);
  }
  std::set<const Owner*> owners;
  for (const Node& node : nodes_)
    for (const auto& [tensor, writes] : node.accesses)
      if (tensor.slot->owner && owners.insert(tensor.slot->owner.get()).second)
        borrowed_.push_back(tensor.slot);
  lay_out();
  finished_ = true;
}

void Plan::lay_out() {
  const int end = static_cast<int>(nodes_.size());
  for (int index = 0; index < end; ++index)
    for (const auto& [tensor, writes] : nodes_[static_cast<size_t>(index)].accesses) {
      Slot& slot = *tensor.slot;
      if (slot.first_use < 0) slot.first_use = index;
      slot.last_use = index;
    }
  for (auto& slot : slots_)
    if (slot->keep) slot->last_use = end;
  // Largest first, each at the lowest offset that is free for its whole lifetime.
  std::vector<Slot*> order;
  for (auto& slot : slots_)
    if (slot->first_use >= 0) order.push_back(slot.get());
  std::stable_sort(order.begin(), order.end(),
                   [](Slot* a, Slot* b) { return a->bytes > b->bytes; });
  std::vector<Slot*> placed;  // by offset
  for (Slot* slot : order) {
    size_t offset = 0;
    for (const Slot* other : placed) {
      if (!overlap(*slot, *other)) continue;
      if (offset + aligned(slot->bytes) <= other->offset) break;
      offset = std::max(offset, aligned(other->offset + other->bytes));
    }
    slot->offset = offset;
    bytes_ = std::max(bytes_, offset + aligned(slot->bytes));
    placed.insert(std::upper_bound(placed.begin(), placed.end(), slot,
                                   [](Slot* a, Slot* b) { return a->offset < b->offset; }),
                  slot);
  }
}

void Plan::reserve() {
  arena_.inputs->reserve(std::max<size_t>(input_bytes_, 1));
  arena_.activations->reserve(std::max<size_t>(bytes_, 1));
}

bool Plan::grows() const {
  return arena_.inputs->bytes() < input_bytes_ || arena_.activations->bytes() < bytes_;
}

void Plan::run(const CpuContext& cpu, const CancelFlag& cancel, std::vector<double>* seconds) {
  finish();
  reserve();
  Device* gpu = device();
  if (!gpu || seconds) return run_ops(cpu, cancel, seconds);
  const std::pair<const std::byte*, const std::byte*> at{arena_.activations->data(),
                                                         arena_.inputs->data()};
  if (ran_at_ != at) {
    graph_.reset();
    ran_at_ = at;
    return run_ops(cpu, cancel, nullptr);
  }
  if (cancel && cancel->load(std::memory_order_relaxed)) fail(Code::cancelled, "cancelled");
  if (!graph_) graph_ = gpu->capture([&] { run_ops(cpu, nullptr, nullptr); });
  gpu->launch(graph_);
}

void Plan::run_ops(const CpuContext& cpu, const CancelFlag& cancel, std::vector<double>* seconds) {
  using Clock = std::chrono::steady_clock;
  Device* gpu = device();
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (cancel && cancel->load(std::memory_order_relaxed)) fail(Code::cancelled, "cancelled");
    const auto started = seconds ? Clock::now() : Clock::time_point{};
    const AnyOp& op = *nodes_[i].op;
    if (gpu)
      gpu->run(kernels_[i], op.address());
    else
      op.run_cpu(cpu);
    if (!seconds) continue;
    if (gpu) gpu->synchronize();
    seconds->push_back(std::chrono::duration<double>(Clock::now() - started).count());
  }
  for (const auto& slot : borrowed_) slot->verify();
}

std::vector<std::string> Plan::names() const {
  std::vector<std::string> names;
  for (const Node& node : nodes_) names.emplace_back(node.op->name());
  return names;
}

}  // namespace moe
